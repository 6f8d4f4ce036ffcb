"""`./flatline` and plain `pulumi` on the real engine, after others have changed the cluster or taken it away."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.engine import CONTEXT, Engine, engine_alone
from tests.lab.kubernetes import Kubernetes

pytestmark = pytest.mark.integration

UP = ("up", "--context", CONTEXT, "--yes")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, kubernetes: Kubernetes) -> Iterator[Engine]:
    with engine_alone(tmp_path_factory.mktemp("engine"), kubernetes) as engine:
        yield engine


@pytest.fixture(scope="module", autouse=True)
def first_up(engine: Engine) -> str:
    """What `./flatline up` has printed, which has deployed stack dev. Each test leaves it so."""
    return engine.flatline(*UP)


def test_an_up_without_changes_says_so_in_a_few_lines(engine: Engine) -> None:
    said = engine.flatline(*UP)
    assert "Nothing has changed since the last run. It has 2" in said, said
    assert len(said.splitlines()) <= 12, said


def names(kubernetes: Kubernetes, kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in kubernetes.get(kind, "flatline")}


def test_deleted_objects_come_back_under_their_names_and_edits_are_undone(
    engine: Engine, kubernetes: Kubernetes
) -> None:
    kinds = ("secrets", "configmaps", "services", "deployments", "networkpolicies")
    before = {kind: names(kubernetes, kind) for kind in kinds}
    for kind in ("secrets", "configmaps"):
        kubernetes.kubectl("-n", "flatline", "delete", kind, "--selector", "app.kubernetes.io/part-of=flatline")
    kubernetes.kubectl("-n", "flatline", "delete", "deployment/whisper", "service/whisper")
    kubernetes.kubectl("-n", "flatline", "scale", "deployment/storage", "--replicas", "0")
    said = engine.flatline("preview", "--context", CONTEXT)
    assert "- Deployment flatline/whisper" in said
    assert "whisper" not in names(kubernetes, "deployments")
    said = engine.flatline(*UP)
    assert "- Deployment flatline/storage" in said.partition("Changed in the cluster")[2]
    assert {kind: names(kubernetes, kind) for kind in kinds} == before
    replicas = {
        each["metadata"]["name"]: each["spec"]["replicas"] for each in kubernetes.get("deployments", "flatline")
    }
    assert replicas["storage"] == replicas["whisper"] == 1
    engine.run("preview", "--stack", "dev", "--expect-no-changes")


def test_a_claim_that_is_gone_stays_gone(engine: Engine, kubernetes: Kubernetes) -> None:
    kubernetes.kubectl("-n", "flatline", "delete", "deployment", "--all")
    kubernetes.kubectl("-n", "flatline", "delete", "persistentvolumeclaim/attachments")
    said = engine.flatline(*UP, fails=True)
    assert "no longer has what held data: PersistentVolumeClaim flatline/attachments" in said
    assert "attachments" not in names(kubernetes, "persistentvolumeclaims")
    engine.flatline(*UP, "--empty-volumes")
    assert "attachments" in names(kubernetes, "persistentvolumeclaims")


def test_nothing_is_said_to_be_unchanged_of_a_cluster_that_is_down(engine: Engine, tmp_path: Path) -> None:
    before, there = engine.state(), engine.environment["KUBECONFIG"]
    down = tmp_path / "kubeconfig"
    down.write_text(re.sub("server: .*", "server: https://127.0.0.1:1", Path(there).read_text()))
    engine.environment["KUBECONFIG"] = str(down)
    try:
        for said in (
            engine.run("preview", "--stack", "dev", fails=True),
            engine.run("up", "--yes", "--skip-preview", "--stack", "dev", fails=True),
            engine.flatline("preview", "--context", CONTEXT, fails=True),
            engine.flatline("down", "--context", CONTEXT, "--delete-data", "--confirm", "dev", fails=True),
        ):
            assert "error: cluster lab (https://127.0.0.1:1) does not answer: Connection refused" in said
            assert "Traceback" not in said
    finally:
        engine.environment["KUBECONFIG"] = there
    assert {urn: each.get("protect") for urn, each in engine.state().items()} == {
        urn: each.get("protect") for urn, each in before.items()
    }


def test_a_wrong_key_is_one_error_under_plain_pulumi(engine: Engine) -> None:
    engine.set("flatline:domian", "example.org")
    said = engine.run("preview", "--stack", "dev", fails=True)
    engine.run("config", "rm", "--stack", "dev", "flatline:domian")
    diagnostics = said.partition("Diagnostics:")[2]
    assert [line.strip() for line in diagnostics.splitlines() if "error:" in line] == [
        "error: flatline:domian is no known key; did you mean domain?"
    ]


def test_a_renamed_namespace_changes_nothing(engine: Engine) -> None:
    before = engine.state()
    engine.set("flatline:namespace", "chat")
    said = engine.flatline(*UP, fails=True)
    engine.set("flatline:namespace", "flatline")
    assert "flatline:namespace is chat, but stack dev runs in flatline and flatline-emulators" in said
    assert engine.state() == before


def test_what_up_prints_can_be_typed(engine: Engine, first_up: str) -> None:
    said = first_up.partition("To go on with plain pulumi")[2]
    lines = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    assert lines[-1] == "pulumi preview --stack dev"
    script = "\n".join([*lines[:-1], lines[-1] + " --expect-no-changes --non-interactive"])
    subprocess.run(["/bin/sh", "-ec", script], cwd=engine.checkout, env=engine.environment, check=True, timeout=300)


def test_a_creation_that_was_cut_off_is_taken_over(engine: Engine, kubernetes: Kubernetes) -> None:
    """As after `kill -9`: the cluster has a Secret that the state only was about to make."""
    file = engine.folder / "backend" / ".pulumi" / "stacks" / "flatline" / "dev.json"
    content = json.loads(file.read_text())
    state = content["checkpoint"]["latest"]
    secret = next(each for each in state["resources"] if each["type"] == "kubernetes:core/v1:Secret")
    state["resources"].remove(secret)
    for each in state["resources"]:
        each["dependencies"] = [urn for urn in each.get("dependencies") or () if urn != secret["urn"]]
        for key, urns in (each.get("propertyDependencies") or {}).items():
            each["propertyDependencies"][key] = [urn for urn in urns or () if urn != secret["urn"]]
    under_way = {key: value for key, value in secret.items() if key not in {"id", "outputs"}}
    state["pending_operations"] = [{"type": "creating", "resource": under_way}]
    file.write_text(json.dumps(content))
    before = names(kubernetes, "secrets")
    engine.flatline(*UP)
    assert names(kubernetes, "secrets") == before
    assert engine.state()[secret["urn"]]["id"] == secret["id"]
