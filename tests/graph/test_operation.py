"""What keeps the pods running and replaceable: starts, stops, memory, and names that follow content."""

import json
import re
from typing import Any

from tests.graph.stack import Object, Pod, Stack, configuration, load, recorded

MIB = 1 << 20
LABELS = {"name", "component", "instance", "part-of"}
"""Labels of pods below `app.kubernetes.io/`: none changes with a version, which would restart every pod."""

SLOW = {"whisper": 120, "whisper-persister": 120, "storage": 120, "registration": 60}
"""Seconds that a JVM may need for its first answer on a busy node."""


def variables(container: Object) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container.get("env", ())}


def mebibytes(quantity: str) -> int:
    found = re.fullmatch(r"(\d+)(Mi|Gi)", quantity)
    assert found
    number, unit = found.groups()
    return int(number) * (1024 if unit == "Gi" else 1)


def memory(container: Object) -> int:
    """The limit, in MiB."""
    return mebibytes(container["resources"]["limits"]["memory"])


def startup(container: Object) -> int:
    """Seconds until the first success of its start-up probe must have come."""
    probe = container["startupProbe"]
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def servers(stack: Stack) -> list[Pod]:
    return [pod for pod in stack.pods() if pod.owner["kind"] in {"Deployment", "StatefulSet"}]


def test_redis_pods_start_together_and_have_time_to_hand_over() -> None:
    """A node that waits for an earlier one's readiness waits for ever after a loss of all."""
    redis = load("dev").get("StatefulSet", "redis")["spec"]
    assert redis["podManagementPolicy"] == "Parallel"
    pod = redis["template"]["spec"]
    (server,) = pod["containers"]
    mounted = [file.path for file in load("dev").pod("redis").files[server["name"]]]
    assert server["lifecycle"]["preStop"]["exec"]["command"][-1] in mounted
    assert pod["terminationGracePeriodSeconds"] >= int(variables(server)["REDIS_STOP_SECONDS"]) + 30


def test_redis_has_memory_for_rewriting_its_file() -> None:
    for name in ("redis", "redis-pubsub"):
        (server,) = load("dev").pod(name).spec["containers"]
        assert 2 * int(variables(server)["REDIS_MAXMEMORY"]) <= memory(server) * MIB


def test_redis_becomes_fewer_only_after_the_membership_program_agrees() -> None:
    sets = (r for r in load("dev").resources if r.type == "kubernetes:apps/v1:StatefulSet")
    (nodes,) = (r for r in sets if r.name == "redis")
    assert [urn for urn in nodes.dependencies if urn.endswith("apps/v1:Deployment::redis-membership")]


def test_slow_starts_are_waited_for(stack: Stack) -> None:
    for pod in servers(stack):
        for container in pod.spec["containers"]:
            assert startup(container) >= SLOW.get(pod.labels["app.kubernetes.io/name"], 60), pod.name


def test_seeds_have_the_time_that_they_ask_for(stack: Stack) -> None:
    for pod in stack.pods():
        for container in pod.spec["containers"]:
            name = pod.labels["app.kubernetes.io/name"]
            if container["name"] == "localstack":
                seed = json.loads(stack.file(name, "/opt/flatline/seed.json"))
                assert seed["deadlineSeconds"] + 30 <= startup(container)
            if container["name"] == "seed":
                deadline = int(container["args"][container["args"].index("--deadline") + 1])
                assert deadline + 30 <= pod.owner["spec"]["activeDeadlineSeconds"]


def test_localstack_keeps_tables_and_deletes_expired_rows(stack: Stack) -> None:
    """Without the second one, rows that have expired are hidden and stay on the disk for good."""
    for pod in stack.pods():
        for container in pod.spec["containers"]:
            if container["name"] == "localstack":
                assert variables(container)["CLEAR_TMP_FOLDER"] == "0"
                assert variables(container)["DYNAMODB_REMOVE_EXPIRED_ITEMS"] == "1"


def test_labels_of_pods_hold_nothing_that_a_version_changes(stack: Stack) -> None:
    for pod in stack.pods():
        assert set(pod.labels) == {f"app.kubernetes.io/{name}" for name in LABELS}, pod.name


def test_what_cannot_be_changed_is_named_after_its_content(stack: Stack) -> None:
    """A Job, or an immutable ConfigMap or Secret, that keeps its name makes the next update fail."""
    named = [
        resource.urn
        for resource in stack.resources
        if resource.outputs.get("kind") in {"Job", "ConfigMap", "Secret"} and "name" in resource.inputs["metadata"]
    ]
    assert named == []


def test_every_file_is_mounted_by_a_pod(stack: Stack) -> None:
    """But for the certificate, which is the proxy's."""
    for kind, source, key in (("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")):
        mounted = {
            (pod.namespace, volume[source][key])
            for pod in stack.pods()
            for volume in pod.spec.get("volumes", ())
            if source in volume
        }
        known = {
            (o["metadata"]["namespace"], o["metadata"]["name"])
            for o in stack.of(kind)
            if o.get("type") != "kubernetes.io/tls"
        }
        unused = {name for _, name in known - mounted}
        assert unused == set(), kind


def test_the_storage_class_of_the_settings_is_that_of_every_claim() -> None:
    target = json.dumps({"kind": "local", "storageClass": "fast"})
    stack = Stack(recorded({**configuration("dev"), "flatline:target": target}))
    claims: list[Any] = [o["spec"] for o in stack.of("PersistentVolumeClaim")]
    claims += [t["spec"] for o in stack.of("StatefulSet") for t in o["spec"]["volumeClaimTemplates"]]
    assert len(claims) == 6
    assert {spec["storageClassName"] for spec in claims} == {"fast"}
    classes = [o["spec"].get("storageClassName") for o in load("dev").of("PersistentVolumeClaim")]
    assert classes == [None] * 4


def test_traefiks_objects_come_after_what_defines_their_kinds() -> None:
    cloud = load("prod")
    (release,) = cloud.recording.of_type("kubernetes:helm.sh/v3:Release")
    ours = [r for r in cloud.resources if r.type.startswith("kubernetes:traefik.io/")]
    assert len(ours) > 5
    assert all(release.urn in resource.dependencies for resource in ours)
