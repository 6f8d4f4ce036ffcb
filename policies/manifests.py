"""Reads Kubernetes objects from files of any origin, and lists the documents that it could not read.

It builds nothing: a kustomization that changes objects, and a Helm chart, become resources of their own types
(`UNBUILT`), which the rule `object-opaque` reports.
"""

import codecs
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from policies import yaml_text
from policies.model import CHART, CLUSTER_SCOPED, KUSTOMIZATION, Properties, Resource, items, mapping, text
from policies.yaml_text import Document, UnreadableError

SUFFIXES: Final = (".yaml", ".yml", ".json")
LARGEST: Final = 32 * 1024 * 1024
"""Bytes of a file. The objects of a whole cluster rarely exceed it; reading that many takes about 20 seconds."""

_CHART_FILE: Final = "Chart.yaml"
_KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_KUSTOMIZE: Final = "kustomize.config.k8s.io/"
_RESOURCES: Final = ("bases", "resources")
_NO_CHANGE: Final = frozenset({"apiVersion", "kind", "metadata", "sortOptions", "buildMetadata", *_RESOURCES})
"""Fields of a kustomization that do not change the objects."""
_DEEPEST_LIST: Final = 8
_MOST_PROBLEMS: Final = 10
"""Reported problems of one file. A file with more of them is not a manifest."""


class ManifestError(Exception):
    """A path does not exist, or has no objects. The text names the path."""


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """The content of files. `unread` has a line for each document that could not be read, `passed_over` has one for
    each document that is not a Kubernetes object. Both name the file and the line."""

    resources: tuple[Resource, ...]
    unread: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


def read(path: Path, *, namespace: str = "") -> Manifests:
    """Reads the objects of a file, or of all `.yaml`, `.yml` and `.json` files under a folder, sorted by path.

    Like kubectl, it splits lists into their items, and items without a kind or version take those of the list.
    Objects without a namespace get `namespace`, as with `kubectl -n` and `helm -n`.

    Raises ManifestError for a path that does not exist or has no objects.
    """
    content = _Reader(Path(os.path.abspath(path)), namespace).read()
    if not content.resources and not content.unread:
        raise ManifestError(f"{_printable(path)}: there are no Kubernetes objects")
    return content


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file that was read. `label` is its path in messages."""

    path: Path
    label: str
    documents: tuple[Document, ...]


class _Reader:
    """Reads one path and collects the documents that it cannot read or passes over."""

    def __init__(self, root: Path, namespace: str) -> None:
        self._root = root
        self._namespace = namespace
        self._unread: list[str] = []
        self._passed_over: list[str] = []

    def read(self) -> Manifests:
        files = [file for path in self._paths() if (file := self._file(path)) is not None]
        inputs = {path for file in files for path in _inputs(file)}
        resources = [entry for file in files for entry in self._resources(file, is_input=file.path in inputs)]
        return Manifests(resources=tuple(resources), unread=tuple(self._unread), passed_over=tuple(self._passed_over))

    def _paths(self) -> list[Path]:
        if not self._root.is_dir():
            return [self._root]
        paths: list[Path] = []
        for folder, folders, names in os.walk(self._root, onerror=self._unreadable_folder):
            links = sorted(name for name in folders if os.path.islink(os.path.join(folder, name)))
            self._passed_over += [f"{self._label(Path(folder, name))}: a link to a folder" for name in links]
            files = [Path(folder, name) for name in names if name.lower().endswith(SUFFIXES) or name in _KUSTOMIZATIONS]
            paths += [path for path in files if (path.is_file() or path.is_symlink()) and not self._is_template(path)]
        return sorted(paths)

    def _unreadable_folder(self, problem: OSError) -> None:
        self._unread.append(f"{self._label(Path(problem.filename))}: cannot be read: {problem.strerror}")

    def _label(self, path: Path) -> str:
        return _printable(path.relative_to(self._root) if self._root.is_dir() else Path(path.name))

    def _file(self, path: Path) -> _File | None:
        label = self._label(path)
        try:
            with path.open("rb") as opened:
                content = opened.read(LARGEST + 1)
            decoded = _decoded(content)
        except OSError as problem:
            if path == self._root:
                raise ManifestError(f"{_printable(path)}: cannot be read: {problem.strerror}") from None
            self._unread.append(f"{label}: cannot be read: {problem.strerror}")
            return None
        except UnicodeDecodeError:
            self._unread.append(f"{label}: is not UTF-8 text")
            return None
        if len(content) > LARGEST:
            self._unread.append(f"{label}: is larger than {LARGEST // 1024**2} MiB: split it")
            return None
        parts = list(yaml_text.documents(decoded))
        problems = [part for part in parts if isinstance(part, UnreadableError)]
        hint = "; a template must be rendered first" if "{{" in decoded else ""
        self._unread += [f"{label}, line {problem.line}: {problem}{hint}" for problem in problems[:_MOST_PROBLEMS]]
        if len(problems) > _MOST_PROBLEMS:
            self._unread.append(f"{label}: {len(problems) - _MOST_PROBLEMS} more documents cannot be read")
        return _File(path=path, label=label, documents=tuple(part for part in parts if isinstance(part, Document)))

    def _is_template(self, path: Path) -> bool:
        """True for a template of a Helm chart below the root. The chart's Chart.yaml has the finding."""
        folders = [folder for folder in path.parents if self._root in folder.parents and folder.name == "templates"]
        return any((folder.parent / _CHART_FILE).is_file() for folder in folders)

    def _resources(self, file: _File, *, is_input: bool) -> Iterator[Resource]:
        if file.path.name == _CHART_FILE:
            yield _unbuilt(CHART, file, 1)
        for document in file.documents:
            value, line = document.value, document.line
            if _is_kustomization(file, value):
                if self._must_be_built(file, value):
                    yield _unbuilt(KUSTOMIZATION, file, line)
            elif is_input:
                self._passed_over.append(f"{file.label}, line {line}: a part of a kustomization")
            elif file.path.name != _CHART_FILE or "kind" in mapping(value):
                yield from self._objects(file, value, line, {}, 0)

    def _objects(self, file: _File, value: Any, line: int, above: Properties, depth: int) -> Iterator[Resource]:
        """The objects of a document, or of an item of a list. `above` has the kind and version of that list."""
        place = f"{file.label}, line {line}"
        if not isinstance(value, Mapping):
            if above:
                self._unread.append(f"{place}: an item of a list is not an object")
            else:
                self._passed_over.append(place)
            return
        version, kind = text(value.get("apiVersion")), text(value.get("kind"))
        if above and not (version and kind):
            version, kind = text(above.get("apiVersion")), text(above.get("kind")).removesuffix("List")
            value = {**value, "apiVersion": version, "kind": kind}
        if not version or not kind:
            if above or value.get("apiVersion") is not None or value.get("kind") is not None:
                missing = " and ".join(name for name, has in (("apiVersion", version), ("kind", kind)) if not has)
                self._unread.append(f"{place}: an object has no string as its {missing}")
            else:
                self._passed_over.append(place)
        elif depth < _DEEPEST_LIST and _is_list(value, kind):
            for item in items(value["items"]):
                at = getattr(item, "line", 0) or line
                yield from self._objects(file, item, at, {"apiVersion": version, "kind": kind}, depth + 1)
        else:
            yield _object(value, version, kind, (file.label, line), self._namespace)

    def _must_be_built(self, file: _File, kustomization: Properties) -> bool:
        """True if a kustomization changes or makes objects, or names some that are not among the files."""
        names = [name for field in _RESOURCES for name in items(kustomization.get(field))]
        changes = any(kustomization[field] for field in set(kustomization) - _NO_CHANGE)
        return changes or not all(self._covers(file, name) for name in names)

    def _covers(self, file: _File, name: Any) -> bool:
        """True if a path that a kustomization names is among the files that are read."""
        path = _beside(file, name)
        if path is None or not (path == self._root or self._root in path.parents):
            return False
        return os.path.isdir(path) or (os.path.isfile(path) and path.name.lower().endswith(SUFFIXES))


