"""The series that rules and panels read: their names, where they come from, and how a query is limited to a stack.

Whisper's and its persister's come by StatsD through the collector, whose exporter writes dots as underscores and
appends `_total` to counters (the names are in Whisper's `metrics/`, `storage/MessagePersister.java`,
`websocket/AuthenticatedConnectListener.java` and `util/ResilienceUtil.java`). Those of the TURN server are in coturn's
`src/apps/relay/prom_server.c` (4.17.0). The others are documented by kube-state-metrics, by the kubelet and by Traefik.
"""

from dataclasses import dataclass

REQUESTS = "org_whispersystems_textsecuregcm_metrics_MetricsRequestEventListener_request_total"
"""Requests that Whisper has answered, by `status`, `method` and `path`."""
WEB_SOCKETS = "chat_WebSocketConnection_openWebsockets"
"""WebSockets that are open now, by `platform` and `authenticated`."""
QUEUES = "chat_MessagePersister_queueCount"
"""A histogram with an observation for each visit of the persister to a slot: the queues that were due there."""
PERSISTER_ERRORS = "chat_MessagePersister_persistQueueException_total"
PERSISTED = "chat_MessagePersister_persistMessage_total"
BREAKERS = "chat_ResilienceUtil_breaker_state"
"""1 where Whisper has given up on a store for now, by `breakerName`."""

COLLECTOR = (REQUESTS, WEB_SOCKETS, QUEUES, PERSISTER_ERRORS, PERSISTED, BREAKERS)

INVITATIONS = "registration_invitations"
"""Invitations by `state`; the registration program tells it itself (programs/registration/status.mjs)."""

EDGE_REQUESTS = "traefik_service_requests_total"
"""Requests that Traefik has passed on, by `service` and `code`."""

RELAYS = "turn_total_allocations"
"""Relays in use, by `type`: UDP, TCP or TLS. There is none before the first relay."""
RELAY_REFUSED = "turn_unauthenticated_401_requests"
"""Requests by UDP that coturn answered with 401: the first of each relay, and every one with credentials that it does
not take."""
RELAY_RECEIVED, RELAY_SENT = "turn_total_traffic_rcvb", "turn_total_traffic_sentb"
"""Bytes from devices and to them, which coturn counts when a relay ends."""
COTURN = (RELAYS, RELAY_REFUSED, RELAY_RECEIVED, RELAY_SENT)

KUBE_STATE = (
    "kube_cronjob_created",
    "kube_cronjob_status_last_successful_time",
    "kube_deployment_status_replicas_available",
    "kube_deployment_status_replicas_unavailable",
    "kube_job_status_failed",
    "kube_pod_container_status_last_terminated_reason",
    "kube_pod_container_status_restarts_total",
    "kube_statefulset_replicas",
    "kube_statefulset_status_replicas_ready",
)
KUBELET = ("kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes")
OTHERS = (*KUBE_STATE, *KUBELET, EDGE_REQUESTS, INVITATIONS, *COTURN)


@dataclass(frozen=True, kw_only=True)
class RelayScope:
    """The TURN server: its namespace, its relay ports, and whether it offers metrics."""

    namespace: str
    ports: int
    metrics: bool

    @property
    def own(self) -> str:
        """The matcher of its namespace."""
        return f'namespace="{self.namespace}"'


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A stack as queries see it: the namespace of its services, all of its namespaces, and the public Services.

    `by_invitation` is whether the stack has a registration program of ours, which tells of invitations; `relay` and
    `group_calls` are the servers for calls that it runs. At an age of `backup_overdue` seconds the newest archive of a
    backup by schedule is too old; 0 without one. The scraped series of the collector must bear the label `namespace`,
    as Prometheus' operator and chart give it.
    """

    namespace: str
    namespaces: tuple[str, ...]
    services: tuple[str, ...]
    redis_in_cluster: bool
    by_invitation: bool = True
    relay: RelayScope | None = None
    group_calls: bool = False
    backup_overdue: int = 0

    @property
    def own(self) -> str:
        """The matcher of the namespace of the services."""
        return f'namespace="{self.namespace}"'

    @property
    def all(self) -> str:
        """The matcher of all namespaces of the stack."""
        return f'namespace=~"{"|".join(self.namespaces)}"'

    def edge(self, *services: str) -> str:
        """The matcher of Traefik's names of Services, `<namespace>-<service>-<port>@kubernetescrd`; all without any."""
        names = "|".join(services or self.services)
        return f'service=~"{self.namespace}-({names})-[a-z0-9-]+@kubernetescrd"'
