"""What the services stand on: the one place of the program that knows which target a stack has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, assert_never

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random
import pulumi_tls as tls

from components.base import Component
from components.capabilities import (
    Bigtable,
    Bucket,
    DynamoDb,
    Identities,
    NetworkPeer,
    NoIdentities,
    ObjectStore,
    PubSub,
    RedisCluster,
    Route,
    Uploads,
)
from components.emulators import seeds
from components.emulators.cbtemulator import Cbtemulator, CbtemulatorArgs
from components.emulators.cdn0 import Cdn0, Cdn0Args
from components.emulators.localstack import PORT, REGION, LocalStack, LocalStackArgs
from components.kubernetes.namespace import WorkloadNamespace, WorkloadNamespaceArgs
from components.kubernetes.pod import Scale, Volume
from components.redis import Redis, RedisArgs
from components.secrets import Secrets
from components.uploads import on_volume
from components.versitygw import CREDENTIALS_FILE, Versitygw, VersitygwArgs
from config.images import ImageName
from config.schema import bigtable, dynamodb, objects, released
from config.schema.secrets import Service
from config.settings import ScaledName, Settings
from config.target import Cloud, ElastiCache, InClusterRedis, Local
from config.types import quantity_bytes

if TYPE_CHECKING:
    from components.cloud.resources import CloudResources


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What there is before the cluster has anything: identities for pods, and secrets that somebody else makes."""

    identities: Identities = field(default_factory=NoIdentities)
    issued: dict[str, pulumi.Output[str]] = field(default_factory=dict)
    absent: frozenset[Service] = frozenset()
    """Readers of secrets that the target has in no pod."""
    accounts: "tuple[CloudResources, ...]" = ()
    """The accounts of a cloud target."""


