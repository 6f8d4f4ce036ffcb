"""Series of a stack as Prometheus has them, a value for each minute: a normal day, and a day for each fault.

Names and labels are those that the collector exports for what Whisper sends (integration/test_monitoring.py compares
them), those of coturn's source code, and the documented ones of kube-state-metrics, the kubelet and Traefik.
"""

import math
from collections.abc import Callable, Mapping

from components.monitoring.series import (
    BREAKERS,
    EDGE_REQUESTS,
    INVITATIONS,
    PERSISTED,
    PERSISTER_ERRORS,
    QUEUES,
    RELAY_RECEIVED,
    RELAY_REFUSED,
    RELAY_SENT,
    RELAYS,
    REQUESTS,
    WEB_SOCKETS,
    RelayScope,
    Scope,
)

SCOPE = Scope(
    namespace="flatline",
    namespaces=("flatline", "flatline-emulators", "flatline-turn"),
    services=("whisper", "storage", "cdn3", "cdn0-gate", "calling-frontend"),
    redis_in_cluster=True,
    relay=RelayScope(namespace="flatline-turn", ports=100, metrics=True),
    group_calls=True,
    backup_overdue=33 * 3600,
)
DAY = 24 * 60
NEVER = float(4_000_000_000)
"""The end of a certificate, in seconds since 1970; these series begin at 0."""

Values = list[float | None]
Series = dict[str, Values]
Fault = Callable[[Series, int, int], None]
"""Changes series from one minute up to another."""

OWN = 'namespace="flatline"'
POD = f'{OWN},pod="whisper-5b8-x",container="whisper"'


def edge(service: str, code: int) -> str:
    return f'{EDGE_REQUESTS}{{service="flatline-{service}-8080@kubernetescrd",code="{code}",method="GET"}}'


def whisper(status: int) -> str:
    return f'{REQUESTS}{{{OWN},status="{status}",method="GET",path="/v1/config"}}'


TURN = 'namespace="flatline-turn"'


def relays(transport: str) -> str:
    return f'{RELAYS}{{{TURN},type="{transport}"}}'


REFUSED, FROM_DEVICES, TO_DEVICES = (f"{name}{{{TURN}}}" for name in (RELAY_REFUSED, RELAY_RECEIVED, RELAY_SENT))


def available(namespace: str, deployment: str) -> str:
    return f'kube_deployment_status_replicas_available{{{namespace},deployment="{deployment}"}}'


def sockets(platform: str) -> str:
    return f'{WEB_SOCKETS}{{{OWN},authenticated="true",platform="{platform}"}}'


VISITS, DUE = f"{QUEUES}_count{{{OWN}}}", f"{QUEUES}_sum{{{OWN}}}"
ERRORS, MOVED = f"{PERSISTER_ERRORS}{{{OWN}}}", f'{PERSISTED}{{{OWN},urgent="true"}}'
BREAKER = f'{BREAKERS}{{{OWN},breakerName="LettuceShardCircuitBreaker/messages/redis-0:6379"}}'
MEMBERSHIP = available(OWN, "redis-membership")
UNAVAILABLE = f'kube_deployment_status_replicas_unavailable{{{OWN},deployment="whisper"}}'
NODES_READY = f'kube_statefulset_status_replicas_ready{{{OWN},statefulset="redis"}}'
NODES = f'kube_statefulset_replicas{{{OWN},statefulset="redis"}}'
RESTARTS = f"kube_pod_container_status_restarts_total{{{POD}}}"
KILLED = f'kube_pod_container_status_last_terminated_reason{{{POD},reason="OOMKilled"}}'
FAILED = f'kube_job_status_failed{{{OWN},job_name="groups-seed"}}'
BACKUP = f'{OWN},cronjob="backup"'
SUCCEEDED = f"kube_cronjob_status_last_successful_time{{{BACKUP}}}"
MADE = f"kube_cronjob_created{{{BACKUP}}}"
FREE = f'kubelet_volume_stats_available_bytes{{{OWN},persistentvolumeclaim="attachments"}}'
ATTACKED = f'{INVITATIONS}{{{OWN},state="attacked"}}'
WAITING = f'{INVITATIONS}{{{OWN},state="waiting"}}'
SIZE = f'kubelet_volume_stats_capacity_bytes{{{OWN},persistentvolumeclaim="attachments"}}'

PER_MINUTE: Mapping[str, float] = {
    whisper(200): 300,
    whisper(401): 20,
    whisper(500): 0.1,
    VISITS: 9000,
    DUE: 300,
    MOVED: 50,
    ERRORS: 0,
    **{edge(service, 200): 100 for service in SCOPE.services},
    **{edge(service, 502): 0.1 for service in SCOPE.services},
    edge("cdn3", 401): 2,
    edge("cdn3", 507): 0,
    edge("cdn0-gate", 403): 1,
    RESTARTS: 0,
    REFUSED: 120,
    FROM_DEVICES: 60e6,
    TO_DEVICES: 60e6,
}
"""How fast counters grow on a normal day."""

