"""Where an installation's data is: in emulators on a Kubernetes cluster, or in AWS and Google Cloud."""

from collections.abc import Callable, Collection
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from config.base_model import StrictModel
from config.schema import bigtable, dynamodb, objects, released
from config.types import (
    AwsAccount,
    AwsRegion,
    BigtableInstanceId,
    Cidr,
    Epoch,
    GcpProject,
    GcpZone,
    HostedZone,
    Issuer,
    KeyArn,
    NamePrefix,
    Quantity,
    SubnetId,
    VpcId,
)


class Volumes(StrictModel):
    """Sizes of the persistent volumes. A volume that exists grows only where its storage class allows it."""

    database: Quantity = "4Gi"
    """DynamoDB's tables (LocalStack)."""
    groups: Quantity = "2Gi"
    """Bigtable's tables (cbtemulator)."""
    objects: Quantity = "10Gi"
    """Pages of pre-keys, avatars and stickers (versitygw)."""
    redis: Quantity = "2Gi"
    """Each node of the Redis Cluster."""
    attachments: Quantity = "20Gi"
    """Uploads of CDN3."""


class Local(StrictModel):
    """A k3s (or any Kubernetes) with stores of its own: LocalStack, versitygw and cbtemulator."""

    kind: Literal["local"] = "local"
    """Deploys into a cluster of your own, with emulators."""
    context: Annotated[str, Field(min_length=1)] | None = None
    """The kubeconfig context that `up` may use. Without it `up` asks for `--context` or renders."""
    storage_class: Annotated[str, Field(min_length=1)] | None = None
    """Storage class of the volumes; the cluster's default without it."""
    volumes: Volumes = Volumes()


# --- AWS --------------------------------------------------------------------------------------------------


class PodIdentity(StrictModel):
    """Pods get their roles from EKS Pod Identity; the cluster has its agent (the add-on eks-pod-identity-agent)."""

    kind: Literal["pod-identity"]
    """EKS Pod Identity."""
    cluster: Annotated[str, Field(pattern=r"^[0-9A-Za-z][A-Za-z0-9_-]{0,99}$")]
    """Name of the EKS cluster."""


class WebIdentity(StrictModel):
    """Pods get their roles by their service account tokens (IRSA), on any cluster whose issuer AWS can read."""

    kind: Literal["web-identity"]
    """IAM roles for service accounts, through the cluster's OIDC issuer."""
    issuer: Issuer
    """The cluster's issuer; the account has an IAM OIDC provider for it with the audience sts.amazonaws.com."""


class AccessKeys(StrictModel):
    """A last resort, for clusters that AWS cannot trust: a user with an access key for each service."""

    kind: Literal["access-keys"]
    """Access keys of an IAM user for each service account."""
    epoch: Epoch = 1
    """Raise it by one to replace the keys; the ones before stay good until the next time."""


class ElastiCache(StrictModel):
    """Redis as a service, with TLS and a password."""

    kind: Literal["elasticache"]
    """Redis by ElastiCache."""
    node_type: Annotated[str, Field(pattern=r"^cache\.[a-z0-9]+\.[a-z0-9]+$")] = "cache.r7g.large"
    """Instance type of each node of the Redis Cluster."""
    shards: Annotated[int, Field(ge=1, le=250)] = 3
    """They share the 16384 slots. More and fewer are moved to while it runs."""
    replicas_per_shard: Annotated[int, Field(ge=0, le=5)] = 1
    """With 0 the loss of a node loses messages that Whisper has not yet moved to DynamoDB."""
    pubsub_node_type: Annotated[str, Field(pattern=r"^cache\.[a-z0-9]+\.[a-z0-9]+$")] = "cache.t4g.small"
    """Instance type of the Redis for publish/subscribe, which keeps no data."""
    snapshot_days: Annotated[int, Field(ge=0, le=35)] = 7
    """Days for which daily snapshots are kept."""
    vpc: VpcId
    """The VPC of the caches."""
    subnets: Annotated[list[SubnetId], Field(min_length=1)]
    """Subnets of the VPC, in different zones."""


class InClusterRedis(StrictModel):
    """The Redis of the local target, on the cluster's own volumes (`redis` has its sizes)."""

    kind: Literal["in-cluster"]
    """Redis in the cluster."""
    volume: Quantity = "20Gi"
    """Size of each node's volume."""


