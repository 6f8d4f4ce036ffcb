"""What components offer to each other: values only, the same for an emulator and for the real thing.

A consumer declares its edges by the accesses it takes. Environment, waits at start-up, network policies, cloud
identities and the architecture picture are all made from them. "Nothing" is an empty value, never None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple
from typing import Protocol as Interface

import pulumi

if TYPE_CHECKING:
    from components.kubernetes.mounted_files import MountedFiles
    from components.kubernetes.pod import Volume, VolumeMount

Protocol = Literal["TCP", "UDP"]


class Network(NamedTuple):
    """A network that is no pods' (CIDR), and its ports."""

    cidr: str
    ports: tuple[int, ...]
    protocol: Protocol = "TCP"


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
    """How pods of a service account prove to clouds who they are."""

    annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    env: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    tokens: tuple[Token, ...] = ()
    files: "tuple[MountedFiles, ...]" = ()
    external_egress: tuple[Network, ...] = ()
    depends_on: tuple[pulumi.Resource, ...] = ()
    """What must exist before the pods do."""


class Identities(Interface):
    """Gives a service account what its pods were granted."""

    def of(self, account: str, namespace: pulumi.Input[str], access: "tuple[Access, ...]") -> Identity:
        """The identity of a service account whose pods use all of `access`."""


class NoIdentities:
    """Where nobody asks who a pod is."""

    def of(self, account: str, namespace: pulumi.Input[str], access: "tuple[Access, ...]") -> Identity:
        """Nothing."""
        return Identity()


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a consumer needs to use a capability."""

    egress: tuple[Endpoint, ...] = ()
    wait_for: tuple[Wait, ...] = ()
    env: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    roles: tuple[InstanceRole, ...] = ()
    external_egress: tuple[Network, ...] = ()
    files: "tuple[MountedFiles, ...]" = ()
    """What the user reads to prove who it is; mounted into the first container of its pods."""
    password_file: "MountedFiles | None" = None
    """Where the wait program finds the password of what it waits for."""
    depends_on: tuple[pulumi.Resource, ...] = ()
    """What is waited for, as resources: an engine with few slots must not await the user before the used."""


@dataclass(frozen=True, kw_only=True)
class DynamoDb:
    """Tables by their path below `dynamoDbTables`, in a region."""

    access: Access
    region: str
    tables: Mapping[str, pulumi.Input[str]]


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
class Uploads:
    """Where tusd keeps uploads: the arguments that tell tusd, those that tell our own programs, those for the hook.

    A `remote` store is reached over the network: downloads have pods of their own (`reading`), the store deletes what
    is old by itself, and knows an upload by an id of its own, not by its key. `empty_dirs` is what tusd writes besides.
    `locks` is the folder where tusd keeps lock files, if it does.
    """

    access: Access
    tusd: tuple[pulumi.Input[str], ...]
    programs: tuple[pulumi.Input[str], ...]
    hook: tuple[str, ...] = ()
    reading: Access
    volumes: "tuple[Volume, ...]" = ()
    mounts: "tuple[VolumeMount, ...]" = ()
    empty_dirs: Mapping[str, str] = field(default_factory=dict)
    remote: bool = False
    locks: str | None = None


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
    host: str
    endpoint: Endpoint
    match: str = ""
    prefix: pulumi.Input[str] | None = None
    no_query: bool = False
    web_sockets: bool = False
    one_pod: bool = False


@dataclass(frozen=True, kw_only=True)
class NetworkPeer:
    """A set of pods and everything that it may open connections to."""

    name: str
    pods: Pods
    egress: tuple[Endpoint, ...] = ()
    external_egress: tuple[Network, ...] = ()
