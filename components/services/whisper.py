"""Whisper: accounts, keys and messages; its message persister and its clean-up commands."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from components import java
from components.base import Component
from components.capabilities import (
    Access,
    DynamoDb,
    Network,
    ObjectStore,
    PubSub,
    RedisCluster,
    Registration,
    Route,
    Telemetry,
    TurnServer,
)
from components.config_tree import merged, nested, yaml_of
from components.kubernetes.job import Job, JobArgs
from components.kubernetes.mounted_files import secret_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources, Scale
from components.kubernetes.workload import Workload, WorkloadArgs
from components.secrets import Secrets
from config.schema.objects import DYNAMIC_CONFIG_MAX_BYTES, DYNAMIC_CONFIG_OBJECT
from config.schema.secrets import PLAIN_VALUES, WHISPER_REFERENCES
from config.services import java as jvm
from config.services.whisper import ADMIN_PORT, CONSTANTS, HTTP_PORT, NO_RELAY, WORKER_THREADS

CONFIG = "/usr/share/signal/dev.yml"
BUNDLE = "/usr/share/signal/secrets-bundle.yml"
MAIN = "org.whispersystems.textsecuregcm.WhisperServerService"
ENVIRONMENT = "flatline"
"""Tag of the metrics."""

WEB_SOCKETS = "Method(`GET`) && PathPrefix(`/v1/websocket`) && HeaderRegexp(`Upgrade`, `(?i)^websocket$`)"
"""Those of devices and, below it, those by which a new device is linked."""

PERSISTER_DRAIN_SECONDS = 10

NO_PUSH = "notifies by push, for which this system has no credentials"
NO_ACCOUNT_SERVICES = (
    "deletes accounts, and for each asks the storage and value recovery services, which this system lacks"
)
NO_BACKUP_STORE = "deletes from the backup store (cdn3StorageManager), which this system lacks"


@dataclass(frozen=True, kw_only=True)
class CleanUp:
    """A command of Whisper's that removes what is no longer needed; `suspended` tells why it does not run."""

    command: str
    schedule: str
    suspended: str = ""
    lists_pre_keys: bool = False


CLEAN_UPS = (
    CleanUp(command="remove-expired-username-holds", schedule="17 2 * * *"),
    CleanUp(command="remove-expired-devices", schedule="37 2 * * *"),
    CleanUp(command="remove-orphaned-pre-key-pages", schedule="57 3 * * 0", lists_pre_keys=True),
    CleanUp(command="remove-expired-accounts", schedule="17 4 * * *", suspended=NO_ACCOUNT_SERVICES),
    CleanUp(command="remove-expired-backups", schedule="37 4 * * *", suspended=NO_BACKUP_STORE),
    CleanUp(command="notify-idle-devices", schedule="17 5 * * *", suspended=NO_PUSH),
)


@dataclass(frozen=True, kw_only=True)
class WhisperArgs:
    """The capabilities that Whisper uses. `turn` is None where there is no TURN server."""

    namespace: WorkloadNamespace
    secrets: Secrets
    dynamodb: DynamoDb
    objects: ObjectStore
    redis: RedisCluster
    pubsub: PubSub
    registration: Registration
    telemetry: Telemetry
    authority: pulumi.Output[str]
    upload_url: str
    storage_url: str
    turn: TurnServer | None
    remote_config: Mapping[str, str]
    external_egress: tuple[Network, ...]
    scale: Scale
    persister_scale: Scale
    drain_seconds: int
    log_requests: bool


