"""What a program would make besides Kubernetes objects, in the cloud or by Helm, as text for review.

One block for each resource, sorted, its type and logical name at the left margin so that a difference names the
resource that it is in. Nothing applies this text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import indent
from typing import Any, Final

from render import yaml_text
from render.cloud_provider import HELM_RELEASE, MARK
from render.recorder import PROVIDER_PREFIX, Path, Recorded, Recording

REDACTED: Final = "REDACTED"
PACKAGES: Final = ("aws", "gcp")

_HEADER: Final = """\
# What the Pulumi engine would be asked for besides Kubernetes objects. For review: nothing applies this file.
# ${name.output}, with the type where several have the name, is what only another resource's creation tells.
# Secrets are REDACTED.
"""
_LONG_ENOUGH: Final = 8
"""Shorter texts could be found where they are not meant."""

_REFERENCE: Final = re.compile(re.escape(MARK) + r"(?P<type>\S+) (?P<name>[^()]+) (?P<output>[^\s()]+)\)")


@dataclass(frozen=True, order=True)
class Count:
    """How many resources there are of one kind, and how many of them are protected."""

    service: str
    kind: str
    count: int
    protected: int


def resources(recording: Recording) -> Iterator[Recorded]:
    """What belongs in the plan: the resources of clouds, and Helm releases."""
    return (each for each in recording if each.package in PACKAGES or each.type == HELM_RELEASE)


def counts(recording: Recording) -> tuple[Count, ...]:
    """The planned resources by service (``aws dynamodb``) and kind (``Table``), sorted."""
    kinds = Counter(_service_and_kind(each) for each in resources(recording))
    protected = Counter(_service_and_kind(each) for each in resources(recording) if each.protect)
    return tuple(sorted(Count(*kind, count, protected[kind]) for kind, count in kinds.items()))


def text(recording: Recording) -> str:
    """The plan: YAML, a function of the recording alone; empty where there is nothing to plan."""
    planned = list(resources(recording))
    if not planned:
        return ""
    writer = _Writer(recording)
    providers = [each for each in recording if each.type in {PROVIDER_PREFIX + package for package in PACKAGES}]
    blocks = [*sorted(map(writer.block, providers)), *sorted(map(writer.block, planned))]
    return "\n".join([_HEADER, *blocks])


def _service_and_kind(resource: Recorded) -> tuple[str, str]:
    package, module, kind = resource.type.split(":")
    return f"{package} {module.partition('/')[0]}", kind


def _title(resource: Recorded) -> str:
    """``aws:dynamodb:Table accounts``: the short form of the token, and the logical name."""
    package, module, kind = resource.type.split(":")
    service, _, file = module.partition("/")
    short = service if file.lower() == kind.lower() else module
    return f"{package}:{short}:{kind} {resource.name}"


class _Writer:
    """Writes the resources of one recording."""

    def __init__(self, recording: Recording) -> None:
        self._by_urn = recording.by_urn()
        self._titles = Counter(_title(each) for each in recording if each.type.count(":") == 2)
        self._planned = {(each.type, each.name): each for each in resources(recording)}
        self._names = Counter(each.name for each in resources(recording))
        self._providers = Counter(each.type for each in recording if each.type.startswith(PROVIDER_PREFIX))
        self._generated = _generated(recording)

    def block(self, resource: Recorded) -> str:
        inputs = {
            name: self._value(value, (name,), resource) for name, value in resource.inputs.items() if value is not None
        }
        parts = [{name: value} for name, value in self._options(resource)] + [{"inputs": inputs}]
        heading = yaml_text.dump({self._unique(resource): {}}).removesuffix(" {}\n")
        return f"{heading}\n" + indent("".join(map(yaml_text.dump, parts)), "  ", lambda line: line != "\n")

    def _unique(self, resource: Recorded) -> str:
        """The title, or for two of one title what is unique in their URNs: the types of all parents."""
        title = _title(resource)
        return title if self._titles[title] == 1 else " ".join(resource.urn.split("::")[2:])

    def _options(self, resource: Recorded) -> Iterator[tuple[str, Any]]:
        """What is not as it is by default, in the order of importance."""
        several = resource.provider and self._providers[PROVIDER_PREFIX + resource.package] > 1
        explicit = set(resource.dependencies).difference(*resource.property_dependencies.values())
        options = {
            "protect": resource.protect,
            "retainOnDelete": resource.retain_on_delete,
            "import": resource.import_id,
            "provider": str(resource.provider).rpartition("::")[2] if several else None,
            "dependsOn": sorted(self._known(urn) for urn in explicit),
            "deletedWith": self._known(resource.deleted_with) if resource.deleted_with else None,
            "deleteBeforeReplace": resource.delete_before_replace,
            "ignoreChanges": list(resource.ignore_changes),
            "replaceOnChanges": list(resource.replace_on_changes),
            "aliases": _earlier_names(resource),
        }
        return ((name, value) for name, value in options.items() if value)

    def _known(self, urn: str) -> str:
        found = self._by_urn.get(urn)
        return self._unique(found) if found and found.type.count(":") == 2 else urn.split("::", 2)[-1]

    def _value(self, value: Any, path: Path, resource: Recorded) -> Any:
        if resource.is_secret(path) or resource.is_secret_output(path):
            return REDACTED
        if isinstance(value, Mapping):
            return {self._text(key): self._value(item, (*path, key), resource) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, (*path, i), resource) for i, item in enumerate(value)]
        return self._expanded(value) if isinstance(value, str) else value

    def _expanded(self, text: str) -> Any:
        """A policy document, or whatever else is an object or a list in JSON, as what it is."""
        return self._references(_from_json(text))

    def _references(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {self._text(key): self._references(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._references(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        for value, reference in self._generated.items():
            text = text.replace(value, reference)
        return _REFERENCE.sub(self._reference, text)

    def _reference(self, match: re.Match[str]) -> str:
        """The short form of a stand-in. That of a secret stays as it is, for the search for leaks."""
        resource = self._planned.get((match["type"], match["name"]))
        if resource is None or resource.is_secret_output((re.split(r"[.\[]", match["output"])[0],)):
            return match[0]
        return f"${{{self._named(resource)}.{match['output']}}}"

    def _named(self, resource: Recorded) -> str:
        return resource.name if self._names[resource.name] == 1 else self._unique(resource)


def _generated(recording: Recording) -> dict[str, str]:
    """What was made up for this recording and is no secret, such as a part of a name, and where it is from."""
    return {
        value: f"${{{each.name}.{name}}}"
        for each in recording
        if each.package == "random"
        for name, value in sorted(each.outputs.items(), reverse=True)
        if isinstance(value, str) and len(value) >= _LONG_ENOUGH
        if name not in each.inputs and not each.is_secret_output((name,))
    }


def _earlier_names(resource: Recorded) -> list[str]:
    """Aliases that a program gave. Those by which an SDK follows a renamed type differ in the type alone."""

    def place(urn: str) -> tuple[str, str]:
        qualified, _, name = urn.partition("::")[2].partition("::")[2].partition("::")
        return qualified.rpartition("$")[0], name

    return [alias for alias in dict.fromkeys(resource.aliases) if place(alias) != place(resource.urn)]


def _from_json(text: str) -> Any:
    if not text.startswith(("{", "[")):
        return text
    try:
        value = json.loads(text, parse_constant=_no_number)
    except ValueError:
        return text
    return value if isinstance(value, (Mapping, list)) else text


def _no_number(constant: str) -> Any:
    raise ValueError(constant)
