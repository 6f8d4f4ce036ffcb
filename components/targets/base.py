"""A target: providers, pod identities, durable stores and DNS of a stack, whether local or in a cloud."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random
import pulumi_tls as tls

from components.capabilities import (
    Archived,
    Bigtable,
    DynamoDb,
    Identities,
    NetworkPeer,
    NoIdentities,
    ObjectStore,
    PubSub,
    RedisCluster,
    Rooms,
    Route,
    Uploads,
    Volume,
)
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Scale
from components.redis import RedisArgs
from components.secrets import Secrets
from config.images import ImageName
from config.schema.secrets import Service
from config.settings import Settings
from config.types import quantity_bytes
from config.workloads import ScaledName

ProviderFactory = Callable[[str], pulumi.ProviderResource]
"""Makes a provider from its logical name."""


@dataclass(frozen=True, kw_only=True)
class StoresArgs:
    """`namespace` is where the services run."""

    namespace: WorkloadNamespace
    images: Mapping[ImageName, str]
    secrets: Secrets


@dataclass(frozen=True, kw_only=True)
class Stores:
    """The durable stores as capabilities, with the namespaces, pods and routes that belong to them.

    `rooms` is there with group calls alone, `archived` where the stores are in the cluster.
    """

    dynamodb: DynamoDb
    objects: ObjectStore
    bigtable: Bigtable
    redis: RedisCluster
    pubsub: PubSub
    uploads: Uploads
    rooms: Rooms | None
    archived: Archived | None
    namespaces: tuple[WorkloadNamespace, ...]
    network_peers: tuple[NetworkPeer, ...]
    routes: tuple[Route, ...]


class Target(ABC):
    """Where a stack is deployed. Call `prepare` before `stores`, and read the attributes after it."""

    identities: Identities = NoIdentities()
    issued: Mapping[str, pulumi.Output[str]] = {}
    """Secrets that the target makes, by name."""
    absent: frozenset[Service] = frozenset()
    """Readers of secrets that this target has in no pod."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def providers(
        self, given: Mapping[str, pulumi.ProviderResource] | None = None, prefix: str = ""
    ) -> pulumi.ResourceOptions:
        """Options with an explicit provider for each package, so that none depends on the machine's configuration.

        Providers in `given` (by package) are used as they are. The others are created, named `prefix` and their
        package.
        """
        given = dict(given or {})
        made = {
            package: factory(prefix + package)
            for package, factory in self.provider_factories().items()
            if package not in given
        }
        return pulumi.ResourceOptions(providers={**given, **made})

    def provider_factories(self) -> dict[str, ProviderFactory]:
        """The providers that the target needs, by package."""
        # An empty kubeconfig is the default one at run time; left out, the SDK writes $KUBECONFIG into the state.
        # Objects that `kubectl apply` made have owners of their fields; what the program declares is what counts.
        return {
            "kubernetes": lambda name: kubernetes.Provider(
                name,
                context=self.settings.target.context,
                kubeconfig="",
                enable_server_side_apply=True,
                enable_patch_force=True,
            ),
            "random": random.Provider,
            "tls": tls.Provider,
        }

    def prepare(self, opts: pulumi.ResourceOptions) -> None:  # noqa: B027 - most targets need nothing
        """Creates what must exist before anything is in the cluster."""

    @abstractmethod
    def stores(self, args: StoresArgs, opts: pulumi.ResourceOptions) -> Stores:
        """Creates the durable stores."""

    def publish(  # noqa: B027 - a target without a DNS zone publishes nothing
        self, hosts: tuple[str, ...], address: pulumi.Input[str], opts: pulumi.ResourceOptions
    ) -> None:
        """Creates DNS records for the public hosts, if the target has a zone for them."""

    def publish_address(  # noqa: B027 - as above
        self, host: str, address: str, opts: pulumi.ResourceOptions
    ) -> None:
        """Creates the DNS record of a host that is not behind Traefik, if the target has a zone for it."""

    def scale(self, name: ScaledName) -> Scale:
        """The number of pods of a service, from the settings."""
        scale = self.settings.scale(name)
        return Scale(scale.replicas, scale.max_replicas or 0, scale.cpu_percent)

    def redis_args(self, args: StoresArgs, volume: str, *, cpu: str, memory_share: int) -> RedisArgs:
        """Redis in the cluster. Each node has a volume of size `volume`, and requests a `memory_share`th of its limit.

        The request covers an empty node where memory is scarce, and the node's data where it is not.
        """
        memory = quantity_bytes(self.settings.redis.memory)
        return RedisArgs(
            namespace=args.namespace,
            secrets=args.secrets,
            volume=Volume(name="data", size=volume),
            masters=self.settings.redis.masters,
            replicas_per_master=self.settings.redis_replicas,
            memory_bytes=memory,
            cpu_request=cpu,
            memory_request_bytes=memory // memory_share,
        )
