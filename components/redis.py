"""Redis in the cluster: the Redis Cluster of caches and queues, and the stand-alone one for publish/subscribe."""

from dataclasses import dataclass
from typing import Literal

import pulumi

from components.base import Component
from components.capabilities import Access, Endpoint, PubSub, RedisCluster, Volume, VolumeMount, Wait
from components.kubernetes.mounted_files import MountedFiles, program_files, secret_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import (
    Container,
    Port,
    ProbeAction,
    Probes,
    Resources,
    Scale,
    pods,
)
from components.kubernetes.workload import Workload, WorkloadArgs
from components.programs import (
    REDIS_CLUSTER_CONF,
    REDIS_MEMBERSHIP,
    REDIS_PROBE,
    REDIS_PUBSUB_CONF,
    REDIS_START,
    REDIS_STOP,
    Program,
)
from components.secrets import Secrets
from config.workloads import FEWEST_MASTERS

PORT, BUS_PORT = 6379, 16379
MEMBERSHIP_PORT = 8080
BUS = Port(name="bus", number=BUS_PORT, published=False)
COMPONENT = "redis"
PASSWORD_FILE = "/etc/flatline/redis-password"
DATA = "/data"
STOP_SECONDS, STOP_PATIENCE_SECONDS = 240, 20


@dataclass(frozen=True, kw_only=True)
class RedisArgs:
    """`memory_bytes` is the memory limit of a node; `volume` is its own."""

    namespace: WorkloadNamespace
    secrets: Secrets
    volume: Volume
    masters: int
    replicas_per_master: int
    memory_bytes: int
    cpu_request: str
    memory_request_bytes: int


