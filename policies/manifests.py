"""Reads Kubernetes objects from files, of whoever rendered them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from policies.model import CLUSTER_SCOPED, Properties, Resource, mapping, objects, text

SUFFIXES = (".yaml", ".yml", ".json")
NO_OBJECTS = ("kustomize.config.k8s.io/", "kustomize.toolkit.fluxcd.io/")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ManifestError(Exception):
    """A path has no objects, or a file is not what it should be. The text names the file and the line."""


def read(path: Path, *, namespace: str = "") -> list[Resource]:
    """The objects of a file, or of all `.yaml`, `.yml` and `.json` files under a folder, in the order of their names.

    Lists are taken apart; what has no `apiVersion` and `kind` is no object, and is passed over, as are
    kustomizations. `namespace` is given to objects that say none, as `kubectl -n` and `helm -n` do.

    Raises ManifestError for a path without objects and for text that is no YAML.
    """
    files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file()) if path.is_dir() else [path]
    found = [resource for file in files for resource in _objects(file, path, namespace)]
    if not found:
        raise ManifestError(f"{path}: there are no Kubernetes objects")
    return found


def _objects(file: Path, root: Path, namespace: str) -> Iterator[Resource]:
    shown = str(file.relative_to(root)) if root.is_dir() else file.name
    for line, document in _documents(file):
        is_list = text(document.get("kind")).endswith("List") and isinstance(document.get("items"), list)
        for entry in objects(document["items"]) if is_list else [document]:
            resource = _resource(entry, shown, line, namespace)
            if resource is not None:
                yield resource


def _documents(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The mappings of a file with the lines on which they begin."""
    try:
        loader = _LOADER(file.read_text())
    except (OSError, UnicodeDecodeError):
        raise ManifestError(f"{file}: cannot be read") from None
    try:
        while loader.check_node():
            node = loader.get_node()
            document = loader.construct_document(node)
            if isinstance(document, dict):
                yield node.start_mark.line + 1, document
    except (yaml.YAMLError, ValueError) as problem:
        mark = getattr(problem, "problem_mark", None)
        raise ManifestError(f"{file}{f', line {mark.line + 1}' if mark else ''}: is no YAML") from None
    finally:
        loader.dispose()


def _resource(entry: Properties, file: str, line: int, namespace: str) -> Resource | None:
    version, kind, metadata = text(entry.get("apiVersion")), text(entry.get("kind")), mapping(entry.get("metadata"))
    if not version or not kind or version.startswith(NO_OBJECTS):
        return None
    if namespace and kind not in CLUSTER_SCOPED and not metadata.get("namespace"):
        metadata = {**metadata, "namespace": namespace}
        entry = {**entry, "metadata": metadata}
    token = f"kubernetes:{version if '/' in version else f'core/{version}'}:{kind}"
    name = text(metadata.get("name")) or text(metadata.get("generateName"))
    return Resource(
        urn=f"urn:manifest:{text(metadata.get('namespace'))}::{token}::{name}",
        type=token,
        name=name,
        properties=entry,
        source=(file, line),
    )
