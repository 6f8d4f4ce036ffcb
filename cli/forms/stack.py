"""The output of commands about a stack: its state, its outputs, its secrets, and what would change."""

from typing import Any, Literal

from pydantic import Field

from cli.forms.base import Block, Form, OfStack

State = Literal["waiting", "used", "expired", "attacked", "locked"]


class Keeper(Block):
    kept_by: str | None
    """The file or Pulumi backend that has the stack's secrets; null before the first `up`."""
    problem: str | None
    """The part that is missing, or older than it should be."""


class Certificate(Block):
    what: str
    """Whose it is, and which names it is for."""
    expires: str
    """When it ends."""
    days_left: int
    """Whole days until then; negative afterwards."""


class MovingImage(Block):
    name: str
    """The image's name in the settings."""
    reference: str
    """The reference that is pulled: registry, repository and tag."""


class MovedImage(Block):
    name: str
    """The image's name in the settings."""
    digest: str
    """The digest of its tag now."""


class Workload(Block):
    name: str
    """The name of the Deployment or StatefulSet."""
    namespace: str
    """Its namespace."""
    ready: int
    """How many pods are ready."""
    wanted: int
    """How many there should be."""


class Cluster(Block):
    context: str
    """The kubeconfig context."""
    workloads: list[Workload]
    """Those of this stack."""
    redis: list[str]
    """A line for each thing about Redis' volumes that a person should know."""
    registration: list[str]
    """A line for each invitation that is attacked or locked, with what helps."""


class Status(OfStack):
    """`imagesMoved` stays empty where skopeo is missing."""

    domain: str
    """Below it are the names that clients connect to."""
    secrets: Keeper
    """Who keeps the secrets."""
    registration: str
    """The kind of `flatline:registration`."""
    certificates: list[Certificate]
    """Those that clients pin, and the one that they see; none before the first `up`."""
    epochs: dict[str, int]
    """Of the certificates, and of every secret whose epoch is not 1."""
    own_values: list[str]
    """Secrets whose value is the operator's."""
    images_without_digest: list[MovingImage]
    """Images that only a moving tag names."""
    images_moved: list[MovedImage]
    """Locked images whose tag names another digest now."""
    cluster: Cluster | None
    """The workloads; null without `--context` and without a context in the stack's file."""


class Invitation(Block):
    number: str
    """With `+` and country code."""
    expires: str
    """When its code ends."""
    again: bool
    """True if an account that is there may be taken over."""
    codes: int
    """How many codes in a row it takes."""
    state: State | None
    """Its state in the registration service ([first-people.md](first-people.md#when-somebody-guesses)); null where
    it could not be asked."""
    wrong_codes: int | None
    """How many wrong codes were tried; null where the service could not be asked."""
    since: str | None
    """When the state began; null for `waiting`."""


class Invitations(OfStack):
    """By number. There is never a code."""

    invitations: list[Invitation]
    """Everybody who is invited."""


class Outputs(OfStack):
    """Everything that the stack exports. A secret value is hidden."""

    outputs: dict[str, Any]
    """Texts, or objects of texts, by name."""


class Pins(OfStack):
    """Without `--for`. `pins.json` of a kit is the same."""

    pins: dict[str, Any]
    """The pins of a client ([README.md](../README.md#pointing-a-client-at-it) has each)."""


class Kit(OfStack):
    """With `--for`: what was written."""

    client: str
    """`android`, `ios`, `desktop` or `libsignal`."""
    folder: str
    """Where it is."""
    files: dict[str, str]
    """The SHA-256 of each file in hexadecimal, by its name."""
    new: list[str]
    """Files that were not there."""
    changed: list[str]
    """Files that had another content."""
    removed: list[str]
    """Files that the kit has no more."""


class Secret(Block):
    name: str
    """Its name in the settings."""
    origin: Literal["generated", "provided", "AWS", "unused"]
    """Who makes its value; the last two in a cloud."""
    epoch: int
    """Raised by `rotate secret`."""
    readers: list[str]
    """The services that read it."""
    purpose: str
    """Its purpose."""


class Secrets(OfStack):
    """There is never a value."""

    secrets: list[Secret]
    """All that the stack has."""


class Stack(Block):
    name: str
    """Its name."""
    domain: str | None
    """Null where its file cannot be read."""
    problem: str | None
    """Why its file cannot be read."""
    secrets_kept_by: str | None
    """A file, the URL of a Pulumi backend, or null before the first `up`."""


class Stacks(Form):
    """The stacks of this checkout."""

    stacks: list[Stack]
    """By name."""


class Change(Block):
    change: Literal["new", "changed", "gone"]
    """The kind of change."""
    object: str
    """Its kind, namespace and name, or the name of a stack output."""
    diff: str
    """Unified lines; values of secrets are not in them."""


class Diff(OfStack):
    """The differences between two revisions."""

    from_: str = Field(alias="from")
    """The commit that is compared."""
    to: str | None
    """The commit that it is compared with; null for the files as they are now."""
    changes: list[Change]
    """By object."""


class PreviewOfFiles(OfStack):
    """Where `up` would render."""

    by: Literal["files"]
    """`files`."""
    new: list[str]
    """Objects that there were not."""
    changed: list[str]
    """Objects that would differ."""
    gone: list[str]
    """Objects that would be no part of the stack any more."""
    pins: dict[str, str]
    """Pins that clients must be built with again, and why."""
    hosts: list[list[str]]
    """Pairs: a URL, and what becomes of it."""


class PreviewByPulumi(OfStack):
    """Where the engine would deploy."""

    by: Literal["pulumi"]
    """`pulumi`."""
    changes: dict[str, int]
    """How many resources, by the engine's operation: `create`, `update`, `same` and so on."""
    lost: list[str]
    """Objects that the cluster has lost, which `up` puts back."""
    drifted: list[str]
    """Objects that others changed, which `up` puts back."""
