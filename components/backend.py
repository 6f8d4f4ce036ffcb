"""What the services stand on: the one place of the program that knows which target a stack has."""

from dataclasses import dataclass
from typing import assert_never

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random
import pulumi_tls as tls

from components.base import Component
from components.capabilities import Access, Bigtable, Bucket, DynamoDb, Member, ObjectStore, Route
from components.emulators import seeds
from components.emulators.cbtemulator import Cbtemulator, CbtemulatorArgs
from components.emulators.cdn0 import Cdn0, Cdn0Args
from components.emulators.localstack import CREDENTIALS, PORT, REGION, LocalStack, LocalStackArgs
from components.kubernetes.platform import Platform, PlatformArgs
from components.kubernetes.pod import Disk
from components.programs import WAIT
from components.secrets import Secrets
from config.images import ImageName
from config.schema import dynamodb, objects
from config.settings import Local, Settings


@dataclass(frozen=True, kw_only=True)
class BackendArgs:
    """`services` is where services run; `emulators` names the namespace for what must run as root."""

    target: Local
    services: Platform
    emulators: str
    images: dict[ImageName, str]
    secrets: Secrets
    dynamic_config: str


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The durable stores, as capabilities, and what came with them."""

    dynamodb: DynamoDb
    objects: ObjectStore
    bigtable: Bigtable
    platforms: tuple[Platform, ...]
    members: tuple[Member, ...]
    routes: tuple[Route, ...]
    attachments: Disk
    redis_disk: Disk
    losses: tuple[str, ...]
    """What a restart loses, in a sentence each, for people."""


def backend(args: BackendArgs, opts: pulumi.ResourceOptions) -> Backend:
    """The stores of a target."""
    match args.target:
        case Local():
            return _local(args, args.target, opts)
        case _:
            assert_never(args.target)


def providers(settings: Settings) -> pulumi.ResourceOptions:
    """Options that give each resource its provider: none falls back to what a machine has configured."""
    match settings.target:
        case Local(context=context):
            # An empty kubeconfig is the default one at run time; left out, the SDK writes $KUBECONFIG into the state.
            cluster = kubernetes.Provider("kubernetes", context=context, kubeconfig="", enable_server_side_apply=True)
        case _:
            assert_never(settings.target)
    return pulumi.ResourceOptions(
        providers={"kubernetes": cluster, "random": random.Provider("random"), "tls": tls.Provider("tls")}
    )


class _Emulators(Component):
    """Groups what the emulators are made of."""

    TYPE = "flatline:backend:Emulators"


def _local(args: BackendArgs, target: Local, opts: pulumi.ResourceOptions) -> Backend:
    group = _Emulators("emulators", opts)
    volumes = target.volumes
    platform = Platform(
        "emulators",
        PlatformArgs(
            namespace=args.emulators,
            pod_security="baseline",
            images=args.images,
            wait_program=WAIT.text,
            storage_class=target.storage_class,
        ),
        group.child,
    )
    localstack = LocalStack(
        "localstack",
        LocalStackArgs(
            platform=platform,
            services=("dynamodb", "s3"),
            seed=seeds.localstack(
                region=REGION,
                port=PORT,
                tables=tuple(dynamodb.TABLES.values()),
                buckets=(objects.BUCKETS["dynamic-config"], objects.BUCKETS["pre-keys"]),
                objects=(
                    {
                        "bucket": objects.BUCKETS["dynamic-config"],
                        "key": objects.DYNAMIC_CONFIG_OBJECT,
                        "text": args.dynamic_config,
                        "contentType": "application/yaml",
                    },
                ),
            ),
            disk=Disk(name="database", size=volumes.database),
        ),
        group.child,
    )
    cdn0 = Cdn0("cdn0", Cdn0Args(services=args.services, emulators=platform, secrets=args.secrets), group.child)
    bigtable = Cbtemulator(
        "cbtemulator",
        CbtemulatorArgs(platform=args.services, disk=Disk(name="groups", size=volumes.groups)),
        group.child,
    )
    group.register_outputs({})
    access = Access(
        egress=localstack.access.egress,
        wait_for=localstack.access.wait_for,
        ready=localstack.access.ready,
        env={**CREDENTIALS, "AWS_ENDPOINT_OVERRIDE": localstack.url},
    )

    def bucket(role: str) -> Bucket:
        return Bucket(access=access, region=REGION, name=objects.BUCKETS[role], endpoint=localstack.url)

    return Backend(
        dynamodb=DynamoDb(
            access=access, region=REGION, tables={path: table.name for path, table in dynamodb.TABLES.items()}
        ),
        objects=ObjectStore(dynamic_config=bucket("dynamic-config"), pre_keys=bucket("pre-keys"), cdn0=cdn0.bucket),
        bigtable=bigtable.bigtable,
        platforms=(platform,),
        members=(*localstack.members, *cdn0.members, *bigtable.members),
        routes=cdn0.routes,
        attachments=Disk(name="attachments", size=volumes.attachments),
        redis_disk=Disk(name="data", size=volumes.redis),
        losses=(
            "avatars, group avatars and stickers (bucket whisper-service-cdn), when the pod cdn0-store restarts",
            "one-time post-quantum pre-keys (bucket whisper-service-pre-key-store), when the pod localstack restarts; "
            "clients upload new ones",
        ),
    )
