"""The model of a recording: the resources that one run of a program registered, and what providers answered."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

from errors import FlatlineError

Path = tuple[str | int, ...]
"""The place of a value in a resource's inputs or outputs: ``("spec", "ports", 0, "port")``."""

STACK_TYPE: Final = "pulumi:pulumi:Stack"
PROVIDER_PREFIX: Final = "pulumi:providers:"


class RecordingError(FlatlineError):
    """The program does something that an engine would refuse, or that needs an engine."""


class Unknown(Enum):
    """The type of ``UNKNOWN``: in a preview, a value that is known only after creation."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class RecordedResource:
    """A registered resource. Property names are in camelCase; numbers are ints where that is exact.

    ``provider`` and ``parent`` are URNs; components and providers have no provider. ``id`` is ``None`` for components
    and in a preview. ``secret_paths`` are the input paths that the program marked secret; ``secret_output_paths`` also
    has those that the provider declares secret. ``placeholders`` has texts for outputs that are known only after
    creation: the program receives them, and ``outputs`` does not have them.
    """

    urn: str
    type: str
    name: str
    custom: bool
    inputs: Mapping[str, Any] = field(repr=False)
    outputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    placeholders: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: str | None = None
    parent: str | None = None
    provider: str | None = None
    protect: bool = False
    retain_on_delete: bool = False
    delete_before_replace: bool = False
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secret_paths: frozenset[Path] = frozenset()
    secret_output_paths: frozenset[Path] = frozenset()
    aliases: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    deleted_with: str | None = None
    import_id: str | None = None
    version: str = ""

    def is_secret(self, path: Path) -> bool:
        """True if the input at ``path`` is secret, by itself or as part of a secret object."""
        return any(path[: len(secret)] == secret for secret in self.secret_paths)

    def is_secret_output(self, path: Path) -> bool:
        """True if the output at ``path`` is secret, by itself or as part of a secret object."""
        return any(path[: len(secret)] == secret for secret in self.secret_output_paths)

    @property
    def package(self) -> str:
        """The provider package of the type token: ``kubernetes`` of ``kubernetes:core/v1:Secret``."""
        return self.type.split(":", 1)[0]


class CreateResult(NamedTuple):
    """A provider's answer to a creation. ``secrets`` names the outputs that the provider declares secret.

    ``placeholders`` has texts for outputs that only a real creation can tell; the program receives them over
    ``outputs``. With ``complete`` any other output is absent; without it, it is unknown.
    """

    id: str
    outputs: Mapping[str, Any]
    secrets: Collection[str] = ()
    placeholders: Mapping[str, Any] = {}
    complete: bool = False


class Values(Protocol):
    """Creates custom resources in the place of the providers. ``render.values`` has the implementations."""

    def create(self, resource: RecordedResource, provider: RecordedResource | None) -> CreateResult:
        """Creates ``resource``, which has no outputs yet. Its inputs are all known.

        ``provider`` is the resource's provider, whose inputs are its configuration.
        """


@dataclass(frozen=True)
class Message:
    """A line of the program's log. ``severity`` is info, warning or error; ``urn`` may be empty."""

    severity: str
    text: str
    urn: str = ""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Everything that one run of the program registered, sorted by URN.

    ``outputs`` are the stack outputs in plain text; ``secret_outputs`` names those that are, or contain, a secret. In
    a preview a value may be ``UNKNOWN``.
    """

    project: str
    stack: str
    preview: bool
    resources: tuple[RecordedResource, ...]
    outputs: Mapping[str, Any] = field(repr=False)
    secret_outputs: frozenset[str]
    messages: tuple[Message, ...] = ()

    def __iter__(self) -> Iterator[RecordedResource]:
        return iter(self.resources)

    def by_urn(self) -> dict[str, RecordedResource]:
        """The resources by their URN."""
        return {resource.urn: resource for resource in self.resources}

    def of_type(self, token: str) -> tuple[RecordedResource, ...]:
        """The resources of one type token, sorted by URN."""
        return tuple(resource for resource in self.resources if resource.type == token)


def stack_urn(project: str, stack: str) -> str:
    """The URN of the root resource, the parent of every resource without another one."""
    return f"urn:pulumi:{stack}::{project}::{STACK_TYPE}::{project}-{stack}"


def make_urn(project: str, stack: str, parent: str, token: str, name: str) -> str:
    """Makes a URN as the engine does.

    The type is qualified by the types of all parents but the stack (pulumi/pulumi, sdk/go/common/resource/urn.go).
    """
    parent_type = parent.split("::")[2] if parent else STACK_TYPE
    qualified = token if parent_type == STACK_TYPE else f"{parent_type}${token}"
    return f"urn:pulumi:{stack}::{project}::{qualified}::{name}"


def path_text(path: Path) -> str:
    """Formats ``("spec", "ports", 0)`` as ``spec.ports[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
