"""The alerts, as groups of a PrometheusRule. What each means and what to do is in docs/operations.md under its name.

Each also names what `doctor` calls the most likely cause: a row of docs/symptoms.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from components.monitoring.series import (
    BREAKERS,
    EDGE_REQUESTS,
    INVITATIONS,
    PERSISTER_ERRORS,
    QUEUES,
    RELAY_REFUSED,
    RELAYS,
    REQUESTS,
    WEB_SOCKETS,
    Scope,
)
from config.schema.backup import NAME as BACKUP

DAY = 86400
LEAF_DAYS, AUTHORITY_DAYS = 14, 60
"""How long before its end a certificate is an alert."""

RELAY_PORTS_PART = 0.8
"""The part of the relay ports that may be in use."""

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A name, a query that has a result where something is wrong, and for how long it must be so.

    `symptom` is the row of docs/symptoms.md to begin at.
    """

    name: str
    expression: str
    lasting: str
    severity: Severity
    summary: str
    symptom: str


def groups(scope: Scope, leaf_end: float, authority_end: float, manual: str, symptoms: str) -> list[dict[str, Any]]:
    """The content of `spec.groups`. Ends are seconds since 1970; `manual` and `symptoms` are the addresses of
    docs/operations.md and docs/symptoms.md."""
    alerts = {
        "services": _services(scope),
        "people": _people(scope),
        **({"calls": _calls(scope)} if scope.relay or scope.group_calls else {}),
        "messages": _messages(scope),
        "redis": _redis(scope),
        "cluster": _cluster(scope),
        "certificates": _certificates(leaf_end, authority_end),
    }
    return [
        {"name": f"flatline-{name}", "rules": [_rule(alert, scope, manual, symptoms) for alert in found]}
        for name, found in alerts.items()
    ]


def _rule(alert: Alert, scope: Scope, manual: str, symptoms: str) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.lasting,
        "labels": {"severity": alert.severity, "stack_namespace": scope.namespace},
        "annotations": {
            "summary": alert.summary,
            "runbook_url": f"{manual}#{alert.name.lower()}",
            "symptom_url": f"{symptoms}#{alert.symptom}",
        },
    }


def _services(scope: Scope) -> Iterator[Alert]:
    failed, answered = f'{REQUESTS}{{{scope.own},status=~"5.."}}', f"{REQUESTS}{{{scope.own}}}"
    yield Alert(
        name="WhisperErrors",
        expression=f"sum(rate({failed}[5m])) / sum(rate({answered}[5m])) > 0.05 and sum(rate({failed}[5m])) > 0.02",
        lasting="5m",
        severity="critical",
        summary="Whisper answers more than 5 % of requests with an error of its own.",
        symptom="connect-answer",
    )
    yield Alert(
        name="MetricsMissing",
        expression=f"absent({REQUESTS}{{{scope.own}}})",
        lasting="15m",
        severity="warning",
        summary="Nothing has come from Whisper for 15 minutes, so other alerts are blind.",
        symptom="pod-not-ready",
    )
    edge = f"{EDGE_REQUESTS}{{{scope.edge()}"
    yield Alert(
        name="ServiceErrors",
        expression=(
            f'sum by (service) (rate({edge},code=~"5.."}}[5m])) / sum by (service) (rate({edge}}}[5m])) > 0.05 '
            f'and sum by (service) (rate({edge},code=~"5.."}}[5m])) > 0.02'
        ),
        lasting="5m",
        severity="critical",
        summary="Clients get errors for more than 5 % of requests to {{ $labels.service }}.",
        symptom="connect-answer",
    )
    uploads = f"{EDGE_REQUESTS}{{{scope.edge(*(each for each in scope.services if each.startswith('cdn')))}"
    yield Alert(
        name="UploadsRefused",
        expression=(
            f'sum by (service) (rate({uploads},code=~"401|403"}}[10m])) '
            f"/ sum by (service) (rate({uploads}}}[10m])) > 0.2 "
            f'and sum by (service) (rate({uploads},code=~"401|403"}}[10m])) > 0.05'
        ),
        lasting="10m",
        severity="warning",
        summary="The gate or the hook behind {{ $labels.service }} refuses more than a fifth of the requests.",
        symptom="log-credentials",
    )
    yield Alert(
        name="UploadsWithoutSpace",
        expression=f'sum by (service) (increase({uploads},code="507"}}[10m])) > 0',
        lasting="1m",
        severity="critical",
        summary="Uploads are refused because the volume of attachments has no room.",
        symptom="log-upload-space",
    )


