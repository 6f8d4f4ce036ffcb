"""Who verifies that a number belongs to the person who registers it."""

from typing import Annotated, Literal

from pydantic import Field

from config.base_model import StrictModel
from config.types import Namespace, Port, WebUrl, web_port

VERIFIES_NOTHING = (
    "flatline:registration is {kind: development}: the last six digits of a number are its code, so anyone can "
    "register any number, and take over an account. Remove it before other people can reach this server."
)


class InvitationRegistration(StrictModel):
    """By invitation: a number registers only with a code that `./flatline invite NUMBER` made for it."""

    kind: Literal["invitation"] = "invitation"


class WebhookRegistration(StrictModel):
    """By a gateway of your own: each code is sent to it by HTTP, and the gateway sends it on by SMS or e-mail.

    The secret `registration-webhook` signs the requests. `egress.registration` opens the way to the gateway. A number
    with an invitation registers by that, and gets no message.
    """

    kind: Literal["webhook"]
    url: WebUrl
    """Where codes are sent to, with POST. Write https, unless the network up to the gateway is your own."""

    @property
    def port(self) -> int:
        """The TCP port of the URL."""
        return web_port(self.url)


class DevelopmentRegistration(StrictModel):
    """The development registration service: any number is verified by its own last six digits. For tests alone."""

    kind: Literal["development"]


class ExternalRegistration(StrictModel):
    """A registration service of your own: the same gRPC interface, plain text, inside the cluster."""

    kind: Literal["external"]
    service: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Name of its Kubernetes Service."""
    namespace: Namespace
    """Namespace of the Service."""
    pod_labels: Annotated[dict[str, str], Field(min_length=1)]
    """Labels of its pods, for the network policy."""
    port: Port = 50051
    """The same on the Service and on the pods."""
