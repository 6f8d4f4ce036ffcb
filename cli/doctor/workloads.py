"""Findings about what should run: workloads, autoscalers, clean-ups, volume claims and network policies."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from cli.doctor.model import Check, Evidence, Finding, Item, condition, finding, short
from config.schema.backup import NAME
from config.settings import Settings
from config.workloads import ScaledName

SERVICES = ("whisper", "whisper-persister", "storage", "cdn0-gate", "cdn3", "otel-collector")
"""Workloads that every stack has."""
STORES = ("redis", "redis-pubsub", "redis-membership", "object-store", "cbtemulator")
"""Those that a local stack has beside them, in its own namespace."""
SUSPENDED_BECAUSE = "flatline.org/suspended-because"
"""On CronJobs that are suspended for a reason of the program's own."""
SCALED: dict[str, ScaledName] = {
    "whisper": "whisper",
    "whisper-persister": "whisper-persister",
    "storage": "storage",
    "cdn0-gate": "cdn0",
}
"""Workload → the name of its setting; every other Deployment has one pod."""


def workloads(evidence: Evidence) -> Iterator[Finding]:
    """Workloads that are gone, stopped, or do not get on."""
    settings = evidence.settings
    there = [*evidence.items("stack", "Deployment"), *evidence.items("stack", "StatefulSet")]
    names = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in there}
    for namespace, name in sorted(set(_wanted(settings)) - names):
        yield Finding(symptom="workload-missing", about=f"workload {namespace}/{name}", found="it is not there")
    for each in there:
        name = each["metadata"]["name"]
        if each["spec"].get("replicas", 1) == 0:
            wanted, kind = str(_replicas(settings, name)), each["kind"].lower()
            found = f"it has 0 pods by its own wish; the settings want {wanted}"
            fix = ("scale", f"{kind}/{name}", "--replicas", wanted)
            yield finding("workload-stopped", each, found, fix, kind=kind, replicas=wanted)
        progress = condition(each, "Progressing")
        if progress.get("reason") == "ProgressDeadlineExceeded":
            yield finding("rollout-stuck", each, short(progress.get("message", "")), kind=each["kind"].lower())


def autoscalers(evidence: Evidence) -> Iterator[Finding]:
    """Autoscalers that cannot read what they scale by."""
    for each in evidence.items("stack", "HorizontalPodAutoscaler"):
        active = condition(each, "ScalingActive")
        if active.get("status") == "False" and active.get("reason") != "ScalingDisabled":
            yield finding("autoscaler-blind", each, short(active.get("message", "")))


def jobs(evidence: Evidence) -> Iterator[Finding]:
    """Jobs that failed and have not succeeded since, and clean-ups that somebody suspended."""
    for each in evidence.items("stack", "Job"):
        failed = condition(each, "Failed")
        if failed.get("status") == "True" and not _later_success(each, evidence.items("stack", "Job")):
            yield finding("job-failed", each, short(failed.get("message") or failed.get("reason", "")))
    for each in evidence.items("stack", "CronJob"):
        annotations = each["metadata"].get("annotations") or {}
        if each["spec"].get("suspend") and SUSPENDED_BECAUSE not in annotations:
            resume = ("patch", "cronjob", each["metadata"]["name"], "--patch", '{"spec":{"suspend":false}}')
            yield finding("cron-job-suspended", each, "its suspend is true, without a reason of the program's", resume)


def backups(evidence: Evidence) -> Iterator[Finding]:
    """Backups by schedule that do not succeed."""
    backup, namespace = evidence.settings.backup, evidence.settings.namespace
    if backup is None:
        return
    jobs = [each for each in evidence.items("stack", "CronJob") if each["metadata"]["name"] == NAME]
    if not jobs:
        yield Finding(symptom="workload-missing", about=f"cronjob {namespace}/{NAME}", found="it is not there")
    for each in jobs:
        last = each.get("status", {}).get("lastSuccessfulTime")
        since = datetime.fromisoformat(last or each["metadata"]["creationTimestamp"])
        hours = round((evidence.now - since).total_seconds() / 3600)
        if (evidence.now - since).total_seconds() > backup.overdue_seconds:
            yield finding(
                "backup-old", each, f"the last success was {hours} hours ago" if last else "it never succeeded"
            )


def claims(evidence: Evidence) -> Iterator[Finding]:
    """Claims whose volume is gone. One that waits is told of its pod."""
    for each in evidence.items("stack", "PersistentVolumeClaim"):
        if each.get("status", {}).get("phase") == "Lost":
            yield finding("claim-lost", each, f"its volume {each['spec'].get('volumeName', '')} is gone")


def policies(evidence: Evidence) -> Iterator[Finding]:
    """The policies that deny what is not declared."""
    there = {
        each["metadata"]["namespace"]
        for each in evidence.items("stack", "NetworkPolicy")
        if not each["spec"].get("podSelector") and set(each["spec"].get("policyTypes") or ()) >= {"Ingress", "Egress"}
    }
    for namespace in _namespaces(evidence):
        if namespace not in there:
            yield Finding(
                symptom="policy-missing", about=f"namespace {namespace}", found="it has no policy that denies the rest"
            )


def _namespaces(evidence: Evidence) -> list[str]:
    """Those that have pods of the stack."""
    return sorted({each["metadata"]["namespace"] for each in evidence.items("stack", "Pod")})


def _wanted(settings: Settings) -> Iterator[tuple[str, str]]:
    local = settings.target.kind == "local"
    registration = ("registration",) if settings.registration.kind != "external" else ()
    for name in (*SERVICES, *registration, *(STORES if local else ())):
        yield settings.namespace, name
    if local:
        yield settings.emulator_namespace, "localstack"


def _replicas(settings: Settings, name: str) -> int:
    if name == "redis":
        return settings.redis_nodes
    return settings.scale(SCALED[name]).replicas if name in SCALED else 1


def _later_success(job: Item, every: Iterable[Item]) -> bool:
    """True if the same CronJob has succeeded after this failure."""
    owners = {each["uid"] for each in job["metadata"].get("ownerReferences") or ()}
    began = job["status"].get("startTime", "")
    return any(
        owners & {owner["uid"] for owner in each["metadata"].get("ownerReferences") or ()}
        and condition(each, "Complete").get("status") == "True"
        and each["status"].get("startTime", "") > began
        for each in every
    )


CHECKS: Iterable[Check] = (
    Check("workloads", "the workloads of the stack", ("stack",), workloads, running=True),
    Check("autoscalers", "autoscalers", ("stack",), autoscalers, running=True),
    Check("jobs", "jobs and clean-ups", ("stack",), jobs, running=True),
    Check("backups", "backups by schedule", ("stack",), backups, running=True),
    Check("claims", "volume claims", ("stack",), claims, running=True),
    Check("policies", "the network policies that deny", ("stack",), policies, running=True),
)
