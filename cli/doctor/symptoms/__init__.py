"""Every symptom that the doctor knows: what it is called, what it means for people, and the command that mends it.

docs/symptoms.md is made of this table (`python -m docs.generate`). Names stay: alerts and scripts use them.
"""

from cli.doctor.model import Area, Row, Symptom
from cli.doctor.symptoms.before import CLUSTER, EDGE, OUTSIDE, SECRETS
from cli.doctor.symptoms.running import LOG, PODS, STORES

NOTICES = frozenset(
    {
        "cluster-version",
        "registry-unseen",
        "traefik-read-timeout",
        "connect-name",
        "restarts",
        "pod-evicted",
        "log-errors",
    }
)
"""They are told, and do not change the exit status."""

FIXES = {
    "client-address-hidden": "sets externalTrafficPolicy: Local on Traefik's Service (on k3s by a HelmChartConfig)",
    "workload-stopped": "sets the number of pods that the stack's settings want",
    "image-pull": "deletes the pod, whose successor tries at once",
    "pod-evicted": "deletes the record of the pod, which has ended",
    "cron-job-suspended": "lets it run again by its schedule",
}
"""The effect of `--fix`, where that is safe: it changes no data, and what it does can be taken back."""

_ROWS: tuple[tuple[Area, tuple[Row, ...]], ...] = (
    ("cluster", CLUSTER),
    ("edge", EDGE),
    ("outside", OUTSIDE),
    ("secrets", SECRETS),
    ("pods", PODS),
    ("stores", STORES),
    ("logs", LOG),
)


def _symptom(area: Area, row: Row) -> Symptom:
    name, title, means, mend = row
    severity = "notice" if name in NOTICES else "wrong"
    return Symptom(
        name=name, area=area, title=title, means=means, mend=mend, severity=severity, fix=FIXES.get(name, "")
    )


SYMPTOMS: dict[str, Symptom] = {
    symptom.name: symptom for area, rows in _ROWS for symptom in (_symptom(area, row) for row in rows)
}
"""By name, in the order in which the checks look."""
