"""Redis as a service: ElastiCache (Valkey) for the cluster of caches and queues, and for publish/subscribe."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi_aws.elasticache import ParameterGroupParameterArgs

from components.base import Component
from components.capabilities import Access, Network, PubSub, RedisCluster
from components.cloud.durability import Durability
from components.cloud.kms import KmsKey

PORT = 6379
ENGINE, VERSION, FAMILY = "valkey", "8.0", "valkey8"


@dataclass(frozen=True, kw_only=True)
class ElastiCacheRedisArgs:
    """`password` has letters and digits only. `networks` are where pods connect from."""

    prefix: str
    password: pulumi.Input[str]
    node_type: str
    shards: int
    replicas_per_shard: int
    pubsub_node_type: str
    snapshot_days: int
    vpc: str
    subnets: tuple[str, ...]
    networks: tuple[str, ...]
    encryption: KmsKey
    durability: Durability


class ElastiCacheRedis(Component):
    """TLS and a password on both; certificates are Amazon's, which Java trusts by itself."""

    TYPE = "flatline:cloud:ElastiCaches"

    def __init__(self, name: str, args: ElastiCacheRedisArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        self._subnets = aws.elasticache.SubnetGroup(
            name, name=f"{args.prefix}-redis", subnet_ids=list(args.subnets), opts=self.child_opts
        )
        self._firewall = self._security_group(name)
        cluster = self._cluster()
        pubsub = self._pubsub()
        networks = tuple(Network(network, (PORT,)) for network in args.networks)
        self.cluster = RedisCluster(
            access=Access(external_egress=networks, depends_on=(cluster,)),
            uri=self._uri(cluster.configuration_endpoint_address),
        )
        self.pubsub = PubSub(
            access=Access(external_egress=networks, depends_on=(pubsub,)),
            uri=self._uri(pubsub.primary_endpoint_address),
        )
        self.register_outputs(
            {"cluster": cluster.configuration_endpoint_address, "pubsub": pubsub.primary_endpoint_address}
        )

    def _security_group(self, name: str) -> aws.ec2.SecurityGroup:
        args = self._args
        group = aws.ec2.SecurityGroup(
            name, name=f"{args.prefix}-redis", description="Redis from pods", vpc_id=args.vpc, opts=self.child_opts
        )
        for network in args.networks:
            aws.vpc.SecurityGroupIngressRule(
                f"{name}-{network}",
                security_group_id=group.id,
                ip_protocol="tcp",
                from_port=PORT,
                to_port=PORT,
                cidr_ipv6=network if ":" in network else None,
                cidr_ipv4=None if ":" in network else network,
                opts=self.child_opts,
            )
        return group

    def _parameters(self, name: str, values: dict[str, str]) -> aws.elasticache.ParameterGroup:
        return aws.elasticache.ParameterGroup(
            name,
            name=f"{self._args.prefix}-{name}",
            family=FAMILY,
            parameters=[ParameterGroupParameterArgs(name=key, value=value) for key, value in sorted(values.items())],
            opts=self.child_opts,
        )

    def _cluster(self) -> aws.elasticache.ReplicationGroup:
        """Holds messages until the persister moves them, so it counts as data."""
        args = self._args
        # a full cache must refuse a message instead of dropping another one
        parameters = self._parameters(self._name, {"cluster-enabled": "yes", "maxmemory-policy": "noeviction"})
        group = self._group("redis", f"Caches and message queues of {args.prefix}", args.node_type, parameters)
        group.num_node_groups = args.shards
        group.replicas_per_node_group = args.replicas_per_shard
        group.cluster_mode = "enabled"
        group.multi_az_enabled = args.replicas_per_shard > 0
        group.snapshot_retention_limit = args.snapshot_days
        return aws.elasticache.ReplicationGroup(self._name, group, opts=args.durability.options(self))

    def _pubsub(self) -> aws.elasticache.ReplicationGroup:
        """Tells who is connected where. It holds nothing that matters after a restart."""
        args = self._args
        name = f"{self._name}-pubsub"
        parameters = self._parameters(name, {"maxmemory-policy": "volatile-ttl", "notify-keyspace-events": "K$"})
        group = self._group("pubsub", f"Publish/subscribe of {args.prefix}", args.pubsub_node_type, parameters)
        group.num_cache_clusters = 2
        group.multi_az_enabled = True
        return aws.elasticache.ReplicationGroup(name, group, opts=self.child_opts)

    def _group(
        self, suffix: str, description: str, node_type: str, parameters: aws.elasticache.ParameterGroup
    ) -> aws.elasticache.ReplicationGroupArgs:
        """Arguments that both have in common: the engine, the network and encryption."""
        args = self._args
        return aws.elasticache.ReplicationGroupArgs(
            replication_group_id=f"{args.prefix}-{suffix}",
            description=description,
            engine=ENGINE,
            engine_version=VERSION,
            node_type=node_type,
            automatic_failover_enabled=True,
            parameter_group_name=parameters.name,
            port=PORT,
            subnet_group_name=self._subnets.name,
            security_group_ids=[self._firewall.id],
            at_rest_encryption_enabled=True,
            kms_key_id=args.encryption.arn,
            transit_encryption_enabled=True,
            transit_encryption_mode="required",
            auth_token=args.password,
            auth_token_update_strategy="ROTATE",
            auto_minor_version_upgrade=True,
        )

    def _uri(self, host: pulumi.Output[str]) -> pulumi.Output[str]:
        return pulumi.Output.concat("rediss://:", pulumi.Output.secret(self._args.password), "@", host, f":{PORT}/")
