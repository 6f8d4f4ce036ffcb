"""The settings of a stack: strict, frozen, and the only reader of stack configuration.

They are decoded from the `flatline:` keys of `Pulumi.<stack>.yaml`. Every mistake gives one line that names
the key, what is wrong with its value, and what to write instead; a secret value is never shown.
"""

import difflib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from config import certificate_chain, operator_values
from config.base_model import StrictModel
from config.calls import Calls
from config.exporters import DEFAULT_EXPORTERS, EXPORTERS, WITHOUT_METRICS, scraped_ports
from config.images import IMAGES, ImageName
from config.monitoring import Monitoring
from config.schema.hosts import ADMIN_HOSTS, PUBLIC_HOSTS, CallHost, Host, host_name
from config.schema.objects import DYNAMIC_CONFIG_MAX_BYTES
from config.schema.secrets import BY_NAME
from config.services.whisper import MESSAGE_RETENTION_DAYS
from config.target import Cloud, ElastiCache, InClusterRedis, Local, kind_of_target
from config.types import (
    Cidr,
    Digest,
    Domain,
    Epoch,
    HostName,
    Namespace,
    Port,
    Quantity,
    Reference,
    Registry,
    WebUrl,
    quantity_bytes,
    web_port,
)
from config.whisper_dynamic import DynamicConfiguration
from errors import MistakesError

PROJECT = "flatline"
ENGINE_NAMESPACE = "pulumi"
"""Keys of the engine, which are its own to read."""

PROVIDER_NAMESPACES = ("aws", "gcp", "kubernetes", "random", "tls")
"""Keys of default providers, which a stack does not have: nothing would read them."""

_INSTEAD = {
    "aws:accessKey": "set the variable AWS_ACCESS_KEY_ID",
    "aws:allowedAccountIds": f"write {PROJECT}:target.aws.account",
    "aws:profile": "set the variable AWS_PROFILE",
    "aws:region": f"write {PROJECT}:target.aws.region",
    "aws:secretKey": "set the variable AWS_SECRET_ACCESS_KEY",
    "gcp:credentials": "set the variable GOOGLE_APPLICATION_CREDENTIALS",
    "gcp:project": f"write {PROJECT}:target.gcp.project",
    "gcp:region": f"write {PROJECT}:target.gcp.clusters",
    "gcp:zone": f"write {PROJECT}:target.gcp.clusters",
    "kubernetes:context": f"write {PROJECT}:target.context",
    "kubernetes:kubeconfig": "set the variable KUBECONFIG",
    "kubernetes:namespace": f"write {PROJECT}:namespace",
}
"""Replacements for settings of default providers."""

VERIFIES_NOTHING = (
    "flatline:registration is {kind: development}: the last six digits of a number are its code, so anyone can "
    "register any number, and take over an account. Remove it before other people can reach this server."
)

CA_MAX_DAYS, LEAF_MAX_DAYS = 7300, 397
"""A leaf of more than 397 days is refused by platforms that follow the CA/Browser Forum's ballot SC31."""


class SettingsError(MistakesError):
    """Mistakes in the configuration; `problems` has a line for each."""


# --- blocks -----------------------------------------------------------------------------------------------


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


class Redis(StrictModel):
    """The Redis Cluster of Whisper's caches and message queues."""

    masters: Annotated[int, Field(ge=3, le=50)] = 3
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


class CertificateAuthority(StrictModel):
    """The certificate authority that clients pin."""

    epoch: Epoch = 1
    """The newest authority. Earlier ones are kept, so that clients can pin two of them during a change."""
    signing_epoch: Epoch | None = None
    """The authority that signs the leaf; the newest without it. Raise `epoch`, ship the pins, then raise this."""
    validity_days: Annotated[int, Field(ge=30, le=CA_MAX_DAYS)] = 3650
    """Days from its creation; an authority that exists keeps its own, so it counts for the next epoch."""

    @property
    def signer(self) -> int:
        """Epoch of the authority that signs the leaf."""
        return self.signing_epoch or self.epoch

    @model_validator(mode="after")
    def _signer_exists(self) -> Self:
        if self.signer > self.epoch:
            raise ValueError(
                f"signingEpoch: {self.signer} is newer than epoch {self.epoch}; write at most {self.epoch}"
            )
        return self


