"""Labels and annotations on a stack's namespaces: the stack that made them, its version, digests of its secrets.

Whoever comes later, with an older state, without one, or from another stack, finds it out before anything is made.
"""

import hashlib
import json
import re
from collections.abc import Mapping

STACK_LABEL = "flatline.org/stack"
"""On every namespace: the stack that made it, as `stack_label` writes it."""
SECRETS_ANNOTATION = "flatline.org/secrets"
"""On the services' namespace: JSON, the name of each generated secret and certificate, and the digest of its value."""

VERSION_ANNOTATION = "flatline.org/deployed-version"
"""On the services' namespace: the version of the last `up` that succeeded. No program renders it (cli/deployed.py)."""
BACK_TO_ANNOTATION = "flatline.org/goes-back-to"
"""Beside it: the oldest version that can serve what that version has written."""

_LABEL_LENGTH, _DIGEST_LENGTH = 63, 16


def stack_label(project: str, stack: str) -> str:
    """`<project>.<stack>`, shortened to what Kubernetes takes as the value of a label."""
    name = f"{project}.{stack}"
    if len(name) <= _LABEL_LENGTH and re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?", name):
        return name
    return f"{name[:40]}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def digest(value: str) -> str:
    """Tells two values apart and nothing else about them: generated secrets have too much entropy to be guessed."""
    return hashlib.sha256(f"flatline digest\0{value}".encode()).hexdigest()[:_DIGEST_LENGTH]


def written(digests: Mapping[str, str]) -> str:
    """Digests by name, as the annotation has them."""
    return json.dumps(digests, sort_keys=True, separators=(",", ":"))


def read(annotation: str) -> dict[str, str]:
    """The digests by name in an annotation; none if somebody else wrote it."""
    try:
        content = json.loads(annotation)
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in content.items()} if isinstance(content, dict) else {}


def may_change(name: str) -> bool:
    """True if a value may be made again under its name. A leaf may be, for another domain; nothing else."""
    return name.startswith("leaf-")
