"""One dashboard of Grafana. It asks for its data source when it is opened first, so it fits any installation."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from components.monitoring.series import (
    BREAKERS,
    EDGE_REQUESTS,
    PERSISTED,
    PERSISTER_ERRORS,
    QUEUES,
    RELAY_RECEIVED,
    RELAY_REFUSED,
    RELAY_SENT,
    RELAYS,
    REQUESTS,
    WEB_SOCKETS,
    Scope,
)

SCHEMA = 39
"""Version of the dashboard's form, which Grafana 11 writes and later ones convert."""
WIDTH, HEIGHT, COLUMNS = 8, 8, 3
Unit = Literal["reqps", "short", "percentunit", "bytes", "Bps"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A graph: queries by their legend."""

    title: str
    unit: Unit
    queries: dict[str, str]


def panels(scope: Scope) -> tuple[Panel, ...]:
    """From what people notice down to what runs."""
    own, every = scope.own, scope.all
    edge = f"{EDGE_REQUESTS}{{{scope.edge()}"
    return (
        Panel(
            title="Whisper: requests by status",
            unit="reqps",
            queries={"{{status}}": f"sum by (status) (rate({REQUESTS}{{{own}}}[5m]))"},
        ),
        Panel(
            title="Errors that clients get, by service",
            unit="percentunit",
            queries={
                "{{service}}": f'sum by (service) (rate({edge},code=~"5.."}}[5m])) '
                f"/ sum by (service) (rate({edge}}}[5m]))"
            },
        ),
        Panel(
            title="Open WebSockets",
            unit="short",
            queries={"{{platform}}": f'sum by (platform) ({WEB_SOCKETS}{{{own},authenticated="true"}})'},
        ),
        Panel(
            title="Messages moved to DynamoDB, and errors",
            unit="short",
            queries={
                "moved": f"sum(increase({PERSISTED}{{{own}}}[5m]))",
                "errors": f"sum(increase({PERSISTER_ERRORS}{{{own}}}[5m]))",
            },
        ),
        Panel(
            title="Overdue queues at a visit of the persister",
            unit="short",
            queries={"mean": f"sum(rate({QUEUES}_sum{{{own}}}[10m])) / sum(rate({QUEUES}_count{{{own}}}[10m]))"},
        ),
        Panel(
            title="Redis nodes that Whisper has given up on",
            unit="short",
            queries={"{{breakerName}}": f"max by (breakerName) ({BREAKERS}{{{own}}}) > 0"},
        ),
        Panel(
            title="Refusals of uploads and downloads",
            unit="reqps",
            queries={
                "{{service}} {{code}}": "sum by (service, code) (rate("
                f"{EDGE_REQUESTS}{{{scope.edge(*(s for s in scope.services if s.startswith('cdn')))},"
                'code=~"401|403|507"}[5m]))'
            },
        ),
        Panel(
            title="Free part of each volume",
            unit="percentunit",
            queries={
                "{{persistentvolumeclaim}}": f"kubelet_volume_stats_available_bytes{{{every}}} "
                f"/ kubelet_volume_stats_capacity_bytes{{{every}}}"
            },
        ),
        Panel(
            title="Restarts in an hour",
            unit="short",
            queries={
                "{{pod}} {{container}}": f"increase(kube_pod_container_status_restarts_total{{{every}}}[1h]) > 0",
            },
        ),
        *_relay(scope),
    )


def _relay(scope: Scope) -> tuple[Panel, ...]:
    """The TURN server, where it offers metrics."""
    if scope.relay is None or not scope.relay.metrics:
        return ()
    own = scope.relay.own
    return (
        Panel(
            title=f"Relays in use, of {scope.relay.ports}",
            unit="short",
            queries={"{{type}}": f"sum by (type) ({RELAYS}{{{own}}})"},
        ),
        Panel(
            title="Relayed data, counted when a relay ends",
            unit="Bps",
            queries={
                "from devices": f"sum(rate({RELAY_RECEIVED}{{{own}}}[5m]))",
                "to devices": f"sum(rate({RELAY_SENT}{{{own}}}[5m]))",
            },
        ),
        Panel(
            title="Requests for a relay without its credentials",
            unit="reqps",
            queries={"401": f"sum(rate({RELAY_REFUSED}{{{own}}}[5m]))"},
        ),
    )


def dashboard(scope: Scope) -> str:
    """The JSON of the dashboard, with sorted keys."""
    content = {
        "uid": f"flatline-{scope.namespace}"[:40],
        "title": f"Flatline ({scope.namespace})",
        "schemaVersion": SCHEMA,
        "editable": False,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(position, panel) for position, panel in enumerate(panels(scope))],
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _panel(position: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    row, column = divmod(position, COLUMNS)
    return {
        "id": position + 1,
        "title": panel.title,
        "type": "timeseries",
        "datasource": source,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": source, "expr": query, "legendFormat": legend}
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
    }
