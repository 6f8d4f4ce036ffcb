"""Every pod is as closed as it can be."""

import re

from tests.graph.stack import Object, Stack

ROOT_PODS = {"localstack"}
"""LocalStack's image works as root only; its namespace enforces `baseline`."""


def test_containers_are_restricted(stack: Stack) -> None:
    for pod in stack.pods():
        root = pod.labels["app.kubernetes.io/name"] in ROOT_PODS
        context = pod.spec["securityContext"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        if not root:
            assert context["runAsNonRoot"]
            assert context["runAsUser"] > 10000
            assert context["fsGroup"] == context["runAsGroup"] == context["runAsUser"]
        for container in pod.containers():
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"]["drop"] == ["ALL"]
            assert own["readOnlyRootFilesystem"] is not root


def test_namespaces_enforce_pod_security(emulated: Stack) -> None:
    level = "pod-security.kubernetes.io/enforce"
    levels = {o["metadata"]["name"]: o["metadata"]["labels"][level] for o in emulated.of("Namespace")}
    assert levels == {"flatline": "restricted", "flatline-emulators": "baseline"}
    roots = {pod.namespace for pod in emulated.pods() if pod.labels["app.kubernetes.io/name"] in ROOT_PODS}
    assert roots == {"flatline-emulators"}


def test_no_pod_has_a_token_of_the_cluster(stack: Stack) -> None:
    accounts = {(o["metadata"]["namespace"], o["metadata"]["name"]): o for o in stack.of("ServiceAccount")}
    used = []
    for pod in stack.pods():
        assert pod.spec["automountServiceAccountToken"] is False
        used.append((pod.namespace, pod.spec["serviceAccountName"]))
        assert accounts[used[-1]]["automountServiceAccountToken"] is False
    assert sorted(used) == sorted(accounts), "each pod has an account of its own"


def test_resources_are_requested_and_memory_is_limited(stack: Stack) -> None:
    for pod in stack.pods():
        for container in pod.containers():
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


def test_servers_have_three_probes(stack: Stack) -> None:
    for pod in stack.pods():
        if pod.owner["kind"] in {"Deployment", "StatefulSet"}:
            for container in pod.spec["containers"]:
                assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), pod.name


def test_images_are_exact_but_for_the_three_that_publish_one_tag(stack: Stack) -> None:
    moving = {
        container["image"]
        for pod in stack.pods()
        for container in pod.containers()
        if not re.search(r"@sha256:[0-9a-f]{64}$|:v?\d+\.\d+\.\d+[\w.-]*$", container["image"])
    }
    assert moving == {
        "ghcr.io/mollyim/flatline-registration-service:main",
        "ghcr.io/mollyim/flatline-storage-service:main",
        "ghcr.io/mollyim/flatline-whisper-service:main",
    }


def test_a_volume_has_one_writer_at_a_time(stack: Stack) -> None:
    for pod in stack.pods():
        if any("persistentVolumeClaim" in volume for volume in pod.spec.get("volumes", ())):
            assert pod.owner["spec"]["strategy"] == {"type": "Recreate"}
            assert pod.owner["spec"]["replicas"] == 1
            assert pod.spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] == [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": pod.owner["spec"]["selector"]["matchLabels"]},
                }
            ]


def test_redis_keeps_its_volumes(emulated: Stack) -> None:
    redis = emulated.get("StatefulSet", "redis")["spec"]
    assert redis["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
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
        command = task["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
        assert command[command.index("--dry-run") + 1] == "false"


def test_the_persister_runs_with_enough_threads(stack: Stack) -> None:
    command = stack.pod("whisper-persister").spec["containers"][0]["command"]
    assert int(command[command.index("--workers") + 1]) >= 16
