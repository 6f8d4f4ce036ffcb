"""Reads the configuration of a stack: the `flatline:` keys of `Pulumi.<stack>.yaml`.

Every mistake gives one line that names the key, what is wrong with its value, and what to write instead; a secret value
is never shown.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from config import mistakes
from config.settings import PROJECT, Settings
from errors import MistakesError

ENGINE_NAMESPACE = "pulumi"
"""Keys of the engine, which are its own to read."""

PROVIDER_NAMESPACES = ("aws", "gcp", "kubernetes", "random", "tls")
"""Keys of default providers, which a stack does not have: nothing would read them."""

_INSTEAD = {
    "aws:accessKey": "set the variable AWS_ACCESS_KEY_ID",
    "aws:allowedAccountIds": f"write {PROJECT}:target.aws.account",
    "aws:profile": "set the variable AWS_PROFILE",
    "aws:region": f"write {PROJECT}:target.aws.region",
    "aws:secretKey": "set the variable AWS_SECRET_ACCESS_KEY",
    "gcp:credentials": "set the variable GOOGLE_APPLICATION_CREDENTIALS",
    "gcp:project": f"write {PROJECT}:target.gcp.project",
    "gcp:region": f"write {PROJECT}:target.gcp.clusters",
    "gcp:zone": f"write {PROJECT}:target.gcp.clusters",
    "kubernetes:context": f"write {PROJECT}:target.context",
    "kubernetes:kubeconfig": "set the variable KUBECONFIG",
    "kubernetes:namespace": f"write {PROJECT}:namespace",
}
"""Replacements for settings of default providers."""


class SettingsError(MistakesError):
    """Mistakes in the configuration; `problems` has a line for each."""


def load(config: Mapping[str, str]) -> Settings:
    """The settings in a stack's configuration: full keys (`flatline:domain`) and texts, objects as JSON.

    Raises SettingsError, also for a key that nothing would read: of a misspelt namespace, or of a default provider.
    """
    known = {field.alias or name: field for name, field in Settings.model_fields.items()}
    problems: list[str] = []
    raw: dict[str, Any] = {}
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace == PROJECT and "." in name:
            problems.append(f"{PROJECT}:{mistakes.path_shown(name.split('.'), Settings)}: {_as_blocks(name)}")
        elif namespace == PROJECT:
            raw[name] = text if name in known and known[name].annotation is str else _decode(text)
        elif namespace in PROVIDER_NAMESPACES:
            problems.append(f"{key}: nothing reads it; {_INSTEAD.get(key, 'remove it')}")
        elif namespace != ENGINE_NAMESPACE:
            problems.append(
                f"{mistakes.hidden(key) or key}: namespace is unknown; write {PROJECT}:{mistakes.hidden(name) or name}"
            )
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        problems += mistakes.lines_of(error, Settings, f"{PROJECT}:")
    if problems or settings is None:
        raise SettingsError(problems)
    return settings


def of_stack() -> Settings:
    """The settings of the stack that the program runs for. Raises SettingsError."""
    from pulumi.runtime import config as runtime  # here alone: who reads a stack's file does without the SDK

    return load(runtime.CONFIG.get() or runtime.get_config_env())


def _as_blocks(name: str) -> str:
    """How a key with dots, as the documents write it, is written in a stack's file."""
    first, *inner = mistakes.path_shown(name.split("."), Settings).split(".")
    blocks = "".join(f"{{{part}: " for part in inner) + "<value>" + "}" * len(inner)
    return f"the file has blocks where the documents have dots; write {PROJECT}:{first}: {blocks}"


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
