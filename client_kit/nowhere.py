"""Where a client must find nobody: services that an installation does not have, at names that never resolve.

Without them a client would go on to ask Signal's servers.
"""

DOMAIN = "invalid"
"""Reserved by RFC 2606: no name below it is ever registered."""
ENCLAVE = "00" * 32
"""The measurement of an enclave that there is not."""


def host(name: str) -> str:
    """A host name that does not resolve."""
    return f"{name}.{DOMAIN}"


def url(name: str, path: str = "") -> str:
    """A URL whose host does not resolve."""
    return f"https://{host(name)}{path}"