@dataclass(frozen=True, kw_only=True)
class BackendArgs:
    """`services` is where services run."""

    settings: Settings
    ground: Ground
    services: WorkloadNamespace
    images: dict[ImageName, str]
    secrets: Secrets


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The durable stores, as capabilities, and what came with them."""

    dynamodb: DynamoDb
    objects: ObjectStore
    bigtable: Bigtable
    redis: RedisCluster
    pubsub: PubSub
    uploads: Uploads
    namespaces: tuple[WorkloadNamespace, ...]
    network_peers: tuple[NetworkPeer, ...]
    routes: tuple[Route, ...]


def providers(
    settings: Settings, given: Mapping[str, pulumi.ProviderResource] | None = None, prefix: str = ""
) -> pulumi.ResourceOptions:
    """Options that give each resource its provider: none falls back to what a machine has configured.

    Those `given` by package are taken as they are. The others are made, named `prefix` and their package.
    """
    # An empty kubeconfig is the default one at run time; left out, the SDK writes $KUBECONFIG into the state.
    # Objects that `kubectl apply` made have owners of their fields; what the program declares is what counts.
    made: dict[str, Callable[[str], pulumi.ProviderResource]] = {
        "kubernetes": lambda name: kubernetes.Provider(
            name,
            context=settings.target.context,
            kubeconfig="",
            enable_server_side_apply=True,
            enable_patch_force=True,
        ),
        "random": random.Provider,
        "tls": tls.Provider,
    }
    match settings.target:
        case Local():
            pass
        case Cloud():
            from components.cloud import providers as clouds  # two large SDKs, which a local stack never needs

            made |= clouds.providers(settings.target)
        case _:
            assert_never(settings.target)
    every = dict(given or {})
    return pulumi.ResourceOptions(
        providers=every | {package: make(prefix + package) for package, make in made.items() if package not in every}
    )


def ground(settings: Settings, opts: pulumi.ResourceOptions) -> Ground:
    """What a target offers before anything runs. Raises `components.cloud.schema_compatibility.SchemaDriftError`."""
    match settings.target:
        case Local():
            return Ground()
        case Cloud() as target:
            from components.cloud import schema_compatibility
            from components.cloud.resources import CloudResources, CloudResourcesArgs

            schema_compatibility.check_dynamodb(dynamodb.TABLES.values(), released.DYNAMODB, target.aws.replace_tables)
            schema_compatibility.check_bigtable(bigtable.TABLES.values(), released.BIGTABLE, target.gcp.replace_tables)
            accounts = CloudResources(
                "accounts",
                CloudResourcesArgs(
                    target=target,
                    dynamic_config=settings.whisper.dynamic_config.text(),
                    upload_days=settings.cdn.retention_days,
                    unfinished_upload_days=-(-settings.cdn.incomplete_retention_hours // 24),
                    upload_keys={
                        signer: settings.secret(f"cdn0-{signer}-secret-key").epochs for signer in objects.SIGNERS
                    },
                ),
                opts,
            )
            return Ground(
                identities=accounts.identities,
                issued=accounts.issued,
                absent=frozenset({"object-store"}),
                accounts=(accounts,),
            )
        case _:
            assert_never(settings.target)


def backend(args: BackendArgs, opts: pulumi.ResourceOptions) -> Backend:
    """The stores of a target."""
    match args.settings.target:
        case Local():
            return _local(args, args.settings.target, opts)
        case Cloud():
            return _cloud(args, args.settings.target, args.ground.accounts[0], opts)
        case _:
            assert_never(args.settings.target)


def publish(
    settings: Settings, hosts: tuple[str, ...], address: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> None:
    """Gives the public hosts their names, where the target has a zone for them."""
    match settings.target:
        case Local():
            pass
        case Cloud(aws=account):
            if account.dns is not None:
                from components.cloud.dns import DnsRecords, DnsRecordsArgs

                zone = account.dns
                DnsRecords("names", DnsRecordsArgs(zone=zone.zone, kind=zone.type, hosts=hosts, address=address), opts)
        case _:
            assert_never(settings.target)


def scale(settings: Settings, name: ScaledName) -> Scale:
    """How many pods of a service the settings want."""
    wanted = settings.scale(name)
    return Scale(wanted.replicas, wanted.max_replicas or 0, wanted.cpu_percent)


# --- the emulators ----------------------------------------------------------------------------------------


class _Emulators(Component):
    """Groups what the emulators are made of."""

    TYPE = "flatline:backend:Emulators"


def _local(args: BackendArgs, target: Local, opts: pulumi.ResourceOptions) -> Backend:
    group = _Emulators("emulators", opts)
    volumes = target.volumes
    namespace = WorkloadNamespace(
        "emulators",
        WorkloadNamespaceArgs(
            namespace=args.settings.emulator_namespace,
            pod_security="baseline",
            images=args.images,
            storage_class=target.storage_class,
            labels=args.services.args.labels,
        ),
        group.child_opts,
    )
    store = Versitygw(
        "object-store",
        VersitygwArgs(
            namespace=args.services, secrets=args.secrets, volume=Volume(name="objects", size=volumes.objects)
        ),
        group.child_opts,
    )
    localstack = LocalStack(
        "localstack",
        LocalStackArgs(
            namespace=namespace,
            seed=_seed(args.settings, store.url),
            volume=Volume(name="database", size=volumes.database),
            access=(store.access,),
            files=(store.credentials("localstack-seed-identity", "pre-keys", namespace),),
        ),
        group.child_opts,
    )
    cdn0 = Cdn0(
        "cdn0",
        Cdn0Args(
            namespace=args.services,
            secrets=args.secrets,
            bucket=store.bucket("cdn0", "cdn0-gate-identity"),
            scale=scale(args.settings, "cdn0"),
        ),
        group.child_opts,
    )
    groups = Cbtemulator(
        "cbtemulator",
        CbtemulatorArgs(namespace=args.services, volume=Volume(name="groups", size=volumes.groups)),
        group.child_opts,
    )
    pre_keys = store.bucket("pre-keys", "whisper-identity")
    group.register_outputs({})
    redis = Redis("redis", _redis(args, volumes.redis, cpu="25m", memory_share=16), opts)
    # A process has one identity for AWS: that of the pages' owner, which LocalStack takes for anybody.
    access = replace(
        localstack.access,
        env={**pre_keys.access.env, "AWS_REGION": REGION, "AWS_ENDPOINT_OVERRIDE": localstack.url},
        files=pre_keys.access.files,
    )
    dynamic_config = Bucket(
        access=access, region=REGION, name=objects.BUCKETS["dynamic-config"], endpoint=localstack.url
    )
    return Backend(
        dynamodb=DynamoDb(
            access=access, region=REGION, tables={path: table.name for path, table in dynamodb.TABLES.items()}
        ),
        objects=ObjectStore(dynamic_config=dynamic_config, pre_keys=pre_keys, cdn0=cdn0.bucket),
        bigtable=groups.bigtable,
        redis=redis.cluster,
        pubsub=redis.pubsub,
        uploads=on_volume(
            Volume(name="attachments", size=volumes.attachments), quantity_bytes(args.settings.cdn.min_free_space)
        ),
        namespaces=(namespace,),
        network_peers=(
            *redis.network_peers,
            *store.network_peers,
            *localstack.network_peers,
            *cdn0.network_peers,
            *groups.network_peers,
        ),
        routes=cdn0.routes,
    )


def _seed(settings: Settings, store: str) -> dict[str, Any]:
    """LocalStack's seed. `store` is the URL of the server with the pages that rows of pre-keys name."""
    configuration = objects.BUCKETS["dynamic-config"]
    return seeds.localstack(
        region=REGION,
        port=PORT,
        tables=tuple(dynamodb.TABLES.values()),
        buckets=(configuration,),
        objects=(
            {
                "bucket": configuration,
                "key": objects.DYNAMIC_CONFIG_OBJECT,
                "text": settings.whisper.dynamic_config.text(),
                "contentType": "application/yaml",
            },
        ),
        pages={
            "table": dynamodb.TABLES["pagedPqKeys.tableName"].name,
            "endpoint": store,
            "bucket": objects.BUCKETS["pre-keys"],
            "credentialsFile": CREDENTIALS_FILE,
        },
    )


