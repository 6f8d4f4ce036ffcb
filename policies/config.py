"""The configuration of the pack: levels, settings and exemptions. Unknown and incomplete entries are errors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from policies.model import Resource, text
from policies.rule import Level, Rule, Settings
from policies.rules import BY_NAME
from policies.yaml_text import LOADER

DEFAULT = Path(__file__).parent / "config.yaml"
_STRICTNESS = {Level.DISABLED: 0, Level.ADVISORY: 1, Level.MANDATORY: 2}


class ConfigError(Exception):
    """The configuration has mistakes. `problems` has a line for each, with its place in the file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class Exemption:
    """An exemption from one rule, for resources (and a subject) that match patterns, with its reason.

    A list of patterns in the file becomes one exemption per pattern, so that each pattern must match something.
    """

    rule: str
    resource: str
    subject: str = ""
    reason: str

    def covers(self, rule: str, resource: Resource | None, subject: str) -> bool:
        """True if the exemption applies to a violation."""
        names = (resource.label, resource.urn) if resource else ("stack",)
        return (
            self.rule == rule
            and any(fnmatchcase(name, self.resource) for name in names)
            and (not self.subject or fnmatchcase(subject, self.subject))
        )

    def __str__(self) -> str:
        return f"{self.rule}: {self.resource}" + (f" for {self.subject}" if self.subject else "")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration for one stack. Rules that `rules` does not name keep their own level and defaults.

    `shared` are the exemptions of the profile. They are for all stacks of that kind, so some may match nothing here.
    """

    profile: str = "manifests"
    rules: Mapping[str, Mapping[str, Any]]
    exemptions: tuple[Exemption, ...] = ()
    shared: tuple[Exemption, ...] = ()

    def level(self, rule: Rule) -> Level:
        """The level of a rule for this stack."""
        return Level(self.rules.get(rule.name, {}).get("level", rule.level))

    def settings(self, rule: Rule) -> Settings:
        """The settings of a rule for this stack, including defaults."""
        entry = self.rules.get(rule.name, {})
        return rule.with_defaults({name: value for name, value in entry.items() if name not in ("level", "reason")})


def load(stack: str = "", *, profile: str | None = None, path: Path = DEFAULT) -> Config:
    """Reads the configuration for a stack. `profile` applies unless the file names another one for the stack.

    Raises ConfigError for mistakes in the file, or for a profile that does not exist.
    """
    try:
        document = yaml.load(path.read_text(), LOADER)
    except (OSError, yaml.YAMLError) as problem:
        mark = getattr(problem, "problem_mark", None)
        raise ConfigError([f"{path.name}{f', line {mark.line + 1}' if mark else ''}: cannot be read"]) from None
    return parse(document, stack, profile=profile)


def parse(document: Any, stack: str = "", *, profile: str | None = None) -> Config:
    """Converts the content of a file to the configuration for a stack. Raises ConfigError with all mistakes."""
    reader = _Reader()
    if not isinstance(document, dict):
        raise ConfigError(["the file: must be a mapping"])
    top = reader.table(document, "the file", {"rules", "profiles", "stacks"})
    profiles = {name: reader.part(value, f"profiles.{name}") for name, value in _names(top.get("profiles"))}
    stacks = {name: reader.part(value, f"stacks.{name}", stack=True) for name, value in _names(top.get("stacks"))}
    common = reader.rules(top.get("rules"), "rules")
    of_stack = stacks.get(stack, _Part())
    profile = of_stack.profile or profile or "manifests"
    for name, part in stacks.items():
        if part.profile and part.profile not in profiles:
            reader.problem(f"stacks.{name}.profile", "there is no such profile")
    if profile not in profiles:
        reader.problem("profiles", f"there is no profile for stack {stack or '(none)'}")
    if reader.problems:
        raise ConfigError(reader.problems)
    base = profiles[profile]
    rules: dict[str, dict[str, Any]] = {}
    for layer in (common, base.rules, of_stack.rules):
        for name, entry in layer.items():
            rules[name] = {**rules.get(name, {}), **entry}
    exemptions = (*base.exemptions, *of_stack.exemptions)
    return Config(profile=profile, rules=rules, exemptions=exemptions, shared=base.exemptions)


def _names(value: Any) -> list[tuple[str, Any]]:
    return [(str(name), entry) for name, entry in value.items()] if isinstance(value, dict) else []


@dataclass(frozen=True)
class _Part:
    profile: str = ""
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exemptions: tuple[Exemption, ...] = ()


class _Reader:
    """Reads parts of the file and collects their mistakes."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def problem(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}")

    def table(self, value: Any, where: str, keys: set[str]) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.problem(where, "must be a mapping")
            return {}
        for key in value:
            if key not in keys:
                self.problem(f"{where}.{key}", f"is not one of {', '.join(sorted(keys))}")
        return {key: entry for key, entry in value.items() if key in keys}

    def part(self, value: Any, where: str, *, stack: bool = False) -> _Part:
        keys = {"rules", "exemptions"} | ({"profile"} if stack else set())
        table = self.table(value, where, keys)
        exemptions = [] if table.get("exemptions") is None else table["exemptions"]
        if not isinstance(exemptions, list):
            self.problem(f"{where}.exemptions", "must be a list")
            exemptions = []
        read = [self.exemption(entry, f"{where}.exemptions[{index}]") for index, entry in enumerate(exemptions)]
        return _Part(
            profile=str(table.get("profile") or ""),
            rules=self.rules(table.get("rules"), f"{where}.rules"),
            exemptions=tuple(exemption for entry in read for exemption in entry),
        )

    def rules(self, value: Any, where: str) -> dict[str, dict[str, Any]]:
        table = self.table(value, where, set(BY_NAME))
        return {name: self.rule(BY_NAME[name], entry, f"{where}.{name}") for name, entry in table.items()}

    def rule(self, rule: Rule, value: Any, where: str) -> dict[str, Any]:
        entry = self.table(value, where, {"level", "reason", *rule.settings})
        for name, setting in rule.settings.items():
            if name in entry and not conforms(entry[name], setting.schema):
                self.problem(f"{where}.{name}", f"must be {type_text(setting.schema)}")
        level = entry.get("level", rule.level)
        if level not in list(Level):
            self.problem(f"{where}.level", f"must be one of {', '.join(Level)}")
        elif _STRICTNESS[Level(level)] < _STRICTNESS[rule.level] and not text(entry.get("reason")).strip():
            self.problem(f"{where}.reason", "is required for a level below the rule's own")
        return entry

    def exemption(self, value: Any, where: str) -> list[Exemption]:
        before = len(self.problems)
        table = self.table(value, where, {"rule", "resource", "subject", "reason"})
        rule, reason = table.get("rule"), table.get("reason")
        if rule not in BY_NAME:
            self.problem(f"{where}.rule", "there is no such rule")
        if not text(reason).strip():
            self.problem(f"{where}.reason", "is missing")
        resources = self.patterns(table.get("resource"), f"{where}.resource")
        subjects = self.patterns(table["subject"], f"{where}.subject") if "subject" in table else ("",)
        if len(self.problems) > before:
            return []
        return [
            Exemption(rule=str(rule), resource=resource, subject=subject, reason=str(reason).strip())
            for resource in resources
            for subject in subjects
        ]

    def patterns(self, value: Any, where: str) -> tuple[str, ...]:
        patterns = value if isinstance(value, list) else [value]
        if not patterns or not all(text(entry).strip() for entry in patterns):
            self.problem(where, "must be a pattern or a list of patterns")
            return ()
        return tuple(patterns)


_TYPES: Mapping[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "object": (dict,),
    "string": (str,),
}


def conforms(value: Any, schema: Mapping[str, Any]) -> bool:
    """True if a value has the type of a setting's schema, and its entries have theirs."""
    if not isinstance(value, _TYPES[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return False
    if isinstance(value, list) and "items" in schema:
        return all(conforms(entry, schema["items"]) for entry in value)
    if isinstance(value, dict) and "additionalProperties" in schema:
        return all(conforms(entry, schema["additionalProperties"]) for entry in value.values())
    return True


def type_text(schema: Mapping[str, Any]) -> str:
    """The type of a schema as text: `an array of string`."""
    article = "an" if schema["type"][0] in "aeiou" else "a"
    inner = schema.get("items") or schema.get("additionalProperties")
    return f"{article} {schema['type']}" + (f" of {inner['type']}" if inner else "")
