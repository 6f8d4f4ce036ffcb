"""The host names of an installation, each a label before the domain."""

from typing import Literal, get_args

PublicHost = Literal["whisper", "storage", "cdn0", "cdn3", "sfu"]
AdminHost = Literal["whisper-admin", "storage-admin"]
CallHost = Literal["turn"]
Host = PublicHost | AdminHost | CallHost

PUBLIC_HOSTS: tuple[PublicHost, ...] = get_args(PublicHost)
"""Hosts that clients connect to; `sfu` is there only with group calls."""

ADMIN_HOSTS: tuple[AdminHost, ...] = get_args(AdminHost)
"""Hosts that have routes only with `exposeAdmin`."""

CALL_HOSTS: tuple[CallHost, ...] = get_args(CallHost)
"""Hosts that exist only with `calls`."""


def public_hosts(*, group_calls: bool) -> tuple[PublicHost, ...]:
    """The hosts of an installation that clients connect to."""
    return tuple(host for host in PUBLIC_HOSTS if host != "sfu" or group_calls)


def host_name(host: Host, domain: str) -> str:
    """The full name of a host."""
    return f"{host}.{domain}"