def _people(scope: Scope) -> Iterator[Alert]:
    if scope.by_invitation:
        yield Alert(
            name="InvitationsAttacked",
            expression=f'sum by (state) ({INVITATIONS}{{{scope.own},state=~"attacked|locked"}}) > 0',
            lasting="1m",
            severity="critical",
            summary="Somebody guesses codes: {{ $value }} invitations are {{ $labels.state }}.",
            symptom="invitation-attacked",
        )


def _calls(scope: Scope) -> Iterator[Alert]:
    available = "kube_deployment_status_replicas_available"
    if scope.group_calls:
        yield Alert(
            name="GroupCallsDown",
            expression=f'{available}{{{scope.own},deployment=~"calling-(frontend|backend)"}} < 1',
            lasting="5m",
            severity="critical",
            summary="Group calls cannot be begun or joined: {{ $labels.deployment }} has no ready pod.",
            symptom="pod-not-ready",
        )
    relay = scope.relay
    if relay is None:
        return
    yield Alert(
        name="RelayDown",
        expression=f'{available}{{{relay.own},deployment="turn"}} < 1',
        lasting="5m",
        severity="critical",
        summary="The TURN server has no ready pod: calls of devices that do not reach each other fail.",
        symptom="pod-not-ready",
    )
    if not relay.metrics:
        return
    used, refused = f"sum({RELAYS}{{{relay.own}}})", f"sum(rate({RELAY_REFUSED}{{{relay.own}}}[10m]))"
    yield Alert(
        name="RelayPortsFew",
        expression=f"{used} > {RELAY_PORTS_PART:g} * {relay.ports}",
        lasting="5m",
        severity="warning",
        summary=f"{{{{ $value }}}} of the {relay.ports} relay ports are in use; without a port, a call finds no relay.",
        symptom="relay-full",
    )
    yield Alert(
        name="RelayRefuses",
        # each relay begins with one refusal, and lasts half a minute while a call rings
        expression=f"{refused} > 1 and {refused} > 0.2 * ({used} or vector(0))",
        lasting="10m",
        severity="warning",
        summary="The TURN server refuses {{ $value }} requests a second: their credentials are not Whisper's.",
        symptom="relay-refuses",
    )


def _messages(scope: Scope) -> Iterator[Alert]:
    own = scope.own
    visits = f"{QUEUES}_count{{{own}}}"
    yield Alert(
        name="PersisterStopped",
        expression=f"sum(increase({visits}[10m])) == 0 or absent({visits})",
        lasting="10m",
        severity="critical",
        summary="The persister moves no messages: those of offline devices stay in Redis alone.",
        symptom="workload-missing",
    )
    yield Alert(
        name="PersisterErrors",
        expression=f"sum(increase({PERSISTER_ERRORS}{{{own}}}[10m])) > 0",
        lasting="15m",
        severity="critical",
        summary="The persister fails to move messages to DynamoDB.",
        symptom="dynamodb",
    )
    yield Alert(
        name="PersisterBehind",
        expression=f"sum(rate({QUEUES}_sum{{{own}}}[10m])) / sum(rate({visits}[10m])) > 20",
        lasting="30m",
        severity="warning",
        summary="The persister finds more than 20 overdue queues in a slot, so it falls behind.",
        symptom="persister-behind",
    )
    sockets = f"{WEB_SOCKETS}{{{own}}}"
    yield Alert(
        name="WebSocketsLost",
        expression=(
            f"sum({sockets}) < 0.5 * sum(avg_over_time({sockets}[1h] offset 10m)) "
            f"and sum(avg_over_time({sockets}[1h] offset 10m)) > 20"
        ),
        lasting="5m",
        severity="critical",
        summary="Fewer than half of the WebSockets of the last hour are open.",
        symptom="connect-port",
    )


