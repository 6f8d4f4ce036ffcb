"""The output of commands that look for something: doctor, connect, images, check, scan and verifications."""

from typing import Literal

from cli.forms.base import Block, Form, OfStack


class CheckOfDoctor(Block):
    name: str
    """Its name."""
    looks_at: str
    """The object of the check."""
    result: Literal["fine", "found", "unread", "passedOver"]
    """`unread`: nobody could look; `passedOver`: there is nothing to look at yet."""
    reason: str | None
    """Why nobody could look."""


class FindingOfDoctor(Block):
    symptom: str
    """A name of [symptoms.md](symptoms.md)."""
    severity: Literal["wrong", "notice"]
    """A notice does not change the status."""
    title: str
    """The symptom in a few words."""
    about: str
    """The object that has it."""
    found: str
    """The evidence."""
    means: str
    """The effect on people."""
    mend: str
    """The remedy; commands stand between backticks."""
    can_fix: bool
    """True if `--fix` mends it."""


class Doctor(OfStack):
    """Where the cluster does not answer at all there is no object, and the exit status is 2."""

    context: str | None
    """The kubeconfig context; null where no cluster is named."""
    status: Literal["fine", "wrong", "blind"]
    """As the exit status 0, 1 or 2."""
    checks: list[CheckOfDoctor]
    """In the order of the text output."""
    findings: list[FindingOfDoctor]
    """In the same order."""


class Step(Block):
    step: Literal["name", "connection", "tls", "answer", "join", "udp", "tcp"]
    """In this order ([client.md](client.md))."""
    passed: bool | None
    """Null for a step that was not tried, because an earlier one failed."""
    found: str | None
    """The evidence."""
    cause: str | None
    """Why it failed."""
    cure: str | None
    """The remedy."""


class Host(Block):
    service: str
    """That of the pin in `urls`, or `call` for the group call of `--call`."""
    host: str
    """The name that clients connect to."""
    addresses: list[str]
    """Those that were tried."""
    served: bool
    """True if a client would be served."""
    steps: list[Step]
    """All four; of a call `join`, `udp` and `tcp`."""
    remarks: list[str]
    """For people."""


class Connect(Form):
    """The hosts as a client would meet them."""

    stack: str | None
    """The stack's name; null with `--pins`."""
    domain: str
    """That of the pins."""
    served: bool
    """True if every host serves."""
    hosts: list[Host]
    """All that a client connects to."""


class Platform(Block):
    architecture: str
    """`amd64` or `arm64`."""
    digest: str
    """Of its manifest."""
    bytes: int
    """Bytes that a machine of that processor transfers."""


class Image(Block):
    name: str
    """Its name in the settings."""
    reference: str
    """The reference that is pulled."""
    locked: bool
    """True if the stack's file has a digest for it."""
    digest: str | None
    """Of what the stack pulls: of the locked digest, or of the tag; null where it could not be read."""
    tag_digest: str | None
    """The digest of the tag now; another one than `digest` means that the tag has moved."""
    platforms: list[Platform]
    """For each processor."""
    problem: str | None
    """Why it could not be read; the exit status is then 1."""


class Images(OfStack):
    """The digests in the registries."""

    images: list[Image]
    """Every image of the stack."""


class Finding(Block):
    rule: str
    """A name of [policies.md](policies.md)."""
    level: Literal["mandatory", "advisory"]
    """A mandatory one ends with status 1."""
    resource: str
    """Kind, namespace and name."""
    urn: str | None
    """Of a stack's resource; null for manifests."""
    file: str | None
    """Of a manifest; null for a stack."""
    line: int | None
    """Where it begins in that file."""
    problem: str
    """The violation."""
    remedy: str
    """The correction."""
    frameworks: list[str]
    """Names of the same demand elsewhere."""


class Exempted(Finding):
    reason: str
    """Why it is allowed."""


class Undecided(Block):
    rule: str
    """The rule."""
    resource: str
    """Kind, namespace and name."""
    path: str
    """Facts that only a deployment has."""


class Check(Form):
    """`--sarif` writes the same as [SARIF 2.1.0](https://docs.oasis-open.org/sarif/sarif/v2.1.0/) for code review."""

    profile: str
    """The kind of the stack's target, or `manifests`."""
    resources: int
    """How many were looked at."""
    rules: int
    """How many were tried."""
    mandatory: int
    """How many findings of that level."""
    advisory: int
    """How many findings of that level."""
    findings: list[Finding]
    """Violations."""
    exempted: list[Exempted]
    """Violations that the configuration allows."""
    undecided: list[Undecided]
    """Rules that need a deployment."""
    weakened: dict[str, str]
    """Rules that the configuration makes weaker, and how."""
    problems: list[str]
    """Mistakes in the configuration."""
    unread: list[str]
    """Files that could not be read."""
    passed_over: list[str]
    """Documents that are no Kubernetes objects."""


class FailedCheck(Block):
    check: str
    """Checkov's number of the check."""
    title: str
    """Checkov's words."""
    resource: str
    """Kind, namespace and name."""
    file: str
    """The rendered file."""


class SkippedCheck(FailedCheck):
    reason: str
    """Why it is passed over."""


class UnusedSkip(Block):
    check: str
    """Checkov's number of the check."""
    resource: str
    """A pattern of resources."""
    reason: str
    """Why they would be passed over."""


class Scan(OfStack):
    """The findings of checkov."""

    checkov: str
    """Its version."""
    objects: int
    """How many it has read."""
    passed: int
    """How many checks passed."""
    failed: list[FailedCheck]
    """Those that did not."""
    skipped: list[SkippedCheck]
    """Those that are passed over."""
    unused: list[UnusedSkip]
    """Exceptions for checks that do not fail."""


class Collection(Block):
    kind: Literal["dynamodb", "bigtable", "objects", "secrets", "files"]
    """The kind of store."""
    name: str
    """The table, the bucket, the Secret or the volume."""
    archived: int
    """How many records the archive has ([migration.md](migration.md))."""
    expired: int
    """How many of them have ended since."""
    missing: int
    """How many the stack does not have."""
    differing: int
    """How many it has with another content."""
    others: int
    """How many it has beside them."""
    verified: bool
    """True if it is as in the archive."""


class Restore(OfStack):
    """With and without `--verify`. Numbers are of records."""

    collections: list[Collection]
    """Each of the archive; none where the stack's file and state were written."""
