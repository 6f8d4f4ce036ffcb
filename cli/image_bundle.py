"""All images of a stack in one file, an OCI image layout in a tar archive, for machines that reach no registry.

`k3s ctr images import` takes it, and k3s' folder `agent/images` does. Every byte of a manifest and of a layer is as the
registry gave it, so digests stay. Source: OCI image layout 1.0; containerd's annotation `io.containerd.image.name`.
"""

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cli import skopeo
from cli.published_images import Published
from errors import FlatlineError

NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
BLOBS = "blobs/sha256"
_CHUNK = 1 << 20


def write(images: Iterable[Published], file: Path) -> int:
    """Copies the images into a new file, whole or not at all; returns its bytes. Raises FlatlineError."""
    if file.exists():
        raise FlatlineError(
            f"{file} exists already, and is not overwritten", "Name another file, or move this one away."
        )
    if not file.parent.is_dir():
        raise FlatlineError(f"{file.parent} is no folder: nothing can be written there")
    with tempfile.TemporaryDirectory(prefix=".flatline-images-", dir=file.parent) as scratch:
        layout, partial = Path(scratch) / "layout", Path(scratch) / "bundle.tar"
        (layout / BLOBS).mkdir(parents=True)
        descriptors = [each for image in images for each in _image(image, layout, Path(scratch) / "image")]
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": descriptors}, indent=1))
        with tarfile.open(partial, "w") as archive:
            for path in sorted(layout.rglob("*")):
                archive.add(path, str(path.relative_to(layout)), recursive=False, filter=_anonymous)
        size = partial.stat().st_size
        partial.rename(file)
    return size


def check(images: Iterable[tuple[str, str]], file: Path) -> list[str]:
    """The defects of a bundle: blobs that are damaged, and images (reference, digest) that it lacks."""
    problems: list[str] = []
    there: set[str] = set()
    names: dict[str, str] = {}
    documents: dict[str, Any] = {}
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is None:
                    continue
                if member.name == "index.json":
                    for each in json.loads(content.read())["manifests"]:
                        names[each["annotations"][NAME]] = each["digest"]
                elif member.name.startswith(f"{BLOBS}/"):
                    expected, total, kept = member.name.rpartition("/")[2], hashlib.sha256(), b""
                    while chunk := content.read(_CHUNK):
                        total.update(chunk)
                        kept = chunk if member.size <= _CHUNK else b""
                    if total.hexdigest() != expected:
                        problems.append(f"blob {expected[:12]} is damaged")
                    there.add(f"sha256:{expected}")
                    documents[f"sha256:{expected}"] = kept
    except (OSError, tarfile.TarError, KeyError, ValueError) as problem:
        raise FlatlineError(f"{file} is no bundle of images: {problem}") from None
    for reference, wanted in images:
        if names.get(reference) != wanted:
            problems.append(f"{reference} is not in it under {wanted}")
        elif missing := _missing(wanted, there, documents):
            problems.append(f"{reference} lacks {', '.join(each[:19] for each in missing)}")
    return problems


def _missing(wanted: str, there: set[str], documents: dict[str, Any]) -> list[str]:
    """The blobs that an image needs and the bundle lacks. Of an index, one platform is enough."""
    if wanted not in there:
        return [wanted]
    content = json.loads(documents[wanted])
    if "manifests" in content:
        platforms = [each["digest"] for each in content["manifests"] if each["digest"] in there]
        return [blob for each in platforms for blob in _missing(each, there, documents)] if platforms else [wanted]
    return [part["digest"] for part in (content["config"], *content["layers"]) if part["digest"] not in there]


def _image(image: Published, layout: Path, scratch: Path) -> list[dict[str, Any]]:
    """Puts an image into the layout: its index, and each platform. Returns its entries, by tag and by digest."""
    content = json.loads(image.manifest)
    for platform in image.platforms:
        hexadecimal = platform.digest.partition(":")[2]
        if (layout / BLOBS / hexadecimal).exists():
            continue
        folder = scratch / hexadecimal
        folder.mkdir(parents=True)
        skopeo.copy(f"{image.repository}@{platform.digest}", folder)
        for path in folder.iterdir():
            if path.name != "version":
                _take(path, layout)
    (layout / BLOBS / image.digest.partition(":")[2]).write_bytes(image.manifest)
    descriptor = {
        "mediaType": content.get("mediaType", "application/vnd.oci.image.index.v1+json"),
        "digest": image.digest,
        "size": len(image.manifest),
    }
    tag = image.reference.partition("@")[0]
    return [{**descriptor, "annotations": {NAME: name, REF_NAME: name}} for name in dict.fromkeys((tag, image.exact))]


def _take(path: Path, layout: Path) -> None:
    """Moves a blob of skopeo's folder below its digest, which is checked."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if path.name not in {"manifest.json", found}:
        raise FlatlineError(f"a blob came as {found[:12]} in place of {path.name[:12]}: the registry is damaged")
    path.rename(layout / BLOBS / found)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same archive for the same images, whoever makes it."""
    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
    member.mode = 0o755 if member.isdir() else 0o644
    return member
