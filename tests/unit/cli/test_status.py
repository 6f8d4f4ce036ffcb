"""`status`, `outputs`, `pins`, `stack`."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cli.certificates import certificate
from tests.unit.cli.checkout import Checkout, calls
from tests.unit.cli.conftest import Clusters


def test_before_the_first_run(checkout: Checkout) -> None:
    said = checkout.succeed("status")
    assert "none yet" in said
    assert "has no outputs yet" in said
    assert "./flatline up" in checkout.fail("pins")
    assert "./flatline up" in checkout.fail("outputs")


def test_certificates_epochs_and_images(brought_up: Checkout) -> None:
    brought_up.configure({"secrets": {"turn": {"epoch": 4}}, "images": {"digests": {"whisper": f"sha256:{'a' * 64}"}}})
    said = brought_up.succeed("status")
    assert re.search(r"^served for Test CA +\d{4}-\d\d-\d\d +396$", said, re.M)
    assert re.search(r"^turn +4$", said, re.M)
    images = said.partition("Images")[2]
    assert "whisper" not in images
    assert "flatline-storage-service:main has no digest: flatline:images.digests.storage" in images


@pytest.mark.parametrize(
    ("days", "status", "expected"),
    [(400, 0, ""), (29, 0, "expires in 28 days"), (-1, 1, "has expired")],
)
def test_a_certificate_that_ends(brought_up: Checkout, days: int, status: int, expected: str) -> None:
    outputs = brought_up.build() / "stack-outputs.json"
    content = {**json.loads(outputs.read_text()), "servedCertificate": certificate(timedelta(days=days))}
    outputs.write_text(json.dumps(content))
    result = brought_up.run("status")
    assert result.returncode == status, result.stderr
    assert expected in result.stdout
    assert ("run `./flatline rotate certificate`" in result.stdout) == bool(expected)


def test_a_certificate_that_ends_soon_is_said_by_what_people_run(whole: Checkout) -> None:
    whole.configure({"certificates": {"leaf": {"epoch": 2, "validityDays": 20}}})
    for command in (("up",), ("render",), ("render", "--redact"), ("check",), ("status",)):
        result = whole.run(*command)
        assert "flatline.internal expires in 19 days: run `./flatline rotate certificate`" in " ".join(
            f"{result.stdout}{result.stderr}".split()
        ), command


def test_readiness_of_a_named_cluster(brought_up: Checkout, clusters: Clusters) -> None:
    kubectl = brought_up.program(
        "kubectl",
        """
        record(arguments=sys.argv[1:])
        if os.environ.get("REFUSE"):
            sys.exit("error: You must be logged in to the server (Unauthorized)")
        item = {"metadata": {"name": "whisper", "namespace": "flatline"}, "spec": {"replicas": 2},
                "status": {"readyReplicas": 1}}
        print(json.dumps({"items": [item] if "flatline" in sys.argv else []}))
        """,
    )
    said = brought_up.succeed("status", "--context", "mine")
    assert re.search(r"^whisper +flatline +1/2$", said, re.M)
    assert {tuple(call["arguments"][:2]) for call in calls(kubectl)} == {("--context", "mine")}
    assert "must be logged in" in brought_up.fail("status", "--context", "mine", REFUSE="1")


REDIS_KUBECTL = """
import pathlib
answers = json.loads(pathlib.Path(__file__).with_name("answers").read_text())
record(arguments=sys.argv[1:])
if "get" in sys.argv:
    print(json.dumps({"items": answers["pods"] if "pods" in sys.argv else []}))
elif answer := answers.get(" ".join(word for word in sys.argv if word in ("exec", "logs") or word.startswith("redis"))):
    print(answer)
else:
    sys.exit("Error from server (Forbidden): pods/exec is forbidden" if "exec" in sys.argv else 0)