class Leaf(StrictModel):
    """The wildcard certificate that Traefik serves."""

    epoch: Epoch = 1
    """Raise it by one to renew: the key and the certificate are made anew under the same authority."""
    validity_days: Annotated[int, Field(ge=1, le=LEAF_MAX_DAYS)] = LEAF_MAX_DAYS
    """Days from its creation; `./flatline status` tells when it ends."""
    renew_before_days: Annotated[int, Field(ge=1, le=LEAF_MAX_DAYS)] | None = None
    """`./flatline up` renews it by itself when fewer days than these are left; it raises `epoch` in the stack's file.
    Without it nothing is renewed unless you ask (`./flatline rotate certificate`)."""

    @model_validator(mode="after")
    def _outlives_renewal(self) -> Self:
        if self.renew_before_days is not None and self.renew_before_days >= self.validity_days:
            raise ValueError(
                f"renewBeforeDays: {self.renew_before_days} is not below validityDays {self.validity_days}, so each "
                f"`up` would renew; write at most {self.validity_days - 1}"
            )
        return self


class ProvidedCertificate(StrictModel):
    """A certificate of your own instead of a generated one, as PEM texts."""

    certificate: Annotated[str, AfterValidator(operator_values.certificate_chain)]
    """The leaf, then its intermediates."""
    private_key: SecretStr
    """The leaf's, unencrypted; store it with `pulumi config set --secret --path`."""
    authority: Annotated[str, AfterValidator(operator_values.certificate_chain)]
    """The certificate that clients pin: the root (or the issuer) of the chain."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        operator_values.check_key(self.certificate, self.private_key.get_secret_value())
        return self


class Certificates(StrictModel):
    """Generated by default; `provided` brings your own."""

    authority: CertificateAuthority = CertificateAuthority()
    leaf: Leaf = Leaf()
    provided: ProvidedCertificate | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.provided is not None and self.leaf != Leaf():
            raise ValueError(
                "provided and leaf exclude each other; a provided certificate is renewed by providing the next one, "
                "so remove leaf"
            )
        if self.leaf.validity_days > self.authority.validity_days:
            raise ValueError(
                f"leaf.validityDays: {self.leaf.validity_days} is longer than the authority's "
                f"{self.authority.validity_days}; write at most {self.authority.validity_days}"
            )
        return self


class SecretSetting(StrictModel):
    """One secret: its rotation epoch, or a value of your own."""

    epoch: Epoch = 1
    """Raise it by one to make the secret anew. It never gets lower: earlier values stay in the encrypted state."""
    active_epoch: Epoch | None = None
    """The epoch whose value is used; the newest without it. Takes a rotation back."""
    value: SecretStr | None = None
    """Your own value, in the encoding of the secret's first reader (docs/configuration.md). Encrypt it."""

    @property
    def used(self) -> int:
        """The epoch whose value is used."""
        return self.active_epoch or self.epoch

    @property
    def epochs(self) -> tuple[int, int]:
        """The newest one, and the one whose value is used."""
        return self.epoch, self.used

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


class Scraper(StrictModel):
    """Pods that read metrics from the collector, such as those of Prometheus."""

    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Namespace of the scraper's pods."""
    pod_labels: Annotated[dict[str, str], Field(min_length=1)]
    """Labels of the scraper's pods."""


