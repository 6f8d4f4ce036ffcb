"""Invitations: the Secret that `./flatline invite` writes and programs/registration/ reads, a data key for each number.

The key is the number's digits in E.164 form without `+`. The value is JSON: `version` (1), `id` (32 hexadecimal
digits), `salt` and `hash` (base64 of 16 and of 32 bytes), `scrypt` (`n`, `r`, `p`), `expires` (seconds of Unix time),
`again` (whether it is for an account that exists) and `codes` (1 or 2). The hash is scrypt of the code's ASCII digits;
of two codes, of both together.
"""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

SECRET = "registration-invitations"
STATUS_PORT = 8081
"""Where the program answers `/invitations` with the state of each."""

VERSION = 1
LIMIT = 4000
"""Invitations at once: 230 bytes each, and a Secret holds 1 MiB (Kubernetes, `MaxSecretSize`)."""

CODE_DIGITS = 6
"""Digits that the clients' code fields take."""

SCRYPT = {"n": 16384, "r": 8, "p": 1}
"""16 MiB and about 50 ms for each try (RFC 7914)."""


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """An invitation as it is stored, without anything that tells its code. `expires` is in seconds of Unix time."""

    number: str
    expires: int
    again: bool
    codes: int


def key(number: str) -> str:
    """The data key of a number in E.164 form."""
    return number.removeprefix("+")


def new_codes(count: int) -> tuple[str, ...]:
    """Codes of six random digits."""
    return tuple(f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}" for _ in range(count))


def written(codes: tuple[str, ...], *, expires: int, again: bool) -> str:
    """The value that is stored for new codes."""
    salt = secrets.token_bytes(16)
    made = hashlib.scrypt("".join(codes).encode("ascii"), salt=salt, dklen=32, maxmem=2**26, **SCRYPT)
    return json.dumps(
        {
            "version": VERSION,
            "id": secrets.token_hex(16),
            "salt": base64.b64encode(salt).decode(),
            "hash": base64.b64encode(made).decode(),
            "scrypt": SCRYPT,
            "expires": expires,
            "again": again,
            "codes": len(codes),
        },
        separators=(",", ":"),
    )


def ended(value: str, now: int) -> str:
    """The same invitation, of which the validity has ended."""
    content = _content(value)
    return json.dumps({**content, "expires": min(content["expires"], now)}, separators=(",", ":"))


def read(name: str, value: str) -> Invitation:
    """The invitation of a data key. Raises ValueError for a value of another form."""
    content = _content(value)
    return Invitation(number=f"+{name}", expires=content["expires"], again=content["again"], codes=content["codes"])


def _content(value: str) -> dict[str, Any]:
    content = json.loads(value)
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise ValueError(f"is no invitation of version {VERSION}")
    for name, kind in (("expires", int), ("again", bool), ("codes", int)):
        if type(content.get(name)) is not kind:
            raise ValueError(f"has no {name}")
    return content
