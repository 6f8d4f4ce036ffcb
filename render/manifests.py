"""Writes a recording as Kubernetes manifests: one file per object, for ``kubectl apply -k``.

What a recording has besides, in a cloud, is one more file, the plan. Such a recording holds texts in place of what
only the cloud can tell, so it is written for review alone: without secrets, and without a kustomization and stack
outputs, which are for use.

The directory is replaced as a whole and only when something in it changed, so a reader sees either the old
tree or the new one. Files that an earlier run did not write are never touched: their presence is an error.
"""

from __future__ import annotations

import base64
import json
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import files
from render import plan, yaml_text
from render.cloud_provider import HELM_RELEASE, is_stand_in, known_after
from render.recorder import Path as PropertyPath
from render.recorder import Recorded, Recording

REDACTED: Final = plan.REDACTED
KUSTOMIZATION: Final = "kustomization.yaml"
STACK_OUTPUTS: Final = "stack-outputs.json"
PLAN: Final = "cloud-plan.yaml"
INVENTORY: Final = ".written-by-flatline"
"""Lists the files that a run wrote: the next one may replace these and no others."""

_FIRST: Final = {"CustomResourceDefinition": 0, "Namespace": 1}
_OTHERS: Final = 10
_CLUSTER_SCOPED: Final = frozenset(
    # kubectl api-resources --namespaced=false, Kubernetes 1.34
    {
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterTrustBundle",
        "CustomResourceDefinition",
        "DeviceClass",
        "FlowSchema",
        "IPAddress",
        "IngressClass",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "ResourceSlice",
        "RuntimeClass",
        "ServiceCIDR",
        "StorageClass",
        "StorageVersionMigration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
        "VolumeAttributesClass",
    }
)
_SHORTEST_SECRET: Final = 12


class ManifestError(Exception):
    """The recording cannot be written as manifests, or the directory is not this program's to replace."""


@dataclass(frozen=True)
class Summary:
    """What ``write`` wrote. Names are relative to ``directory`` and sorted.

    ``objects`` counts objects by kind; ``planned`` counts what is in the plan; ``secret_files`` hold secrets in
    plain; ``changed`` are new or different since the previous run, ``removed`` were there before.
    """

    directory: Path
    objects: Mapping[str, int]
    planned: tuple[plan.Count, ...]
    secret_files: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def total(self) -> int:
        """The number of objects."""
        return sum(self.objects.values())


def write(
    recording: Recording, directory: Path, *, redact: bool = False, extra: Mapping[str, str] | None = None
) -> Summary:
    """Writes the Kubernetes objects of ``recording``, a kustomization and the stack outputs to ``directory``.

    Files are ``<order>-<kind>[.<group>]_[<namespace>_]<name>.yaml``, mode 0600 in a directory 0700. ``extra``
    maps further file names to their text. With ``redact`` every value of a Secret, every other value marked
    secret and every secret output is the word REDACTED, and the tree is searched for secrets that got out.

    Cloud resources and Helm releases are in ``cloud-plan.yaml``; a recording that has any, or stand-ins for what
    only a cloud can tell, is written with ``redact`` alone and has no kustomization and no stack outputs.

    Raises ``ManifestError`` for two objects of one identity, a namespaced object without a namespace, a
    recording of a preview, foreign files in the directory, a secret found in a redacted tree, or stand-ins in
    one that is not redacted.
    """
    content = {name: text.encode() for name, text in tree(recording, redact=redact, extra=extra).items()}
    objects = Counter(str(resource.outputs["kind"]) for resource in kubernetes_objects(recording))
    changed, removed = _replace(directory, content)
    return Summary(
        directory=directory,
        objects=dict(sorted(objects.items())),
        planned=plan.counts(recording),
        secret_files=() if redact else _secret_files(recording),
        changed=changed,
        removed=removed,
    )


