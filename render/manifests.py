"""Writes a recording as Kubernetes manifests: one file per object, for ``kubectl apply -k``.

The other resources of a stack in a cloud are in one more file, the plan. Such a recording has placeholders, so it is
written for review only: without secrets, and without the kustomization and the stack outputs, which are for use.

The directory is replaced as a whole, and only if something in it changed, so a reader sees either the old tree or the
new one. Files that an earlier run did not write are never changed: their presence is an error.
"""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import files
from errors import FlatlineError
from render import plan, redaction, yaml_text
from render.model import RecordedResource, Recording
from render.placeholders import HELM_RELEASE, contains_placeholder

REDACTED: Final = redaction.REDACTED
KUSTOMIZATION: Final = "kustomization.yaml"
STACK_OUTPUTS: Final = "stack-outputs.json"
PLAN: Final = "cloud-plan.yaml"
INVENTORY: Final = ".written-by-flatline"
"""The list of the files that a run wrote. The next run may replace these and no others."""

_ORDER: Final = {"CustomResourceDefinition": 0, "Namespace": 1}
_DEFAULT_ORDER: Final = 10
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


class ManifestError(FlatlineError):
    """The recording cannot be written as manifests, or the directory has files that this program did not write."""


@dataclass(frozen=True)
class Summary:
    """The result of ``write``. File names are relative to ``directory`` and sorted.

    ``objects`` has the number of objects of each kind, and ``planned`` the numbers of resources in the plan.
    ``secret_files`` contain secrets in plain text. ``changed`` files are new or different since the previous run;
    ``removed`` files are gone since then.
    """

    directory: Path
    objects: Mapping[str, int]
    planned: tuple[plan.ResourceCount, ...]
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

    Files are ``<order>-<kind>[.<group>]_[<namespace>_]<name>.yaml``, mode 0600 in a directory with mode 0700.
    ``extra`` maps the names of more files to their text. With ``redact`` every value of a Secret, every other secret
    value and every secret output is replaced by the word REDACTED, and the result is searched for secrets.

    Cloud resources and Helm releases are in ``cloud-plan.yaml``. A recording with any of them, or with placeholders,
    can only be written with ``redact``, and without a kustomization and stack outputs.

    Raises ``ManifestError`` for two objects with one identity, a namespaced object without a namespace, a recording of
    a preview, foreign files in the directory, a secret in redacted output, or placeholders in other output.
    """
    content = {name: text.encode() for name, text in tree(recording, redact=redact, extra=extra).items()}
    objects = Counter(str(resource.outputs["kind"]) for resource in kubernetes_objects(recording))
    changed, removed = replace(directory, content)
    return Summary(
        directory=directory,
        objects=dict(sorted(objects.items())),
        planned=plan.counts(recording),
        secret_files=() if redact else _secret_files(recording),
        changed=changed,
        removed=removed,
    )


def tree(recording: Recording, *, redact: bool = False, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The texts of the files that ``write`` would write, by name. Raises ``ManifestError`` as ``write`` does."""
    if recording.preview:
        raise ManifestError("a preview has no values to write: record an update")
    _check_identities(recording)
    texts: dict[str, str] = {}
    for resource in kubernetes_objects(recording):
        content = redaction.redacted_object(resource) if redact else resource.outputs
        _add(texts, file_name(resource), yaml_text.dump(content))
    objects = sorted(texts)
    _add(texts, STACK_OUTPUTS, _outputs_text(recording, redact))
    planned = plan.text(recording)
    if planned:
        _add(texts, PLAN, planned)
    for_review = bool(planned) or any(contains_placeholder(text) for text in texts.values())
    if for_review and not redact:
        raise ManifestError(
            "what only a cloud can tell is not known here, so this can be written for review (redacted) and not"
            " to be applied"
        )
    if not for_review:
        _add(texts, KUSTOMIZATION, yaml_text.dump(_kustomization(objects)))
    for name, text in (extra or {}).items():
        _add(texts, name, text)
    if redact:
        leak = redaction.find_leak(recording, texts)
        if leak is not None:
            name, urn = leak
            raise ManifestError(f"{name} would show a secret of {urn} in the redacted tree")
    if for_review:
        del texts[STACK_OUTPUTS]  # its pins belong to no server, but look as if clients could be built with them
    return texts


def _kustomization(objects: list[str]) -> dict[str, Any]:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": objects}


def kubernetes_objects(recording: Recording) -> Iterator[RecordedResource]:
    """The resources that are Kubernetes objects."""
    return (
        resource
        for resource in recording
        if resource.custom and resource.package == "kubernetes" and resource.type != HELM_RELEASE
    )


