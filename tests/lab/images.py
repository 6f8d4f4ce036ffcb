"""What runs in place of each container image that the stack, or the test machine itself, names.

Sandboxed pods mount these folders and programs (tests.lab.sandbox); on the test machine they are layers over
`machine_system.system` (tests.lab.oci).
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tests.lab.bigtable import emulator_binary
from tests.lab.coturn import turnserver
from tests.lab.fetch import Missing
from tests.lab.go import go_build
from tests.lab.localstack import QUICK_JAVA, runtime
from tests.lab.node import HOME
from tests.lab.otel import collector_binary
from tests.lab.redis import TOOLS, redis_binaries
from tests.lab.sandbox import Image
from tests.lab.traefik import traefik_binary
from tests.lab.tus import tusd_binary
from tests.lab.versitygw import versitygw_binary

LAB = Path(__file__).resolve().parent
SERVICES = LAB / "services"
CALLING = ("frontend", "backend")


def node_image() -> Image:
    """Node.js."""
    return Image(programs={"node": ("/image/node/bin/node",)}, folders={"/image/node": HOME})


def redis_image() -> Image:
    """Redis 8 of Debian 13 with its libraries."""
    return Image(
        programs={name: (f"/image/redis/{name}",) for name in TOOLS},
        folders={"/image/redis": redis_binaries().folder},
    )


def localstack_image() -> Image:
    """LocalStack, at the places that it has in its image; its own Python is the one on the PATH."""
    if not shutil.which("curl"):
        raise Missing("needs curl, which is in LocalStack's image and asked by its probes")
    python = "/image/localstack/python/usr/bin/python3"
    return Image(
        programs={"python3": (python,)},
        folders={"/image/localstack": runtime()},
        links={"/usr/lib/localstack": "/image/localstack/libs"},
        environment={
            "FILESYSTEM_ROOT": "/",
            "OVERRIDE_IN_DOCKER": "0",
            "PYTHONPATH": "/image/localstack/site",
            "TMPDIR": "/tmp",
            **QUICK_JAVA,
        },
        entrypoint=(python, "/image/localstack/site/bin/localstack-supervisor"),
    )


def bigtable_image() -> Image:
    """Google's emulator with a journal of our own: cbtemulator, which keeps its tables too, is in no registry."""
    return _program(emulator_binary(), "cbtemulator")


def _program(binary: Path, name: str) -> Image:
    """One executable, which is what the image runs."""
    place = f"/image/{name}"
    return Image(programs={name: (f"{place}/{binary.name}",)}, folders={place: binary.parent})


def tusd_image() -> Image:
    """tusd, at the version that is rendered."""
    return _program(tusd_binary(), "tusd")


def versitygw_image() -> Image:
    """versitygw of the release that the stack deploys."""
    return _program(versitygw_binary(), "versitygw")


def collector_image() -> Image:
    """The OpenTelemetry Collector with the components that the stack configures."""
    binary = collector_binary()
    entrypoint = (f"/image/otelcol/{binary.name}",)
    return Image(folders={"/image/otelcol": binary.parent}, entrypoint=entrypoint)


def coturn_image() -> Image:
    """coturn 4.6.1 of Debian, without metrics."""
    program = turnserver()
    return Image(programs={"turnserver": (f"/image/coturn/{program.name}",)}, folders={"/image/coturn": program.parent})


def service_image() -> Image:
    """Stand-ins of Whisper, Storage and Registration: the program `java` of tests/lab/services."""
    return Image(
        programs={"java": ("python3", "-B", "-m", "tests.lab.services.java")},
        folders={"/image/services/tests/lab/services": SERVICES},
        environment={"PYTHONPATH": "/image/services"},
    )


def calling_image() -> Image:
    """Stand-ins of the calling service's frontend and backend."""
    programs = {f"calling_{each}": ("python3", "-B", "-m", "tests.lab.services.calling", each) for each in CALLING}
    return replace(service_image(), programs=programs)


def traefik_image() -> Image:
    """Traefik, of the release that the other tests run."""
    binary = traefik_binary()
    return Image(folders={"/image/traefik": binary}, entrypoint=("/image/traefik",))


def coredns_image() -> Image:
    """CoreDNS 1.12.4 with the plugins that k3s configures, built once (about 1.5 minutes). Raises `Missing`."""
    return Image(
        folders={"/image/coredns": go_build("coredns", LAB / "coredns")},
        entrypoint=("/image/coredns",),
    )


def system_image() -> Image:
    """The system alone."""
    return Image()


IMAGES: Mapping[str, Callable[[], Image]] = {
    "docker.io/coturn/coturn": coturn_image,
    "docker.io/library/node": node_image,
    "docker.io/library/redis": redis_image,
    "docker.io/localstack/localstack": localstack_image,
    "docker.io/fullstorydev/cbtemulator": bigtable_image,
    "docker.io/otel/opentelemetry-collector-contrib": collector_image,
    "ghcr.io/tus/tusd": tusd_image,
    "ghcr.io/versity/versitygw": versitygw_image,
}
"""What runs in place of each image of the stack, whatever its version."""

SERVICE_IMAGES: Mapping[str, Callable[[], Image]] = {
    "ghcr.io/mollyim/flatline-whisper-service": service_image,
    "ghcr.io/mollyim/flatline-storage-service": service_image,
    "ghcr.io/mollyim/flatline-registration-service": service_image,
    **{f"ghcr.io/mollyim/flatline-calling-service-{each}": calling_image for each in CALLING},
}
"""Those that only the test machine runs."""
