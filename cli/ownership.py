"""Ownership of namespaces: no two stacks share one, and no stack deletes one that another stack made."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import yaml

from cli import kubectl, objects, stacks
from cli.choice import named_cluster, named_context
from cli.objects import SELECTOR, Object
from cli.stacks import LoadedStack, Stack
from config import installation
from config.settings import PROJECT, Settings
from errors import FlatlineError

_LONGEST = 50


@dataclass(frozen=True)
class Place:
    """Where a stack lives: its namespace, and what is known about its cluster."""

    stack: str
    namespace: str
    context: str | None
    kind: str

    @property
    def namespaces(self) -> frozenset[str]:
        """That of the services, that of the emulators, and that of a TURN server, which it may get."""
        emulators = {f"{self.namespace}-emulators"} if self.kind == "local" else set()
        return frozenset({self.namespace, f"{self.namespace}-turn", *emulators})

    def may_share_cluster(self, other: "Place") -> bool:
        """Two contexts are two clusters; where one is missing, two stacks of the same kind may be on the same one."""
        if self.context and other.context:
            return self.context == other.context
        return self.kind == other.kind


def namespace_for(stack: str) -> str:
    """The namespace of a new stack: `flatline-home` for `home`, so that stacks of a cluster stay apart."""
    words = re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")
    return f"{PROJECT}-{words}"[:_LONGEST].rstrip("-")


def check_own(loaded: LoadedStack) -> None:
    """Raises FlatlineError if another stack of this checkout would live in the same namespaces."""
    settings = loaded.settings
    check_free(loaded.stack.name, settings.namespace, settings.target.context, settings.target.kind)


def check_free(stack: str, namespace: str, context: str | None, kind: str) -> None:
    """Raises FlatlineError if a namespace that a stack would have is another stack's."""
    here = Place(stack, namespace, context, kind)
    for other in _others(stack):
        shared = sorted(here.namespaces & other.namespaces)
        if shared and here.may_share_cluster(other):
            raise FlatlineError(
                f"stack {stack} would share the namespace {shared[0]} with stack {other.stack}: each would overwrite "
                "and delete what the other one has",
                f"Write another {PROJECT}:namespace into Pulumi.{stack}.yaml, such as {namespace_for(stack)} "
                "(of a stack that has not been brought up: a namespace cannot be renamed).",
                f"If they are on two clusters, write {PROJECT}:target.context into both files.",
            )


def made_by(stack: Stack, rendered: Iterable[Object]) -> frozenset[str]:
    """The namespaces among rendered objects that a stack made, so that it may delete what is in them.

    Not those that another stack of this checkout has rendered too, as could happen before that was an error.
    """
    mine = installation.stack_label(PROJECT, stack.name)
    spaces = {each.name: each for each in objects.of_kind(rendered, "Namespace")}
    labels = {name: each.content["metadata"].get("labels", {}) for name, each in spaces.items()}
    own = {name for name in spaces if labels[name].get(installation.STACK_LABEL, mine) == mine}
    for other in stacks.existing():
        if other != stack.name:
            own -= set(objects.namespaces(objects.read(stacks.named(other).build, "Namespace")))
    return frozenset(own)


def own_cluster(loaded: LoadedStack, typed_context: str | None, kept: str) -> str:
    """The context of the cluster where a stack runs that keeps `kept` there. Raises FlatlineError."""
    name, namespace = loaded.stack.name, loaded.settings.namespace
    context = named_context(loaded, typed_context)
    if context is None:
        raise FlatlineError(
            f"no cluster is named, and {kept} are kept in the cluster",
            f"Name its context: --context, or {PROJECT}:target.context in {loaded.stack.file.name}.",
        )
    named_cluster(context)
    found = makers(context, name, {namespace})
    if namespace not in found:
        raise FlatlineError(
            f"there is no namespace {namespace} on context {context}",
            f"Bring the stack up first: `./flatline up --stack {name} --context {context}`",
        )
    if found[namespace]:
        raise FlatlineError(f"namespace {namespace} on context {context} belongs to {found[namespace]}")
    return context


def makers(context: str, stack: str, wanted: Collection[str]) -> dict[str, str]:
    """Who made those of some namespaces that a cluster has, for people; empty where it may have been this stack.

    Raises FlatlineError if the cluster cannot be read.
    """
    key, _, value = SELECTOR.partition("=")
    mine = installation.stack_label(PROJECT, stack)
    found = {}
    for each in kubectl.read(context, "get", "namespaces")["items"] if wanted else ():
        labels = each["metadata"].get("labels") or {}
        if labels.get(key) != value:
            found[each["metadata"]["name"]] = "somebody else"
        else:
            own = labels.get(installation.STACK_LABEL, mine) == mine
            found[each["metadata"]["name"]] = "" if own else "another stack of Flatline"
    return {name: found[name] for name in sorted(found.keys() & set(wanted))}


def _others(stack: str) -> Iterator[Place]:
    """Where the other stacks of this checkout live. A file that cannot be read is for its own commands to report."""
    for name in stacks.existing():
        if name == stack:
            continue
        try:
            content = yaml.safe_load(stacks.named(name).file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        config = content.get("config") if isinstance(content, dict) else None
        config = config if isinstance(config, dict) else {}
        namespace = _value(config, "namespace") or Settings.model_fields["namespace"].default
        target = _value(config, "target")
        target = target if isinstance(target, dict) else {}
        yield Place(name, str(namespace), target.get("context"), str(target.get("kind", "local")))


def _value(config: dict[str, object], key: str) -> object:
    return next((config[name] for name in (f"{PROJECT}:{key}", f"{PROJECT}:config:{key}", key) if name in config), None)