class Telemetry(StrictModel):
    """Where the OpenTelemetry Collector's metrics go."""

    exporters: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+(/[A-Za-z0-9_.-]+)?$")], dict[str, Any] | None] = (
        DEFAULT_EXPORTERS
    )
    """Exporters as in the collector's own configuration, by component id. Each `prometheus` gets its port on the
    Service `otel-collector`; `debug` writes every metric to the log, gigabytes a day."""
    scrapers: list[Scraper] = []
    """Pods that the network policy lets read the `prometheus` exporters; none without it."""

    @field_validator("exporters")
    @classmethod
    def _can_be_reached(cls, value: dict[str, dict[str, Any] | None]) -> dict[str, dict[str, Any] | None]:
        if not value:
            raise ValueError("is empty; write at least one, such as {prometheus: {endpoint: 0.0.0.0:8889}}")
        scraped_ports(value)
        return value

    @model_validator(mode="after")
    def _scrapers_find_something(self) -> Self:
        if self.scrapers and not scraped_ports(self.exporters):
            raise ValueError("scrapers: no exporter is prometheus; write exporters.prometheus or remove it")
        return self


class Egress(StrictModel):
    """A destination outside of the cluster that a network policy opens."""

    cidr: Cidr
    """A network outside of the cluster."""
    ports: Annotated[list[Port], Field(min_length=1)]
    """Ports of `protocol`."""
    protocol: Literal["TCP", "UDP"] = "TCP"
    """UDP is for what sends no answers, such as StatsD and syslog, and for a DNS server of your own."""


EgressName = Literal["whisper", "registration", "otel-collector"]


class InvitationRegistration(StrictModel):
    """By invitation: a number registers only with a code that `./flatline invite NUMBER` made for it."""

    kind: Literal["invitation"] = "invitation"


class WebhookRegistration(StrictModel):
    """By a gateway of your own: each code is sent to it by HTTP, and the gateway sends it on by SMS or e-mail.

    The secret `registration-webhook` signs the requests. `egress.registration` opens the way to the gateway. A number
    with an invitation registers by that, and gets no message.
    """

    kind: Literal["webhook"]
    url: WebUrl
    """Where codes are sent to, with POST. Write https, unless the network up to the gateway is your own."""

    @property
    def port(self) -> int:
        """The TCP port of the URL."""
        return web_port(self.url)


class DevelopmentRegistration(StrictModel):
    """The development registration service: any number is verified by its own last six digits. For tests alone."""

    kind: Literal["development"]


class ExternalRegistration(StrictModel):
    """A registration service of your own: the same gRPC interface, plain text, inside the cluster."""

    kind: Literal["external"]
    service: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Name of its Kubernetes Service."""
    namespace: Namespace
    """Namespace of the Service."""
    pod_labels: Annotated[dict[str, str], Field(min_length=1)]
    """Labels of its pods, for the network policy."""
    port: Port = 50051
    """The same on the Service and on the pods."""


class RateLimit(StrictModel):
    """Requests per client address at the edge, a second; Whisper has finer limits of its own."""

    average: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Requests a second that a client address may go on with."""
    burst: Annotated[int, Field(ge=1, le=100_000)] = 300
    """Requests that it may make at once."""


class InFlight(StrictModel):
    """Requests that a client address may have under way at once. What is more is answered 429.

    The limit holds for each route (CDN0's downloads, CDN0's uploads, Whisper, ...) and for each of Traefik's pods. An
    IPv6 client is its /64 network.
    """

    requests: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Concurrent requests on each route."""
    web_sockets: Annotated[int, Field(ge=2, le=100_000)] = 1000
    """WebSockets to Whisper. A device keeps two open for as long as it is online."""


class LoadBalancer(StrictModel):
    """A Service of type LoadBalancer in front of Traefik's pods. It keeps the addresses of clients."""

    class_name: Annotated[str, Field(min_length=1)] | None = None
    """`loadBalancerClass`, such as service.k8s.aws/nlb; the cluster's default without it. It never changes."""
    annotations: dict[str, str] = {}
    """Annotations for the controller of the class."""
    source_ranges: list[Cidr] = []
    """Networks that may connect; all of them without it."""


class TraefikInstall(StrictModel):
    """Traefik from its official chart."""

    replicas: Annotated[int, Field(ge=1, le=100)] = 2
    """Number of Traefik's pods."""


