"""Reads Kubernetes objects from files, of whoever rendered them, and says what it did not read.

Nothing is built here: what a kustomization changes, and what a Helm chart renders, are resources of their own types
(`UNBUILT`), for which `object-opaque` has a finding.
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
"""Bytes of a file. The objects of a whole cluster seldom have as many; reading them takes about 20 seconds."""

_CHART_FILE: Final = "Chart.yaml"
_KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_KUSTOMIZE: Final = "kustomize.config.k8s.io/"
_RESOURCES: Final = ("bases", "resources")
_NO_CHANGE: Final = frozenset({"apiVersion", "kind", "metadata", "sortOptions", "buildMetadata", *_RESOURCES})
"""Fields of a kustomization that leave the objects as their files have them."""
_DEEPEST_LIST: Final = 8
_MOST_PROBLEMS: Final = 10
"""Lines about one file. What has more is no manifest."""


class ManifestError(Exception):
    """A path is not there, or has nothing in it that could be read. The text names it."""


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """What files hold. `unread` has a line for each text that should have been read and could not be; `others` names
    the documents that are no objects of Kubernetes. Both name the file and the line."""

    resources: tuple[Resource, ...]
    unread: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def read(path: Path, *, namespace: str = "") -> Manifests:
    """The objects of a file, or of all `.yaml`, `.yml` and `.json` files under a folder, in the order of their names.

    Lists are taken apart; their items take the kind and version that they do not say from the list, as kubectl has it.
    `namespace` is given to objects that say none, as `kubectl -n` and `helm -n` do.

    Raises ManifestError for a path that is not there, or without objects.
    """
    found = _Reader(Path(os.path.abspath(path)), namespace).read()
    if not found.resources and not found.unread:
        raise ManifestError(f"{_shown(path)}: there are no Kubernetes objects")
    return found


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file that was read. `shown` is its path as messages have it."""

    path: Path
    shown: str
    documents: tuple[Document, ...]


