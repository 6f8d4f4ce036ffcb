"""The cloud target: real resources of AWS and Google Cloud."""

from typing import assert_never

import pulumi

from components.capabilities import NetworkPeer, PubSub, RedisCluster
from components.cdn0_gate import AmazonS3, GateArgs
from components.cloud import schema_compatibility
from components.cloud.cdn0 import Cdn0OnS3
from components.cloud.dns import DnsRecords, DnsRecordsArgs
from components.cloud.providers import providers
from components.cloud.resources import CloudResources, CloudResourcesArgs
from components.redis import Redis
from components.targets.base import ProviderFactory, Stores, StoresArgs, Target
from config.schema import bigtable, dynamodb, objects, released
from config.schema.secrets import Service
from config.settings import Settings
from config.target import Cloud, ElastiCache, InClusterRedis


class CloudTarget(Target):
    """One account of AWS and one project of Google Cloud."""

    absent: frozenset[Service] = frozenset({"object-store"})
    _resources: CloudResources

    def __init__(self, settings: Settings, target: Cloud) -> None:
        super().__init__(settings)
        self._target = target

    def provider_factories(self) -> dict[str, ProviderFactory]:
        """Those of every target, and the clouds'."""
        return super().provider_factories() | providers(self._target)

    def prepare(self, opts: pulumi.ResourceOptions) -> None:
        """Creates the clouds' resources. Raises `components.cloud.schema_compatibility.IncompatibleSchemaError`."""
        settings, aws, gcp = self.settings, self._target.aws, self._target.gcp
        tables = dynamodb.tables(group_calls=True)
        schema_compatibility.check_dynamodb(tables.values(), released.DYNAMODB, aws.replace_tables)
        schema_compatibility.check_bigtable(bigtable.TABLES.values(), released.BIGTABLE, gcp.replace_tables)
        self._resources = CloudResources(
            "accounts",
            CloudResourcesArgs(
                target=self._target,
                dynamic_config=settings.whisper.dynamic_config.text(),
                upload_days=settings.cdn.retention_days,
                unfinished_upload_days=-(-settings.cdn.incomplete_retention_hours // 24),
                group_calls=settings.calls.groups is not None,
                upload_keys={signer: settings.secret(f"cdn0-{signer}-secret-key").epochs for signer in objects.SIGNERS},
            ),
            opts,
        )
        self.identities = self._resources.identities
        self.issued = self._resources.issued

    def stores(self, args: StoresArgs, opts: pulumi.ResourceOptions) -> Stores:
        """The stores in the clouds, with CDN0's gate and, where it is chosen, Redis in the cluster."""
        resources = self._resources
        cdn0 = Cdn0OnS3(
            "cdn0",
            GateArgs(
                namespace=args.namespace,
                secrets=args.secrets,
                store=AmazonS3(resources.public_reads),
                scale=self.scale("cdn0"),
            ),
            opts,
        )
        redis, pubsub, network_peers = self._redis(args, opts)
        return Stores(
            dynamodb=resources.dynamodb,
            objects=resources.objects,
            bigtable=resources.bigtable,
            redis=redis,
            pubsub=pubsub,
            uploads=resources.uploads,
            rooms=resources.rooms,
            archived=None,
            namespaces=(),
            network_peers=(*network_peers, *cdn0.network_peers),
            routes=cdn0.routes,
        )

    def publish(self, hosts: tuple[str, ...], address: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
        """Creates the records in the hosted zone of Route 53, if the settings name one."""
        dns = self._target.aws.dns
        if dns is not None:
            DnsRecords("names", DnsRecordsArgs(zone=dns.zone, kind=dns.type, hosts=hosts, address=address), opts)

    def publish_address(self, host: str, address: str, opts: pulumi.ResourceOptions) -> None:
        """Creates an A record in the hosted zone of Route 53, if the settings name one."""
        dns = self._target.aws.dns
        if dns is not None:
            label = host.partition(".")[0]
            args = DnsRecordsArgs(zone=dns.zone, kind="A", hosts=(host,), address=address)
            DnsRecords(f"{label}-name", args, opts)

    def _redis(
        self, args: StoresArgs, opts: pulumi.ResourceOptions
    ) -> tuple[RedisCluster, PubSub, tuple[NetworkPeer, ...]]:
        match self._target.aws.redis:
            case InClusterRedis(volume=volume):
                redis = Redis("redis", self.redis_args(args, volume, cpu="100m", memory_share=2), opts)
                return redis.cluster, redis.pubsub, redis.network_peers
            case ElastiCache() as settings:
                caches = self._resources.elasticache(settings, args.secrets.of("redis")["password"], opts)
                return caches.cluster, caches.pubsub, ()
            case other:
                assert_never(other)
