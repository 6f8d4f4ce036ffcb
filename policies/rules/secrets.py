"""Secret values are in Secrets only: not in environment variables, arguments or ConfigMaps."""

import base64
import binascii
from collections.abc import Collection, Iterator

from policies.model import Resource, items, mapping, objects, text
from policies.pods import Container, Pod, container_rule
from policies.rule import Settings, resource_rule, strings
from policies.secret_text import by_form, in_file, is_secret_name, is_value

PLACEHOLDERS = {"placeholders": strings("well-known values that are not secret, such as placeholders")}


def _environment(container: Container, placeholders: Collection[str]) -> Iterator[str]:
    for variable in objects(container.spec.get("env")):
        name, value = text(variable.get("name")), text(variable.get("value"))
        if is_secret_name(name) and is_value(value, placeholders):
            yield f"environment variable {name}: has the name of a secret and a value"
        for description in by_form(value, name):
            yield f"environment variable {name}: has {description}"


def _arguments(container: Container, placeholders: Collection[str]) -> Iterator[str]:
    for field in ("command", "args"):
        words = [text(word) for word in items(container.spec.get(field))]
        for index, word in enumerate(words):
            option, equals, value = word.partition("=")
            if option.startswith("-") and not equals:
                following = words[index + 1] if index + 1 < len(words) else ""
                value = "" if following.startswith("-") else following
            if option.startswith("-") and is_secret_name(_option_name(option)) and is_value(value, placeholders):
                yield f"{field}[{index}]: is an option with the name of a secret and a value"
            before = words[index - 1] if index else ""
            for description in by_form(word, _option_name(before) if before.startswith("-") else ""):
                yield f"{field}[{index}]: has {description}"


def _option_name(option: str) -> str:
    """The name of an option: `redis-password` for `--redis-password`, `secrets.bundle` for `-Dsecrets.bundle`."""
    return option[2:] if option.startswith(("--", "-D")) else option[1:]


@container_rule(
    remedy="Put the value into a Secret, mount the Secret as a file, and pass the program the file's path.",
    frameworks=("CWE-526", "NSA/CISA: Secrets"),
    settings=PLACEHOLDERS,
)
def pod_secret_values(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """No environment variable or argument contains a secret value."""
    yield from _environment(container, settings["placeholders"])
    yield from _arguments(container, settings["placeholders"])


@resource_rule(
    of=["ConfigMap"],
    remedy="Put the file into a Secret, or move the value to a mounted Secret that the program reads.",
    frameworks=("CWE-312", "NSA/CISA: Secrets"),
    settings=PLACEHOLDERS,
)
def config_map_secret_values(resource: Resource, settings: Settings) -> Iterator[str]:
    """No ConfigMap contains a secret value."""
    files = {name: text(value) for name, value in mapping(resource.properties.get("data")).items()}
    for name, value in mapping(resource.properties.get("binaryData")).items():
        files[name] = _decoded(text(value))
    for name, content in sorted(files.items()):
        for where, why in in_file(name, content, settings["placeholders"]):
            yield f"file {name}, {where}: {why}"
        if "\n" not in content and is_secret_name(name) and is_value(content, settings["placeholders"]):
            yield f"file {name}: has the name of a secret and a value"


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return value
