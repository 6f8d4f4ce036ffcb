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
    Member,
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
from components.kubernetes.platform import Platform, PlatformArgs
from components.kubernetes.pod import Disk, Scale
from components.redis import Redis, RedisArgs
from components.secrets import Secrets
from components.uploads import on_disk
from components.versitygw import CREDENTIALS_FILE, Versitygw, VersitygwArgs
from config.forms import quantity_bytes
from config.images import ImageName
from config.schema import bigtable, dynamodb, objects, released
from config.schema.secrets import Service
from config.settings import ScaledName, Settings
from config.target import Cloud, ElastiCache, InClusterRedis, Local

if TYPE_CHECKING:
    from components.cloud.accounts import Accounts


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What there is before the cluster has anything: identities for pods, and secrets that somebody else makes."""

    identities: Identities = field(default_factory=NoIdentities)
    issued: dict[str, pulumi.Output[str]] = field(default_factory=dict)
    absent: frozenset[Service] = frozenset()
    """Readers of secrets that the target has in no pod."""
    accounts: "tuple[Accounts, ...]" = ()
    """The accounts of a cloud target."""


@dataclass(frozen=True, kw_only=True)
class BackendArgs:
    """`services` is where services run."""

    settings: Settings
    ground: Ground
    services: Platform
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
    platforms: tuple[Platform, ...]
    members: tuple[Member, ...]
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
    """What a target offers before anything runs. Raises `components.cloud.drift.SchemaDriftError`."""
    match settings.target:
        case Local():
            return Ground()
        case Cloud() as target:
            from components.cloud import drift
            from components.cloud.accounts import Accounts, AccountsArgs

            drift.check_dynamodb(dynamodb.TABLES.values(), released.DYNAMODB, target.aws.replace_tables)
            drift.check_bigtable(bigtable.TABLES.values(), released.BIGTABLE, target.gcp.replace_tables)
            accounts = Accounts(
                "accounts",
                AccountsArgs(
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
                from components.cloud.names import Names, NamesArgs

                zone = account.dns
                Names("names", NamesArgs(zone=zone.zone, kind=zone.type, hosts=hosts, address=address), opts)
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
    platform = Platform(
        "emulators",
        PlatformArgs(
            namespace=args.settings.emulator_namespace,
            pod_security="baseline",
            images=args.images,
            storage_class=target.storage_class,
            labels=args.services.args.labels,
        ),
        group.child,
    )
    store = Versitygw(
        "object-store",
        VersitygwArgs(platform=args.services, secrets=args.secrets, disk=Disk(name="objects", size=volumes.objects)),
        group.child,
    )
    localstack = LocalStack(
        "localstack",
        LocalStackArgs(
            platform=platform,
            seed=_seed(args.settings, store.url),
            disk=Disk(name="database", size=volumes.database),
            access=(store.access,),
            files=(store.credentials("localstack-seed-identity", "pre-keys", platform),),
        ),
        group.child,
    )
    cdn0 = Cdn0(
        "cdn0",
        Cdn0Args(
            platform=args.services,
            secrets=args.secrets,
            bucket=store.bucket("cdn0", "cdn0-gate-identity"),
            scale=scale(args.settings, "cdn0"),
        ),
        group.child,
    )
    groups = Cbtemulator(
        "cbtemulator",
        CbtemulatorArgs(platform=args.services, disk=Disk(name="groups", size=volumes.groups)),
        group.child,
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
        uploads=on_disk(
            Disk(name="attachments", size=volumes.attachments), quantity_bytes(args.settings.cdn.min_free_space)
        ),
        platforms=(platform,),
        members=(*redis.members, *store.members, *localstack.members, *cdn0.members, *groups.members),
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
        platform=args.services,
        secrets=args.secrets,
        disk=Disk(name="data", size=volume),
        masters=wanted.masters,
        replicas_per_master=args.settings.redis_replicas,
        memory_bytes=memory,
        request=(cpu, memory // memory_share),
    )


# --- the clouds -------------------------------------------------------------------------------------------


def _cloud(args: BackendArgs, target: Cloud, accounts: "Accounts", opts: pulumi.ResourceOptions) -> Backend:
    from components.cloud.cdn0 import Cdn0OnS3, Cdn0OnS3Args

    cdn0 = Cdn0OnS3(
        "cdn0",
        Cdn0OnS3Args(
            platform=args.services,
            secrets=args.secrets,
            bucket=accounts.public_reads,
            scale=scale(args.settings, "cdn0"),
        ),
        opts,
    )
    redis, pubsub, members = _cloud_redis(args, target, accounts, opts)
    return Backend(
        dynamodb=accounts.dynamodb,
        objects=accounts.objects,
        bigtable=accounts.bigtable,
        redis=redis,
        pubsub=pubsub,
        uploads=accounts.uploads,
        platforms=(),
        members=(*members, *cdn0.members),
        routes=cdn0.routes,
    )


def _cloud_redis(
    args: BackendArgs, target: Cloud, accounts: "Accounts", opts: pulumi.ResourceOptions
) -> tuple[RedisCluster, PubSub, tuple[Member, ...]]:
    match target.aws.redis:
        case InClusterRedis(volume=volume):
            redis = Redis("redis", _redis(args, volume, cpu="100m", memory_share=2), opts)
            return redis.cluster, redis.pubsub, redis.members
        case ElastiCache() as wanted:
            caches = accounts.elasticache(wanted, args.secrets.of("redis")["password"], opts)
            return caches.cluster, caches.pubsub, ()
        case other:
            assert_never(other)
