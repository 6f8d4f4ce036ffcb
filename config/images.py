"""Every container image: where it comes from, at which exact version, and why.

The service images publish only the moving tag `main`; a digest belongs into the settings
(`flatline:images`), and bringing a stack up on a cluster warns where one is missing.
"""

from dataclasses import dataclass
from typing import Literal

ImageName = Literal[
    "whisper",
    "storage",
    "registration",
    "calling-frontend",
    "calling-backend",
    "localstack",
    "versitygw",
    "cbtemulator",
    "redis",
    "tusd",
    "otel-collector",
    "node",
    "coturn",
]


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image: `registry/repository:tag`, the CPU architectures it is published for."""

    registry: str
    repository: str
    tag: str
    architectures: tuple[str, ...] = ("amd64", "arm64")

    @property
    def moving(self) -> bool:
        """True if the tag names no version, so that only a digest makes it exact."""
        return not any(character.isdigit() for character in self.tag)

    def reference(self) -> str:
        """`registry/repository:tag`."""
        return f"{self.registry}/{self.repository}:{self.tag}"


def _mollyim(service: str, *architectures: str) -> Image:
    return Image(
        registry="ghcr.io",
        repository=f"mollyim/flatline-{service}",
        tag="main",
        architectures=architectures or ("amd64", "arm64"),
    )


def _docker_hub(repository: str, tag: str) -> Image:
    return Image(registry="docker.io", repository=repository, tag=tag)


IMAGES: dict[ImageName, Image] = {
    "whisper": _mollyim("whisper-service"),
    "storage": _mollyim("storage-service", "amd64"),
    # For `flatline:registration: {kind: development}` alone.
    "registration": _mollyim("registration-service"),
    # For group calls. Built for CPUs with AVX2.
    "calling-frontend": _mollyim("calling-service-frontend", "amd64"),
    "calling-backend": _mollyim("calling-service-backend", "amd64"),
    # The last release that runs without an account token.
    "localstack": _docker_hub("localstack/localstack", "4.14.0"),
    # S3 on files; LocalStack keeps its buckets in memory.
    "versitygw": Image(registry="ghcr.io", repository="versity/versitygw", tag="v1.8.0"),
    # Persists to disk, unlike Google's emulator.
    "cbtemulator": Image(
        registry="docker.io", repository="fullstorydev/cbtemulator", tag="v1.0.0", architectures=("amd64",)
    ),
    # Redis Cluster, the stand-alone pub/sub Redis and their tools.
    "redis": _docker_hub("library/redis", "8.10.2-trixie"),
    "tusd": Image(registry="ghcr.io", repository="tus/tusd", tag="v2.9.1"),
    "otel-collector": _docker_hub("otel/opentelemetry-collector-contrib", "0.155.0"),
    # Runs the programs of our own: registration, gate, hook, expiry, seed, waits.
    "node": _docker_hub("library/node", "24.19.0-alpine"),
    # For `flatline:calls: {turn: ...}` alone; the tag without -r0 moves when its base image does.
    "coturn": _docker_hub("coturn/coturn", "4.17.0-r0-alpine"),
}

TRAEFIK_CHART = "41.3.0"
"""Version of Traefik's official chart, for clusters that have no Traefik."""
