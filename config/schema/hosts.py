"""The host names of an installation, each a label before the domain."""

from typing import Literal, get_args

PublicHost = Literal["whisper", "storage", "cdn0", "cdn3"]
AdminHost = Literal["whisper-admin", "storage-admin"]
CallHost = Literal["turn"]
Host = PublicHost | AdminHost | CallHost

PUBLIC_HOSTS: tuple[PublicHost, ...] = get_args(PublicHost)
"""Hosts that clients connect to."""

ADMIN_HOSTS: tuple[AdminHost, ...] = get_args(AdminHost)
"""Hosts that have routes only with `exposeAdmin`."""

CALL_HOSTS: tuple[CallHost, ...] = get_args(CallHost)
"""Hosts that exist only with `calls`."""


def host_name(host: Host, domain: str) -> str:
    """The full name of a host."""
    return f"{host}.{domain}"
