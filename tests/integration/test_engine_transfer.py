"""One stack, two ways, on a real API server with the real engine: files, then Pulumi, then files again."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from render.state import State
from tests.integration.deployed import NAMESPACES
from tests.integration.engine import CONTEXT, PASSPHRASE, Engine, engine_alone
from tests.lab.kubernetes import Kubernetes

pytestmark = pytest.mark.integration

ON_LAB = ("--context", CONTEXT)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, kubernetes: Kubernetes) -> Iterator[Engine]:
    with engine_alone(tmp_path_factory.mktemp("engine"), kubernetes) as engine:
        yield engine


def in_file(engine: Engine) -> dict[str, dict[str, Any]]:
    """Every value of the state file, by URN."""
    path = engine.checkout / "state" / "dev.json"
    with State(path, project="flatline", stack="dev", passphrase=lambda: PASSPHRASE) as state:
        return {urn: dict(each.outputs) for urn, each in state.values().items()}


def in_engine(engine: Engine, names: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The engine's values of what the state file has."""
    return {
        urn: {name: _plain(outputs[name]) for name in names.get(urn, ())} for urn, outputs in engine.secrets().items()
    }


def _plain(value: Any) -> Any:
    return json.loads(value["plaintext"]) if isinstance(value, dict) and "plaintext" in value else value


def in_cluster(cluster: Kubernetes) -> dict[tuple[str, str], Any]:
    """What pods mount: Secrets and ConfigMaps of ours, by namespace and name."""
    return {
        (namespace, each["metadata"]["name"]): each.get("data")
        for namespace in NAMESPACES
        for kind in ("secrets", "configmaps")
        for each in cluster.get(kind, namespace)
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") == "flatline"
    }


def uids(cluster: Kubernetes) -> dict[str, str]:
    """The identity of what holds data."""
    claims = (each for namespace in NAMESPACES for each in cluster.get("persistentvolumeclaims", namespace))
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in claims}


def test_files_then_the_engine_then_files(engine: Engine, kubernetes: Kubernetes) -> None:
    """What the engine has rotated meanwhile comes back, too."""
    engine.typed(engine.flatline("up", "--engine", "none"))
    state, pins = (engine.checkout / "state" / "dev.json").read_bytes(), engine.flatline("pins", "--json")
    kept, mounted, volumes = in_file(engine), in_cluster(kubernetes), uids(kubernetes)
    assert len(kept) > 30
    assert len(mounted) > 15
    assert {"attachments", "data-redis-0"} <= volumes.keys()

    assert "replace" not in engine.flatline("preview", *ON_LAB)
    assert (engine.checkout / "state" / "dev.json").read_bytes() == state
    assert engine.state() == {}

    said = engine.flatline("up", *ON_LAB, "--yes")
    assert "no longer part of the stack" not in said
    assert in_engine(engine, kept) == kept
    assert engine.flatline("pins", "--json") == pins
    assert in_cluster(kubernetes) == mounted
    assert uids(kubernetes) == volumes
    engine.run("preview", "--stack", "dev", "--expect-no-changes")

    engine.set("flatline:secrets.attachments.epoch", "2")
    engine.flatline("up", *ON_LAB, "--yes")
    carried = engine.secrets()
    (rotated,) = (urn for urn in carried if urn.endswith("::attachments-2"))

    engine.typed(engine.flatline("up", "--engine", "none"))
    after = in_file(engine)
    assert after.pop(rotated)["result"] == _plain(carried[rotated]["result"])
    assert after == kept
    assert engine.flatline("pins", "--json") == pins
    assert uids(kubernetes) == volumes
    assert engine.state() == {}
    left = {name for _, name in in_cluster(kubernetes)}
    rendered = {path.name for path in (engine.checkout / "build" / "dev").iterdir()}
    assert all(any(f"_{name}.yaml" in file for file in rendered) for name in left), "what only Pulumi had made is gone"
