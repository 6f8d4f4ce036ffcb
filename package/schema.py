"""The arguments of the component in Pulumi's schema of packages: the settings of a stack, under their own names.

That schema has no unions and no constants: a union of blocks becomes one block with the keys of each kind, a literal
becomes text. SDKs of every language are generated from it, with the descriptions of docs/configuration.md.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from config import descriptions
from config.settings import PROJECT, Settings

MAY_BE_OUTPUTS = {"ProvidedCertificate": ("certificate", "privateKey", "authority"), "SecretSetting": ("value",)}
"""The result of `component.may_be_output`, by type. Every other value must be known before the update."""

Part = Mapping[str, Any]


class Arguments:
    """The `properties` of the component's input, and the `types` that they refer to, by token."""

    def __init__(self) -> None:
        settings = descriptions.schema(Settings)
        self._blocks: Part = settings["$defs"]
        self.types: dict[str, Part] = {}
        self.properties: Part = self._block("", [("", settings)])["properties"]

    def _reference(self, name: str, about: str, kinds: list[tuple[str, Part]]) -> Part:
        """A reference to the type with the keys of every kind of a block."""
        token = f"{PROJECT}:index:{name}"
        if token not in self.types:
            self.types[token] = {}  # its place, before the types that it refers to
            self.types[token] = {**self._block(name, kinds), "type": "object", "description": _one_line(about)}
        return {"$ref": f"#/types/{token}"}

    def _block(self, name: str, kinds: list[tuple[str, Part]]) -> Part:
        keys: dict[str, list[tuple[str, Part]]] = {}
        for kind, block in kinds:
            for key, part in block["properties"].items():
                keys.setdefault(key, []).append((kind, part))
        required = set.intersection(*(set(block.get("required", ())) for _, block in kinds))
        properties = {
            key: self._property(name, key, parts, several=len(kinds) > len(parts)) for key, parts in keys.items()
        }
        return {"properties": properties, **({"required": sorted(required)} if required else {})}

    def _property(self, owner: str, key: str, parts: list[tuple[str, Part]], *, several: bool) -> Part:
        about: Part = {"description": _one_line(" ".join(self._about(key, parts, several=several)))}
        if key not in MAY_BE_OUTPUTS.get(owner, ()):
            about = {**about, "plain": True}
        return self._typed(owner, key, parts[0][1], about)

    def _typed(self, owner: str, key: str, part: Part, about: Part) -> Part:
        """A property with its type. What is said `about` it holds for its items and values too."""
        if "$ref" in part:
            block = self._blocks[_name(part)]
            return {**about, **self._reference(_name(part), block["description"], [("", block)])}
        if "oneOf" in part:
            return {**about, **self._reference(owner + key.capitalize(), self._described(part), self._kinds(part))}
        if "anyOf" in part:
            return self._typed(owner, key, part["anyOf"][0], about)
        if part["type"] == "array":
            return {**about, "type": "array", "items": self._typed(owner, key, part["items"], about)}
        if part["type"] == "object":
            (inner,) = part.get("patternProperties", {"": part.get("additionalProperties")}).values()
            free = inner is True or "anyOf" in inner
            value = {**about, "$ref": "pulumi.json#/Any"} if free else self._typed(owner, key, inner, about)
            return {**about, "type": "object", "additionalProperties": value}
        return {**about, "type": part["type"]}

    def _about(self, key: str, parts: list[tuple[str, Part]], *, several: bool) -> Iterator[str]:
        """The description of a key, and what may be written there."""
        if key == "kind" and parts[0][0]:
            yield f"One of {', '.join(kind for kind, _ in parts)}."
            return
        shown: dict[str, list[str]] = {}
        for kind, part in parts:
            shown.setdefault(self._described(part), []).append(f"`kind: {kind}`")
        for description, kinds in shown.items():
            yield f"{' and '.join(kinds)}: {description}" if several or len(shown) > 1 else description
        part = parts[0][1]
        rules = part["anyOf"][0] if "anyOf" in part else part
        names = rules.get("enum") or part.get("propertyNames", {}).get("enum")
        if names:
            yield f"{'Names' if 'propertyNames' in part else 'One of'}: {', '.join(names)}."
        if "minimum" in rules and "maximum" in rules:
            yield f"From {rules['minimum']} to {rules['maximum']}."
        default = part.get("default")
        if isinstance(default, str | int | float):
            yield f"Default: {str(default).lower() if isinstance(default, bool) else default}."

    def _described(self, part: Part) -> str:
        """The description of a key: its own text, or that of the blocks in it."""
        if "description" in part:
            return str(part["description"])
        if "anyOf" in part or "additionalProperties" in part:
            return self._described(part["anyOf"][0] if "anyOf" in part else part["additionalProperties"])
        if "oneOf" in part:
            return " ".join(f"`{kind}`: {block['description']}" for kind, block in self._kinds(part))
        return str(self._blocks[_name(part)]["description"])

    def _kinds(self, part: Part) -> list[tuple[str, Part]]:
        """The blocks of a union by their kind."""
        blocks = [self._blocks[_name(each)] for each in part["oneOf"]]
        return [(block["properties"]["kind"]["const"], block) for block in blocks]


def _name(part: Part) -> str:
    return str(part["$ref"]).rpartition("/")[2]


def _one_line(text: str) -> str:
    return " ".join(text.split())
