"""Flatline, whole: read it as a list of nouns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi

from components.backend import BackendArgs, Ground, backend, ground, publish, scale
from components.base import Component
from components.capabilities import Network, NetworkPeer, Pods, Registration
from components.certificates import Certificates, CertificatesArgs, ProvidedCertificate
from components.ingress import Ingress, IngressArgs
from components.kubernetes.namespace import WorkloadNamespace, WorkloadNamespaceArgs
from components.kubernetes.network import NetworkPolicies, NetworkPoliciesArgs
from components.pins import Pins, pins
from components.secrets import Secrets, SecretsArgs
from components.services.cdn3 import Cdn3, Cdn3Args
from components.services.registration import DevelopmentRegistration, DevelopmentRegistrationArgs, external
from components.services.storage import Storage, StorageArgs
from components.services.telemetry import Collector, CollectorArgs
from components.services.whisper import Whisper, WhisperArgs
from components.traefik import LoadBalancer, LoadBalancerArgs, Traefik, TraefikArgs
from config import installation
from config.exporters import scraped_ports
from config.images import IMAGES
from config.schema.hosts import PUBLIC_HOSTS
from config.settings import DevelopmentRegistration as DevelopmentSettings
from config.settings import EgressName, Settings
from config.types import quantity_bytes
from config.version import VERSION

HOUR, DAY = 3600, 86400
LOGS_REQUESTS = (
    "flatline:logRequests is true: the logs of Whisper and Storage hold the addresses of clients and, for each "
    "message, the account that it goes to. Remove it when you have found what you look for, and delete the logs."
)


@dataclass(frozen=True, kw_only=True)
class FlatlineArgs:
    """The settings of the stack, and its name as `config.installation.stack_label` writes it.

    `secret_values` (by the secret's name) and `certificate` (chain, private key, authority as PEM texts) are those that
    only an Output has. They count like the ones in the settings.
    """

    settings: Settings
    stack: str
    secret_values: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    certificate: ProvidedCertificate | None = None


class Flatline(Component):
    """A whole installation. `outputs` is what its operator and its clients need to know."""

    TYPE = "flatline:index:Flatline"

    def __init__(self, name: str, args: FlatlineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        settings = args.settings
        images = {image: settings.images.reference(image) for image in IMAGES}
        if settings.log_requests:
            pulumi.log.warn(LOGS_REQUESTS)

        foundation = ground(settings, self.child_opts)
        secrets = Secrets("secrets", _secrets(args, foundation), self.child_opts)
        certificates = Certificates("certificates", _certificates(args), self.child_opts)
        made_by = {installation.STACK_LABEL: args.stack}
        namespace = WorkloadNamespace(
            name,
            WorkloadNamespaceArgs(
                namespace=settings.namespace,
                pod_security="restricted",
                images=images,
                storage_class=settings.target.storage_class,
                identities=foundation.identities,
                labels=made_by,
                annotations={installation.SECRETS_ANNOTATION: _digests(secrets, certificates)},
            ),
            self.child_opts,
        )
        stores = backend(
            BackendArgs(settings=settings, ground=foundation, services=namespace, images=images, secrets=secrets),
            self.child_opts,
        )
        collector = Collector(
            "otel-collector",
            CollectorArgs(
                namespace=namespace,
                exporters=settings.telemetry.exporters,
                ports=scraped_ports(settings.telemetry.exporters),
                external_egress=_external_egress(settings, "otel-collector"),
            ),
            self.child_opts,
        )
        registration, registration_members = self._registration(settings, namespace)
        storage = Storage(
            "storage",
            StorageArgs(
                namespace=namespace,
                secrets=secrets,
                bigtable=stores.bigtable,
                cdn0=stores.objects.cdn0,
                scale=scale(settings, "storage"),
                log_requests=settings.log_requests,
            ),
            self.child_opts,
        )
        cdn3 = Cdn3(
            "cdn3",
            Cdn3Args(
                namespace=namespace,
                secrets=secrets,
                uploads=stores.uploads,
                scale=scale(settings, "cdn3"),
                max_size=quantity_bytes(settings.cdn.max_attachment_size),
                credential_max_age=settings.cdn.credential_max_age_hours * HOUR,
                completed_max_age=settings.cdn.retention_days * DAY,
                incomplete_max_age=settings.cdn.incomplete_retention_hours * HOUR,
            ),
            self.child_opts,
        )
        whisper = Whisper(
            "whisper",
            WhisperArgs(
                namespace=namespace,
                secrets=secrets,
                dynamodb=stores.dynamodb,
                objects=stores.objects,
                redis=stores.redis,
                pubsub=stores.pubsub,
                registration=registration,
                telemetry=collector.telemetry,
                authority=certificates.authority,
                upload_url=f"https://{settings.host('cdn3')}",
                storage_url=f"https://{settings.host('storage')}",
                turn=_turn(settings),
                remote_config=settings.whisper.remote_config,
                external_egress=_external_egress(settings, "whisper"),
                scale=scale(settings, "whisper"),
                persister_scale=scale(settings, "whisper-persister"),
                drain_seconds=settings.whisper.drain_seconds,
                log_requests=settings.log_requests,
            ),
            self.child_opts,
        )
        traefik = self._traefik(settings)
        ingress = Ingress(
            "ingress",
            IngressArgs(
                namespace=namespace,
                domain=settings.domain,
                tls=certificates.served_from(namespace.metadata_name),
                routes=(
                    *whisper.routes,
                    storage.route,
                    *cdn3.routes,
                    *stores.routes,
                    *((whisper.admin_route, storage.admin_route) if settings.expose_admin else ()),
                ),
                proxy=Pods.of(settings.ingress.namespace, settings.ingress.pod_labels),
                plain_entry_point=settings.ingress.plain_entry_point,
                tls_entry_point=settings.ingress.tls_entry_point,
                average=settings.ingress.rate_limit.average,
                burst=settings.ingress.rate_limit.burst,
                requests=settings.ingress.in_flight.requests,
                web_sockets=settings.ingress.in_flight.web_sockets,
                depends_on=traefik,
            ),
            self.child_opts,
        )
        self._load_balancer(settings, traefik)
        self.network_peers = (
            *whisper.network_peers,
            *storage.network_peers,
            *registration_members,
            *cdn3.network_peers,
            *collector.network_peers,
            *stores.network_peers,
        )
        scrapers = (
            NetworkPeer(name="scraper", pods=Pods.of(each.namespace, each.pod_labels), egress=collector.scraped)
            for each in settings.telemetry.scrapers
        )
        self.external_peers = (ingress.external_peer, *scrapers)
        NetworkPolicies(
            "network-policies",
            NetworkPoliciesArgs(
                namespaces=(namespace, *stores.namespaces),
                network_peers=self.network_peers,
                external_peers=self.external_peers,
                dns=Pods.of(settings.cluster_dns.namespace, settings.cluster_dns.pod_labels),
                dns_networks=tuple(settings.cluster_dns.networks),
            ),
            self.child_opts,
        )
        self.pins: Pins = pins(settings.domain, certificates.pins, secrets)
        self._served = certificates.served
        self.register_outputs({})

    @property
    def outputs(self) -> dict[str, pulumi.Input[object]]:
        """What clients pin and where they go, the public certificate chain that `status` reads, and our version."""
        return {**self.pins, "servedCertificate": self._served, "version": VERSION}

    def _traefik(self, settings: Settings) -> tuple[pulumi.Resource, ...]:
        """Traefik, for a cluster that has none."""
        wanted = settings.ingress
        if wanted.install is None:
            return ()
        args = TraefikArgs(
            namespace=wanted.namespace, replicas=wanted.install.replicas, tls_entry_point=wanted.tls_entry_point
        )
        return (Traefik("traefik", args, self.child_opts).release,)

    def _load_balancer(self, settings: Settings, traefik: tuple[pulumi.Resource, ...]) -> None:
        """What clients connect to, where the cluster's Traefik has nothing of its own."""
        wanted = settings.ingress.load_balancer
        if wanted is None:
            return
        edge = LoadBalancer(
            "edge",
            LoadBalancerArgs(
                namespace=settings.ingress.namespace,
                labels=settings.ingress.pod_labels,
                entry_points=(settings.ingress.plain_entry_point, settings.ingress.tls_entry_point),
                class_name=wanted.class_name,
                annotations=wanted.annotations,
                source_ranges=tuple(wanted.source_ranges),
                depends_on=traefik,
            ),
            self.child_opts,
        )
        publish(settings, tuple(settings.host(each) for each in PUBLIC_HOSTS), edge.address, self.child_opts)

    def _registration(
        self, settings: Settings, namespace: WorkloadNamespace
    ) -> tuple[Registration, tuple[NetworkPeer, ...]]:
        chosen = settings.registration
        if not isinstance(chosen, DevelopmentSettings):
            pods = Pods.of(chosen.namespace, chosen.pod_labels)
            return external(chosen.service, pods, chosen.port), ()
        development = DevelopmentRegistration(
            "registration",
            DevelopmentRegistrationArgs(
                namespace=namespace, external_egress=_external_egress(settings, "registration")
            ),
            self.child_opts,
        )
        return development.registration, development.network_peers


def _secrets(args: FlatlineArgs, foundation: Ground) -> SecretsArgs:
    settings = args.settings.secrets
    provided = {
        secret: setting.value.get_secret_value() for secret, setting in settings.items() if setting.value is not None
    }
    return SecretsArgs(
        issued=foundation.issued,
        absent=foundation.absent,
        epochs={secret: setting.epochs for secret, setting in settings.items()},
        provided={**provided, **args.secret_values},
    )


def _digests(secrets: Secrets, certificates: Certificates) -> pulumi.Output[str]:
    """What the secrets and certificates of this installation are told apart by."""
    return pulumi.Output.all(secrets.digests, certificates.digests).apply(
        lambda both: installation.written({**both[0], **both[1]})
    )


def _certificates(args: FlatlineArgs) -> CertificatesArgs:
    wanted = args.settings.certificates
    brought = wanted.provided
    return CertificatesArgs(
        domain=args.settings.domain,
        authority_epoch=wanted.authority.epoch,
        signing_epoch=wanted.authority.signer,
        authority_days=wanted.authority.validity_days,
        leaf_epoch=wanted.leaf.epoch,
        leaf_days=wanted.leaf.validity_days,
        provided=(
            brought.certificate,
            pulumi.Output.secret(brought.private_key.get_secret_value()),
            brought.authority,
        )
        if brought
        else args.certificate,
    )


def _turn(settings: Settings) -> tuple[str, int, int] | None:
    turn = settings.turn
    return (turn.host, turn.port, turn.tls_port or 0) if turn else None


def _external_egress(settings: Settings, name: EgressName) -> tuple[Network, ...]:
    return tuple(Network(way.cidr, tuple(way.ports), way.protocol) for way in settings.egress.get(name, ()))