def _decoded(content: bytes) -> str:
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def _printable(path: Path) -> str:
    """A path as one line of printable text."""
    plain = str(path).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


def _is_list(value: Properties, kind: str) -> bool:
    """True if kubectl splits an object into items: any object with `items` is a list, whatever its kind."""
    return isinstance(value.get("items"), list) or (kind.endswith("List") and value.get("items", ...) is None)


def _is_kustomization(file: _File, value: Any) -> bool:
    """True for a kustomization. Its kind and version are optional in a file of a kustomization's name."""
    if not isinstance(value, Mapping):
        return False
    is_named = file.path.name in _KUSTOMIZATIONS and not value.get("kind") and not value.get("apiVersion")
    return is_named or text(value.get("apiVersion")).startswith(_KUSTOMIZE)


def _inputs(file: _File) -> Iterator[Path]:
    """The files that kustomizations use as input, such as patches. They are not objects by themselves."""
    for value in (document.value for document in file.documents if _is_kustomization(file, document.value)):
        resources = {_beside(file, name) for field in _RESOURCES for name in items(value.get(field))}
        for field in set(value) - _NO_CHANGE:
            paths = (_beside(file, name.rpartition("=")[2]) for name in _texts(value[field]))
            yield from (path for path in paths if path is not None and path not in resources)


def _beside(file: _File, name: Any) -> Path | None:
    """The path that a kustomization names; None for anything else, such as a URL."""
    if not isinstance(name, str) or not name or len(name) > 1000 or "\n" in name or "\0" in name or "://" in name:
        return None
    return Path(os.path.abspath(file.path.parent / name))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)


def _unbuilt(kind: str, file: _File, line: int) -> Resource:
    """The resource for a source that a tool must build first. Its name is that of the file."""
    return Resource(
        urn=f"urn:manifest:::{kind}::{file.label}::{line}",
        type=kind,
        name=file.label,
        properties={},
        source=(file.label, line),
    )


def _object(entry: Properties, version: str, kind: str, source: tuple[str, int], namespace: str) -> Resource:
    metadata = mapping(entry.get("metadata"))
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
        source=source,
    )