STEADY: Mapping[str, float] = {
    BREAKER: 0,
    MEMBERSHIP: 1,
    UNAVAILABLE: 0,
    NODES_READY: 3,
    NODES: 3,
    KILLED: 0,
    FAILED: 0,
    SUCCEEDED: -20 * 3600,
    MADE: -400 * 86400,
    FREE: 12e9,
    SIZE: 20e9,
    ATTACKED: 0,
    WAITING: 4,
    relays("UDP"): 30,
    relays("TCP"): 5,
    relays("TLS/TCP"): 1,
    available(TURN, "turn"): 1,
    available(OWN, "calling-frontend"): 1,
    available(OWN, "calling-backend"): 1,
}


def counted(rates: Mapping[int, float], minutes: int, default: float) -> Values:
    """A counter that grows by `default`, or by what `rates` says of a minute."""
    total, values = 0.0, []
    for minute in range(minutes):
        total += rates.get(minute, default)
        values.append(float(math.floor(total)))
    return values


def normal(minutes: int = DAY) -> Series:
    """Nothing but what happens every day: more people by day, an update, a restart of the collector, single errors."""
    series: Series = {name: counted({}, minutes, rate) for name, rate in PER_MINUTE.items()}
    series |= {name: [value] * minutes for name, value in STEADY.items()}
    for platform, most in (("android", 120), ("ios", 60)):
        wave = (most * (0.7 - 0.3 * math.cos(2 * math.pi * minute / DAY)) for minute in range(minutes))
        series[sockets(platform)] = [float(round(value)) for value in wave]
    if minutes < DAY:
        return series
    series[ERRORS] = counted({300: 1}, minutes, 0)
    series[SUCCEEDED][240:] = [240.0 * 60] * (minutes - 240)
    series[RESTARTS] = counted({500: 1}, minutes, 0)
    series[UNAVAILABLE][500:504] = [1.0] * 4
    series[NODES_READY][505:508] = [2.0] * 3
    series[BREAKER][506] = 1.0
    series[available(TURN, "turn")][510:513] = [0.0] * 3
    series[relays("UDP")][900:903] = [85.0] * 3  # a busy moment
    for name in (whisper(200), whisper(401), whisper(500), VISITS, DUE, MOVED):  # the collector forgets
        again = series[name][: minutes - 700]
        series[name][700:] = [None, None, *again[:-2]]
    return series


def grows(name: str, rate: float) -> Fault:
    """A counter grows by another rate."""

    def change(series: Series, begin: int, end: int) -> None:
        before = series[name][begin - 1] or 0.0
        series[name][begin:end] = [before + math.floor(rate * (minute + 1)) for minute in range(end - begin)]

    return change


def becomes(name: str, value: float | None) -> Fault:
    """A series has another value, or none."""

    def change(series: Series, begin: int, end: int) -> None:
        series[name][begin:end] = [value] * (end - begin)

    return change


def together(*faults: Fault) -> Fault:
    """Several at once."""

    def change(series: Series, begin: int, end: int) -> None:
        for fault in faults:
            fault(series, begin, end)

    return change


FAULTS: Mapping[str, Fault] = {
    "WhisperErrors": grows(whisper(500), 60),
    "MetricsMissing": together(*(becomes(whisper(status), None) for status in (200, 401, 500))),
    "ServiceErrors": grows(edge("storage", 502), 20),
    "UploadsRefused": grows(edge("cdn0-gate", 403), 60),
    "UploadsWithoutSpace": grows(edge("cdn3", 507), 1),
    "InvitationsAttacked": becomes(ATTACKED, 2),
    "RelayDown": becomes(available(TURN, "turn"), 0),
    "GroupCallsDown": becomes(available(OWN, "calling-backend"), 0),
    "RelayPortsFew": becomes(relays("UDP"), 80),
    "RelayRefuses": grows(REFUSED, 1200),
    "PersisterStopped": together(grows(VISITS, 0), grows(DUE, 0)),
    "PersisterErrors": grows(ERRORS, 1),
    "PersisterBehind": grows(DUE, 9000 * 50),
    "WebSocketsLost": together(becomes(sockets("android"), 5), becomes(sockets("ios"), 5)),
    "RedisUnreachable": becomes(BREAKER, 1),
    "RedisClusterIncomplete": becomes(MEMBERSHIP, 0),
    "RedisNodeDown": becomes(NODES_READY, 2),
    "ContainerRestarts": grows(RESTARTS, 0.2),
    "OutOfMemory": together(grows(RESTARTS, 0.02), becomes(KILLED, 1)),
    "PodsMissing": becomes(UNAVAILABLE, 1),
    "JobFailed": becomes(FAILED, 1),
    "BackupOld": becomes(SUCCEEDED, -40 * 3600),
    "VolumeFull": becomes(FREE, 1e9),
}
"""By the one alert that must fire."""


def written(series: Series) -> list[dict[str, str]]:
    """As promtool's `input_series`."""
    return [
        {"series": name, "values": " ".join("_" if value is None else f"{value:.0f}" for value in values)}
        for name, values in series.items()
    ]