class Redis(Component):
    """Both installations share a password, and nothing else.

    Redis Cluster knows its nodes by address, which a restart changes, so each node mends its own list before it
    starts and a membership process introduces nodes to each other, hands out slots and moves them when the cluster
    grows or shrinks. The nodes wait for that process to agree before they become fewer.
    """

    TYPE = "flatline:redis:Redis"

    def __init__(self, name: str, args: RedisArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        self._password = args.secrets.of("redis")["password"]
        self._password_file = secret_files(
            f"{name}-password", args.namespace.metadata_name, {PASSWORD_FILE: self._password}, self.child_opts
        )
        membership = self._membership(f"{name}-membership")
        nodes = self._nodes(membership)
        pubsub = self._pubsub(f"{name}-pubsub")
        self.network_peers = (nodes.network_peer, membership.network_peer, pubsub.network_peer)
        self.cluster = RedisCluster(access=self._access(nodes, "redis-cluster"), uri=self._uri(nodes))
        self.pubsub = PubSub(access=self._access(pubsub, "redis"), uri=self._uri(pubsub))
        self.register_outputs({"cluster": nodes.endpoint("redis").address, "pubsub": pubsub.endpoint("redis").address})

    @property
    def _headless_service(self) -> str:
        """The headless Service that also lists pods that are not ready."""
        return f"{self._name}-nodes"

    @property
    def _peer_domain(self) -> str:
        """A peer's host name is <pod>.<this>."""
        return f"{self._headless_service}.{self._args.namespace.name}.svc"

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "REDIS_PORT": str(PORT),
            "REDIS_PASSWORD_FILE": PASSWORD_FILE,
            "REDIS_PEER_DOMAIN": self._peer_domain,
        }

    def _files(self, name: str, *programs: Program) -> MountedFiles:
        return program_files(f"{name}-programs", self._args.namespace.metadata_name, *programs, opts=self.child_opts)

    def _nodes(self, membership: Workload) -> Workload:
        args = self._args
        programs = self._files(self._name, REDIS_START, REDIS_STOP, REDIS_PROBE, REDIS_CLUSTER_CONF)
        volume = VolumeMount(volume=args.volume.name, path=DATA)
        return Workload(
            self._name,
            WorkloadArgs(
                kind="stateful",
                headless_service=self._headless_service,
                namespace=args.namespace,
                name=self._name,
                component=COMPONENT,
                scale=Scale(args.masters * (1 + args.replicas_per_master)),
                termination_grace_seconds=STOP_SECONDS + 60,
                volumes=(args.volume,),
                # fewer nodes only after the membership process has taken the slots away from the surplus ones
                access=(Access(egress=self._node_ports, depends_on=(membership,)),),
                containers=(self._server(self._name, "cluster", REDIS_CLUSTER_CONF, programs, (volume,)),),
            ),
            self.child_opts,
        )

    def _pubsub(self, name: str) -> Workload:
        programs = self._files(name, REDIS_START, REDIS_PROBE, REDIS_PUBSUB_CONF)
        return Workload(
            name,
            WorkloadArgs(
                kind="recreate",
                namespace=self._args.namespace,
                name=name,
                component=COMPONENT,
                containers=(self._server(name, "standalone", REDIS_PUBSUB_CONF, programs, ()),),
            ),
            self.child_opts,
        )

    def _membership(self, name: str) -> Workload:
        args = self._args
        programs = self._files(name, REDIS_MEMBERSHIP)
        ready, alive = ProbeAction(port="http", path="/readyz"), ProbeAction(port="http", path="/livez")
        return Workload(
            name,
            WorkloadArgs(
                kind="recreate",
                namespace=args.namespace,
                name=name,
                component=COMPONENT,
                access=(Access(egress=self._node_ports[:1]),),
                containers=(
                    Container(
                        name="membership",
                        image="node",
                        command=("node", REDIS_MEMBERSHIP.path),
                        args=(
                            f"--listen=:{MEMBERSHIP_PORT}",
                            f"--stateful-set={self._name}",
                            f"--peer-domain={self._peer_domain}",
                            f"--redis-port={PORT}",
                            f"--masters={args.masters}",
                            f"--replicas-per-master={args.replicas_per_master}",
                            f"--redis-password-file={PASSWORD_FILE}",
                        ),
                        ports=(Port(name="http", number=MEMBERSHIP_PORT, published=False),),
                        files=(programs, self._password_file),
                        probes=Probes(startup=alive, readiness=ready, liveness=alive),
                        resources=Resources(cpu="10m", memory="112Mi", memory_limit="192Mi"),
                    ),
                ),
            ),
            self.child_opts,
        )

    @property
    def _node_ports(self) -> tuple[Endpoint, Endpoint]:
        """The nodes' ports: of clients, and of the bus."""
        nodes = pods(self._args.namespace, self._name, COMPONENT)
        return (
            Endpoint(service=self._headless_service, pods=nodes, port=PORT),
            Endpoint(service=self._headless_service, pods=nodes, port=BUS_PORT),
        )

    def _access(self, workload: Workload, scheme: Literal["redis", "redis-cluster"]) -> Access:
        endpoint = workload.endpoint("redis")
        return Access(
            egress=(endpoint,),
            wait_for=(Wait(scheme=scheme, endpoint=endpoint, password_file=self._password_file),),
            depends_on=(workload,),
        )

    def _uri(self, workload: Workload) -> pulumi.Output[str]:
        address = workload.endpoint("redis").address
        return self._password.apply(lambda password: f"redis://:{password}@{address}/")

    def _server(
        self, name: str, mode: str, conf: Program, files: MountedFiles, volume_mounts: tuple[VolumeMount, ...]
    ) -> Container:
        alive = ProbeAction(command=("sh", REDIS_PROBE.path, "alive"))
        # half of the limit is left for rewriting the append-only file and for replication buffers
        environment = {
            **self._environment,
            "REDIS_DATA_DIR": DATA,
            "REDIS_MAXMEMORY": str(self._args.memory_bytes // 2),
            "REDIS_STOP_SECONDS": str(STOP_SECONDS),
            "REDIS_STOP_PATIENCE": str(STOP_PATIENCE_SECONDS),
            "REDIS_FEWEST_MASTERS": str(FEWEST_MASTERS),
        }
        return Container(
            name=name,
            image="redis",
            command=("sh", REDIS_START.path, mode, conf.path),
            env=environment,
            field_env={"POD_IP": "status.podIP", "POD_NAME": "metadata.name"},
            ports=(Port(name="redis", number=PORT), *((BUS,) if volume_mounts else ())),
            files=(files, self._password_file),
            volume_mounts=volume_mounts,
            empty_dirs={"/tmp": "16Mi"} | ({} if volume_mounts else {DATA: "16Mi"}),
            probes=Probes(
                startup=alive,
                readiness=ProbeAction(command=("sh", REDIS_PROBE.path, "ready")),
                liveness=alive,
                startup_budget=60,
                timeout=5,
            ),
            resources=Resources(
                cpu=self._args.cpu_request,
                memory=f"{max(1, self._args.memory_request_bytes // 2**20)}Mi",
                memory_limit=f"{self._args.memory_bytes // 2**20}Mi",
            ),
            pre_stop_command=("sh", REDIS_STOP.path) if volume_mounts else (),
        )