def _redis(args: BackendArgs, volume: str, *, cpu: str, memory_share: int) -> RedisArgs:
    """Each node requests a part of its memory limit: what it takes when it is empty, or what its data may take."""
    wanted = args.settings.redis
    memory = quantity_bytes(wanted.memory)
    return RedisArgs(
        namespace=args.services,
        secrets=args.secrets,
        volume=Volume(name="data", size=volume),
        masters=wanted.masters,
        replicas_per_master=args.settings.redis_replicas,
        memory_bytes=memory,
        request=(cpu, memory // memory_share),
    )


# --- the clouds -------------------------------------------------------------------------------------------


def _cloud(args: BackendArgs, target: Cloud, accounts: "CloudResources", opts: pulumi.ResourceOptions) -> Backend:
    from components.cloud.cdn0 import Cdn0OnS3, Cdn0OnS3Args

    cdn0 = Cdn0OnS3(
        "cdn0",
        Cdn0OnS3Args(
            namespace=args.services,
            secrets=args.secrets,
            bucket=accounts.public_reads,
            scale=scale(args.settings, "cdn0"),
        ),
        opts,
    )
    redis, pubsub, network_peers = _cloud_redis(args, target, accounts, opts)
    return Backend(
        dynamodb=accounts.dynamodb,
        objects=accounts.objects,
        bigtable=accounts.bigtable,
        redis=redis,
        pubsub=pubsub,
        uploads=accounts.uploads,
        namespaces=(),
        network_peers=(*network_peers, *cdn0.network_peers),
        routes=cdn0.routes,
    )


def _cloud_redis(
    args: BackendArgs, target: Cloud, accounts: "CloudResources", opts: pulumi.ResourceOptions
) -> tuple[RedisCluster, PubSub, tuple[NetworkPeer, ...]]:
    match target.aws.redis:
        case InClusterRedis(volume=volume):
            redis = Redis("redis", _redis(args, volume, cpu="100m", memory_share=2), opts)
            return redis.cluster, redis.pubsub, redis.network_peers
        case ElastiCache() as wanted:
            caches = accounts.elasticache(wanted, args.secrets.of("redis")["password"], opts)
            return caches.cluster, caches.pubsub, ()
        case other:
            assert_never(other)