class Ingress(StrictModel):
    """The Traefik that the cluster has (k3s brings one)."""

    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = "kube-system"
    """Namespace of its pods."""
    pod_labels: Annotated[dict[str, str], Field(min_length=1)] = {"app.kubernetes.io/name": "traefik"}
    """Labels of its pods, for the network policies."""
    plain_entry_point: str = "web"
    """Its entry point for http, which redirects."""
    tls_entry_point: str = "websecure"
    """Its entry point for https."""
    rate_limit: RateLimit = RateLimit()
    in_flight: InFlight = InFlight()
    load_balancer: LoadBalancer | None = None
    """Makes one for Traefik's pods, where the cluster's Traefik has none of its own."""
    install: TraefikInstall | None = None
    """Installs Traefik into `namespace`, for a cluster that has none. It takes Pulumi."""

    @model_validator(mode="after")
    def _chart_has_entry_points(self) -> Self:
        if self.install is not None and (self.plain_entry_point, self.tls_entry_point) != ("web", "websecure"):
            raise ValueError("install: the chart's entry points are web and websecure; remove the others")
        return self


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


ScaledName = Literal["whisper", "whisper-persister", "storage", "cdn0", "cdn3"]


class ClusterDns(StrictModel):
    """Who answers pods' questions for names, for network policies: always by UDP and TCP on port 53."""

    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = "kube-system"
    """Namespace of its pods."""
    pod_labels: Annotated[dict[str, str], Field(min_length=1)] = {"k8s-app": "kube-dns"}
    """Labels of its pods."""
    networks: list[Cidr] = []
    """Networks of servers that are no pods, beside them: `169.254.20.10/32` for NodeLocal DNSCache (and the address of
    the Service kube-dns as a /32, where it takes that over), `169.254.169.254/32` for Cloud DNS of GKE."""


_REMOTE_CONFIG_LIMIT = 4096


class Whisper(StrictModel):
    """Settings of Whisper."""

    dynamic_config: DynamicConfiguration = DynamicConfiguration()
    """Read by Whisper every ten seconds while it runs: limits, captchas, client deprecation, experiments."""
    remote_config: dict[Annotated[str, Field(min_length=1)], str] = {}
    """Handed to every client by `/v2/config`, beside what table RemoteConfig holds."""
    drain_seconds: Annotated[int, Field(ge=5, le=3600)] = 10
    """A pod that ends gets no new connections and keeps its WebSockets for so long; then they connect anew."""

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


