"""Registration: the development service that comes with Flatline, or one of the operator's own.

The development service accepts the last six digits of a phone number as its verification code, keeps its
sessions in memory (so there is one of it, never two at once) and would send its log to a third party, for
which its network policy leaves no way.
"""

from dataclasses import dataclass

import pulumi

from components import java
from components.base import Component
from components.capabilities import Access, Endpoint, Network, Pods, Registration
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, PodArgs, Port, ProbeAction, Probes
from components.kubernetes.workload import Workload, WorkloadArgs
from config.services.java import REGISTRATION

GRPC_PORT = 50051
MAIN = "org.signal.registration.Application"


@dataclass(frozen=True, kw_only=True)
class DevelopmentRegistrationArgs:
    """`external_egress` opens ways out of the cluster."""

    namespace: WorkloadNamespace
    external_egress: tuple[Network, ...]


class DevelopmentRegistration(Component):
    """The development service: no ownership of a number is ever verified."""

    TYPE = "flatline:services:DevelopmentRegistration"

    def __init__(
        self, name: str, args: DevelopmentRegistrationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        listening = ProbeAction(port="grpc")
        workload = Workload(
            name,
            WorkloadArgs(
                kind="recreate",
                external_egress=args.external_egress,
                pod=PodArgs(
                    namespace=args.namespace,
                    name=name,
                    component="registration",
                    containers=(
                        Container(
                            name=name,
                            image="registration",
                            # what the image does by itself, but for its heap of 75 % of the limit
                            command=java.command(REGISTRATION, ("-Dmicronaut.environments=dev",), MAIN),
                            ports=(Port(name="grpc", number=GRPC_PORT),),
                            empty_dirs=java.EMPTY_DIRS,
                            probes=Probes(
                                startup=listening, readiness=listening, liveness=listening, startup_budget=120
                            ),
                            resources=java.resources(REGISTRATION, cpu="25m"),
                            pre_stop_sleep_seconds=5,
                        ),
                    ),
                ),
            ),
            self.child_opts,
        )
        self.network_peers = (workload.network_peer,)
        self.registration = offered(workload.endpoint("grpc"))
        self.register_outputs({})


def offered(endpoint: Endpoint) -> Registration:
    """The capability of a registration service at an endpoint. It is needed when a client registers, not before."""
    return Registration(access=Access(egress=(endpoint,)), host=endpoint.host, port=endpoint.port)


def external(service: str, pods: Pods, port: int) -> Registration:
    """A registration service that the operator runs in the same cluster."""
    return offered(Endpoint(service=service, pods=pods, port=port))