def _redis(scope: Scope) -> Iterator[Alert]:
    yield Alert(
        name="RedisUnreachable",
        expression=f'max by (breakerName) ({BREAKERS}{{{scope.own},breakerName=~"LettuceShardCircuitBreaker.*"}}) > 0',
        lasting="2m",
        severity="critical",
        summary="Whisper has given up on a Redis node for now: {{ $labels.breakerName }}.",
        symptom="redis-silent",
    )
    if not scope.redis_in_cluster:
        return
    yield Alert(
        name="RedisClusterIncomplete",
        expression=f'kube_deployment_status_replicas_available{{{scope.own},deployment="redis-membership"}} < 1',
        lasting="10m",
        severity="critical",
        summary="Not every slot has a master, or a replica is missing: redis-membership is not ready.",
        symptom="redis-slots",
    )
    yield Alert(
        name="RedisNodeDown",
        expression=(
            f'kube_statefulset_status_replicas_ready{{{scope.own},statefulset="redis"}} '
            f'< kube_statefulset_replicas{{{scope.own},statefulset="redis"}}'
        ),
        lasting="5m",
        severity="critical",
        summary="A node of the Redis Cluster is not ready.",
        symptom="redis-replication",
    )


def _cluster(scope: Scope) -> Iterator[Alert]:
    restarts = f"increase(kube_pod_container_status_restarts_total{{{scope.all}}}[1h])"
    yield Alert(
        name="ContainerRestarts",
        expression=f"{restarts} > 3",
        lasting="5m",
        severity="warning",
        summary="{{ $labels.container }} of {{ $labels.pod }} has restarted more than three times in an hour.",
        symptom="crash-loop",
    )
    yield Alert(
        name="OutOfMemory",
        expression=(
            f'kube_pod_container_status_last_terminated_reason{{{scope.all},reason="OOMKilled"}} == 1 '
            f"and on (namespace, pod, container) {restarts} > 0"
        ),
        lasting="0m",
        severity="critical",
        summary="{{ $labels.container }} of {{ $labels.pod }} was killed because it had no memory left.",
        symptom="oom-killed",
    )
    yield Alert(
        name="PodsMissing",
        expression=f"kube_deployment_status_replicas_unavailable{{{scope.all}}} > 0",
        lasting="15m",
        severity="warning",
        summary="{{ $labels.deployment }} has had fewer ready pods than it should for 15 minutes.",
        symptom="pod-not-ready",
    )
    yield Alert(
        name="JobFailed",
        expression=f"kube_job_status_failed{{{scope.all}}} > 0",
        lasting="15m",
        severity="warning",
        summary="{{ $labels.job_name }} has failed.",
        symptom="job-failed",
    )
    if scope.backup_overdue:
        job = f'{{{scope.own},cronjob="{BACKUP}"}}'
        yield Alert(
            name="BackupOld",
            expression=(
                f"time() - (kube_cronjob_status_last_successful_time{job} or kube_cronjob_created{job}) "
                f"> {scope.backup_overdue}"
            ),
            lasting="15m",
            severity="critical",
            summary="The newest archive is {{ $value | humanizeDuration }} old: what has come since is nowhere else.",
            symptom="backup-old",
        )
    yield Alert(
        name="VolumeFull",
        expression=(
            f"kubelet_volume_stats_available_bytes{{{scope.all}}} "
            f"/ kubelet_volume_stats_capacity_bytes{{{scope.all}}} < 0.1"
        ),
        lasting="15m",
        severity="critical",
        summary="The volume {{ $labels.persistentvolumeclaim }} has less than 10 % left.",
        symptom="volume-nearly-full",
    )


def _certificates(leaf_end: float, authority_end: float) -> Iterator[Alert]:
    """The ends are known here, so no exporter has to read them. They change with the certificate."""
    yield Alert(
        name="CertificateEnds",
        expression=f"vector({leaf_end:.0f}) - time() < {LEAF_DAYS * DAY}",
        lasting="1h",
        severity="critical",
        summary="The certificate that clients see ends in {{ $value | humanizeDuration }}.",
        symptom="certificate-ending",
    )
    yield Alert(
        name="AuthorityEnds",
        expression=f"vector({authority_end:.0f}) - time() < {AUTHORITY_DAYS * DAY}",
        lasting="1h",
        severity="critical",
        summary="The authority that clients pin ends in {{ $value | humanizeDuration }}.",
        symptom="certificate-ending",
    )
