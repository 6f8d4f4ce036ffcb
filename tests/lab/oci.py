"""Container images out of folders, in the layout of the OCI's image specification 1.0, without a tool for images."""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.sandbox import PATH, Image, upper_layer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
ARCHITECTURE = "amd64"
EXCLUDED = ("--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*")
AS_IT_IS = ("--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu")
"""Files keep their times: Python compiles a module again whose time is not the one in its .pyc."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Blob:
    """A part of a layout, below blobs/sha256."""

    digest: str
    size: int

    def described(self, media_type: str) -> Json:
        return {"mediaType": media_type, "digest": f"sha256:{self.digest}", "size": self.size}


class Layout:
    """A layout below `folder`; `add` images by their reference, then `write` its index.

    `base`: the folder that is their lowest layer, or that layer itself where the reader has it already.
    """

    def __init__(self, folder: Path, base: Path | Blob) -> None:
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self._layers: dict[tuple[Path, str], Blob] = {}
        self._manifests: list[Json] = []
        self.base = base if isinstance(base, Blob) else self._tar(base, "")

    def add(self, reference: str, image: Image) -> None:
        """An image: the base, then each folder of `image`, then its programs and links."""
        layers = [self.base, *(self._layer(each, place) for place, each in image.folders.items())]
        with tempfile.TemporaryDirectory() as scratch:
            upper_layer(image, Path(scratch) / "usr")
            layers.append(self._tar(Path(scratch), ""))
        environment = {"PATH": PATH, **image.environment}
        config = {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {
                "Env": [f"{name}={text}" for name, text in environment.items()],
                "Entrypoint": list(image.entrypoint) or None,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each.digest}" for each in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._json(config).described(CONFIG),
            "layers": [each.described(LAYER) for each in layers],
        }
        annotations = {"io.containerd.image.name": reference}
        self._manifests.append({**self._json(manifest).described(MANIFEST), "annotations": annotations})

    def write(self) -> None:
        """Completes the layout."""
        (self.folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self._manifests}))

    def _json(self, content: Mapping[str, Any]) -> Blob:
        data = json.dumps(content).encode()
        digest = hashlib.sha256(data).hexdigest()
        (self._blobs / digest).write_bytes(data)
        return Blob(digest, len(data))

    def _layer(self, source: Path, place: str) -> Blob:
        if (source, place) not in self._layers:
            self._layers[source, place] = self._tar(source, place)
        return self._layers[source, place]

    def _tar(self, source: Path, place: str) -> Blob:
        """`source`, a file or a folder, at `place` inside."""
        name = "." if source.is_dir() else source.name
        inside = (place if source.is_dir() else str(Path(place).parent)).strip("/")
        moved = [f"--transform=flags=rh;s,^\\./\\|^,{inside}/,"] if inside else EXCLUDED
        partial = self._blobs / "partial"
        folder = source if source.is_dir() else source.parent
        subprocess.run(["tar", "-C", folder, "--create", f"--file={partial}", *AS_IT_IS, *moved, name], check=True)
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = partial.stat().st_size
        partial.rename(self._blobs / digest)
        return Blob(digest, size)
