"""The settings of a stack: strict and frozen. `config.loading` reads them."""

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from config import certificate_chain, operator_values
from config.backup import ScheduledBackup
from config.base_model import StrictModel
from config.calls import Calls
from config.certificates import Certificates
from config.exporters import EXPORTERS, WITHOUT_METRICS, scraped_ports
from config.images import IMAGES, ImageName
from config.k3s import K3s
from config.mistakes import suggestion
from config.monitoring import Monitoring
from config.network import ClusterDns, Egress, EgressName, Ingress
from config.registration import (
    DevelopmentRegistration,
    ExternalRegistration,
    InvitationRegistration,
    WebhookRegistration,
)
from config.schema.hosts import ADMIN_HOSTS, CallHost, Host, PublicHost, host_name, public_hosts
from config.schema.secrets import BY_NAME
from config.target import Cloud, ElastiCache, InClusterRedis, Local, kind_of_target
from config.telemetry import Telemetry
from config.types import Domain, Namespace, quantity_bytes
from config.workloads import Cdn, Images, Redis, Scale, ScaledName, SecretSetting, Turn, Whisper

PROJECT = "flatline"


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
    k3s: K3s = Field(default=K3s(), alias="k3s")
    telemetry: Telemetry = Telemetry()
    monitoring: Monitoring | None = None
    """Alerts and a dashboard; `{}` takes the defaults. Without it there are none."""
    backup: ScheduledBackup | None = None
    """Encrypted archives by a schedule, for stacks whose stores are in their cluster. Without it nothing is backed up
    unless you run `backup`."""
    registration: Annotated[
        InvitationRegistration | WebhookRegistration | ExternalRegistration | DevelopmentRegistration,
        Field(discriminator="kind"),
    ] = InvitationRegistration()
    egress: dict[EgressName, Annotated[list[Egress], Field(min_length=1)]] = {}
    """Ways out of the cluster, by service. Everything is closed without it."""
    ingress: Ingress = Ingress()
    cluster_dns: ClusterDns = ClusterDns()
    whisper: Whisper = Whisper()

    @property
    def emulator_namespace(self) -> str:
        """Namespace of what must run as root."""
        return f"{self.namespace}-emulators"

    def host(self, service: Host) -> str:
        """The public host name of a service."""
        return host_name(service, self.domain)

    @property
    def public_hosts(self) -> tuple[PublicHost, ...]:
        """The hosts that clients connect to by HTTPS."""
        return public_hosts(group_calls=self.calls.groups is not None)

    @property
    def call_hosts(self) -> tuple[CallHost, ...]:
        """Hosts of the servers for calls that this stack has."""
        return ("turn",) if self.calls.turn else ()

    @property
    def turn_namespace(self) -> str:
        """Namespace of the TURN server, whose pod is open to the internet."""
        return f"{self.namespace}-turn"

    @property
    def namespaces(self) -> tuple[str, ...]:
        """All namespaces that the stack may have, that of the services first."""
        return (self.namespace, self.emulator_namespace, *((self.turn_namespace,) if self.calls.turn else ()))

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
        if self.calls.groups is None:
            absent |= {"calling-frontend", "calling-backend"}
        if self.calls.turn is None:
            absent.add("coturn")
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
                raise ValueError(f"{name} is no secret;{suggestion(name, BY_NAME)}")
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
                    f"telemetry.exporters.{name}: the collector has no such exporter;{suggestion(kind, EXPORTERS)}"
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
        for name in self.namespaces:
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
    def _backup_has_its_way(self) -> Self:
        backup, ways = self.backup, self.egress.get("backup", [])
        if backup is None:
            if ways:
                raise ValueError("egress.backup: has no pod, for there is no backup; remove it")
            return self
        if isinstance(self.target, Cloud):
            raise ValueError(
                "backup: in a cloud each store is backed up by the cloud itself, which the stack has set up "
                '("Backups in a cloud" in docs/migration.md); remove it'
            )
        if not any(backup.port in way.ports and way.protocol == "TCP" for way in ways):
            raise ValueError(
                f"egress.backup: opens no way to TCP port {backup.port} of {backup.server}, which backup.to needs; "
                f"write [{{cidr: <the server's network>, ports: [{backup.port}]}}]"
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
    def _relay_fits_its_cluster(self) -> Self:
        turn = self.calls.turn
        if turn is None:
            return self
        if isinstance(self.target, Cloud) and turn.allowed_networks and "cluster_networks" not in turn.model_fields_set:
            raise ValueError(
                "calls.turn.clusterNetworks: is missing, and allowedNetworks must not open what is in the cluster; "
                "write the networks of its pods and its Services"
            )
        if isinstance(self.target, Local) and turn.network == "host":
            for name, number in (("port", turn.plain_port), ("tlsPort", turn.secure_port)):
                if number in (80, 443):
                    raise ValueError(f"calls.turn.{name}: {number} belongs to Traefik on each node; write another one")
        return self

    @model_validator(mode="after")
    def _certificate_covers_domain(self) -> Self:
        provided = self.certificates.provided
        if provided is not None:
            wanted: list[Host] = [*self.public_hosts, *self.call_hosts, *(ADMIN_HOSTS if self.expose_admin else ())]
            hosts = [self.host(name) for name in wanted]
            try:
                certificate_chain.verify(provided.certificate, provided.authority, hosts, datetime.now(UTC))
            except ValueError as problem:
                raise ValueError(f"certificates.provided.{problem}") from None
        return self
