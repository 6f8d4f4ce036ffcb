"""Registration: who may register a number.

By invitation, or by codes that a gateway of the operator's sends on: a program of ours (programs/registration/), with a
volume for what must survive a restart. Or a service of the operator's own. Or, for tests, the development service: it
accepts the last six digits of a phone number as its verification code, keeps its sessions in memory (so there is one of
it, never two at once) and would send its log to a third party, for which its network policy leaves no way.
"""

from dataclasses import dataclass

import pulumi

from components import java
from components.base import Component
from components.capabilities import Access, Endpoint, Network, Pods, Registration
from components.kubernetes.mounted_files import MountedFiles, OperatorFolder, program_files, secret_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources, Volume, VolumeMount
from components.kubernetes.workload import Workload, WorkloadArgs
from components.programs import REGISTRATION as PROGRAM
from config.schema.invitations import SECRET, STATUS_PORT
from config.services.java import REGISTRATION

GRPC_PORT = 50051
COMPONENT = "verification"
"""Another one than the development service's, whose pods have the same name: where both are for a while, the Service
and the network policy are those of the program alone."""

INVITATIONS = "/etc/flatline/invitations"
STATE = "/var/lib/registration"
WEBHOOK_KEY_FILE = "/etc/flatline/webhook.key"
DISK = Volume(name="state", size="64Mi")
"""Counters and spent invitations: a few kilobytes. It is no setting, because nothing makes it grow."""

METRICS_PORT = "metrics"
"""The name of the status port where metrics are scraped."""
_ANNOTATIONS = {
    "prometheus.io/scrape": "true",
    "prometheus.io/path": "/metrics",
    "prometheus.io/port": str(STATUS_PORT),
}
MAIN = "org.signal.registration.Application"


@dataclass(frozen=True, kw_only=True)
class InvitationRegistrationArgs:
    """`webhook` is the URL of the operator's gateway and the key that signs requests to it, if there is one.

    Without it each number needs an invitation. `external_egress` is the way to the gateway. With `scraped` the status
    port is for metrics, too; with `annotated` the Service says so, for a Prometheus that looks for the annotation.
    """

    namespace: WorkloadNamespace
    webhook: tuple[str, pulumi.Input[str]] | None = None
    external_egress: tuple[Network, ...] = ()
    scraped: bool = False
    annotated: bool = False


class InvitationRegistration(Component):
    """The program of ours, one pod of it: sessions are in its memory, and what it must not forget on its volume.

    Its status port is in no Service, and open to no pod but those that scrape metrics where monitoring is wanted. The
    kubelet asks it for health, and `./flatline` reaches it through the API server: what it tells of numbers, it tells
    on the pod's own loopback alone.
    """

    TYPE = "flatline:services:InvitationRegistration"

    def __init__(self, name: str, args: InvitationRegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, _in_place_of(DevelopmentRegistration.TYPE, opts))
        program = program_files(f"{name}-program", args.namespace.metadata_name, PROGRAM, opts=self.child_opts)
        flags, files = self._webhook(name, args)
        port = METRICS_PORT if args.scraped else "status"
        alive, ready = ProbeAction(port=port, path="/livez"), ProbeAction(port=port, path="/readyz")
        workload = Workload(
            name,
            WorkloadArgs(
                kind="stateful",
                external_egress=args.external_egress,
                namespace=args.namespace,
                name=name,
                component=COMPONENT,
                volumes=(DISK,),
                annotations=_ANNOTATIONS if args.annotated else {},
                containers=(
                    Container(
                        name=name,
                        image="node",
                        command=("node", PROGRAM.path),
                        args=(
                            f"--listen=:{GRPC_PORT}",
                            f"--health-listen=:{STATUS_PORT}",
                            f"--invitations={INVITATIONS}",
                            f"--state={STATE}",
                            *flags,
                        ),
                        ports=(
                            Port(name="grpc", number=GRPC_PORT),
                            Port(name=port, number=STATUS_PORT, published=False),
                        ),
                        files=(program, OperatorFolder(name=SECRET, folder=INVITATIONS), *files),
                        volume_mounts=(VolumeMount(volume=DISK.name, path=STATE),),
                        probes=Probes(startup=alive, readiness=ready, liveness=alive),
                        # each check of a code is a slow hash of 16 MiB, and two are made at once
                        resources=Resources(cpu="100m", memory="112Mi", memory_limit="256Mi"),
                        pre_stop_sleep_seconds=2,
                    ),
                ),
            ),
            self.child_opts,
        )
        self.network_peers = (workload.network_peer,)
        self.scraped = (Endpoint(service=name, pods=workload.pods, port=STATUS_PORT),) if args.scraped else ()
        """Where the metrics are to be read."""
        self.registration = offered(workload.endpoint("grpc"))
        self.register_outputs({})

    def _webhook(self, name: str, args: InvitationRegistrationArgs) -> tuple[tuple[str, ...], tuple[MountedFiles, ...]]:
        """Flags and files for the gateway that codes are sent to."""
        if args.webhook is None:
            return (), ()
        url, key = args.webhook
        files = {WEBHOOK_KEY_FILE: key}
        flags = (f"--webhook={url}", f"--webhook-secret-file={WEBHOOK_KEY_FILE}")
        return flags, (secret_files(f"{name}-webhook", args.namespace.metadata_name, files, self.child_opts),)


@dataclass(frozen=True, kw_only=True)
class DevelopmentRegistrationArgs:
    """`external_egress` opens ways out of the cluster."""

    namespace: WorkloadNamespace
    external_egress: tuple[Network, ...]


class DevelopmentRegistration(Component):
    """The development service: no ownership of a number is ever verified."""

    TYPE = "flatline:services:DevelopmentRegistration"

    def __init__(
        self, name: str, args: DevelopmentRegistrationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, _in_place_of(InvitationRegistration.TYPE, opts))
        listening = ProbeAction(port="grpc")
        workload = Workload(
            name,
            WorkloadArgs(
                kind="recreate",
                external_egress=args.external_egress,
                namespace=args.namespace,
                name=name,
                component="registration",
                containers=(
                    Container(
                        name=name,
                        image="registration",
                        # what the image does by itself, but for its heap of 75 % of the limit
                        command=java.command(REGISTRATION, ("-Dmicronaut.environments=dev",), MAIN),
                        ports=(Port(name="grpc", number=GRPC_PORT),),
                        empty_dirs=java.EMPTY_DIRS,
                        probes=Probes.all(listening, startup_budget=120),
                        resources=java.resources(REGISTRATION, cpu="25m"),
                        pre_stop_sleep_seconds=5,
                    ),
                ),
            ),
            self.child_opts,
        )
        self.network_peers = (workload.network_peer,)
        self.registration = offered(workload.endpoint("grpc"))
        self.register_outputs({})


def _in_place_of(other: str, opts: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions:
    """Options for a service that takes over the Service, the account and the policy of one of another type.

    Without the alias, what bears the same name in the cluster would be made again, and then deleted as the old one's.
    """
    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(aliases=[pulumi.Alias(type_=other)]))


def offered(endpoint: Endpoint) -> Registration:
    """The capability of a registration service at an endpoint. It is needed when a client registers, not before."""
    return Registration(access=Access(egress=(endpoint,)), host=endpoint.host, port=endpoint.port)


def external(service: str, pods: Pods, port: int) -> Registration:
    """A registration service that the operator runs in the same cluster."""
    return offered(Endpoint(service=service, pods=pods, port=port))
