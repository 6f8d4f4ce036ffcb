"""Values by which components offer something to each other, the same for an emulator and for a cloud.

The accesses that a consumer takes are its edges. Environment, waits at start-up, network policies, cloud identities
and the architecture picture all follow from them. "Nothing" is an empty value, never None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from typing import Protocol as Interface

import pulumi

from components.kubernetes.mounted_files import MountedFiles
from config.schema.hosts import Host, host_name

Protocol = Literal["TCP", "UDP"]


class Network(NamedTuple):
    """A network without pods (CIDR), and ports or ranges of them. `excluded` are networks within it."""

    cidr: str
    ports: tuple[int | range, ...]
    protocol: Protocol = "TCP"
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pods:
    """Pods by namespace and labels."""

    namespace: str
    labels: tuple[tuple[str, str], ...]

    @staticmethod
    def of(namespace: str, labels: Mapping[str, str]) -> "Pods":
        """Pods with all of `labels`."""
        return Pods(namespace, tuple(sorted(labels.items())))


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A port of a Kubernetes Service; the pods listen on the same number."""

    service: str
    pods: Pods
    port: int
    protocol: Protocol = "TCP"

    @property
    def host(self) -> str:
        """The Service's name for any namespace, without the cluster's domain (the resolver's search list adds it)."""
        return f"{self.service}.{self.pods.namespace}.svc"

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Something that must answer before a pod starts; `scheme` as in programs/wait.mjs."""

    scheme: Literal["tcp", "redis", "redis-cluster"]
    endpoint: Endpoint
    password_file: MountedFiles | None = None
    """The password of a Redis, for the wait program."""

    @property
    def target(self) -> str:
        """The argument of the wait program."""
        return f"{self.scheme}://{self.endpoint.address}"


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Permission for API actions on resources, in the words of AWS IAM; `condition` is a statement's."""

    actions: tuple[str, ...]
    resources: tuple[pulumi.Input[str], ...]
    condition: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class InstanceRole:
    """A role of Google Cloud on a Bigtable instance."""

    role: str
    project: str
    instance: pulumi.Input[str]


@dataclass(frozen=True)
class Token:
    """A service account token that is projected into containers: for whom, and at which path."""

    audience: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Credentials by which the pods of a service account authenticate to clouds."""

    annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    env: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    tokens: tuple[Token, ...] = ()
    files: tuple[MountedFiles, ...] = ()
    external_egress: tuple[Network, ...] = ()
    depends_on: tuple[pulumi.Resource, ...] = ()
    """Resources that must exist before the pods."""


class Identities(Interface):
    """Creates the identities of service accounts."""

    def of(self, account: str, namespace: pulumi.Input[str], access: "tuple[Access, ...]") -> Identity:
        """The identity of a service account whose pods use all of `access`."""


class NoIdentities:
    """No identity, for a target that checks none."""

    def of(self, account: str, namespace: pulumi.Input[str], access: "tuple[Access, ...]") -> Identity:
        """Nothing."""
        return Identity()


@dataclass(frozen=True, kw_only=True)
class Access:
    """The network, environment, permissions and files that a consumer needs to use a capability."""

    egress: tuple[Endpoint, ...] = ()
    wait_for: tuple[Wait, ...] = ()
    env: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    roles: tuple[InstanceRole, ...] = ()
    external_egress: tuple[Network, ...] = ()
    files: tuple[MountedFiles, ...] = ()
    """Credentials of the consumer, mounted into the first container of its pods."""
    depends_on: tuple[pulumi.Resource, ...] = ()
    """Resources that the consumer depends on. Without them, an engine that works on few resources at once could wait
    for the consumer, which waits for a resource that the engine has not begun."""


@dataclass(frozen=True, kw_only=True)
class DynamoDb:
    """Tables by their path below `dynamoDbTables`, in a region."""

    access: Access
    region: str
    tables: Mapping[str, pulumi.Input[str]]


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """The table of group calls and call links; `endpoint` is empty where the SDK finds it by itself."""

    access: Access
    region: str
    table: pulumi.Input[str]
    endpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """An S3 bucket; `endpoint` is empty where the SDK finds it by itself. Listing it is an access of its own."""

    access: Access
    region: str
    name: pulumi.Input[str]
    endpoint: str = ""
    listing: Access = Access()


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """The three buckets of Whisper and Storage."""

    dynamic_config: Bucket
    pre_keys: Bucket
    cdn0: Bucket


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A persistent volume claim of a workload: `name` is its identity."""

    name: str
    size: str