class Whisper(Component):
    """The server, the persister and the clean-ups share one configuration, in which Redis' password stands."""

    TYPE = "flatline:services:Whisper"

    def __init__(self, name: str, args: WhisperArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        secrets = args.secrets.of("whisper")
        plain = {path: text for path, text in secrets.items() if path in PLAIN_VALUES}
        bundle = {path: text for path, text in secrets.items() if path not in PLAIN_VALUES}
        self._config = secret_files(
            f"{name}-config",
            args.namespace.metadata_name,
            {
                CONFIG: yaml_of(merged(CONSTANTS, nested(WHISPER_REFERENCES), _wired(args), nested(plain))),
                BUNDLE: yaml_of(bundle),
            },
            self.child_opts,
        )
        server = self._server()
        persister = self._persister()
        clean_ups = [self._clean_up(clean_up) for clean_up in CLEAN_UPS]
        self.network_peers = (server.network_peer, persister.network_peer, *(job.network_peer for job in clean_ups))
        endpoint = server.endpoint("http")
        self.routes = (
            Route(name=name, host="whisper", endpoint=endpoint),
            Route(name=f"{name}-websocket", host="whisper", endpoint=endpoint, match=WEB_SOCKETS, web_sockets=True),
        )
        self.admin_route = Route(name=f"{name}-admin", host="whisper-admin", endpoint=server.endpoint("admin"))
        self.register_outputs({"address": endpoint.address})

    @property
    def _data(self) -> tuple[Access, ...]:
        """Accesses that every command of Whisper needs to start."""
        args = self._args
        objects = args.objects
        return (
            args.redis.access,
            args.pubsub.access,
            args.dynamodb.access,
            objects.dynamic_config.access,
            objects.pre_keys.access,
            objects.cdn0.access,
            args.telemetry.access,
        )

    def _server(self) -> Workload:
        return self._workload(
            self._name,
            command=_java(jvm.WHISPER, "server", CONFIG),
            resources=java.resources(jvm.WHISPER, cpu="250m", busy_cpu="500m"),
            access=(*self._data, self._args.registration.access),
            published=True,
            external_egress=self._args.external_egress,
            scale=self._args.scale,
            drain=self._args.drain_seconds,
            turn=self._args.turn,
        )

    def _persister(self) -> Workload:
        return self._workload(
            f"{self._name}-persister",
            command=_java(
                jvm.PERSISTER,
                "message-persister-service",
                "--workers",
                str(WORKER_THREADS),
                CONFIG,
                prepare=_s3_address(self._args.objects.pre_keys.endpoint),
            ),
            resources=java.resources(jvm.PERSISTER, cpu="50m", busy_cpu="100m"),
            access=self._data,
            published=False,
            external_egress=(),
            scale=self._args.persister_scale,
            drain=PERSISTER_DRAIN_SECONDS,
        )

    def _workload(
        self,
        name: str,
        *,
        command: tuple[str, ...],
        resources: Resources,
        access: tuple[Access, ...],
        published: bool,
        external_egress: tuple[Network, ...],
        scale: Scale,
        drain: int,
        turn: TurnServer | None = None,
    ) -> Workload:
        # The only check behind it looks for deadlocks: no endpoint of the service tells about its dependencies.
        healthy = ProbeAction(port="admin", path="/healthcheck")
        return Workload(
            name,
            WorkloadArgs(
                external_egress=external_egress,
                namespace=self._args.namespace,
                name=name,
                component="whisper",
                access=access,
                scale=scale,
                # asked for by each client that wants a relay; Whisper's resolver reads the hosts file first
                host_aliases={turn.host: turn.address} if turn and turn.address else {},
                # after the delay the service closes its ports at once and needs up to 19 s (the persister) to end
                termination_grace_seconds=drain + 50,
                containers=(
                    Container(
                        name=name,
                        image="whisper",
                        command=command,
                        ports=(
                            Port(name="http", number=HTTP_PORT, published=published),
                            Port(name="admin", number=ADMIN_PORT, published=published),
                        ),
                        files=(self._config,),
                        empty_dirs=java.EMPTY_DIRS,
                        probes=Probes.all(healthy, startup_budget=180),
                        resources=resources,
                        pre_stop_sleep_seconds=drain,
                    ),
                ),
            ),
            self.child_opts,
        )

    def _clean_up(self, clean_up: CleanUp) -> Job:
        name = f"{self._name}-{clean_up.command}"
        pre_keys = self._args.objects.pre_keys
        listing = (pre_keys.listing,) if clean_up.lists_pre_keys else ()
        return Job(
            name,
            JobArgs(
                schedule=clean_up.schedule,
                suspended=clean_up.suspended,
                deadline=4 * 3600,
                namespace=self._args.namespace,
                name=name,
                component="whisper",
                access=(*self._data, *listing),
                termination_grace_seconds=60,
                containers=(
                    Container(
                        name="command",
                        image="whisper",
                        command=_java(
                            jvm.CLEAN_UP,
                            clean_up.command,
                            "--dry-run",
                            "false",
                            CONFIG,
                            prepare=_s3_address(pre_keys.endpoint),
                        ),
                        files=(self._config,),
                        empty_dirs=java.EMPTY_DIRS,
                        resources=java.resources(jvm.CLEAN_UP, cpu="50m"),
                    ),
                ),
            ),
            self.child_opts,
        )


def _java(size: jvm.Jvm, *command: str, prepare: str = "") -> tuple[str, ...]:
    flags = (
        "-Djdk.nio.maxCachedBufferSize=262144",
        "-Dlog4j2.formatMsgNoLookups=true",
        f"-Dsecrets.bundle.filename={BUNDLE}",
    )
    return java.command(size, flags, MAIN, *command, prepare=prepare)


def _s3_address(endpoint: str) -> str:
    """A script that gives a command the endpoint of the pages' store as an address; none where there is no endpoint.

    Each command may remove a device, and its page with it. The S3 clients of all commands but the server ignore the
    endpoints in the YAML, and put the bucket's name before a host name, which no DNS server here knows; before an
    address they do not. The client of the dynamic configuration takes AWS_ENDPOINT_OVERRIDE in every command, and what
    is set in code wins over this variable.
    """
    if not endpoint:
        return ""
    scheme, _, host_port = endpoint.partition("://")
    host, _, port = host_port.partition(":")
    return (
        f'address=$(getent ahostsv4 {host} | head -n 1 | cut -d " " -f 1)\n'
        f'export AWS_ENDPOINT_URL_S3="{scheme}://${{address:?{host} has no address}}:{port}"\n'
    )


def _wired(args: WhisperArgs) -> dict[str, Any]:
    objects, cluster = args.objects, {"configurationUri": args.redis.uri}
    return {
        **_metrics(args.telemetry),
        "server": java.request_log(args.log_requests),
        "dynamoDbClient": {"region": args.dynamodb.region},
        "dynamoDbTables": nested(args.dynamodb.tables),
        "pagedSingleUseKEMPreKeyStore": {
            "bucket": objects.pre_keys.name,
            "region": objects.pre_keys.region,
            **_endpoint(objects.pre_keys.endpoint),
        },
        "cacheCluster": cluster,
        "pushSchedulerCluster": cluster,
        "rateLimitersCluster": cluster,
        "messageCache": {"cluster": cluster},
        "pubsub": {"uri": args.pubsub.uri},
        "tus": {"uploadUri": args.upload_url},
        "cdn": {
            "bucket": objects.cdn0.name,
            "region": objects.cdn0.region,
            **_endpoint(objects.cdn0.endpoint),
        },
        "dynamicConfig": {
            "s3Region": objects.dynamic_config.region,
            "s3Bucket": objects.dynamic_config.name,
            "objectKey": DYNAMIC_CONFIG_OBJECT,
            "maxSize": DYNAMIC_CONFIG_MAX_BYTES,
        },
        "unidentifiedDelivery": {"certificate": args.secrets.server_certificate()},
        "zkConfig": {"serverPublic": args.secrets.public("zk-server")},
        "storageService": {"uri": args.storage_url, "storageCaCertificates": [args.authority]},
        # Workers parse these at start, so they are certificates, though nothing is ever asked there.
        "svr2": {"svrCaCertificates": [args.authority]},
        "svrb": {"svrCaCertificates": [args.authority]},
        "keyTransparencyService": {"tlsCertificate": args.authority, "clientCertificate": args.authority},
        "appleAppStore": {"appleRootCerts": [args.authority.apply(_der)]},
        "remoteConfig": {"globalConfig": dict(args.remote_config)},
        "registrationService": {"host": args.registration.host, "port": args.registration.port},
        "turn": {"coturn": _turn(args.turn or TurnServer(NO_RELAY, 3478))},
    }


def _endpoint(url: str) -> dict[str, str]:
    return {"endpointOverride": url} if url else {}


def _metrics(telemetry: Telemetry) -> dict[str, Any]:
    transport = {"statsdHost": telemetry.host, "port": telemetry.port}
    reporter = {"type": "signal-datadog", "frequency": "10 seconds", "tags": [], "udpTransport": transport}
    return {
        "dogstatsd": {"enabled": True, "environment": ENVIRONMENT, "host": telemetry.host},
        "metrics": {"reportOnStop": True, "reporters": [reporter]},
    }


def _turn(server: TurnServer) -> dict[str, Any]:
    """Addresses of a TURN server. Whisper puts the server's IP addresses in the place of `%s`."""

    def urls(address: str) -> list[str]:
        plain = [f"turn:{address}:{server.port}", f"turn:{address}:{server.port}?transport=tcp"]
        return [*plain, f"turns:{address}:{server.tls_port}?transport=tcp"] if server.tls_port else plain

    return {"hostname": server.host, "urls": urls(server.host), "urlsWithIps": urls("%s")}


def _der(pem: str) -> str:
    """The first certificate of a PEM text as base64 DER without header lines."""
    certificate = x509.load_pem_x509_certificates(pem.encode())[0]
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