class Route53(StrictModel):
    """Names in a hosted zone for the four public hosts, pointing to the load balancer."""

    zone: HostedZone
    """Id of the hosted zone that has the domain."""
    type: Literal["CNAME", "A"] = "CNAME"
    """CNAME for a load balancer that has a name (AWS), A for one that has an address (Google Cloud, k3s)."""


def _names_of(known: Callable[[], Collection[str]], remedy: str) -> AfterValidator:
    """Names of tables that the schema has when the settings are read, or that a release had."""

    def check(value: Names) -> Names:
        for name in value:
            if name not in known():
                raise ValueError(f"{name} is no table of the schema; write {remedy}")
        return value

    return AfterValidator(check)


Names = TypeVar("Names", dict[str, str], list[str])


def _dynamodb() -> set[str]:
    return {table.name for table in dynamodb.tables(group_calls=True).values()} | set(released.DYNAMODB)


def _bigtable() -> set[str]:
    return {table.name for table in bigtable.TABLES.values()} | set(released.BIGTABLE)


_DYNAMODB_NAMES = _names_of(_dynamodb, "names from docs/configuration.md")
_BIGTABLE_NAMES = _names_of(_bigtable, f"one of {', '.join(sorted(_bigtable()))}")


class AdoptAws(StrictModel):
    """Existing resources that the stack imports as they are."""

    tables: Annotated[dict[str, Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$")]], _DYNAMODB_NAMES] = {}
    """The schema's name of a table → the name of the one that exists."""
    buckets: dict[objects.BucketRole, str] = {}
    """Role of a bucket → the name of the one that exists."""


class Aws(StrictModel):
    """The account that holds accounts, keys, messages, attachments and avatars."""

    region: AwsRegion
    """The region of all resources."""
    account: AwsAccount
    """The account. With credentials of another one nothing is done."""
    name_prefix: NamePrefix = "flatline"
    """Begins the name of everything in the account; two installations differ in it."""
    tags: dict[str, str] = {}
    """Besides project and stack, which everything has."""
    removal_protection: bool = True
    """AWS and Pulumi refuse to delete what holds data."""
    kms_key: KeyArn | None = None
    """A key of your own for tables, private buckets and caches; one is made without it."""
    networks: Annotated[list[Cidr], Field(min_length=1)]
    """Where pods reach DynamoDB, S3, STS and the caches: the VPC with interface endpoints for the three."""
    identity: Annotated[PodIdentity | WebIdentity | AccessKeys, Field(discriminator="kind")]
    """How pods authenticate to AWS."""
    redis: Annotated[ElastiCache | InClusterRedis, Field(discriminator="kind")]
    """The Redis for Whisper's caches and queues."""
    dns: Route53 | None = None
    """Names of the public hosts; without it you make them."""
    adopt: AdoptAws = AdoptAws()
    """Existing tables and buckets to import."""
    replace_tables: Annotated[list[str], _DYNAMODB_NAMES] = []
    """Tables, by the schema's name, that may be deleted or replaced with all that is in them."""

    @model_validator(mode="after")
    def _key_is_here(self) -> Self:
        if self.kms_key is not None and self.kms_key.split(":")[3:5] != [self.region, self.account]:
            raise ValueError(f"kmsKey: is not in region {self.region} of account {self.account}; write one that is")
        return self

    @model_validator(mode="after")
    def _tags_are_free(self) -> Self:
        for name in sorted({"project", "stack"} & set(self.tags)):
            raise ValueError(f"tags.{name}: is given by the stack; remove it")
        return self

    @property
    def partition(self) -> str:
        """The first part of ARNs: most regions are in `aws`, those of the US government are not."""
        return "aws-us-gov" if self.region.startswith("us-gov-") else "aws"

    def table_name(self, table: dynamodb.Table) -> str:
        """The name of a table in the account."""
        return self.adopt.tables.get(table.name, f"{self.name_prefix}-{table.name}")


# --- Google Cloud -----------------------------------------------------------------------------------------


class WorkloadIdentity(StrictModel):
    """Storage's pods on a GKE cluster with Workload Identity."""

    kind: Literal["workload-identity"]
    """Workload Identity Federation for GKE."""
    pool: Annotated[str, Field(pattern=r"^[a-z0-9-]+\.svc\.id\.goog$")]
    """The cluster's pool, `<project>.svc.id.goog`."""


class Federation(StrictModel):
    """Storage's pods on any cluster that a workload identity pool trusts."""

    kind: Literal["federation"]
    """Workload identity federation with the cluster's OIDC issuer."""
    provider: Annotated[
        str,
        Field(
            pattern=r"^projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}/providers/[a-z0-9-]{4,32}$"
        ),
    ]
    """`projects/<number>/locations/global/workloadIdentityPools/<pool>/providers/<provider>`, whose issuer is the
    cluster's and whose mapping is `google.subject=assertion.sub`."""


class ServiceAccountKey(StrictModel):
    """A last resort: a key of a service account, in a Secret."""

    kind: Literal["service-account-key"]
    """A key of a Google service account for each service account of the cluster."""
    epoch: Epoch = 1
    """Raise it by one to replace the key; the one before stays good until the next time."""


class Autoscaling(StrictModel):
    """Number of nodes by CPU load."""

    min_nodes: Annotated[int, Field(ge=1, le=1000)]
    """Minimum number of nodes."""
    max_nodes: Annotated[int, Field(ge=1, le=1000)]
    """Maximum number of nodes, at most ten times the minimum (a limit of Bigtable)."""
    cpu_percent: Annotated[int, Field(ge=10, le=80)] = 60
    """Target CPU load."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min_nodes <= self.max_nodes <= 10 * self.min_nodes:
            raise ValueError(
                f"maxNodes: is {self.max_nodes}; write {self.min_nodes} (minNodes) to {10 * self.min_nodes}"
            )
        return self


class BigtableCluster(StrictModel):
    """A cluster of the instance, in a zone of its own. Several replicate to each other."""

    zone: GcpZone
    """Where its nodes are. It never changes: add a cluster, then remove the old one."""
    nodes: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of nodes, without `autoscaling`."""
    autoscaling: Autoscaling | None = None
    """Number of nodes by load, in place of `nodes`."""


class Gcp(StrictModel):
    """The project that holds groups (Bigtable)."""

    project: GcpProject
    """Id of the project."""
    instance: BigtableInstanceId = "flatline-storage"
    """Id of the Bigtable instance."""
    clusters: Annotated[list[BigtableCluster], Field(min_length=1, max_length=8)]
    """Clusters of the instance."""
    backup_days: Annotated[int, Field(ge=3, le=90)] = 7
    """Each table is backed up daily, and its backups are kept so long."""
    identity: Annotated[WorkloadIdentity | Federation | ServiceAccountKey, Field(discriminator="kind")]
    """How Storage's pods authenticate to Google Cloud."""
    networks: Annotated[list[Cidr], Field(min_length=1)] = ["199.36.153.8/30"]
    """Where pods reach Google's APIs; the addresses of private.googleapis.com without it."""
    adopt: bool = False
    """The instance and its tables exist already and are taken into the stack as they are."""
    replace_tables: Annotated[list[str], _BIGTABLE_NAMES] = []
    """Tables that may be deleted or replaced with all that is in them."""

    @model_validator(mode="after")
    def _zones_differ(self) -> Self:
        zones = [cluster.zone for cluster in self.clusters]
        for zone in zones:
            if zones.count(zone) > 1:
                raise ValueError(f"clusters: {zone} has two; write a zone for each")
        return self


def kind_of_target(value: object) -> str:
    """The kind of target of a block of settings; `local` is the default."""
    kind = value.get("kind", "local") if isinstance(value, dict) else getattr(value, "kind", "local")
    return str(kind)


class Cloud(StrictModel):
    """AWS and Google Cloud, and a Kubernetes cluster that you have (EKS, GKE, k3s on several nodes)."""

    kind: Literal["cloud"]
    """Deploys with real resources of AWS and Google Cloud."""
    context: Annotated[str, Field(min_length=1)] | None = None
    """The kubeconfig context that `up` may use. Without it `up` asks for `--context`."""
    storage_class: Annotated[str, Field(min_length=1)] | None = None
    """Storage class of the volumes of an in-cluster Redis; the cluster's default without it."""
    aws: Aws
    gcp: Gcp
