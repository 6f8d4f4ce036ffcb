"""The arguments of the components, from the settings of a stack and from what other components offer."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.backup import BackupArgs, Bucket, Folder
from components.capabilities import (
    Network,
    NetworkPeer,
    Pods,
    Registration,
    Route,
    ServedCertificate,
    Telemetry,
    TurnServer,
    UploadsOnVolume,
)
from components.certificates import Certificates, CertificatesArgs
from components.config_tree import shared_credentials
from components.ingress import IngressArgs
from components.kubernetes import pod
from components.kubernetes.namespace import WorkloadNamespace, WorkloadNamespaceArgs
from components.kubernetes.network import NetworkPoliciesArgs
from components.monitoring.monitoring import MonitoringArgs
from components.monitoring.series import RelayScope, Scope
from components.secrets import Secrets, SecretsArgs
from components.services.calling import GroupCallsArgs
from components.services.cdn3 import Cdn3Args
from components.services.registration import COMPONENT as REGISTRATION_COMPONENT
from components.services.registration import DISK, METRICS_PORT
from components.services.storage import StorageArgs
from components.services.telemetry import CollectorArgs
from components.services.turn import NAME as TURN
from components.services.turn import TurnArgs
from components.services.whisper import WhisperArgs
from components.targets.base import Stores, Target
from components.traefik import LoadBalancerArgs, TraefikArgs
from config import installation
from config.calls import TurnRelay
from config.exporters import scraped_ports
from config.images import ImageName
from config.network import EgressName
from config.schema.invitations import SECRET as INVITATIONS
from config.settings import Settings
from config.types import quantity_bytes
from config.version import VERSION

HOUR, DAY = 3600, 86400


def secrets_args(target: Target, values: Mapping[str, pulumi.Input[str]]) -> SecretsArgs:
    """`values` are the operator's own beside those of the settings, by name."""
    settings = target.settings.secrets
    provided = {name: secret.value.get_secret_value() for name, secret in settings.items() if secret.value is not None}
    return SecretsArgs(
        issued=target.issued,
        absent=target.absent,
        epochs={name: secret.epochs for name, secret in settings.items()},
        provided={**provided, **values},
    )


def certificates_args(settings: Settings, certificate: ServedCertificate | None) -> CertificatesArgs:
    """`certificate` is the operator's own where the settings have none."""
    certificates = settings.certificates
    provided = certificates.provided
    if provided is not None:
        certificate = ServedCertificate(
            chain=provided.certificate,
            private_key=pulumi.Output.secret(provided.private_key.get_secret_value()),
            authority=provided.authority,
        )
    return CertificatesArgs(
        domain=settings.domain,
        authority_epoch=certificates.authority.epoch,
        signing_epoch=certificates.authority.signer,
        authority_days=certificates.authority.validity_days,
        leaf_epoch=certificates.leaf.epoch,
        leaf_days=certificates.leaf.validity_days,
        provided=certificate,
    )


def namespace_args(
    target: Target, stack: str, images: Mapping[ImageName, str], secrets: Secrets, certificates: Certificates
) -> WorkloadNamespaceArgs:
    """The namespace of the services. Its annotation has the digests that identify this installation's secrets."""
    digests = pulumi.Output.all(secrets.digests, certificates.digests).apply(
        lambda both: installation.written({**both[0], **both[1]})
    )
    return WorkloadNamespaceArgs(
        namespace=target.settings.namespace,
        pod_security="restricted",
        images=images,
        storage_class=target.settings.target.storage_class,
        identities=target.identities,
        labels={installation.STACK_LABEL: stack},
        annotations={installation.SECRETS_ANNOTATION: digests},
    )


def turn_namespace_args(target: Target, services: WorkloadNamespace, relay: TurnRelay) -> WorkloadNamespaceArgs:
    """The namespace of the TURN server, apart from `services` because the internet reaches its pod."""
    return WorkloadNamespaceArgs(
        namespace=target.settings.turn_namespace,
        pod_security="privileged" if relay.network == "host" else "restricted",
        images=services.args.images,
        labels=services.args.labels,
    )


def traefik_args(settings: Settings) -> TraefikArgs | None:
    """Traefik, if the stack installs it."""
    ingress = settings.ingress
    if ingress.install is None:
        return None
    return TraefikArgs(
        namespace=ingress.namespace, replicas=ingress.install.replicas, tls_entry_point=ingress.tls_entry_point
    )