"""
REPORT = "2026-11-29T16:10:17Z 1024 bytes at the end of appendonlydir/appendonly.aof.2.incr.aof were cut off"


def redis_pod(name: str, role: str, state: str = "running") -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": role}
    status: dict[str, Any] = {"containerStatuses": [{"state": {state: {}}}]}
    return {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}


def test_what_redis_found_damaged_and_waits_for_is_said(brought_up: Checkout, clusters: Clusters) -> None:
    """Of each node its probe, of one that does not run the end of its log, of the membership program its last event."""
    brought_up.program("kubectl", REDIS_KUBECTL)
    waits = {"event": "waiting", "rule": "strangers", "for": "2 clusters that do not know each other"}
    answers = {
        "pods": [
            redis_pod("redis-0", "redis"),
            redis_pod("redis-1", "redis", "waiting"),
            redis_pod("redis-membership-7c", "redis-membership"),
            redis_pod("redis-pubsub-5d", "redis-pubsub"),
        ],
        "exec redis-0": REPORT,
        "logs redis-1": "redis-start: cannot write to /data: see whether the volume is full or read-only",
        "logs redis-membership-7c": json.dumps({"event": "complete"}).replace(" ", "")
        + "\nnode: a warning\n"
        + json.dumps(waits, separators=(",", ":")),
    }
    place = brought_up.programs / "answers"
    place.write_text(json.dumps(answers))
    said = " ".join(brought_up.succeed("status", "--context", "mine").split())
    assert f"redis-0: {REPORT}" in said
    assert "redis-1 does not run. The end of its log: redis-start: cannot write to /data" in said
    assert "redis-membership-7c waits: 2 clusters that do not know each other" in said
    assert "redis-pubsub-5d" not in said

    del answers["exec redis-0"]
    place.write_text(json.dumps(answers))
    refused = brought_up.run("status", "--context", "mine")
    assert refused.returncode == 0
    assert "whether Redis is well is not known" in refused.stderr
    assert "pods/exec is forbidden" in refused.stderr


def test_without_kubectl_readiness_says_so(brought_up: Checkout, clusters: Clusters) -> None:
    assert "kubectl is not on the PATH" in brought_up.fail("status", "--context", "mine")


HELM = {"meta.helm.sh/release-name": "traefik"}
POD = {"kind": "Pod", "metadata": {"name": "traefik-1", "labels": {"app.kubernetes.io/name": "traefik", "x": "y"}}}


def service(policy: str | None, kind: str = "LoadBalancer", namespace: str = "kube-system") -> dict[str, Any]:
    """Traefik's Service, as k3s' chart makes it but for the policy."""
    selector = {"app.kubernetes.io/name": "traefik"}
    spec = {"type": kind, "selector": selector, **({"externalTrafficPolicy": policy} if policy else {})}
    metadata = {"name": "traefik", "namespace": namespace, "annotations": HELM}
    return {"kind": "Service", "metadata": metadata, "spec": spec}


KUBECTL = """
import pathlib
record(arguments=sys.argv[1:])
if "services,pods" in sys.argv and os.environ.get("FORBID"):
    sys.exit("Error from server (Forbidden): services is forbidden")
if "apply" in sys.argv:
    record(applied=sys.stdin.read())
