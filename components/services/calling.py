"""Group calls and call links: the calling service's frontend, and its backend that passes media on.

The frontend is behind Traefik: it verifies who may join, and keeps calls and call links in a table. The backend takes
media at a port of its own. Its signalling has no authentication: whoever reaches it joins any call as anybody, so only
the frontend does. A call is in the memory of the one backend, and ends with its pod.

Arguments are those of the calling service's own `--help` (v123 to v137).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.core.v1 import ServicePortArgs, ServiceSpecArgs
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.base import Component
from components.capabilities import Access, Endpoint, Network, Protocol, Rooms, Route, Telemetry
from components.kubernetes.mounted_files import MountedFiles, program_files, secret_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources, managed_labels, pods
from components.kubernetes.workload import Workload, WorkloadArgs
from components.programs import CALLING_CREDENTIALS, CALLING_START
from components.secrets import Secrets
from config.group_calls import SIGNALLING_PORT, GroupCallsSettings
from config.images import ImageName

HTTP_PORT = SIGNALLING_PORT
"""Of both servers."""

INTERNAL_PORT = 8100
AUTHENTICATION_KEY_FILE, ZKPARAMS_FILE = "/etc/flatline/authentication-key", "/etc/flatline/zkparams"

LABEL = "flatline"
"""For the region and the version, which are labels. A frontend redirects calls of another region than its own, so the
label is the same on every target; and it has no version, so that an update ends no calls."""

CLEANUP_MS = 10_000
"""How often the frontend removes calls that have ended from the table."""

PATHS = "(Path(`/v2/conference/participants`) || Path(`/v1/call-link`) || Path(`/health`))"
"""All that the frontend offers clients. It authorises each but the last, which says nothing."""

COMPONENT = "calling"
PROTOCOLS: tuple[Protocol, ...] = ("UDP", "TCP")
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class GroupCallsArgs:
    """`url` is the public one of the frontend."""

    namespace: WorkloadNamespace
    secrets: Secrets
    rooms: Rooms
    telemetry: Telemetry
    url: str
    settings: GroupCallsSettings
    log_requests: bool

    @property
    def statsd(self) -> str:
        """`host:port` of the collector."""
        return f"{self.telemetry.host}:{self.telemetry.port}"


class GroupCalls(Component):
    """A frontend, a backend and the Service that clients send media to."""

    TYPE = "flatline:services:GroupCalls"

    def __init__(self, name: str, args: GroupCallsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._args, self._frontend_name, self._backend_name = args, f"{name}-frontend", f"{name}-backend"
        self._start = program_files(
            f"{name}-start",
            args.namespace.metadata_name,
            CALLING_START,
            CALLING_CREDENTIALS,
            opts=self.child_opts,
        )
        frontend = self._frontend()
        backend = self._backend()
        self._media(f"{name}-media", backend)
        self.network_peers = (frontend.network_peer, backend.network_peer)
        self.route = Route(name=self._frontend_name, host="sfu", endpoint=frontend.endpoint("http"), match=PATHS)
        self.register_outputs({"address": self.route.endpoint.address})

    def _endpoint(self, name: str, port: int) -> Endpoint:
        """A port of pods that reach each other, before either exists."""
        return Endpoint(service=name, pods=pods(self._args.namespace, name, COMPONENT), port=port)

    def _frontend(self) -> Workload:
        args, name = self._args, self._frontend_name
        backend = self._endpoint(self._backend_name, HTTP_PORT)
        keys = args.secrets.of("calling")
        files = secret_files(
            f"{name}-keys",
            args.namespace.metadata_name,
            {AUTHENTICATION_KEY_FILE: keys["authentication-key"], ZKPARAMS_FILE: keys["zkparams"]},
            self.child_opts,
        )
        container = self._container(
            name,
            "calling-frontend",
            secrets={"authentication-key": AUTHENTICATION_KEY_FILE, "zkparams": ZKPARAMS_FILE},
            words=(
                "calling_frontend",
                *("--server-ip", args.settings.binding),
                *("--server-port", str(HTTP_PORT)),
                *("--internal-api-ip", args.settings.binding),
                *("--internal-api-port", str(INTERNAL_PORT)),
                *("--region", LABEL),
                *("--version", LABEL),
                *("--max-clients-per-call", str(args.settings.max_participants)),
                *("--cleanup-interval-ms", str(CLEANUP_MS)),
                *("--regional-url-template", args.url),
                *("--calling-server-url", f"http://{backend.address}"),
                *("--storage-table", args.rooms.table),
                *("--storage-region", args.rooms.region),
                *(("--storage-endpoint", args.rooms.endpoint) if args.rooms.endpoint else ()),
                *("--metrics-datadog-host", args.statsd),
            ),
            ports=(Port(name="http", number=HTTP_PORT), Port(name="internal", number=INTERNAL_PORT)),
            files=(files,),
            resources=Resources(cpu="25m", memory="64Mi", memory_limit="512Mi"),
        )
        workload = WorkloadArgs(
            namespace=args.namespace,
            name=name,
            component=COMPONENT,
            access=(args.rooms.access, args.telemetry.access, Access(egress=(backend,))),
            containers=(container,),
        )
        return Workload(name, workload, self.child_opts)

    def _backend(self) -> Workload:
        args, name, settings = self._args, self._backend_name, self._args.settings
        frontend = self._endpoint(self._frontend_name, INTERNAL_PORT)
        container = self._container(
            name,
            "calling-backend",
            words=(
                "calling_backend",
                *("--binding-ip", settings.binding),
                *(word for address in settings.addresses for word in ("--ice-candidate-ip", address)),
                *("--ice-candidate-port", str(settings.port)),
                *("--ice-candidate-port-tcp", str(settings.port)),
                # where the frontend finds the backend of a call
                *("--signaling-ip", "$(POD_IP)"),
                *("--signaling-port", str(HTTP_PORT)),
                *("--approved-users-persistence-url", f"http://{frontend.address}/v1/call-link-approvals"),
                *("--remove-call-records-base-url", f"http://{frontend.address}/v2/conference"),
                *("--datadog", args.statsd),
                *("--metrics-region", LABEL),
            ),
            ports=(
                Port(name="http", number=HTTP_PORT),
                *(
                    Port(name=_media_port(protocol), number=settings.port, protocol=protocol, published=False)
                    for protocol in PROTOCOLS
                ),
            ),
            field_env={"POD_IP": "status.podIP"},
            capabilities=("NET_BIND_SERVICE",),
            resources=Resources(cpu="100m", memory="128Mi", memory_limit="2Gi"),
        )
        workload = WorkloadArgs(
            kind="recreate",
            namespace=args.namespace,
            name=name,
            component=COMPONENT,
            access=(args.telemetry.access, Access(egress=(frontend,))),
            containers=(container,),
            node_labels=settings.node_labels,
            external_ingress=tuple(
                Network(everybody, (settings.port,), protocol)
                for everybody in settings.clients
                for protocol in PROTOCOLS
            ),
        )
        return Workload(name, workload, self.child_opts)

    def _container(
        self,
        name: str,
        image: ImageName,
        *,
        words: tuple[pulumi.Input[str], ...],
        ports: tuple[Port, ...],
        resources: Resources,
        secrets: Mapping[str, str] = NOTHING,
        files: tuple[MountedFiles, ...] = (),
        field_env: Mapping[str, str] = NOTHING,
        capabilities: tuple[Literal["NET_BIND_SERVICE"], ...] = (),
    ) -> Container:
        """A server that is started by programs/calling/start.sh, with `secrets` (name of the argument → file)."""
        healthy = ProbeAction(port="http", path="/health")
        return Container(
            name=name,
            image=image,
            command=(CALLING_START.path,),
            args=(*(word for key, file in secrets.items() for word in ("--from-file", f"{key}={file}")), *words),
            # at `info` they write down who joins which call, by numbers that stay the same in a call
            env={"RUST_LOG": "info" if self._args.log_requests else "warn"},
            field_env=field_env,
            ports=ports,
            files=(self._start, *files),
            empty_dirs={"/tmp": "16Mi"},
            probes=Probes(startup=healthy, readiness=healthy, liveness=healthy),
            resources=resources,
            capabilities=capabilities,
        )

    def _media(self, name: str, backend: Workload) -> None:
        """The Service that clients send media to. Whatever it is, a client's port is the backend's own."""
        settings, balanced = self._args.settings, self._args.settings.load_balancer
        kubernetes.core.v1.Service(
            name,
            metadata=ObjectMetaArgs(
                name=name,
                namespace=self._args.namespace.metadata_name,
                labels=managed_labels(backend.args),
                # its pods are awaited by what runs them, and its address is in the settings
                annotations={"pulumi.com/skipAwait": "true", **(balanced.annotations if balanced else {})},
            ),
            spec=ServiceSpecArgs(
                type="LoadBalancer" if balanced else "NodePort",
                load_balancer_class=balanced.class_name if balanced else None,
                external_traffic_policy="Local",
                selector=dict(backend.pods.labels),
                ports=[
                    ServicePortArgs(
                        name=_media_port(protocol),
                        port=settings.port,
                        target_port=_media_port(protocol),
                        node_port=None if balanced else settings.port,
                        protocol=protocol,
                    )
                    for protocol in PROTOCOLS
                ],
            ),
            opts=self.child_opts,
        )


def _media_port(protocol: Protocol) -> str:
    return f"media-{protocol.lower()}"