def file_name(resource: RecordedResource) -> str:
    """The file of an object: ``10-deployment.apps_flatline_whisper.yaml``.

    Definitions and namespaces sort before the objects that need them.
    """
    group, kind, namespace, name = _identity(resource)
    order = _ORDER.get(kind, _DEFAULT_ORDER)
    parts = [f"{kind}.{group}" if group else kind, namespace, name]
    text = "_".join(part for part in parts if part).lower()
    return f"{order:02}-{re.sub(r'[^a-z0-9._-]', '_', text)}.yaml"


def _identity(resource: RecordedResource) -> tuple[str, str, str, str]:
    metadata = resource.outputs["metadata"]
    group = str(resource.outputs["apiVersion"]).rpartition("/")[0]
    return group, str(resource.outputs["kind"]), str(metadata.get("namespace", "")), str(metadata["name"])


def _check_identities(recording: Recording) -> None:
    cluster_scoped = _CLUSTER_SCOPED | _defined_cluster_scoped(recording)
    seen: dict[tuple[str, ...], str] = {}
    for resource in kubernetes_objects(recording):
        identity = _identity(resource)
        kind, namespace, name = identity[1:]
        if not namespace and kind not in cluster_scoped:
            raise ManifestError(f"{kind} {name} ({resource.urn}) has no metadata.namespace: kubectl would choose one")
        if identity in seen:
            location = f" in {namespace}" if namespace else ""
            raise ManifestError(
                f"two resources are the same object, {kind} {name}{location}: {seen[identity]} and {resource.urn}"
            )
        seen[identity] = resource.urn


def _defined_cluster_scoped(recording: Recording) -> frozenset[str]:
    """The cluster-scoped kinds of the recording's own CustomResourceDefinitions."""
    specs = (
        resource.outputs["spec"]
        for resource in kubernetes_objects(recording)
        if resource.outputs["kind"] == "CustomResourceDefinition"
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
        name: redaction.redact_all(value) if redact and name in recording.secret_outputs else value
        for name, value in recording.outputs.items()
    }
    return json.dumps(outputs, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _secret_files(recording: Recording) -> tuple[str, ...]:
    names = [file_name(resource) for resource in kubernetes_objects(recording) if _has_secret(resource)]
    if recording.secret_outputs:
        names.append(STACK_OUTPUTS)
    return tuple(sorted(names))


def _has_secret(resource: RecordedResource) -> bool:
    return resource.outputs["kind"] == "Secret" or bool(resource.secret_output_paths)


def replace(
    directory: Path, content: Mapping[str, bytes], *, private: bool = True
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Makes ``directory`` hold exactly these files. Returns the names changed and removed.

    A file that others can read counts as changed, unless nothing ``private`` is in it.
    """
    files.recover_directory(directory)
    remove_unfinished(directory)
    before = _previous_files(directory, private)
    inventory = "".join(f"{name}\n" for name in sorted(content)).encode()
    after = {**content, INVENTORY: inventory}
    changed = tuple(sorted(name for name in content if before.get(name) != content[name]))
    removed = tuple(sorted(set(before) - set(after)))
    if before == after:
        if private:
            directory.chmod(files.DIRECTORY_MODE)
    else:
        files.replace_directory(directory, after)
    return changed, removed


def remove_unfinished(directory: Path) -> None:
    """Removes the unfinished directories of killed runs beside ``directory``, which contain secrets.

    Keeps those that another run writes at the moment, and everything that no run of Flatline writes.
    """
    files.remove_unfinished(
        directory,
        lambda entry: _is_file(entry) and (entry.suffix in {".yaml", ".json"} or entry.name == INVENTORY),
    )


def _previous_files(directory: Path, private: bool) -> dict[str, bytes | None]:
    """The files of an earlier run by name, with ``None`` for a ``private`` one that others can read.

    Raises ``ManifestError`` if the directory has anything else.
    """
    if directory.is_symlink():
        raise ManifestError(f"{directory} is a symbolic link: name the directory itself")
    if not directory.exists():
        return {}
    if not directory.is_dir():
        raise ManifestError(f"{directory} is a file, not a directory")
    inventory = directory / INVENTORY
    known = {*inventory.read_text().splitlines(), INVENTORY} if inventory.is_file() else set()
    entries = list(directory.iterdir())
    foreign = sorted(entry.name for entry in entries if entry.name not in known or not _is_file(entry))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise ManifestError(
            f"{directory} holds {', '.join(foreign[:3])}{more}, which no run of Flatline wrote there: move it"
            " away, or render into another directory"
        )
    return {entry.name: entry.read_bytes() if _is_private(entry) or not private else None for entry in entries}


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _is_private(path: Path) -> bool:
    return stat.S_IMODE(path.lstat().st_mode) == files.FILE_MODE