class _Reader:
    """One run over a path."""

    def __init__(self, root: Path, namespace: str) -> None:
        self._root = root
        self._namespace = namespace
        self._unread: list[str] = []
        self._others: list[str] = []

    def read(self) -> Manifests:
        files = [file for path in self._paths() if (file := self._file(path)) is not None]
        inputs = {path for file in files for path in _inputs(file)}
        resources = [each for file in files for each in self._resources(file, is_input=file.path in inputs)]
        return Manifests(resources=tuple(resources), unread=tuple(self._unread), others=tuple(self._others))

    def _paths(self) -> list[Path]:
        if not self._root.is_dir():
            return [self._root]
        found: list[Path] = []
        for folder, folders, names in os.walk(self._root, onerror=self._no_folder):
            links = sorted(name for name in folders if os.path.islink(os.path.join(folder, name)))
            self._others += [f"{self._place(Path(folder, name))}: a link to a folder" for name in links]
            paths = [Path(folder, name) for name in names if name.lower().endswith(SUFFIXES) or name in _KUSTOMIZATIONS]
            found += [path for path in paths if (path.is_file() or path.is_symlink()) and not self._is_template(path)]
        return sorted(found)

    def _no_folder(self, problem: OSError) -> None:
        self._unread.append(f"{self._place(Path(problem.filename))}: cannot be read: {problem.strerror}")

    def _place(self, path: Path) -> str:
        return _shown(path.relative_to(self._root) if self._root.is_dir() else Path(path.name))

    def _file(self, path: Path) -> _File | None:
        shown = self._place(path)
        try:
            with path.open("rb") as opened:
                content = opened.read(LARGEST + 1)
            decoded = _decoded(content)
        except OSError as problem:
            if path == self._root:
                raise ManifestError(f"{_shown(path)}: cannot be read: {problem.strerror}") from None
            self._unread.append(f"{shown}: cannot be read: {problem.strerror}")
            return None
        except UnicodeDecodeError:
            self._unread.append(f"{shown}: is no UTF-8 text")
            return None
        if len(content) > LARGEST:
            self._unread.append(f"{shown}: is larger than {LARGEST // 1024**2} MiB: split it")
            return None
        found = list(yaml_text.documents(decoded))
        problems = [each for each in found if isinstance(each, UnreadableError)]
        hint = "; a template must be rendered first" if "{{" in decoded else ""
        self._unread += [f"{shown}, line {each.line}: {each}{hint}" for each in problems[:_MOST_PROBLEMS]]
        if len(problems) > _MOST_PROBLEMS:
            self._unread.append(f"{shown}: {len(problems) - _MOST_PROBLEMS} more documents cannot be read")
        return _File(path=path, shown=shown, documents=tuple(each for each in found if isinstance(each, Document)))

    def _is_template(self, path: Path) -> bool:
        """Whether a file belongs to a Helm chart below the path that is read. Its Chart.yaml has the finding."""
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
                self._others.append(f"{file.shown}, line {line}: a part of a kustomization")
            elif file.path.name != _CHART_FILE or "kind" in mapping(value):
                yield from self._objects(file, value, line, {}, 0)

    def _objects(self, file: _File, value: Any, line: int, above: Properties, depth: int) -> Iterator[Resource]:
        """The objects of a document, or of an item of a list whose own kind and version are `above`."""
        place = f"{file.shown}, line {line}"
        if not isinstance(value, Mapping):
            if above:
                self._unread.append(f"{place}: an item of a list is no object")
            else:
                self._others.append(place)
            return
        version, kind = text(value.get("apiVersion")), text(value.get("kind"))
        if above and not (version and kind):
            version, kind = text(above.get("apiVersion")), text(above.get("kind")).removesuffix("List")
            value = {**value, "apiVersion": version, "kind": kind}
        if not version or not kind:
            if above or value.get("apiVersion") is not None or value.get("kind") is not None:
                missing = " and ".join(name for name, has in (("apiVersion", version), ("kind", kind)) if not has)
                self._unread.append(f"{place}: an object has no {missing}, as text")
            else:
                self._others.append(place)
        elif depth < _DEEPEST_LIST and _is_list(value, kind):
            for item in items(value["items"]):
                at = getattr(item, "line", 0) or line
                yield from self._objects(file, item, at, {"apiVersion": version, "kind": kind}, depth + 1)
        else:
            yield _object(value, version, kind, (file.shown, line), self._namespace)

    def _must_be_built(self, file: _File, kustomization: Properties) -> bool:
        """Whether a kustomization changes or makes objects, or has some that are not among the files."""
        names = [name for field in _RESOURCES for name in items(kustomization.get(field))]
        changes = any(kustomization[field] for field in set(kustomization) - _NO_CHANGE)
        return changes or not all(self._covers(file, name) for name in names)

    def _covers(self, file: _File, name: Any) -> bool:
        """Whether what a kustomization names is among the files that are read."""
        path = _beside(file, name)
        if path is None or not (path == self._root or self._root in path.parents):
            return False
        return os.path.isdir(path) or (os.path.isfile(path) and path.name.lower().endswith(SUFFIXES))


def _decoded(content: bytes) -> str:
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def _shown(path: Path) -> str:
    """A path as one line of printable text."""
    plain = str(path).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


def _is_list(value: Properties, kind: str) -> bool:
    """Whether kubectl takes an object apart: what has `items` is a list, whatever its kind is called."""
    return isinstance(value.get("items"), list) or (kind.endswith("List") and value.get("items", ...) is None)


def _is_kustomization(file: _File, value: Any) -> bool:
    """Whether a document is one: in a file of that name, kind and version may be left out."""
    if not isinstance(value, Mapping):
        return False
    is_named = file.path.name in _KUSTOMIZATIONS and not value.get("kind") and not value.get("apiVersion")
    return is_named or text(value.get("apiVersion")).startswith(_KUSTOMIZE)


def _inputs(file: _File) -> Iterator[Path]:
    """The files that kustomizations work with, patches for example, which are no objects by themselves."""
    for value in (document.value for document in file.documents if _is_kustomization(file, document.value)):
        resources = {_beside(file, name) for field in _RESOURCES for name in items(value.get(field))}
        for field in set(value) - _NO_CHANGE:
            paths = (_beside(file, name.rpartition("=")[2]) for name in _texts(value[field]))
            yield from (path for path in paths if path is not None and path not in resources)


def _beside(file: _File, name: Any) -> Path | None:
    """The path that a kustomization means; None for what can be no path here, an address for example."""
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
    """The resource for what has to be built first, named by its file."""
    return Resource(
        urn=f"urn:manifest:::{kind}::{file.shown}::{line}",
        type=kind,
        name=file.shown,
        properties={},
        source=(file.shown, line),
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
