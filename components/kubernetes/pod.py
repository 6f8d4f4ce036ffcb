"""Pods: containers, files, volumes, waits and hardening, the same for every workload and job."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs

from components.capabilities import (
    Access,
    Identity,
    Network,
    NetworkPeer,
    Pods,
    Protocol,
    Token,
    Volume,
    VolumeMount,
)
from components.kubernetes.mounted_files import MountedFiles, OperatorFolder
from components.kubernetes.namespace import WorkloadNamespace
from components.programs import WAIT
from config.images import ImageName

USER = 10001
"""User and group of every container but LocalStack's: none of an image's own, and of no file on the node."""

ALL_ARCHITECTURES = ("amd64", "arm64")

TOKEN_SECONDS = 3600
STARTUP_SECONDS = 2
"""Between two questions of a start-up probe."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of a container; `published` ones are in the Service."""

    name: str
    number: int
    protocol: Protocol = "TCP"
    published: bool = True


@dataclass(frozen=True, kw_only=True)
class ProbeAction:
    """How a probe asks: an HTTP path on a port, a TCP port, or a command."""

    port: str = ""
    path: str = ""
    command: tuple[str, ...] = ()

    def probe(self, *, period: int, failures: int, timeout: int = 3) -> core.ProbeArgs:
        """The probe with its period and time-out in seconds."""
        return core.ProbeArgs(
            http_get=core.HTTPGetActionArgs(port=self.port, path=self.path) if self.path else None,
            tcp_socket=core.TCPSocketActionArgs(port=self.port) if self.port and not self.path else None,
            exec_=core.ExecActionArgs(command=list(self.command)) if self.command else None,
            period_seconds=period,
            failure_threshold=failures,
            timeout_seconds=timeout,
        )


