"""The output of `upgrade --check`."""

from cli.forms.base import Block, OfStack


class Restart(Block):
    workload: str
    """Kind, namespace and name."""
    pods: int
    """How many pods are replaced."""
    why: list[str]
    """The part of the pods that differs."""
    how: str
    """In which way they are replaced."""
    clients: str
    """The effect on people."""
    after: list[str]
    """Others of the list, for which its pods wait."""


class Data(Block):
    what: str
    """A table, a bucket or a volume claim."""
    change: str
    """`new`, `gone` or `changed`; of resources of a cloud the engine's word for it."""
    how: str
    """The effect on it; empty where nothing is to be said."""


class ObjectCounts(Block):
    new: int
    """Those that are made."""
    changed: int
    """Those that become others."""
    gone: int
    """Those that are no longer part of the stack."""


class Upgrade(OfStack):
    """The exit status is 1 where `refused` says why `up` must not follow, and 0 where it may."""

    context: str | None
    """The kubeconfig context that was named."""
    deployed: str | None
    """The version that is deployed; null before the first `up`."""
    recorded: bool
    """False where that is the version of the last run alone, which may not have come to its end."""
    checkout: str
    """The version of this checkout."""
    refused: str | None
    """Why `up` refuses, and what to do."""
    upgrade: dict[str, list[str]]
    """By version on the way: its notes, as CHANGELOG.md has them."""
    backup: list[str]
    """Data to back up before."""
    restarts: list[Restart]
    """Workloads whose pods are replaced, in the order in which they become ready."""
    data: list[Data]
    """Objects with data that are new, gone or changed."""
    objects: ObjectCounts
    """How many objects change."""
