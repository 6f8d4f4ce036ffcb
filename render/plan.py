"""Writes the plan: the cloud resources and Helm releases of a recording, as text for review.

It has one block for each resource, sorted, with its type and logical name at the left margin, so that a diff names the
resource that changed. Nothing applies this text.
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
from render.model import PROVIDER_PREFIX, Path, RecordedResource, Recording
from render.placeholders import HELM_RELEASE, MARK
from render.redaction import REDACTED

PACKAGES: Final = ("aws", "gcp")

_HEADER: Final = """\
# What the Pulumi engine would be asked for besides Kubernetes objects. For review: nothing applies this file.
# ${name.output}, with the type where several have the name, is what only another resource's creation tells.
# Secrets are REDACTED.
"""
_MIN_LENGTH: Final = 8
"""The length of the shortest generated text that is replaced by a reference. Shorter ones could match by accident."""

_REFERENCE: Final = re.compile(re.escape(MARK) + r"(?P<type>\S+) (?P<name>[^()]+) (?P<output>[^\s()]+)\)")


@dataclass(frozen=True, order=True)
class ResourceCount:
    """The number of resources of one kind, and the number of them that are protected."""

    service: str
    kind: str
    count: int
    protected: int


def resources(recording: Recording) -> Iterator[RecordedResource]:
    """The resources of the plan: those of clouds, and Helm releases."""
    return (resource for resource in recording if resource.package in PACKAGES or resource.type == HELM_RELEASE)


def counts(recording: Recording) -> tuple[ResourceCount, ...]:
    """The planned resources by service (``aws dynamodb``) and kind (``Table``), sorted."""
    kinds = Counter(_service_and_kind(resource) for resource in resources(recording))
    protected = Counter(_service_and_kind(resource) for resource in resources(recording) if resource.protect)
    return tuple(sorted(ResourceCount(*kind, count, protected[kind]) for kind, count in kinds.items()))


def text(recording: Recording) -> str:
    """The plan as YAML, a function of the recording alone. Empty if the recording has no resources for it."""
    planned = list(resources(recording))
    if not planned:
        return ""
    writer = _Writer(recording)
    provider_types = {PROVIDER_PREFIX + package for package in PACKAGES}
    providers = [resource for resource in recording if resource.type in provider_types]
    blocks = [*sorted(map(writer.block, providers)), *sorted(map(writer.block, planned))]
    return "\n".join([_HEADER, *blocks])


def _service_and_kind(resource: RecordedResource) -> tuple[str, str]:
    package, module, kind = resource.type.split(":")
    return f"{package} {module.partition('/')[0]}", kind


def _title(resource: RecordedResource) -> str:
    """The short form of the type token and the logical name: ``aws:dynamodb:Table accounts``."""
    package, module, kind = resource.type.split(":")
    service, _, file = module.partition("/")
    short = service if file.lower() == kind.lower() else module
    return f"{package}:{short}:{kind} {resource.name}"


class _Writer:
    """Writes the resources of one recording."""

    def __init__(self, recording: Recording) -> None:
        self._by_urn = recording.by_urn()
        self._titles = Counter(_title(resource) for resource in recording if resource.type.count(":") == 2)
        self._planned = {(resource.type, resource.name): resource for resource in resources(recording)}
        self._names = Counter(resource.name for resource in resources(recording))
        self._providers = Counter(resource.type for resource in recording if resource.type.startswith(PROVIDER_PREFIX))
        self._generated_texts = _generated_texts(recording)

    def block(self, resource: RecordedResource) -> str:
        """Writes one resource: its title, its options and its inputs."""
        inputs = {
            name: self._value(value, (name,), resource) for name, value in resource.inputs.items() if value is not None
        }
        parts = [{name: value} for name, value in self._options(resource)] + [{"inputs": inputs}]
        heading = yaml_text.dump({self._unique_title(resource): {}}).removesuffix(" {}\n")
        return f"{heading}\n" + indent("".join(map(yaml_text.dump, parts)), "  ", lambda line: line != "\n")

    def _unique_title(self, resource: RecordedResource) -> str:
        """The title. If several resources have it, the part of the URN with the types of all parents."""
        title = _title(resource)
        return title if self._titles[title] == 1 else " ".join(resource.urn.split("::")[2:])

    def _options(self, resource: RecordedResource) -> Iterator[tuple[str, Any]]:
        """The resource options that differ from their default, the most important first."""
        has_several_providers = resource.provider and self._providers[PROVIDER_PREFIX + resource.package] > 1
        depends_on = set(resource.dependencies).difference(*resource.property_dependencies.values())
        options = {
            "protect": resource.protect,
            "retainOnDelete": resource.retain_on_delete,
            "import": resource.import_id,
            "provider": str(resource.provider).rpartition("::")[2] if has_several_providers else None,
            "dependsOn": sorted(self._reference_to(urn) for urn in depends_on),
            "deletedWith": self._reference_to(resource.deleted_with) if resource.deleted_with else None,
            "deleteBeforeReplace": resource.delete_before_replace,
            "ignoreChanges": list(resource.ignore_changes),
            "replaceOnChanges": list(resource.replace_on_changes),
            "aliases": _earlier_names(resource),
        }
        return ((name, value) for name, value in options.items() if value)

    def _reference_to(self, urn: str) -> str:
        resource = self._by_urn.get(urn)
        if resource and resource.type.count(":") == 2:
            return self._unique_title(resource)
        return urn.split("::", 2)[-1]

    def _value(self, value: Any, path: Path, resource: RecordedResource) -> Any:
        if resource.is_secret(path) or resource.is_secret_output(path):
            return REDACTED
        if isinstance(value, Mapping):
            return {self._text(key): self._value(item, (*path, key), resource) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, (*path, i), resource) for i, item in enumerate(value)]
        return self._with_references(_from_json(value)) if isinstance(value, str) else value

    def _with_references(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {self._text(key): self._with_references(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._with_references(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        for value, reference in self._generated_texts.items():
            text = text.replace(value, reference)
        return _REFERENCE.sub(self._reference, text)

    def _reference(self, match: re.Match[str]) -> str:
        """The short form of a placeholder. That of a secret is unchanged, so that the search for leaks finds it."""
        resource = self._planned.get((match["type"], match["name"]))
        if resource is None or resource.is_secret_output((re.split(r"[.\[]", match["output"])[0],)):
            return match[0]
        name = resource.name if self._names[resource.name] == 1 else self._unique_title(resource)
        return f"${{{name}.{match['output']}}}"


def _generated_texts(recording: Recording) -> dict[str, str]:
    """The generated texts that are not secret, such as a part of a name, with the references that replace them."""
    return {
        value: f"${{{resource.name}.{name}}}"
        for resource in recording
        if resource.package == "random"
        for name, value in sorted(resource.outputs.items(), reverse=True)
        if isinstance(value, str) and len(value) >= _MIN_LENGTH
        if name not in resource.inputs and not resource.is_secret_output((name,))
    }


def _earlier_names(resource: RecordedResource) -> list[str]:
    """The aliases that the program gave. The SDK adds those of renamed types, which differ in the type alone."""

    def parents_and_name(urn: str) -> tuple[str, str]:
        qualified, _, name = urn.partition("::")[2].partition("::")[2].partition("::")
        return qualified.rpartition("$")[0], name

    current = parents_and_name(resource.urn)
    return [alias for alias in dict.fromkeys(resource.aliases) if parents_and_name(alias) != current]


def _from_json(text: str) -> Any:
    """The object or list of a JSON text, such as a policy document. Other text is returned as it is."""
    if not text.startswith(("{", "[")):
        return text
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ValueError:
        return text
    return value if isinstance(value, (Mapping, list)) else text


def _refuse_constant(constant: str) -> Any:
    """Refuses NaN and Infinity, which JSON does not have."""
    raise ValueError(constant)
