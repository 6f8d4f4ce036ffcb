"""The rendered objects as a tree that a git repository may hold, for Argo CD and Flux: no secret is in it as text.

Each Secret gives way to what `Hidden` makes of it. The other objects are those of `manifests.tree`, with annotations
for the two: in which order Argo CD applies them, and what is never deleted by either.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from render import manifests, redaction, yaml_text
from render.manifests import ManifestError
from render.model import Recording

DIGESTS: Final = "secret-digests.json"
"""Sources of each file with a hidden Secret: keyed digests, which tell nobody anything without the state."""

WAVES: Final = {"CustomResourceDefinition": "-2", "Namespace": "-2", "Secret": "-1"}
"""Sync waves of Argo CD (argoproj.io, "Sync Phases and Waves"); other kinds are in wave 0. Claims are: a claim may wait
for its first pod, and Argo CD waits for a claim that is pending."""

KEPT: Final = frozenset({"CustomResourceDefinition", "Namespace", "PersistentVolumeClaim"})
"""Kinds that hold data, or objects that do. Neither of the two deletes them."""

_WAVE: Final = "argocd.argoproj.io/sync-wave"
_NOT_DELETED: Final = {
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
}

_SHORTEST: Final = 16
"""Characters of the shortest value, in base64, that is searched for. Shorter ones could match by accident."""

Object: TypeAlias = dict[str, Any]
Hidden: TypeAlias = Callable[[Object], Object]
"""The object in place of a Secret, whose values are all in `data`."""


def tree(recording: Recording, hidden: Hidden, key: bytes, salt: str, folder: Path) -> dict[str, str]:
    """The texts of the files by name.

    A hidden Secret is different each time that it is encrypted. So the file that `folder` has stays as it is, if it was
    made from the same Secret with the same `salt` (what else goes into it) and nobody has changed it since; `key`, of
    32 bytes, keeps the digests that tell so. Raises `ManifestError` for a secret anywhere else than in a Secret.
    """
    plain = manifests.tree(recording)
    before = _digests(folder)
    texts: dict[str, str] = {manifests.KUSTOMIZATION: plain[manifests.KUSTOMIZATION]}
    digests: dict[str, str] = {}
    for resource in manifests.kubernetes_objects(recording):
        name, found = manifests.file_name(resource), dict(resource.outputs)
        if found["kind"] != "Secret":
            if resource.secret_output_paths:
                raise ManifestError(f"{name} holds a secret, which only a Secret may, for a tree in git")
            texts[name] = yaml_text.dump(marked(found))
            continue
        secret = with_data(marked(found))
        made_from = yaml_text.dump(secret) + "\0" + salt
        earlier = _earlier(folder / name)
        if earlier is not None and hmac.compare_digest(before.get(name, ""), _digest(key, made_from, earlier)):
            texts[name] = earlier
        else:
            texts[name] = yaml_text.dump(hidden(secret))
        digests[name] = _digest(key, made_from, texts[name])
    _refuse_leaks(recording, texts)
    texts[DIGESTS] = json.dumps(digests, indent=1, sort_keys=True) + "\n"
    return texts


def secrets(recording: Recording) -> Iterator[Object]:
    """The Secrets as they are given to `Hidden`."""
    for resource in manifests.kubernetes_objects(recording):
        if resource.outputs["kind"] == "Secret":
            yield with_data(marked(dict(resource.outputs)))


def write(directory: Path, texts: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Makes `directory` hold exactly these files, or leaves it as it is. Returns the names changed and removed.

    Raises `ManifestError` for a directory with files that no run wrote, or with those of a rendering with secrets.
    """
    if (directory / manifests.STACK_OUTPUTS).exists():
        raise ManifestError(
            f"{directory} holds a rendering with plain secrets, or for review",
            "Name a folder of its own for the tree: --output <repository>/<folder>",
        )
    return manifests.replace(directory, {name: text.encode() for name, text in texts.items()}, private=False)


def marked(found: Object) -> Object:
    """An object with the annotations of its kind."""
    notes = _NOT_DELETED if found["kind"] in KEPT else {}
    if found["kind"] in WAVES:
        notes = {**notes, _WAVE: WAVES[found["kind"]]}
    if not notes:
        return found
    metadata = found["metadata"]
    return {**found, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **notes}}}


def with_data(secret: Object) -> Object:
    """A Secret with all values in `data`, in base64, as the API server keeps it."""
    content = {name: value for name, value in secret.items() if name != "stringData"}
    text = {name: base64.b64encode(value.encode()).decode() for name, value in (secret.get("stringData") or {}).items()}
    return {**content, "data": {**(secret.get("data") or {}), **text}}


def external(secret: Object, *, store: tuple[str, str], key: str) -> Object:
    """An ExternalSecret that makes the Secret, with its name, from what a store has under `key`.

    The store has an object of JSON there: each value in base64, by its name. `store` is the kind and the name of it.
    The form is that of external-secrets.io/v1 (external-secrets.io, "ExternalSecret").
    """
    metadata = secret["metadata"]
    notes = metadata.get("annotations", {})
    own = {name: value for name, value in notes.items() if name == _WAVE}
    passed_on = {name: value for name, value in notes.items() if name != _WAVE}
    template: Object = {
        "type": secret.get("type", "Opaque"),
        "metadata": {"labels": metadata.get("labels", {}), "annotations": passed_on},
    }
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {**metadata, "annotations": own},
        "spec": {
            "secretStoreRef": {"kind": store[0], "name": store[1]},
            "target": {"immutable": bool(secret.get("immutable")), "template": template},
            "dataFrom": [{"extract": {"key": key, "decodingStrategy": "Base64"}}],
        },
    }


def _digest(key: bytes, made_from: str, text: str) -> str:
    return hmac.digest(key, f"{made_from}\0{text}".encode(), hashlib.sha256).hex()


def _digests(folder: Path) -> Mapping[str, str]:
    """The digests of the last run; none where there was none, or where they cannot be read: all is encrypted again."""
    try:
        found = json.loads((folder / DIGESTS).read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _earlier(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None


def _refuse_leaks(recording: Recording, texts: Mapping[str, str]) -> None:
    """Raises `ManifestError` if a text holds a generated secret, or a value of a Secret, as it is or in base64."""
    leak = redaction.find_leak(recording, texts)
    values = [
        (each["metadata"]["name"], value)
        for each in secrets(recording)
        for value in each["data"].values()
        if len(value) >= _SHORTEST
    ]
    for name, text in texts.items():
        for secret, value in values:
            if value in text or base64.b64decode(value).decode("utf-8", "replace") in text:
                leak = leak or (name, f"the Secret {secret}")
    if leak is not None:
        raise ManifestError(f"{leak[0]} would show a secret of {leak[1]}; nothing was written")
