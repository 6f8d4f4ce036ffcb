"""`images` against a real registry: digests, moved tags, a bundle, and containerd that takes it."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.images import IMAGES, ImageName
from config.loading import load as settings_of
from tests.graph.stack import configuration, load
from tests.lab.fetch import skip_if_missing
from tests.lab.k3s_images import FILES, start_containerd
from tests.lab.machine import Machine
from tests.lab.registry import POLICY, Registry, binaries
from tests.unit.cli.checkout import Checkout
from tests.unit.cli.test_json import as_documented

pytestmark = pytest.mark.integration

INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
REGISTRATION = {"kind": "development"}
USED = settings_of({"flatline:registration": json.dumps(REGISTRATION)}).used_images


@dataclass(frozen=True)
class Server:
    """A checkout whose stack pulls from a registry on loopback."""

    registry: Registry
    checkout: Checkout
    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.checkout.run("images", *words, PATH=f"{self.checkout.programs}:/usr/bin:/bin")

    def succeed(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def push(self, name: ImageName, text: str, *options: str) -> None:
        """An image of each processor, which has one file with this text."""
        image = IMAGES[name]
        layout = image_layout(self.folder / f"{name}-{text}", text, image.architectures)
        target = f"docker://{self.registry.address}/{image.repository}:{image.tag}"
        command = [str(binaries() / "skopeo"), "copy", "--quiet", "--dest-tls-verify=false", *options]
        home = {"HOME": str(self.checkout.home), "PATH": "/usr/bin:/bin"}
        subprocess.run([*command, f"oci:{layout}:image", target], check=True, env=home)


def image_layout(folder: Path, text: str, architectures: tuple[str, ...]) -> Path:
    """An OCI image layout with an image named "image": an index where there are several processors."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    manifests = []
    for architecture in architectures:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo("file")
            content = f"{text} {architecture}".encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        layer = gzip.compress(buffer.getvalue(), mtime=0)
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(buffer.getvalue()).hexdigest()}"]}
        config = json.dumps({"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **put(layer)}],
        }
        described = {"mediaType": manifest["mediaType"], **put(json.dumps(manifest).encode())}
        manifests.append({**described, "platform": {"architecture": architecture, "os": "linux"}})
    named = {"annotations": {"org.opencontainers.image.ref.name": "image"}}
    if len(manifests) > 1:
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()
        top = {"mediaType": INDEX, **put(index), **named}
    else:
        top = {**manifests[0], **named}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("images")
    with skip_if_missing():
        skopeo = binaries() / "skopeo"
    checkout = Checkout.make(folder / "checkout")
    (checkout.programs / "skopeo").symlink_to(skopeo)
    with Registry(folder / "registry") as registry:
        settings = checkout.home / ".config" / "containers"
        settings.mkdir(parents=True)
        (settings / "policy.json").write_text(json.dumps(POLICY))
        (settings / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n')
        checkout.configure({"images": {"registry": registry.address}, "registration": REGISTRATION})
        made = Server(registry, checkout, folder)
        for name in USED:
            made.push(name, "first", "--all")
        made.push("tusd", "docker", "--format=v2s2", "--override-arch=amd64")
        yield made


def test_the_images_are_those_of_the_pods() -> None:
    for name in ("dev", "prod"):
        settings = settings_of(configuration(name))
        pulled = {container["image"] for pod in load(name).pods() for container in pod.containers()}
        assert {settings.images.reference(each) for each in settings.used_images} == pulled


def test_what_the_registry_has_is_shown(server: Server) -> None:
    content = json.loads(server.succeed("--json"))
    assert as_documented("images", content)
    images = {each["name"]: each for each in content["images"]}
    assert list(images) == list(USED)
    assert [each["architecture"] for each in images["whisper"]["platforms"]] == ["amd64", "arm64"]
    assert [each["architecture"] for each in images["storage"]["platforms"]] == ["amd64"]
    assert all(platform["bytes"] > 100 for each in images.values() for platform in each["platforms"])
    assert not any(each["locked"] for each in images.values())


def test_digests_are_locked_and_a_moved_tag_is_told(server: Server) -> None:
    before = server.checkout.file().read_text()
    server.succeed("--lock")
    locked = yaml.safe_load(server.checkout.file().read_text())["config"]["flatline:images"]["digests"]
    assert set(locked) == set(USED)
    assert "already" in server.succeed("--lock")
    server.push("whisper", "second", "--all")
    done = server.run("--verify")
    now = json.loads(server.succeed("--json"))["images"][0]
    assert now["digest"] == locked["whisper"] != now["tagDigest"]
    assert f"has moved on to {now['tagDigest']}" in done.stderr
    status = server.checkout.succeed("status", PATH=f"{server.checkout.programs}:/usr/bin:/bin")
    assert f"has moved on to {now['tagDigest']}" in " ".join(status.split())
    assert done.returncode == 1, "tusd is there for one processor alone"
    assert "tusd" in done.stderr
    assert "arm64" in done.stderr
    server.checkout.file().write_text(before)


def test_nothing_is_locked_where_an_image_is_missing(server: Server) -> None:
    before = server.checkout.file().read_text()
    server.checkout.configure({"images": {"registry": f"{server.registry.address}/elsewhere"}})
    changed = server.checkout.file().read_bytes()
    done = server.run("--lock")
    assert done.returncode == 1
    assert "is as it was" in done.stderr
    assert server.checkout.file().read_bytes() == changed
    server.checkout.file().write_text(before)


def test_a_bundle_has_every_byte(server: Server, tmp_path: Path) -> None:
    before = server.checkout.file().read_text()
    server.succeed("--lock")
    bundle = tmp_path / "images.tar"
    server.succeed("--bundle", str(bundle))
    again = tmp_path / "again.tar"
    server.succeed("--bundle", str(again))
    assert again.read_bytes() == bundle.read_bytes()
    assert "undamaged" in server.succeed("--bundle", str(bundle), "--verify")
    assert "not overwritten" in server.run("--bundle", str(bundle)).stderr
    with tarfile.open(bundle) as archive:
        index = json.load(archive.extractfile("index.json") or io.BytesIO())
        names = set(archive.getnames())
    tusd = next(each for each in index["manifests"] if "tusd" in each["annotations"]["io.containerd.image.name"])
    assert tusd["mediaType"] == DOCKER, "a manifest of Docker's form keeps its digest"
    assert {f"blobs/sha256/{each['digest'][7:]}" for each in index["manifests"]} <= names
    small = tmp_path / "amd64.tar"
    server.succeed("--bundle", str(small), "--architecture", "amd64")
    assert "undamaged" in server.succeed("--bundle", str(small), "--verify")

    data = bytearray(bundle.read_bytes())
    at = data.index(b"\x1f\x8b\x08")  # the first layer
    data[at + 20] ^= 1
    bundle.write_bytes(data)
    done = server.run("--bundle", str(bundle), "--verify")
    assert done.returncode == 1
    assert "is damaged" in done.stderr
    server.checkout.file().write_text(before)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_without_skopeo_it_says_how_to_get_it(server: Server) -> None:
    done = server.checkout.run("images", PATH=str(server.folder))
    assert done.returncode == 1
    assert "install the package skopeo" in done.stderr


def test_containerd_takes_a_bundle(server: Server, tmp_path: Path) -> None:
    """Of which it reads the index with the processors that were left away: it has its own one, by tag and by digest."""
    before = server.checkout.file().read_text()
    server.succeed("--lock")
    digests = yaml.safe_load(server.checkout.file().read_text())["config"]["flatline:images"]["digests"]
    bundle = tmp_path / "images.tar"
    server.succeed("--bundle", str(bundle), "--architecture", "amd64")
    server.checkout.file().write_text(before)
    with skip_if_missing():
        machine = Machine(tmp_path / "machine", files=FILES, programs={})
    with machine:
        machine.switch_on()
        start_containerd(machine)
        ctr = [*machine.inside, "ctr", "--namespace=k8s.io", "images"]
        with bundle.open("rb") as archive:
            subprocess.run([*ctr, "import", "-"], stdin=archive, check=True, stdout=subprocess.DEVNULL)
        listed = subprocess.run([*ctr, "check"], check=True, capture_output=True, text=True).stdout
    complete = {line.split()[0]: line for line in listed.splitlines() if " complete " in line}
    for name in USED:
        image = IMAGES[name]
        where = f"{server.registry.address}/{image.repository}"
        for reference in (f"{where}:{image.tag}", f"{where}@{digests[name]}"):
            assert digests[name] in complete[reference]