def load_balancer_args(settings: Settings, traefik: tuple[pulumi.Resource, ...]) -> LoadBalancerArgs | None:
    """The Service that clients connect to, if Traefik has none of its own."""
    ingress, load_balancer = settings.ingress, settings.ingress.load_balancer
    if load_balancer is None:
        return None
    return LoadBalancerArgs(
        namespace=ingress.namespace,
        labels=ingress.pod_labels,
        entry_points=(ingress.plain_entry_point, ingress.tls_entry_point),
        class_name=load_balancer.class_name,
        annotations=load_balancer.annotations,
        source_ranges=tuple(load_balancer.source_ranges),
        depends_on=traefik,
    )


def external_egress(settings: Settings, name: EgressName) -> tuple[Network, ...]:
    """The networks outside of the cluster that the settings open for a service."""
    return tuple(Network(egress.cidr, tuple(egress.ports), egress.protocol) for egress in settings.egress.get(name, ()))


def annotated(settings: Settings) -> bool:
    """True if annotations of Services say where their metrics are."""
    return settings.monitoring is not None and settings.monitoring.scrape == "annotations"


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """The arguments of the services, of the ingress and of the network policies."""

    target: Target
    namespace: WorkloadNamespace
    secrets: Secrets
    certificates: Certificates
    stores: Stores

    @property
    def settings(self) -> Settings:
        """The settings of the stack."""
        return self.target.settings

    def collector(self) -> CollectorArgs:
        """The OpenTelemetry Collector."""
        exporters = self.settings.telemetry.exporters
        return CollectorArgs(
            namespace=self.namespace,
            exporters=exporters,
            ports=scraped_ports(exporters),
            external_egress=external_egress(self.settings, "otel-collector"),
            annotated=annotated(self.settings),
        )

    def monitoring(self, routes: tuple[Route, ...], calls: tuple[WorkloadNamespace, ...] = ()) -> MonitoringArgs | None:
        """Alerts and a dashboard, if they are wanted; `routes` are the public ones, `calls` the namespaces of calls."""
        monitoring = self.settings.monitoring
        if monitoring is None:
            return None
        ports = sorted(scraped_ports(self.settings.telemetry.exporters).values())
        return MonitoringArgs(
            namespace=self.namespace,
            scope=Scope(
                namespace=self.namespace.name,
                namespaces=(self.namespace.name, *(each.name for each in (*self.stores.namespaces, *calls))),
                services=tuple(dict.fromkeys(route.endpoint.service for route in routes)),
                redis_in_cluster=any(peer.name == "redis" for peer in self.stores.network_peers),
                backup_overdue=self.settings.backup.overdue_seconds if self.settings.backup else 0,
                by_invitation=self.settings.registration.kind in {"invitation", "webhook"},
                relay=self._relay_scope(),
                group_calls=self.settings.calls.groups is not None,
            ),
            served=self.certificates.served,
            authority=self.certificates.authority,
            manual=monitoring.manual,
            symptoms=monitoring.symptoms,
            labels=monitoring.labels,
            dashboard_labels=monitoring.dashboard_labels,
            collector="otel-collector",
            registration=REGISTRATION_COMPONENT,
            registration_port=METRICS_PORT,
            relay=TURN,
            ports=[f"metrics-{port}" for port in ports] if monitoring.scrape == "service-monitor" else (),
        )

    def _relay_scope(self) -> RelayScope | None:
        turn = self.settings.calls.turn
        if turn is None:
            return None
        return RelayScope(
            namespace=self.settings.turn_namespace,
            ports=len(turn.relay.numbers),
            metrics=turn.network == "node-ports",
        )

    def storage(self) -> StorageArgs:
        """Storage."""
        return StorageArgs(
            namespace=self.namespace,
            secrets=self.secrets,
            bigtable=self.stores.bigtable,
            cdn0=self.stores.objects.cdn0,
            scale=self.target.scale("storage"),
            log_requests=self.settings.log_requests,
        )

    def cdn3(self) -> Cdn3Args:
        """CDN3."""
        cdn = self.settings.cdn
        return Cdn3Args(
            namespace=self.namespace,
            secrets=self.secrets,
            uploads=self.stores.uploads,
            scale=self.target.scale("cdn3"),
            max_size=quantity_bytes(cdn.max_attachment_size),
            credential_max_age=cdn.credential_max_age_hours * HOUR,
            completed_max_age=cdn.retention_days * DAY,
            incomplete_max_age=cdn.incomplete_retention_hours * HOUR,
        )

    def turn(self, namespace: WorkloadNamespace, relay: TurnRelay) -> TurnArgs:
        """The TURN server of `calls.turn`."""
        return TurnArgs(
            namespace=namespace,
            secrets=self.secrets,
            certificate=self.certificates.leaf,
            host=self.settings.host("turn"),
            address=relay.address,
            network=relay.network,
            port=relay.plain_port,
            tls_port=relay.secure_port,
            relay=relay.relay.numbers,
            max_kbit_per_second=relay.max_kbit_per_second,
            allowed=tuple(relay.allowed_networks),
            denied=relay.closed_networks,
            node_labels=tuple(sorted(relay.node_labels.items())),
            annotated=annotated(self.settings),
        )

    def whisper(self, registration: Registration, telemetry: Telemetry, relay: TurnServer | None) -> WhisperArgs:
        """Whisper. `relay` is the cluster's own TURN server."""
        settings, turn = self.settings, self.settings.turn
        return WhisperArgs(
            namespace=self.namespace,
            secrets=self.secrets,
            dynamodb=self.stores.dynamodb,
            objects=self.stores.objects,
            redis=self.stores.redis,
            pubsub=self.stores.pubsub,
            registration=registration,
            telemetry=telemetry,
            authority=self.certificates.authority,
            upload_url=f"https://{settings.host('cdn3')}",
            storage_url=f"https://{settings.host('storage')}",
            turn=TurnServer(turn.host, turn.port, turn.tls_port or 0) if turn else relay,
            remote_config=settings.whisper.remote_config,
            external_egress=external_egress(settings, "whisper"),
            scale=self.target.scale("whisper"),
            persister_scale=self.target.scale("whisper-persister"),
            drain_seconds=settings.whisper.drain_seconds,
            log_requests=settings.log_requests,
        )

    def group_calls(self, telemetry: Telemetry) -> GroupCallsArgs | None:
        """The calling service, if it is wanted."""
        settings, rooms = self.settings, self.stores.rooms
        if settings.calls.groups is None or rooms is None:
            return None
        return GroupCallsArgs(
            namespace=self.namespace,
            secrets=self.secrets,
            rooms=rooms,
            telemetry=telemetry,
            url=f"https://{settings.host('sfu')}",
            settings=settings.calls.groups,
            log_requests=settings.log_requests,
        )

    def backup(self, stack: str) -> BackupArgs | None:
        """Archives by schedule, if they are wanted. `stack` is the name that archives begin with."""
        backup, stores = self.settings.backup, self.stores.archived
        if backup is None or stores is None:
            return None
        uploads = self.stores.uploads
        folders = []
        invited = self.settings.registration.kind in {"invitation", "webhook"}
        if invited:
            pods = pod.pods(self.namespace, "registration", REGISTRATION_COMPONENT)
            folders.append(Folder(name="registration", claim=f"{DISK.name}-registration-0", pods=pods))
        if backup.attachments and isinstance(uploads, UploadsOnVolume):
            pods = pod.pods(self.namespace, "cdn3", "cdn3")
            folders.append(Folder(name="attachments", claim=uploads.volume.name, pods=pods))
        keys = backup.credentials
        return BackupArgs(
            namespace=self.namespace,
            stack=stack,
            release=VERSION,
            schedule=backup.schedule,
            recipient=backup.recipient,
            keep=backup.rule,
            to=Bucket(
                endpoint=backup.server,
                region=backup.region,
                bucket=backup.bucket,
                prefix=backup.prefix,
                key_pair=shared_credentials(
                    keys.access_key_id, pulumi.Output.secret(keys.secret_access_key.get_secret_value())
                ),
            ),
            stores=stores,
            secrets={"invitations": INVITATIONS} if invited else {},
            folders=tuple(folders),
            external_egress=external_egress(self.settings, "backup"),
        )

    def ingress(self, routes: tuple[Route, ...], traefik: tuple[pulumi.Resource, ...]) -> IngressArgs:
        """Traefik's routes; `traefik` is what defines its kinds of objects, if that is part of the stack."""
        ingress = self.settings.ingress
        return IngressArgs(
            namespace=self.namespace,
            domain=self.settings.domain,
            tls=self.certificates.served_from(self.namespace.metadata_name),
            routes=routes,
            proxy=Pods.of(ingress.namespace, ingress.pod_labels),
            plain_entry_point=ingress.plain_entry_point,
            tls_entry_point=ingress.tls_entry_point,
            average=ingress.rate_limit.average,
            burst=ingress.rate_limit.burst,
            requests=ingress.in_flight.requests,
            web_sockets=ingress.in_flight.web_sockets,
            depends_on=traefik,
        )

    def network_policies(
        self,
        network_peers: tuple[NetworkPeer, ...],
        external_peers: tuple[NetworkPeer, ...],
        calls: tuple[WorkloadNamespace, ...] = (),
    ) -> NetworkPoliciesArgs:
        """Policies of all namespaces."""
        dns = self.settings.cluster_dns
        return NetworkPoliciesArgs(
            namespaces=(self.namespace, *self.stores.namespaces, *calls),
            network_peers=network_peers,
            external_peers=external_peers,
            dns=Pods.of(dns.namespace, dns.pod_labels),
            dns_networks=tuple(dns.networks),
        )