@dataclass(frozen=True, kw_only=True)
class Probes:
    """`startup_budget` in seconds: how long the first success may take before the container is restarted."""

    startup: ProbeAction
    readiness: ProbeAction
    liveness: ProbeAction
    startup_budget: int = 60
    timeout: int = 3

    @classmethod
    def all(cls, action: ProbeAction, *, startup_budget: int = 60, timeout: int = 3) -> "Probes":
        """The same action for all three."""
        return cls(startup=action, readiness=action, liveness=action, startup_budget=startup_budget, timeout=timeout)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Requests of CPU and memory, the memory limit, and what the container may write besides volumes.

    There is no CPU limit: throttling makes probes fail on a node that has time to spare. `busy` are the requests of CPU
    and memory where the number of pods follows their load: each then has much to do, and its load is counted in shares
    of the CPU request.
    """

    cpu: str
    memory: str
    memory_limit: str
    ephemeral_storage: str = "64Mi"
    busy: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container. `empty_dirs` maps paths to sizes of empty volumes; `field_env` maps variables to pod fields."""

    name: str
    image: ImageName
    resources: Resources
    command: tuple[str, ...] = ()
    args: tuple[pulumi.Input[str], ...] = ()
    env: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    field_env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    files: tuple[MountedFiles | OperatorFolder, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    empty_dirs: Mapping[str, str] = field(default_factory=dict)
    probes: Probes | None = None
    pre_stop_sleep_seconds: int = 0
    """Seconds between the removal from Services and SIGTERM."""
    pre_stop_command: tuple[str, ...] = ()
    """Runs before SIGTERM instead of the delay."""
    capabilities: tuple[Literal["NET_BIND_SERVICE"], ...] = ()
    """For a program whose file has them: without these in its bounding set the kernel refuses to start it (EPERM)."""


@dataclass(frozen=True)
class Scale:
    """How many pods: `replicas` always, up to `maximum` by the load of their CPUs in percent of the request."""

    replicas: int = 1
    maximum: int = 0
    cpu_percent: int = 60

    @property
    def is_replicated(self) -> bool:
        """True if there may be more than one pod."""
        return max(self.replicas, self.maximum) > 1


@dataclass(frozen=True, kw_only=True)
class PodArgs:
    """A pod: who it is, what runs in it, what it may reach (`access`), how long it may take to stop (seconds)."""

    namespace: WorkloadNamespace
    name: str
    component: str
    containers: tuple[Container, ...]
    access: tuple[Access, ...] = ()
    termination_grace_seconds: int = 30
    root: bool = False
    """Runs as root with a writable file system, as LocalStack must."""
    restart: Literal["Always", "Never", "OnFailure"] = "Always"
    volumes: tuple[Volume, ...] = ()
    scale: Scale = Scale()
    node_labels: Mapping[str, str] = field(default_factory=dict)
    """Runs only on nodes with all of these labels."""
    beside: tuple[Pods, ...] = ()
    """Pods whose claims it reads: on their nodes, where it can be, because a claim that is ReadWriteOnce is there."""
    host_aliases: Mapping[str, str] = field(default_factory=dict)
    """Names that the pod's hosts file has, with their addresses."""
    host_network: bool = False
    """Uses the node's network, where no network policy applies."""


def labels(args: PodArgs) -> dict[str, str]:
    """Labels of the pod; they select it too. None of them changes with a version."""
    return dict(pods(args.namespace, args.name, args.component).labels)


def pods(namespace: WorkloadNamespace, name: str, component: str) -> Pods:
    """The pods of that name, before anything of them exists: pods that reach each other need it."""
    return Pods.of(
        namespace.name,
        {
            "app.kubernetes.io/name": name,
            "app.kubernetes.io/component": component,
            "app.kubernetes.io/instance": namespace.name,
            "app.kubernetes.io/part-of": "flatline",
        },
    )


def network_peer(
    name: str, args: PodArgs, identity: Identity, external_egress: tuple[Network, ...] = ()
) -> NetworkPeer:
    """The pods and everything that they may open connections to."""
    egress = tuple(dict.fromkeys(target for access in args.access for target in access.egress))
    outside = (
        *external_egress,
        *(network for access in args.access for network in access.external_egress),
        *identity.external_egress,
    )
    return NetworkPeer(
        name=name,
        pods=pods(args.namespace, args.name, args.component),
        egress=egress,
        external_egress=tuple(dict.fromkeys(outside)),
    )


def managed_labels(args: PodArgs) -> dict[str, str]:
    """Labels of the objects around the pod."""
    return {**labels(args), "app.kubernetes.io/managed-by": "pulumi"}


def template(
    args: PodArgs, account: pulumi.Input[str], claims: Mapping[str, pulumi.Input[str]], identity: Identity
) -> core.PodTemplateSpecArgs:
    """The pod template; `claims` maps disks to the claims that hold them (none for a claim template)."""
    waiting = _wait_container(args)
    containers = [*waiting, *args.containers]
    return core.PodTemplateSpecArgs(
        metadata=ObjectMetaArgs(labels=labels(args)),
        spec=core.PodSpecArgs(
            service_account_name=account,
            automount_service_account_token=False,
            enable_service_links=False,
            restart_policy=args.restart,
            host_network=args.host_network or None,
            host_aliases=[
                core.HostAliasArgs(ip=address, hostnames=[name]) for name, address in sorted(args.host_aliases.items())
            ]
            or None,
            termination_grace_period_seconds=args.termination_grace_seconds,
            security_context=_pod_security(args),
            affinity=_affinity(args, containers, alone=bool(claims) and not args.beside),
            topology_spread_constraints=_spread(args),
            init_containers=[_container(args, container, Identity()) for container in waiting] or None,
            containers=[_container(args, container, identity) for container in args.containers],
            volumes=_volumes(args, containers, claims, identity),
        ),
    )


def _wait_container(args: PodArgs) -> list[Container]:
    """An init container that waits for everything that the pod cannot start without."""
    waits = [wait for access in args.access for wait in access.wait_for]
    targets = sorted({wait.target for wait in waits})
    if not targets:
        return []
    passwords = dict.fromkeys(wait.password_file for wait in waits if wait.password_file)
    flags = [flag for files in passwords for flag in ("--redis-password-file", files.paths[0])]
    return [
        Container(
            name="wait",
            image="node",
            command=("node", WAIT.path),
            args=(*flags, *targets),
            files=(args.namespace.wait_program, *passwords),
            resources=Resources(cpu="10m", memory="64Mi", memory_limit="128Mi"),
        )
    ]


def environment(args: PodArgs) -> dict[str, pulumi.Input[str]]:
    """Environment values that come with the capabilities a pod uses."""
    return {key: value for access in args.access for key, value in access.env.items()}


def _wired_files(args: PodArgs) -> tuple[MountedFiles, ...]:
    """Files that come with the capabilities a pod uses."""
    return tuple(dict.fromkeys(files for access in args.access for files in access.files))


def _container(args: PodArgs, container: Container, identity: Identity) -> core.ContainerArgs:
    wired = environment(args) if container is args.containers[0] else {}
    values = {**wired, **identity.env, **container.env}
    plain = [core.EnvVarArgs(name=key, value=values[key]) for key in sorted(values)]
    field_env = [
        core.EnvVarArgs(
            name=key, value_from=core.EnvVarSourceArgs(field_ref=core.ObjectFieldSelectorArgs(field_path=path))
        )
        for key, path in sorted(container.field_env.items())
    ]
    probes, size = container.probes, container.resources
    cpu, memory = size.busy if size.busy and args.scale.maximum else (size.cpu, size.memory)
    return core.ContainerArgs(
        name=container.name,
        image=args.namespace.image(container.image),
        image_pull_policy="IfNotPresent",
        command=list(container.command) or None,
        args=list(container.args) or None,
        env=(plain + field_env) or None,
        ports=[
            core.ContainerPortArgs(name=port.name, container_port=port.number, protocol=port.protocol)
            for port in container.ports
        ]
        or None,
        resources=core.ResourceRequirementsArgs(
            requests={"cpu": cpu, "memory": memory, "ephemeral-storage": size.ephemeral_storage},
            limits={"memory": size.memory_limit, "ephemeral-storage": _ephemeral_storage_limit(container)},
        ),
        startup_probe=_startup(probes) if probes else None,
        readiness_probe=probes.readiness.probe(period=10, failures=3, timeout=probes.timeout) if probes else None,
        liveness_probe=probes.liveness.probe(period=30, failures=4, timeout=probes.timeout) if probes else None,
        lifecycle=_before_stop(container),
        security_context=_container_security(args, container),
        termination_message_policy="FallbackToLogsOnError",
        volume_mounts=_mounts(args, container, identity) or None,
    )


def _startup(probes: Probes) -> core.ProbeArgs:
    """Asks often: the kubelet asks for readiness as soon as this succeeds, so a period here is waited for by users."""
    failures = -(-probes.startup_budget // STARTUP_SECONDS)
    return probes.startup.probe(period=STARTUP_SECONDS, failures=failures, timeout=probes.timeout)


def _before_stop(container: Container) -> core.LifecycleArgs | None:
    if container.pre_stop_command:
        return core.LifecycleArgs(
            pre_stop=core.LifecycleHandlerArgs(exec_=core.ExecActionArgs(command=list(container.pre_stop_command)))
        )
    if container.pre_stop_sleep_seconds:
        return core.LifecycleArgs(
            pre_stop=core.LifecycleHandlerArgs(sleep=core.SleepActionArgs(seconds=container.pre_stop_sleep_seconds))
        )
    return None


def _ephemeral_storage_limit(container: Container) -> str:
    """Empty volumes count towards a container's ephemeral storage, so the limit holds them all and the logs."""
    megabytes = [int(size[:-2]) * (1024 if size.endswith("Gi") else 1) for size in container.empty_dirs.values()]
    return f"{sum(megabytes) + 256}Mi"


def _pod_security(args: PodArgs) -> core.PodSecurityContextArgs:
    profile = core.SeccompProfileArgs(type="RuntimeDefault")
    if args.root:
        return core.PodSecurityContextArgs(seccomp_profile=profile)
    return core.PodSecurityContextArgs(
        run_as_non_root=True,
        run_as_user=USER,
        run_as_group=USER,
        fs_group=USER,
        fs_group_change_policy="OnRootMismatch",
        seccomp_profile=profile,
    )


def _container_security(args: PodArgs, container: Container) -> core.SecurityContextArgs:
    return core.SecurityContextArgs(
        allow_privilege_escalation=False,
        privileged=False,
        capabilities=core.CapabilitiesArgs(drop=["ALL"], add=list(container.capabilities) or None),
        read_only_root_filesystem=not args.root,
    )


def _affinity(args: PodArgs, containers: list[Container], *, alone: bool) -> core.AffinityArgs | None:
    """Where the pod may run. `alone`: not beside another pod of its kind, so that a claim has one writer at a time.

    A Deployment starts the successor of a deleted pod while that one still stops. The scheduler counts a pod until it
    is gone, so the successor waits for that. On another node a claim that is ReadWriteOnce cannot be mounted.
    """
    node = _node_affinity(args, containers)
    if args.beside:
        return core.AffinityArgs(node_affinity=node, pod_affinity=_beside(args.beside))
    if not alone:
        return core.AffinityArgs(node_affinity=node) if node else None
    itself = core.PodAffinityTermArgs(
        topology_key="kubernetes.io/hostname", label_selector=LabelSelectorArgs(match_labels=labels(args))
    )
    return core.AffinityArgs(
        node_affinity=node,
        pod_anti_affinity=core.PodAntiAffinityArgs(required_during_scheduling_ignored_during_execution=[itself]),
    )


def _beside(pods: tuple[Pods, ...]) -> core.PodAffinityArgs:
    return core.PodAffinityArgs(
        preferred_during_scheduling_ignored_during_execution=[
            core.WeightedPodAffinityTermArgs(
                weight=100,
                pod_affinity_term=core.PodAffinityTermArgs(
                    topology_key="kubernetes.io/hostname",
                    label_selector=LabelSelectorArgs(match_labels=dict(each.labels)),
                ),
            )
            for each in pods
        ]
    )


def _node_affinity(args: PodArgs, containers: list[Container]) -> core.NodeAffinityArgs | None:
    """Nodes with the pod's labels, and of an architecture that every image is published for if not all are."""
    common = set(ALL_ARCHITECTURES)
    for container in containers:
        common &= set(args.namespace.architectures(container.image))
    wanted = {label: [value] for label, value in sorted(args.node_labels.items())}
    if common != set(ALL_ARCHITECTURES):
        wanted["kubernetes.io/arch"] = sorted(common)
    if not wanted:
        return None
    expressions = [
        core.NodeSelectorRequirementArgs(key=key, operator="In", values=values) for key, values in wanted.items()
    ]
    return core.NodeAffinityArgs(
        required_during_scheduling_ignored_during_execution=core.NodeSelectorArgs(
            node_selector_terms=[core.NodeSelectorTermArgs(match_expressions=expressions)]
        )
    )


def _spread(args: PodArgs) -> list[core.TopologySpreadConstraintArgs] | None:
    if not args.scale.is_replicated:
        return None
    return [
        core.TopologySpreadConstraintArgs(
            max_skew=1,
            topology_key=key,
            when_unsatisfiable="ScheduleAnyway",
            label_selector=LabelSelectorArgs(match_labels=labels(args)),
        )
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]


def _empty_dir_name(container: Container, path: str) -> str:
    return f"{container.name}{path.replace('/', '-').replace('_', '-').replace('.', '-')}".lower()


def _mounts(args: PodArgs, container: Container, identity: Identity) -> list[core.VolumeMountArgs]:
    wired = _wired_files(args) if container is args.containers[0] else ()
    empty_dirs = [
        core.VolumeMountArgs(name=_empty_dir_name(container, path), mount_path=path)
        for path in sorted(container.empty_dirs)
    ]
    volumes = [
        core.VolumeMountArgs(
            name=mount.volume, mount_path=mount.path, read_only=mount.read_only or None, sub_path=mount.sub_path or None
        )
        for mount in container.volume_mounts
    ]
    tokens = [
        core.VolumeMountArgs(name=_token_name(token), mount_path=posixpath.dirname(token.path), read_only=True)
        for token in identity.tokens
    ]
    files = [mount for files in (*container.files, *wired, *identity.files) for mount in files.mounts]
    return files + tokens + volumes + empty_dirs


def _token_name(token: Token) -> str:
    return posixpath.dirname(token.path).strip("/").replace("/", "-")


def _token_volume(token: Token) -> core.VolumeArgs:
    """The kubelet renews the token long before it ends."""
    projection = core.ServiceAccountTokenProjectionArgs(
        audience=token.audience, expiration_seconds=TOKEN_SECONDS, path=posixpath.basename(token.path)
    )
    return core.VolumeArgs(
        name=_token_name(token),
        projected=core.ProjectedVolumeSourceArgs(sources=[core.VolumeProjectionArgs(service_account_token=projection)]),
    )


def _volumes(
    args: PodArgs, containers: list[Container], claims: Mapping[str, pulumi.Input[str]], identity: Identity
) -> list[core.VolumeArgs] | None:
    mounted = [files for container in containers for files in container.files]
    files = {files.name: files.volume for files in (*mounted, *_wired_files(args), *identity.files)}
    empty_dirs = [
        core.VolumeArgs(name=_empty_dir_name(container, path), empty_dir=core.EmptyDirVolumeSourceArgs(size_limit=size))
        for container in containers
        for path, size in sorted(container.empty_dirs.items())
    ]
    volumes = [
        core.VolumeArgs(name=name, persistent_volume_claim=core.PersistentVolumeClaimVolumeSourceArgs(claim_name=claim))
        for name, claim in sorted(claims.items())
    ]
    tokens = [_token_volume(token) for token in identity.tokens]
    return [*files.values(), *tokens, *volumes, *empty_dirs] or None
