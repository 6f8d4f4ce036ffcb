"""The whole installation, as a list of components."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

import pulumi

from components import wiring
from components.backup import Backup
from components.base import Component
from components.capabilities import Endpoint, NetworkPeer, Pods, Registration, ServedCertificate
from components.certificates import Certificates
from components.ingress import Ingress
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.network import NetworkPolicies
from components.monitoring.monitoring import Monitoring
from components.pins import pins
from components.secrets import Secrets
from components.services.calling import GroupCalls
from components.services.cdn3 import Cdn3
from components.services.registration import (
    DevelopmentRegistration,
    DevelopmentRegistrationArgs,
    InvitationRegistration,
    InvitationRegistrationArgs,
    external,
)
from components.services.storage import Storage
from components.services.telemetry import Collector
from components.services.turn import NAME as TURN
from components.services.turn import Turn
from components.services.whisper import Whisper
from components.targets import target_of
from components.targets.base import StoresArgs, Target
from components.traefik import LoadBalancer, Traefik
from components.wiring import Wiring
from config.images import IMAGES
from config.registration import VERIFIES_NOTHING, ExternalRegistration, WebhookRegistration
from config.registration import DevelopmentRegistration as DevelopmentSettings
from config.registration import InvitationRegistration as InvitationSettings
from config.schema.backup import NAME as BACKUP
from config.settings import Settings
from config.version import VERSION

LOGS_REQUESTS = (
    "flatline:logRequests is true: the logs of Whisper and Storage hold the addresses of clients and, for each "
    "message, the account that it goes to. Remove it when you have found what you look for, and delete the logs."
)


@dataclass(frozen=True, kw_only=True)
class FlatlineArgs:
    """The settings of the stack, its name in the form of `config.installation.stack_label`, and `stack_name` as it is.

    `secret_values` (by the secret's name) and `certificate` are values that only an Output has. They have the same
    effect as those in the settings.
    """

    settings: Settings
    stack: str
    stack_name: str
    secret_values: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    certificate: ServedCertificate | None = None


class Flatline(Component):
    """A whole installation. `outputs` has the values that its operator and its clients need."""

    TYPE = "flatline:index:Flatline"

    def __init__(self, name: str, args: FlatlineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        settings, target = args.settings, target_of(args.settings)
        images = {image: settings.images.reference(image) for image in IMAGES}
        if settings.log_requests:
            pulumi.log.warn(LOGS_REQUESTS)

        target.prepare(self.child_opts)
        secrets = Secrets("secrets", wiring.secrets_args(target, args.secret_values), self.child_opts)
        certificates = Certificates(
            "certificates", wiring.certificates_args(settings, args.certificate), self.child_opts
        )
        namespace = WorkloadNamespace(
            name, wiring.namespace_args(target, args.stack, images, secrets, certificates), self.child_opts
        )
        stores = target.stores(StoresArgs(namespace=namespace, images=images, secrets=secrets), self.child_opts)
        wired = Wiring(target=target, namespace=namespace, secrets=secrets, certificates=certificates, stores=stores)
        collector = Collector("otel-collector", wired.collector(), self.child_opts)
        registration, registration_peers, told = self._registration(settings, namespace, secrets)
        storage = Storage("storage", wired.storage(), self.child_opts)
        cdn3 = Cdn3("cdn3", wired.cdn3(), self.child_opts)
        relays, turn = self._turn(wired)
        relay = turn.server if turn else None
        whisper = Whisper("whisper", wired.whisper(registration, collector.telemetry, relay), self.child_opts)
        calls = wired.group_calls(collector.telemetry)
        calling = (GroupCalls("calling", calls, self.child_opts),) if calls else ()
        traefik = self._traefik(settings)
        admin_routes = (whisper.admin_route, storage.admin_route) if settings.expose_admin else ()
        call_routes = (each.route for each in calling)
        public_routes = (*whisper.routes, storage.route, *cdn3.routes, *stores.routes, *call_routes)
        ingress = Ingress("ingress", wired.ingress((*public_routes, *admin_routes), traefik), self.child_opts)
        self._load_balancer(target, traefik)
        monitoring = wired.monitoring(public_routes, relays)
        if monitoring is not None:
            Monitoring("monitoring", monitoring, self.child_opts)
        backup = wired.backup(args.stack_name)
        backups = (Backup(BACKUP, backup, self.child_opts),) if backup else ()
        self.network_peers = (
            *whisper.network_peers,
            *storage.network_peers,
            *registration_peers,
            *cdn3.network_peers,
            *collector.network_peers,
            *stores.network_peers,
            *(peer for each in calling for peer in each.network_peers),
            *(turn.network_peers if turn else ()),
            *(peer for each in backups for peer in each.network_peers),
        )
        scraped = (*collector.scraped, *told, *(turn.metrics if turn else ()))
        scrapers = (
            NetworkPeer(name="scraper", pods=Pods.of(scraper.namespace, scraper.pod_labels), egress=scraped)
            for scraper in settings.telemetry.scrapers
        )
        self.external_peers = (ingress.external_peer, *scrapers)
        NetworkPolicies(
            "network-policies", wired.network_policies(self.network_peers, self.external_peers, relays), self.child_opts
        )
        self.outputs: dict[str, pulumi.Input[object]] = {
            **pins(settings.domain, settings.public_hosts, certificates.pins, secrets),
            "servedCertificate": certificates.served,
            "version": VERSION,
        }
        """Values that clients pin, their URLs, the public certificate chain that `status` reads, and the version."""
        self.register_outputs(self.outputs)

    def _turn(self, wired: Wiring) -> tuple[tuple[WorkloadNamespace, ...], Turn | None]:
        """The TURN server and its namespace, if the stack runs one."""
        relay, target = wired.settings.calls.turn, wired.target
        if relay is None:
            return (), None
        args = wiring.turn_namespace_args(target, wired.namespace, relay)
        namespace = WorkloadNamespace("turn", args, self.child_opts)
        turn = Turn(TURN, wired.turn(namespace, relay), self.child_opts)
        target.publish_address(wired.settings.host("turn"), relay.address, self.child_opts)
        return (namespace,), turn

    def _traefik(self, settings: Settings) -> tuple[pulumi.Resource, ...]:
        """Traefik, for a cluster that has none."""
        args = wiring.traefik_args(settings)
        return (Traefik("traefik", args, self.child_opts).release,) if args else ()

    def _load_balancer(self, target: Target, traefik: tuple[pulumi.Resource, ...]) -> None:
        """The Service that clients connect to, and its names, where the cluster's Traefik has none of its own."""
        settings = target.settings
        args = wiring.load_balancer_args(settings, traefik)
        if args is not None:
            edge = LoadBalancer("edge", args, self.child_opts)
            target.publish(tuple(settings.host(host) for host in settings.public_hosts), edge.address, self.child_opts)

    def _registration(
        self, settings: Settings, namespace: WorkloadNamespace, secrets: Secrets
    ) -> tuple[Registration, tuple[NetworkPeer, ...], tuple[Endpoint, ...]]:
        """The service, its network peers, and where its metrics are to be read."""
        name, external_egress = "registration", wiring.external_egress(settings, "registration")
        match settings.registration:
            case ExternalRegistration() as chosen:
                return external(chosen.service, Pods.of(chosen.namespace, chosen.pod_labels), chosen.port), (), ()
            case DevelopmentSettings():
                pulumi.log.warn(VERIFIES_NOTHING)
                args = DevelopmentRegistrationArgs(namespace=namespace, external_egress=external_egress)
                development = DevelopmentRegistration(name, args, self.child_opts)
                return development.registration, development.network_peers, ()
            case InvitationSettings():
                wanted = InvitationRegistrationArgs(
                    namespace=namespace,
                    scraped=settings.monitoring is not None,
                    annotated=wiring.annotated(settings),
                )
            case WebhookRegistration(url=url):
                webhook = (url, secrets.of("registration")["webhook.key"])
                wanted = InvitationRegistrationArgs(
                    namespace=namespace,
                    webhook=webhook,
                    external_egress=external_egress,
                    scraped=settings.monitoring is not None,
                    annotated=wiring.annotated(settings),
                )
            case other:
                assert_never(other)
        made = InvitationRegistration(name, wanted, self.child_opts)
        return made.registration, made.network_peers, made.scraped