answers = json.loads(pathlib.Path(__file__).with_name("answers").read_text())
names = [word.removeprefix("metadata.name=") for word in sys.argv if word.startswith("metadata.name=")]
print(json.dumps({"items": next((found for word, found in answers.items() if word in (names or sys.argv)), [])}))
"""
CHART_CONFIGS = "helmchartconfigs.helm.cattle.io"
CLUSTER = {"services,pods": [POD, service("Cluster")], CHART_CONFIGS: [{"kind": "CustomResourceDefinition"}]}
HIDDEN = "Traefik does not see the addresses of clients"


@pytest.fixture
def on_cluster(brought_up: Checkout, clusters: Clusters) -> Callable[[dict[str, Any]], Checkout]:
    """A checkout whose kubectl answers `get <word>` with the items of that word."""
    brought_up.program("kubectl", KUBECTL)

    def answering(answers: dict[str, Any]) -> Checkout:
        (brought_up.programs / "answers").write_text(json.dumps(answers))
        return brought_up

    return answering


@pytest.mark.parametrize("command", ["status", "up"])
def test_a_service_that_hides_clients_is_told_with_the_cure(
    on_cluster: Callable[[dict[str, Any]], Checkout], command: str
) -> None:
    checkout = on_cluster(CLUSTER)
    checkout.configure({"secrets": {"turn": {"epoch": 2}}})  # an `up` without changes has a line for it
    said = checkout.succeed(command, "--context", "mine")
    assert HIDDEN in said
    assert "kube-system/traefik has externalTrafficPolicy: Cluster" in said
    script = (
        "kubectl --context mine apply -f - <<'END'\n" + said.partition("apply -f - <<'END'\n")[2].partition("END")[0]
    )
    subprocess.run(["/bin/sh", "-c", script + "END\n"], check=True, env=checkout.environment())
    (applied,) = (call["applied"] for call in calls(checkout.programs / "kubectl.calls") if "applied" in call)
    written = yaml.safe_load(applied)
    assert written["kind"] == "HelmChartConfig"
    assert written["metadata"] == {"name": "traefik", "namespace": "kube-system"}
    values = yaml.safe_load(written["spec"]["valuesContent"])
    assert values == {"service": {"spec": {"externalTrafficPolicy": "Local"}}}


def test_a_helm_chart_config_of_the_operator_is_not_overwritten(
    on_cluster: Callable[[dict[str, Any]], Checkout],
) -> None:
    said = on_cluster({"traefik": [{"kind": "HelmChartConfig"}], **CLUSTER}).succeed("status", "--context", "mine")
    assert HIDDEN in said
    assert "apply -f" not in said
    assert "kubectl --context mine -n kube-system edit helmchartconfigs.helm.cattle.io/traefik" in said


@pytest.mark.parametrize(("schema", "old"), [({"ipv6Subnet": {"type": "integer"}}, False), ({}, True)])
def test_definitions_that_are_too_old_are_told(
    on_cluster: Callable[[dict[str, Any]], Checkout], schema: dict[str, Any], old: bool
) -> None:
    definition = {"kind": "CustomResourceDefinition", "spec": {"ipStrategy": {"properties": {"depth": {}, **schema}}}}
    answers = {"services,pods": [POD, service("Local")], "middlewares.traefik.io": [definition]}
    result = on_cluster(answers).run("status", "--context", "mine")
    assert result.returncode == 0
    assert ("older than 3.2" in result.stderr) == old


def test_another_traefik_is_patched(on_cluster: Callable[[dict[str, Any]], Checkout]) -> None:
    said = on_cluster({"services,pods": [POD, service("Cluster")]}).succeed("status", "--context", "mine")
    command = next(line for line in said.splitlines() if "patch service" in line)
    words = shlex.split(command)
    assert words[:5] == ["kubectl", "--context", "mine", "-n", "kube-system"]
    assert json.loads(words[-1]) == {"spec": {"externalTrafficPolicy": "Local"}}


@pytest.mark.parametrize(
    ("services", "hides"),
    [
        ([service(None)], True),
        ([service("Cluster", "NodePort")], True),
        ([service("Local")], False),
        ([service("Cluster", "ClusterIP")], False),
        ([{**service("Cluster"), "spec": {**service("Cluster")["spec"], "selector": {"app": "other"}}}], False),
        ([{**service("Cluster"), "spec": {"type": "LoadBalancer"}}], False),
        ([], False),
        ([service("Local"), service("Cluster", namespace="kube-system")], True),
    ],
)
def test_only_what_hides_clients_is_told(
    on_cluster: Callable[[dict[str, Any]], Checkout], services: list[dict[str, Any]], hides: bool
) -> None:
    assert (HIDDEN in on_cluster({"services,pods": [POD, *services]}).succeed("status", "--context", "mine")) == hides


@pytest.mark.parametrize("command", ["status", "up"])
def test_a_cluster_that_may_not_be_read_is_no_cluster_that_is_well(
    on_cluster: Callable[[dict[str, Any]], Checkout], command: str
) -> None:
    result = on_cluster(CLUSTER).run(command, "--context", "mine", FORBID="1")
    assert result.returncode == 0
    assert "whether Traefik sees the addresses of clients is not known" in result.stderr
    assert "services is forbidden" in result.stderr


def test_outputs_are_those_of_the_last_run(brought_up: Checkout) -> None:
    written = json.loads((brought_up.build() / "stack-outputs.json").read_text())
    assert json.loads(brought_up.succeed("outputs", "--json"))["outputs"] == written
    pins = json.loads(brought_up.succeed("pins", "--json"))["pins"]
    assert written.keys() - pins.keys() == {"servedCertificate", "version"}
    assert pins.items() <= written.items()
    earlier = {**written, "lostOnRestart": ["pictures"]}
    (brought_up.build() / "stack-outputs.json").write_text(json.dumps(earlier))
    assert json.loads(brought_up.succeed("pins", "--json"))["pins"] == pins, "of a stack of an earlier release"
    shown = brought_up.succeed("pins")
    assert "  whisper  https://whisper.flatline.internal" in shown.splitlines()
    assert "  -----BEGIN CERTIFICATE-----" in shown.splitlines()


def test_a_new_stack_is_made_once(checkout: Checkout) -> None:
    checkout.succeed("stack", "new", "home", "--domain", "chat.example.org", "--context", 'my "k3s"')
    content = yaml.safe_load(checkout.file("home").read_text())
    assert content["config"]["flatline:domain"] == "chat.example.org"
    assert content["config"]["flatline:target"] == {"kind": "local", "context": 'my "k3s"'}
    before = checkout.file("home").read_bytes()
    assert "there already" in checkout.fail("stack", "new", "home", "--domain", "other.example.org")
    assert checkout.file("home").read_bytes() == before
    said = checkout.succeed("up", "--stack", "home")
    assert "Stack home, chat.example.org" in said
    listed = checkout.succeed("stack", "list")
    assert re.search(r"^home +chat\.example\.org +state/home\.json", listed, re.M)
    assert re.search(r"^dev +flatline\.internal +none yet", listed, re.M)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("home", "--domain", "localhost"), "flatline:domain"),
        (("../home", "--domain", "chat.example.org"), "cannot be the name"),
        (("home", "--domain", "chat.example.org", "--context", ""), "--context"),
    ],
)
def test_a_new_stack_is_checked(checkout: Checkout, words: tuple[str, ...], expected: str) -> None:
    files = sorted(path.name for path in checkout.root.glob("**/Pulumi.*"))
    assert expected in checkout.fail("stack", "new", *words)
    assert sorted(path.name for path in checkout.root.glob("**/Pulumi.*")) == files


def test_a_path_is_shown_as_one_types_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cli.stacks import display_path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert display_path(tmp_path / "build" / "dev") == "build/dev"
    assert display_path(Path("/home/someone/state")) == "~/state"
    assert display_path(Path("/srv/state")) == "/srv/state"
