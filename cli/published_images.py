"""Reads a stack's images in their registries: digests, platforms and sizes."""

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cli import skopeo
from config.images import IMAGES, ImageName
from config.settings import Settings
from errors import FlatlineError

AT_ONCE = 4


@dataclass(frozen=True)
class Platform:
    """An image of one processor: its digest, and the bytes that are transferred for it."""

    architecture: str
    digest: str
    size: int


@dataclass(frozen=True)
class Published:
    """The content of a reference: the digest of the whole (`manifest`), and what it has of the platforms asked for."""

    name: ImageName
    repository: str
    reference: str
    digest: str
    manifest: bytes
    platforms: tuple[Platform, ...]
    missing: tuple[str, ...]

    @property
    def exact(self) -> str:
        """By digest: `registry/repository@sha256:...`."""
        return f"{self.repository}@{self.digest}"


def tagged(settings: Settings, name: ImageName) -> str:
    """The reference by tag, whatever digest is locked; of an override the override itself."""
    reference = settings.images.reference(name)
    return reference if name in settings.images.overrides else reference.partition("@")[0]


def locked(settings: Settings, name: ImageName) -> str | None:
    """The digest that the settings pin."""
    return settings.images.reference(name).partition("@")[2] or None


def digest(manifest: bytes) -> str:
    """Of a manifest or an index."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def look(name: ImageName, reference: str, architectures: Iterable[str]) -> Published:
    """Reads a reference in its registry. Raises FlatlineError, also for content of another digest."""
    repository, plain = _repository(reference), _plain(reference)
    raw = skopeo.manifest(plain)
    found = digest(raw)
    wanted = plain.partition("@")[2]
    if wanted and wanted != found:
        raise FlatlineError(f"{plain}: the registry gives {found} under this digest")
    content: dict[str, Any] = json.loads(raw)
    platforms = []
    if "manifests" in content:
        for each in content["manifests"]:
            about = each.get("platform", {})
            if about.get("os") == "linux" and about.get("architecture") in {*architectures}:
                inner = skopeo.manifest(f"{repository}@{each['digest']}")
                platforms.append(Platform(about["architecture"], each["digest"], _size(json.loads(inner))))
        platforms = list({each.architecture: each for each in reversed(platforms)}.values())
    else:
        platforms = [Platform(_only(name), found, _size(content))]
    there = {each.architecture for each in platforms}
    return Published(
        name,
        repository,
        reference,
        found,
        raw,
        tuple(sorted(platforms, key=lambda each: each.architecture)),
        tuple(sorted({*architectures} - there)),
    )


def look_at_all(references: dict[ImageName, str]) -> dict[ImageName, Published | FlatlineError]:
    """Several at once; a failure stands in the place of what could not be read."""

    def one(name: ImageName) -> Published | FlatlineError:
        try:
            return look(name, references[name], IMAGES[name].architectures)
        except FlatlineError as problem:
            return problem

    skopeo.require()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(references, pool.map(one, references), strict=True))


def moved(settings: Settings, name: ImageName, seconds: float = skopeo.SECONDS) -> str | None:
    """The digest that the tag of a pinned image has now, if it is another one. Raises FlatlineError."""
    pinned = locked(settings, name)
    if pinned is None or name in settings.images.overrides:
        return None
    now = digest(skopeo.manifest(tagged(settings, name), seconds))
    return now if now != pinned else None


def _only(name: ImageName) -> str:
    """The architecture of an image without an index, which its manifest does not name."""
    return IMAGES[name].architectures[0]


def _size(manifest: dict[str, Any]) -> int:
    parts = [manifest.get("config", {}), *manifest.get("layers", ())]
    return sum(part.get("size", 0) for part in parts)


def _repository(reference: str) -> str:
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _plain(reference: str) -> str:
    """As skopeo takes it: a tag or a digest, not both."""
    digest_of_it = reference.partition("@")[2]
    return f"{_repository(reference)}@{digest_of_it}" if digest_of_it else reference