@dataclass(frozen=True, kw_only=True)
class VolumeMount:
    """Where a container sees a volume of its workload."""

    volume: str
    path: str
    read_only: bool = False
    sub_path: str = ""


@dataclass(frozen=True, kw_only=True)
class UploadsOnVolume:
    """CDN3's uploads on a volume, which one pod at a time mounts. At least `min_free_bytes` of it stay free."""

    volume: Volume
    min_free_bytes: int


@dataclass(frozen=True, kw_only=True)
class UploadsInBucket:
    """CDN3's uploads in an S3 bucket below `prefix`, which deletes old ones by itself.

    `access` is to write and to read, `reading` to read alone.
    """

    bucket: pulumi.Input[str]
    region: str
    prefix: str
    access: Access
    reading: Access


Uploads = UploadsOnVolume | UploadsInBucket


@dataclass(frozen=True, kw_only=True)
class Bigtable:
    """A Bigtable instance; tables by their key below `bigtable` in Storage's YAML."""

    access: Access
    project: pulumi.Input[str]
    instance: pulumi.Input[str]
    tables: Mapping[str, pulumi.Input[str]]


@dataclass(frozen=True, kw_only=True)
class RedisCluster:
    """A Redis Cluster; `uri` (`redis://:password@host:port/`) is secret."""

    access: Access
    uri: pulumi.Output[str]


@dataclass(frozen=True, kw_only=True)
class PubSub:
    """A stand-alone Redis with keyspace notifications; `uri` is secret."""

    access: Access
    uri: pulumi.Output[str]


@dataclass(frozen=True, kw_only=True)
class Archived:
    """The stores of a stack in its cluster, for the program that archives them (programs/backup/archive.mjs).

    `plan` is their part of its plan, in which stores name the files of their key pairs; `keys` are these, by name.
    """

    egress: tuple[Endpoint, ...]
    plan: Mapping[str, Any]
    keys: Mapping[str, pulumi.Input[str]]


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """A StatsD receiver (UDP)."""

    access: Access
    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A registration service: plain-text gRPC."""

    access: Access
    host: str
    port: int


@dataclass(frozen=True)
class TurnServer:
    """A TURN server; `tls_port` is 0 where it has none. With `address` pods need no DNS for its name."""

    host: str
    port: int
    tls_port: int = 0
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class ServedCertificate:
    """A chain (leaf first), its private key and the authority that clients pin, as PEM texts."""

    chain: pulumi.Input[str]
    private_key: pulumi.Input[str]
    authority: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class Tls:
    """The wildcard certificate: a `kubernetes.io/tls` Secret, and the PEM that clients pin."""

    secret_name: pulumi.Output[str]
    authority: pulumi.Output[str]


@dataclass(frozen=True, kw_only=True)
class Route:
    """A public route: requests for `<host>.<domain>` that match go to an endpoint.

    `match` narrows the host rule in Traefik's rule language; `prefix` is put before the path; with `no_query` a
    request with a query string is redirected to itself without. `web_sockets` are connections that a client keeps open
    for as long as it is online, so a client address may have more of them than of requests. `one_pod` says that the
    endpoint has one pod, and none while that is replaced: a request then waits for the next one.
    """

    name: str
    host: Host
    endpoint: Endpoint
    match: str = ""
    prefix: pulumi.Input[str] | None = None
    no_query: bool = False
    web_sockets: bool = False
    one_pod: bool = False

    def host_name(self, domain: str) -> str:
        """The full name of the host."""
        return host_name(self.host, domain)


@dataclass(frozen=True, kw_only=True)
class NetworkPeer:
    """A set of pods and all destinations that it may connect to. `external_ingress` may connect to it."""

    name: str
    pods: Pods
    egress: tuple[Endpoint, ...] = ()
    external_egress: tuple[Network, ...] = ()
    external_ingress: tuple[Network, ...] = ()
