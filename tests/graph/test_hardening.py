"""Hardening that the policy rules do not demand. `test_policies.py` runs those rules over the same stacks."""

import re

from tests.graph.stack import Object, Stack


def test_pods_have_a_high_user_that_owns_their_volumes(stack: Stack) -> None:
    """Except LocalStack, whose image works only as root."""
    for pod in stack.pods():
        if pod.labels["app.kubernetes.io/name"] != "localstack":
            context = pod.spec["securityContext"]
            assert context["runAsUser"] > 10000
            assert context["fsGroup"] == context["runAsGroup"] == context["runAsUser"]


def test_service_accounts_mount_no_token_and_each_is_used(stack: Stack) -> None:
    accounts = stack.of("ServiceAccount")
    assert all(account["automountServiceAccountToken"] is False for account in accounts)
    names = {(account["metadata"]["namespace"], account["metadata"]["name"]) for account in accounts}
    assert names == {(pod.namespace, pod.spec["serviceAccountName"]) for pod in stack.pods()}


def test_servers_have_startup_probes(stack: Stack) -> None:
    for pod in stack.pods():
        if pod.owner["kind"] in {"Deployment", "StatefulSet"}:
            assert all("startupProbe" in container for container in pod.spec["containers"]), pod.name


PUBLISHED_UNDER_ONE_TAG = {
    f"ghcr.io/mollyim/flatline-{name}:main"
    for name in ("storage-service", "whisper-service", "calling-service-frontend", "calling-service-backend")
}


def test_images_are_exact_but_for_those_that_publish_one_tag(stack: Stack) -> None:
    images = {container["image"] for pod in stack.pods() for container in pod.containers()}
    moving = {each for each in images if not re.search(r"@sha256:[0-9a-f]{64}$|:v?\d+\.\d+\.\d+[\w.-]*$", each)}
    assert moving == images & PUBLISHED_UNDER_ONE_TAG


def test_the_successor_of_a_pod_with_a_volume_waits_for_its_end(stack: Stack) -> None:
    for pod in stack.pods():
        claims = {each["name"] for each in pod.spec.get("volumes", ()) if "persistentVolumeClaim" in each}
        if pod.owner["kind"] == "CronJob":  # those of others, which it reads
            mounts = [mount for each in pod.containers() for mount in each.get("volumeMounts", ())]
            assert all(mount["readOnly"] for mount in mounts if mount["name"] in claims)
        elif claims:
            assert pod.spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] == [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": pod.owner["spec"]["selector"]["matchLabels"]},
                }
            ]


def test_redis_has_its_volume_and_its_headless_service(emulated: Stack) -> None:
    redis = emulated.get("StatefulSet", "redis")["spec"]
    (template,) = redis["volumeClaimTemplates"]
    mounts = redis["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {"name": template["metadata"]["name"], "mountPath": "/data"} in mounts
    peers = emulated.get("Service", redis["serviceName"])["spec"]
    assert peers["clusterIP"] == "None"
    assert peers["publishNotReadyAddresses"]


def replicas(stack: Stack, workload: Object) -> int:
    """How many pods a workload has at least: its own number, or that of what scales it."""
    scalers = {o["spec"]["scaleTargetRef"]["name"]: o["spec"] for o in stack.of("HorizontalPodAutoscaler")}
    scaler = scalers.get(workload["metadata"]["name"])
    assert (scaler is None) == ("replicas" in workload["spec"]), "one of them says how many"
    return int(scaler["minReplicas"] if scaler else workload["spec"]["replicas"])


def test_what_is_scaled_says_what_it_needs(stack: Stack) -> None:
    """A share of nothing cannot be had: every container of a scaled pod requests CPU."""
    for scaler in stack.of("HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        assert spec["maxReplicas"] > spec["minReplicas"]
        named = spec["scaleTargetRef"]
        (target,) = (o for o in stack.of(named["kind"]) if o["metadata"]["name"] == named["name"])
        for container in target["spec"]["template"]["spec"]["containers"]:
            assert container["resources"]["requests"]["cpu"]


def test_disruptions_are_bounded_where_there_are_replicas(stack: Stack) -> None:
    budgets = {o["metadata"]["name"] for o in stack.of("PodDisruptionBudget")}
    replicated = {o["metadata"]["name"] for o in stack.of("Deployment", "StatefulSet") if replicas(stack, o) > 1}
    assert budgets == replicated


def test_suspended_tasks_say_why(stack: Stack) -> None:
    for task in stack.of("CronJob"):
        reason = task["metadata"].get("annotations", {}).get("flatline.org/suspended-because", "")
        assert task["spec"]["suspend"] == bool(reason)
        if task["metadata"]["name"] == "backup":
            continue
        command = task["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
        assert command[command.index("--dry-run") + 1] == "false"


def test_the_persister_runs_with_enough_threads(stack: Stack) -> None:
    command = stack.pod("whisper-persister").spec["containers"][0]["command"]
    assert int(command[command.index("--workers") + 1]) >= 16
