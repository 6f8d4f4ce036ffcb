"""The services and what they run on: images, pods, Redis, attachments, calls, secrets and Whisper's own settings."""

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from config.base_model import StrictModel
from config.images import IMAGES, ImageName
from config.schema.objects import DYNAMIC_CONFIG_MAX_BYTES
from config.schema.secrets import Epochs
from config.services.whisper import MESSAGE_RETENTION_DAYS
from config.types import Digest, Epoch, HostName, Port, Quantity, Reference, Registry
from config.whisper_dynamic import DynamicConfiguration

ScaledName = Literal["whisper", "whisper-persister", "storage", "cdn0", "cdn3"]

_REMOTE_CONFIG_LIMIT = 4096


class Images(StrictModel):
    """Where images come from. Versions are in `config/images.py`."""

    registry: Registry | None = None
    """Replaces the registry of every image that has no override, as a pull-through mirror would."""
    digests: dict[ImageName, Digest] = {}
    """Pins an image to a digest; the three service images have only a moving tag without it."""
    overrides: dict[ImageName, Reference] = {}
    """Replaces an image as a whole."""

    @model_validator(mode="after")
    def _one_word_per_image(self) -> Self:
        for name in sorted(set(self.digests) & set(self.overrides)):
            raise ValueError(
                f"{name} is in digests and in overrides; write the digest into the override (…@sha256:…) alone"
            )
        return self

    def reference(self, name: ImageName) -> str:
        """The reference that the cluster pulls: `registry/repository:tag[@digest]`."""
        if name in self.overrides:
            return self.overrides[name]
        image = IMAGES[name]
        plain = f"{self.registry or image.registry}/{image.repository}:{image.tag}"
        return f"{plain}@{self.digests[name]}" if name in self.digests else plain

    def moving(self) -> tuple[ImageName, ...]:
        """Images that a tag alone does not make exact, whether or not a stack uses them."""
        return tuple(n for n in IMAGES if IMAGES[n].moving and n not in self.digests and n not in self.overrides)


class Scale(StrictModel):
    """Number of pods of a service."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Minimum number of pods."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Maximum number of pods, by CPU load. Without it there are always `replicas`."""
    cpu_percent: Annotated[int, Field(ge=10, le=95)] = 60
    """The load that is aimed at, of the CPU that a pod requests."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_replicas is not None and self.max_replicas <= self.replicas:
            raise ValueError(
                f"maxReplicas: is {self.max_replicas}; write more than replicas {self.replicas}, or nothing"
            )
        return self


FEWEST_MASTERS = 3
"""So many have to agree that a master has failed (Redis Cluster Specification, "Failure detection")."""


class Redis(StrictModel):
    """The Redis Cluster of Whisper's caches and message queues."""

    masters: Annotated[int, Field(ge=FEWEST_MASTERS, le=50)] = FEWEST_MASTERS
    """Masters share the 16384 slots; a cluster needs three to agree on a failure."""
    replicas_per_master: Annotated[int, Field(ge=0, le=3)] | None = None
    """With 0 the loss of a node stops a part of the keys until it is back. Without it 0 on a local target, whose nodes
    share a machine and go together, and 1 in the cloud."""
    memory: Quantity = "512Mi"
    """Memory limit of each node; the data may take half of it, the rest is for its work."""


class Cdn(StrictModel):
    """Limits of the attachment server (CDN3)."""

    max_attachment_size: Quantity = "128Mi"
    """Largest upload. Clients pad and encrypt, so it is somewhat above the 100 MiB that they send."""
    retention_days: Annotated[int, Field(ge=MESSAGE_RETENTION_DAYS + 1, le=3650)] = 45
    """A complete upload is deleted after so many days; a message that waits may be 30 days old."""
    incomplete_retention_hours: Annotated[int, Field(ge=1, le=720)] = 48
    """An upload that nobody went on with is deleted after so many hours."""
    credential_max_age_hours: Annotated[int, Field(ge=1, le=24)] = 24
    """How long an upload credential of Whisper's is good for."""
    min_free_space: Quantity = "1Gi"
    """Space that uploads leave free on their volume's file system. An upload that needs more is answered 507."""


class SecretSetting(StrictModel):
    """One secret: its rotation epoch, or a value of your own."""

    epoch: Epoch = 1
    """Raise it by one to replace the secret. It never gets lower: earlier values stay in the encrypted state."""
    active_epoch: Epoch | None = None
    """The epoch whose value is used; the newest without it. Takes a rotation back."""
    value: SecretStr | None = None
    """Your own value, in the encoding of the secret's first reader (docs/configuration.md). Encrypt it."""

    @property
    def used(self) -> int:
        """The epoch whose value is used."""
        return self.active_epoch or self.epoch

    @property
    def epochs(self) -> Epochs:
        """The newest one, and the one whose value is used."""
        return Epochs(self.epoch, self.used)

    @model_validator(mode="after")
    def _active_exists(self) -> Self:
        if self.used > self.epoch:
            raise ValueError(f"activeEpoch: {self.used} is newer than epoch {self.epoch}; write at most {self.epoch}")
        return self


class Turn(StrictModel):
    """Your own TURN server for calls; its `static-auth-secret` is the secret `turn`."""

    host: HostName
    """Its public name, which Whisper resolves for clients."""
    port: Port = 3478
    """The port for UDP and TCP."""
    tls_port: Port | None = None
    """Adds a `turns:` address."""


class Whisper(StrictModel):
    """Settings of Whisper."""

    dynamic_config: DynamicConfiguration = DynamicConfiguration()
    """Read by Whisper every ten seconds while it runs: limits, captchas, client deprecation, experiments."""
    remote_config: dict[Annotated[str, Field(min_length=1)], str] = {}
    """Handed to every client by `/v2/config`, beside what table RemoteConfig holds."""
    drain_seconds: Annotated[int, Field(ge=5, le=3600)] = 10
    """A pod that ends gets no new connections and keeps its WebSockets for so long; then they connect again."""

    @field_validator("remote_config")
    @classmethod
    def _short_values(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            if len(text) > _REMOTE_CONFIG_LIMIT:
                raise ValueError(f"{key} has {len(text)} characters; write at most {_REMOTE_CONFIG_LIMIT}")
        return value

    @field_validator("dynamic_config")
    @classmethod
    def _fits(cls, value: DynamicConfiguration) -> DynamicConfiguration:
        size = len(value.text().encode())
        if size > DYNAMIC_CONFIG_MAX_BYTES:
            raise ValueError(f"is {size} bytes as YAML; write less than {DYNAMIC_CONFIG_MAX_BYTES}")
        return value