def tree(recording: Recording, *, redact: bool = False, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The text of every file that ``write`` would write, by name. Raises ``ManifestError`` as ``write`` does."""
    if recording.preview:
        raise ManifestError("a preview has no values to write: record an update")
    _check_identities(recording)
    texts: dict[str, str] = {}
    for resource in kubernetes_objects(recording):
        content = _redacted(resource) if redact else resource.outputs
        _add(texts, file_name(resource), yaml_text.dump(content))
    objects = sorted(texts)
    _add(texts, STACK_OUTPUTS, _outputs_text(recording, redact))
    planned = plan.text(recording)
    if planned:
        _add(texts, PLAN, planned)
    for_review = bool(planned) or any(is_stand_in(text) for text in texts.values())
    if for_review:
        _check_for_review(redact)
    else:
        _add(texts, KUSTOMIZATION, yaml_text.dump(_kustomization(objects)))
    for name, text in (extra or {}).items():
        _add(texts, name, text)
    if redact:
        _check_for_leaks(recording, texts)
    if for_review:
        del texts[STACK_OUTPUTS]  # the pins in it are nobody's, and look as if clients could be built with them
    return texts


def _kustomization(objects: list[str]) -> dict[str, Any]:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": objects}


def _check_for_review(redact: bool) -> None:
    if not redact:
        raise ManifestError(
            "what only a cloud can tell is not known here, so this can be written for review (redacted) and not"
            " to be applied"
        )


def kubernetes_objects(recording: Recording) -> Iterator[Recorded]:
    """The recorded resources that are Kubernetes objects."""
    return (
        resource
        for resource in recording
        if resource.custom and resource.package == "kubernetes" and resource.type != HELM_RELEASE
    )


def file_name(resource: Recorded) -> str:
    """``10-deployment.apps_flatline_whisper.yaml``: sorts definitions and namespaces before what needs them."""
    group, kind, namespace, name = _identity(resource)
    order = _FIRST.get(kind, _OTHERS)
    parts = [f"{kind}.{group}" if group else kind, namespace, name]
    text = "_".join(part for part in parts if part).lower()
    return f"{order:02}-{re.sub(r'[^a-z0-9._-]', '_', text)}.yaml"


def _identity(resource: Recorded) -> tuple[str, str, str, str]:
    metadata = resource.outputs["metadata"]
    group = str(resource.outputs["apiVersion"]).rpartition("/")[0]
    return group, str(resource.outputs["kind"]), str(metadata.get("namespace", "")), str(metadata["name"])


def _check_identities(recording: Recording) -> None:
    cluster_scoped = _CLUSTER_SCOPED | _own_cluster_scoped(recording)
    seen: dict[tuple[str, ...], str] = {}
    for resource in kubernetes_objects(recording):
        identity = _identity(resource)
        kind, namespace, name = identity[1:]
        if not namespace and kind not in cluster_scoped:
            raise ManifestError(f"{kind} {name} ({resource.urn}) has no metadata.namespace: kubectl would choose one")
        if identity in seen:
            where = f" in {namespace}" if namespace else ""
            raise ManifestError(
                f"two resources are the same object, {kind} {name}{where}: {seen[identity]} and {resource.urn}"
            )
        seen[identity] = resource.urn


def _own_cluster_scoped(recording: Recording) -> frozenset[str]:
    """Kinds that the recording itself defines as cluster-scoped."""
    specs = (
        r.outputs["spec"] for r in kubernetes_objects(recording) if r.outputs["kind"] == "CustomResourceDefinition"
    )
    return frozenset(str(spec["names"]["kind"]) for spec in specs if spec["scope"] == "Cluster")


def _add(texts: dict[str, str], name: str, text: str) -> None:
    if "/" in name or name in ("", ".", "..", INVENTORY):
        raise ManifestError(f"{name!r} cannot be the name of a file in the rendered directory")
    if name in texts:
        raise ManifestError(f"two files would have the name {name}")
    texts[name] = text


def _outputs_text(recording: Recording, redact: bool) -> str:
    outputs = {
        name: _hide(value) if redact and name in recording.secret_outputs else value
        for name, value in recording.outputs.items()
    }
    return json.dumps(outputs, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _secret_files(recording: Recording) -> tuple[str, ...]:
    names = [file_name(r) for r in kubernetes_objects(recording) if _holds_secret(r)]
    if recording.secret_outputs:
        names.append(STACK_OUTPUTS)
    return tuple(sorted(names))


def _holds_secret(resource: Recorded) -> bool:
    return resource.outputs["kind"] == "Secret" or bool(resource.secret_output_paths)


def _redacted(resource: Recorded) -> dict[str, Any]:
    content: dict[str, Any] = _hide_paths(dict(resource.outputs), (), resource.secret_output_paths)
    if content["kind"] == "Secret":
        if "data" in content:
            word = base64.b64encode(REDACTED.encode()).decode()
            content["data"] = dict.fromkeys(content["data"], word)
        if "stringData" in content:
            content["stringData"] = dict.fromkeys(content["stringData"], REDACTED)
    return content


def _hide_paths(value: Any, path: PropertyPath, secrets: frozenset[PropertyPath]) -> Any:
    if path in secrets:
        return _hide(value)
    if isinstance(value, Mapping):
        return {key: _hide_paths(item, (*path, key), secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide_paths(item, (*path, i), secrets) for i, item in enumerate(value)]
    return value


def _hide(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide(item) for item in value]
    return REDACTED


def _check_for_leaks(recording: Recording, texts: Mapping[str, str]) -> None:
    """Looks for every generated secret, as it is and in base64, in what is meant for review."""
    everything = "\0".join(texts.values())
    for resource in recording:
        for text in _generated_secrets(resource):
            forms = (text, base64.b64encode(text.encode()).decode())
            if any(form in everything for form in forms):
                name = next(name for name, content in texts.items() if any(form in content for form in forms))
                raise ManifestError(f"{name} would show a secret of {resource.urn} in the redacted tree")


def _generated_secrets(resource: Recorded) -> Iterator[str]:
    """What to look for: a password, one line of a private key (its lines are indented in a manifest), a stand-in."""
    if resource.package not in ("random", "tls", *plan.PACKAGES):
        return
    given = {**resource.outputs, **resource.later}
    for name, *_ in resource.secret_output_paths:
        value = given.get(str(name))
        if not isinstance(value, str) or len(value) < _SHORTEST_SECRET:
            continue
        lines = value.splitlines()
        yield lines[1] if len(lines) > 1 else value
        if is_stand_in(value):
            yield known_after(resource, name)


def _replace(directory: Path, content: Mapping[str, bytes]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Makes ``directory`` hold exactly these files. Returns the names changed and removed."""
    files.recover_directory(directory)
    remove_unfinished(directory)
    before = _written_before(directory)
    inventory = "".join(f"{name}\n" for name in sorted(content)).encode()
    wanted = {**content, INVENTORY: inventory}
    changed = tuple(sorted(name for name in content if before.get(name) != content[name]))
    removed = tuple(sorted(set(before) - set(wanted)))
    if before == wanted:
        directory.chmod(files.DIRECTORY_MODE)
    else:
        files.replace_directory(directory, wanted)
    return changed, removed


def remove_unfinished(directory: Path) -> None:
    """Removes what runs that were killed left beside ``directory`` while they wrote it: it holds secrets.

    What another run is writing just now stays. So does everything that no run of Flatline makes.
    """
    files.remove_unfinished(
        directory,
        lambda entry: _is_file(entry) and (entry.suffix in {".yaml", ".json"} or entry.name == INVENTORY),
    )


def _written_before(directory: Path) -> dict[str, bytes | None]:
    """The files of an earlier run by name, ``None`` for one that others may read. Raises if there is anything else."""
    if directory.is_symlink():
        raise ManifestError(f"{directory} is a symbolic link: name the directory itself")
    if not directory.exists():
        return {}
    if not directory.is_dir():
        raise ManifestError(f"{directory} is a file, not a directory")
    inventory = directory / INVENTORY
    known = {*inventory.read_text().splitlines(), INVENTORY} if inventory.is_file() else set()
    there = list(directory.iterdir())
    foreign = sorted(entry.name for entry in there if entry.name not in known or not _is_file(entry))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise ManifestError(
            f"{directory} holds {', '.join(foreign[:3])}{more}, which no run of Flatline wrote there: move it"
            " away, or render into another directory"
        )
    return {entry.name: entry.read_bytes() if _is_private(entry) else None for entry in there}


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _is_private(path: Path) -> bool:
    return stat.S_IMODE(path.lstat().st_mode) == files.FILE_MODE