class Settings(StrictModel):
    """All settings of a stack."""

    domain: Domain = "flatline.internal"
    """Clients reach whisper., storage., cdn0. and cdn3. below it."""
    namespace: Namespace = "flatline"
    """Namespace of the services; the emulators live in `<namespace>-emulators`."""
    target: Annotated[
        Annotated[Local, Tag("local")] | Annotated[Cloud, Tag("cloud")], Discriminator(kind_of_target)
    ] = Local()
    expose_admin: bool = False
    """Routes whisper-admin. and storage-admin.: tasks, threads and metrics without any authentication."""
    log_requests: bool = False
    """Whisper and Storage log each request: the client's address, and with each message the recipient's account id. For
    debugging alone: who reads these logs, or their backups, learns who writes to whom."""
    images: Images = Images()
    redis: Redis = Redis()
    scaling: dict[ScaledName, Scale] = {}
    """Pods by service; one of each without it. Of cdn3 it is about downloads: uploads have one pod."""
    cdn: Cdn = Cdn()
    certificates: Certificates = Certificates()
    secrets: dict[str, SecretSetting] = {}
    """Rotation, or a value of your own, by the secret's name."""
    turn: Turn | None = None
    """Without it and without `calls.turn` calls have no relay: they connect where the two devices reach each other
    directly."""
    calls: Calls = Calls()
    """Servers for calls in the cluster; none without it."""
    telemetry: Telemetry = Telemetry()
    monitoring: Monitoring | None = None
    """Alerts and a dashboard; `{}` takes the defaults. Without it there are none."""
    registration: Annotated[
        InvitationRegistration | WebhookRegistration | ExternalRegistration | DevelopmentRegistration,
        Field(discriminator="kind"),
    ] = InvitationRegistration()
    egress: dict[EgressName, Annotated[list[Egress], Field(min_length=1)]] = {}
    """Ways out of the cluster, by service. Everything is closed without it."""
    ingress: Ingress = Ingress()
    cluster_dns: ClusterDns = ClusterDns()
    whisper: Whisper = Whisper()

    @classmethod
    def of_stack(cls) -> "Settings":
        """The settings of the stack that the program runs for. Raises SettingsError."""
        from pulumi.runtime import config as runtime  # here alone: who reads a stack's file does without the SDK

        return load(runtime.CONFIG.get() or runtime.get_config_env())

    @property
    def emulator_namespace(self) -> str:
        """Namespace of what must run as root."""
        return f"{self.namespace}-emulators"

    def host(self, service: Host) -> str:
        """The public host name of a service."""
        return host_name(service, self.domain)

    @property
    def call_hosts(self) -> tuple[CallHost, ...]:
        """Hosts of the servers for calls that this stack has."""
        return ("turn",) if self.calls.turn else ()

    @property
    def turn_namespace(self) -> str:
        """Namespace of the TURN server, whose pod is open to the internet."""
        return f"{self.namespace}-turn"

    def scale(self, name: ScaledName) -> Scale:
        """Number of pods of a service."""
        return self.scaling.get(name, Scale())

    @property
    def redis_replicas(self) -> int:
        """How many replicas each master of the Redis Cluster has."""
        wanted = self.redis.replicas_per_master
        return int(isinstance(self.target, Cloud)) if wanted is None else wanted

    @property
    def redis_nodes(self) -> int:
        """Pods of the Redis Cluster."""
        return self.redis.masters * (1 + self.redis_replicas)

    @property
    def used_images(self) -> tuple[ImageName, ...]:
        """Images of this stack, in the order of config/images.py."""
        absent: set[ImageName] = set()
        if isinstance(self.target, Cloud):
            absent |= {"localstack", "versitygw", "cbtemulator"}
            if isinstance(self.target.aws.redis, ElastiCache):
                absent.add("redis")
        if not isinstance(self.registration, DevelopmentRegistration):
            absent.add("registration")
        return tuple(name for name in IMAGES if name not in absent)

    @property
    def moving_images(self) -> tuple[ImageName, ...]:
        """Images of this stack that a tag alone does not make exact."""
        moving = self.images.moving()
        return tuple(name for name in self.used_images if name in moving)

    def secret(self, name: str) -> SecretSetting:
        """The settings of a secret."""
        return self.secrets.get(name, SecretSetting())

    @field_validator("secrets")
    @classmethod
    def _known_secrets(cls, value: dict[str, SecretSetting]) -> dict[str, SecretSetting]:
        for name, setting in value.items():
            if name not in BY_NAME:
                raise ValueError(f"{name} is no secret;{_suggest(name, BY_NAME)}")
            if setting.value is not None:
                operator_values.check_secret(BY_NAME[name], setting.value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _fits_its_target(self) -> Self:
        if isinstance(self.target, Local):
            self._fits_volumes(self.target)
            self._redis_fits("target.volumes.redis", self.target.volumes.redis)
        else:
            self._fits_accounts()
            if isinstance(self.target.aws.redis, InClusterRedis):
                self._redis_fits("target.aws.redis.volume", self.target.aws.redis.volume)
        return self

    def _redis_fits(self, key: str, volume: str) -> None:
        """Room for the append-only file, which a rewrite starts at twice the size of the data and then copies.

        The data may take half of a node's memory. Source: Redis' auto-aof-rewrite-percentage (100 by default).
        """
        if quantity_bytes(volume) < 2 * quantity_bytes(self.redis.memory):
            raise ValueError(
                f"redis.memory: {self.redis.memory} needs a volume of twice its size for the append-only file, and "
                f"{key} is {volume}; write a larger volume or less memory"
            )

    def _fits_volumes(self, target: Local) -> None:
        volume, upload = target.volumes.attachments, self.cdn.max_attachment_size
        if quantity_bytes(upload) * 4 > quantity_bytes(volume):
            raise ValueError(
                f"target.volumes.attachments: {volume} holds fewer than four uploads of cdn.maxAttachmentSize "
                f"{upload}; write a larger volume or a smaller upload"
            )
        floor = self.cdn.min_free_space
        if quantity_bytes(upload) * 4 + quantity_bytes(floor) > quantity_bytes(volume):
            raise ValueError(
                f"target.volumes.attachments: {volume} holds fewer than four uploads of cdn.maxAttachmentSize {upload} "
                f"beside cdn.minFreeSpace {floor}; write a larger volume, or less free space"
            )
        if self.scale("cdn3") != Scale():
            raise ValueError("scaling.cdn3: one pod at a time can mount the volume of uploads; remove it")

    def _fits_accounts(self) -> None:
        for signer in ("whisper", "storage"):
            if f"cdn0-{signer}-access-key" in self.secrets:
                raise ValueError(f"secrets.cdn0-{signer}-access-key: comes with cdn0-{signer}-secret-key; remove it")
            made = self.secret(f"cdn0-{signer}-secret-key")
            if made.value is not None:
                raise ValueError(f"secrets.cdn0-{signer}-secret-key.value: AWS makes it; remove it")
            if made.used < made.epoch - 1:
                raise ValueError(
                    f"secrets.cdn0-{signer}-secret-key.activeEpoch: AWS keeps two keys; write {made.epoch - 1} or more"
                )

    @model_validator(mode="after")
    def _monitoring_is_read(self) -> Self:
        if self.monitoring is None:
            return self
        if not scraped_ports(self.telemetry.exporters):
            raise ValueError("monitoring: no exporter is prometheus; write telemetry.exporters.prometheus")
        if not self.telemetry.scrapers:
            raise ValueError(
                "monitoring: nobody may read the collector; write telemetry.scrapers with the namespace and the labels "
                "of Prometheus' pods"
            )
        return self

    @model_validator(mode="after")
    def _collector_has_exporters(self) -> Self:
        """Another image of the collector may have others."""
        for name in self.telemetry.exporters if "otel-collector" not in self.images.overrides else ():
            kind = name.partition("/")[0]
            if kind in WITHOUT_METRICS:
                raise ValueError(f"telemetry.exporters.{name}: takes no metrics; remove it")
            if kind not in EXPORTERS:
                raise ValueError(
                    f"telemetry.exporters.{name}: the collector has no such exporter;{_suggest(kind, EXPORTERS)}"
                )
        return self

    @model_validator(mode="after")
    def _namespaces_are_its_own(self) -> Self:
        taken = {
            self.ingress.namespace: "ingress.namespace, where Traefik is",
            self.cluster_dns.namespace: "clusterDns.namespace, where the cluster's DNS is",
        }
        if isinstance(self.registration, ExternalRegistration):
            taken[self.registration.namespace] = "registration.namespace, where your registration service is"
        own = (self.namespace, self.emulator_namespace, *((self.turn_namespace,) if self.calls.turn else ()))
        for name in own:
            if name in taken:
                raise ValueError(f"namespace: {name} is {taken[name]}; write one that nothing else is in")
        return self

    @model_validator(mode="after")
    def _registration_has_its_ways(self) -> Self:
        """Only what opens connections has ways out, and a webhook has one to its gateway's port."""
        chosen, ways = self.registration, self.egress.get("registration", [])
        if isinstance(chosen, ExternalRegistration) and ways:
            raise ValueError("egress.registration: has no pod, for registration is external; remove it")
        if isinstance(chosen, InvitationRegistration) and ways:
            raise ValueError("egress.registration: registration by invitation opens no connection; remove it")
        if isinstance(chosen, WebhookRegistration) and not any(
            chosen.port in way.ports and way.protocol == "TCP" for way in ways
        ):
            raise ValueError(
                f"egress.registration: opens no way to TCP port {chosen.port}, which registration.url needs; write "
                f"[{{cidr: <the gateway's network>, ports: [{chosen.port}]}}]"
            )
        return self

    @model_validator(mode="after")
    def _one_turn_server(self) -> Self:
        if self.turn is not None and self.calls.turn is not None:
            raise ValueError(
                "turn: names a server of your own, and calls.turn runs one in the cluster; remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _certificate_covers_domain(self) -> Self:
        provided = self.certificates.provided
        if provided is not None:
            wanted: list[Host] = [*PUBLIC_HOSTS, *self.call_hosts, *(ADMIN_HOSTS if self.expose_admin else ())]
            hosts = [self.host(name) for name in wanted]
            try:
                certificate_chain.verify(provided.certificate, provided.authority, hosts, datetime.now(UTC))
            except ValueError as problem:
                raise ValueError(f"certificates.provided.{problem}") from None
        return self


# --- reading ----------------------------------------------------------------------------------------------


def load(config: Mapping[str, str]) -> Settings:
    """The settings in a stack's configuration: full keys (`flatline:domain`) and texts, objects as JSON.

    Raises SettingsError, also for a key that nothing would read: of a misspelt namespace, or of a default provider.
    """
    known = {field.alias or name: field for name, field in Settings.model_fields.items()}
    problems: list[str] = []
    raw: dict[str, Any] = {}
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace == PROJECT and "." in name:
            problems.append(f"{PROJECT}:{_path_shown(name.split('.'))}: {_as_blocks(name)}")
        elif namespace == PROJECT:
            raw[name] = text if name in known and known[name].annotation is str else _decode(text)
        elif namespace in PROVIDER_NAMESPACES:
            problems.append(f"{key}: nothing reads it; {_INSTEAD.get(key, 'remove it')}")
        elif namespace != ENGINE_NAMESPACE:
            problems.append(f"{_hidden(key) or key}: namespace is unknown; write {PROJECT}:{_hidden(name) or name}")
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        problems += _problems(error)
    if problems or settings is None:
        raise SettingsError(problems)
    return settings


def _as_blocks(name: str) -> str:
    """How a key with dots, as the documents write it, is written in a stack's file."""
    first, *inner = _path_shown(name.split(".")).split(".")
    blocks = "".join(f"{{{part}: " for part in inner) + "<value>" + "}" * len(inner)
    return f"the file has blocks where the documents have dots; write {PROJECT}:{first}: {blocks}"


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


_REMEDIES = {
    "int_type": "is {given}; write a whole number",
    "bool_type": "is {given}; write true or false",
    "string_type": "is {given}; write text (quote it in YAML)",
    "dict_type": "is {given}; write a block of keys",
    "model_type": "is {given}; write a block of keys",
    "model_attributes_type": "is {given}; write a block of keys",
    "list_type": "is {given}; write a list",
    "float_type": "is {given}; write a number",
    "finite_number": "is {given}; write a number",
    "missing": "is missing; write it",
    "none_required": "is {given}; remove it",
    "greater_than_equal": "is {given}; write {ge} or more",
    "less_than_equal": "is {given}; write {le} or less",
    "greater_than": "is {given}; write more than {gt}",
    "literal_error": "is {given}; write {expected}",
    "union_tag_invalid": "names kind {tag}; write {expected_tags}",
    "union_tag_not_found": "is missing; write it",
    "string_too_short": "is empty; write a value or remove the key",
    "too_short": "is empty; write at least {min_length}",
    "string_pattern_mismatch": "is {given}; write text of the form {pattern}",
}


def _problems(error: ValidationError) -> list[str]:
    lines: dict[str, str] = {}
    for entry in error.errors(include_url=False, include_input=True):
        path = [str(part) for part in entry["loc"] if part not in _NOT_KEYS]
        key = f"{PROJECT}:{_path_shown(path)}" if path else PROJECT
        kind, context = entry["type"], entry.get("ctx", {})
        if kind in {"union_tag_invalid", "union_tag_not_found"}:
            key = f"{key}.kind"
        if kind == "extra_forbidden":
            text = f"is no known key;{_suggest(path[-1], _siblings(path))}"
        elif kind == "literal_error" and entry["loc"][-1] == "[key]":
            names = re.findall("'(.*?)'", context["expected"])
            text = f"is no known key;{_suggest(path[-1], names)}"
        elif kind == "value_error":
            shown = f"{_shown(entry['input'])} " if isinstance(entry["input"], str) and not _is_secret(path) else ""
            text = f"{shown}{_RUN.sub(lambda run: _hidden(run[0]) or run[0], str(context['error']))}"
        else:
            given = "of the wrong type" if _is_secret(path) else _shown(entry["input"])
            safe = {
                name: _hidden(each) or each
                for name, each in context.items()
                if isinstance(each, str) and "expected" not in name
            }
            text = _REMEDIES.get(kind, "is {given}; " + entry["msg"]).format(given=given, **{**context, **safe})
        plain = text.startswith(("is ", "has ", "names "))
        if not any(key.startswith(f"{other}.") and "no known key" in lines[other] for other in lines):
            lines.setdefault(key, f"{key}{' ' if plain else ': '}{text}")
    return list(lines.values())


_NOT_KEYS = {
    "[key]",
    # tags of unions
    *("invitation", "webhook", "development", "external"),
    *("local", "cloud", "pod-identity", "web-identity", "access-keys", "elasticache"),
    *("in-cluster", "workload-identity", "federation", "service-account-key"),
}


_KEY_BLOCKS = (["secrets"], ["certificates", "provided"])
_LONGEST_SHOWN = 40
_RUN = re.compile(r"[A-Za-z0-9+/=_]{16,}")
"""The form of the shortest secret as base64 or hexadecimal text; one without a digit is a word."""


def _is_secret(path: list[str]) -> bool:
    """True if key material belongs below this key, so that somebody may have pasted it a line too high."""
    return any(path[: len(block)] == block for block in _KEY_BLOCKS)


def _shown(value: Any) -> str:
    """A value in a message. A text that may be a key is only described."""
    if isinstance(value, str):
        return _hidden(value) or f'"{value}"'
    names = {dict: "a block", list: "a list", type(None): "nothing", bool: str(value).lower()}
    return names.get(type(value)) or str(value)


def _hidden(text: str) -> str | None:
    """The description of a text that may be a key, because it is long, has several lines or looks random."""
    line = text.strip()
    if "PRIVATE KEY" in line:
        return "a private key (not shown)"
    random = any(re.search("[0-9+=]", run) for run in _RUN.findall(line))
    return f"a text of {len(line)} characters" if random or "\n" in line or len(line) > _LONGEST_SHOWN else None


def _path_shown(path: list[str]) -> str:
    """A key in a message. A part that is no known key may be a value that was pasted in the place of one."""
    hidden = (None if part in _siblings(path[: at + 1]) else _hidden(part) for at, part in enumerate(path))
    return ".".join(f"<{instead}>" if instead else part for part, instead in zip(path, hidden, strict=True))


def _siblings(path: list[str]) -> list[str]:
    """The keys that a block knows, found by walking the models along a path."""
    model: type[BaseModel] | None = Settings
    for part in path[:-1]:
        fields = {field.alias or name: field for name, field in model.model_fields.items()} if model else {}
        model = _model_in(fields[part].annotation) if part in fields else None
    return sorted(field.alias or name for name, field in model.model_fields.items()) if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def _suggest(name: str, known: Any) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" did you mean {close[0]}?"
    return f" write one of {', '.join(names)}" if names else " remove it"
