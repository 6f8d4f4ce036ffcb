"""The program under the real Pulumi engine, on a real API server with simulated nodes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.graph.stack import configuration, recorded
from tests.integration.engine import Engine, engine_alone
from tests.lab.kubernetes import Kubernetes

pytestmark = pytest.mark.integration

PLAIN = ("result", "bcryptHash", "privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh")
"""Outputs of random and tls resources that are secret."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, kubernetes: Kubernetes) -> Iterator[Engine]:
    with engine_alone(tmp_path_factory.mktemp("engine"), kubernetes) as engine:
        yield engine


def ours(urns: Any) -> set[str]:
    return {urn for urn in urns if not urn.endswith("pulumi:pulumi:Stack::flatline-dev")}


def test_preview_up_and_no_changes(engine: Engine) -> None:
    engine.run("preview", "--stack", "dev")
    engine.up()
    engine.run("up", "--yes", "--skip-preview", "--stack", "dev", "--expect-no-changes")


def test_the_engine_and_the_recorder_name_the_same_resources(engine: Engine) -> None:
    recording = recorded(configuration("dev"), stack="dev")
    assert ours(engine.state()) == {resource.urn for resource in recording.resources}


def test_no_generated_secret_is_plain_in_the_state(engine: Engine) -> None:
    plain = engine.run("stack", "export", "--stack", "dev")
    shown = json.loads(engine.run("stack", "export", "--stack", "dev", "--show-secrets"))
    secrets = {
        resource["outputs"][key]["plaintext"]
        for resource in shown["deployment"]["resources"]
        if resource["type"].startswith(("random:", "tls:"))
        for key in PLAIN
        if isinstance(resource.get("outputs", {}).get(key), dict)
    }
    assert len(secrets) > 40
    # as JSON writes it: line ends of a PEM are escaped in the export, too
    assert not [text for text in secrets if text[1:-1][:60] in plain]


def test_a_changed_domain_a_rotated_secret_and_more_masters_replace_nothing_that_lasts(engine: Engine) -> None:
    before = engine.state()
    engine.set("flatline:domain", "chat.example.org")
    engine.set("flatline:secrets.attachments.epoch", "2")
    engine.set("flatline:redis.masters", "4")
    engine.up()
    after = engine.state()
    lasting, lasts = protected(before), protected(after)
    assert lasting
    assert set(lasting) < set(lasts), "the seed of the earlier epoch stays"
    assert {urn: lasts[urn] for urn in lasting} == lasting


def protected(state: dict[str, dict[str, Any]]) -> dict[str, str | None]:
    """The identifiers of what is never deleted without being asked for, by URN."""
    return {urn: each.get("id") for urn, each in state.items() if each.get("protect")}


def test_an_earlier_secret_another_authority_and_larger_volumes_are_plain_updates(engine: Engine) -> None:
    engine.set("flatline:secrets.attachments.activeEpoch", "1")
    engine.set("flatline:certificates.authority.validityDays", "3000")
    engine.set("flatline:target.volumes.redis", "3Gi")
    engine.up()
    engine.run("refresh", "--yes", "--stack", "dev")
    engine.run("preview", "--stack", "dev", "--expect-no-changes")


def test_a_plain_destroy_is_refused_and_another_keeps_the_data(engine: Engine, kubernetes: Kubernetes) -> None:
    engine.run("destroy", "--yes", "--stack", "dev", fails=True)
    engine.run("destroy", "--yes", "--stack", "dev", "--exclude-protected")
    kept = {urn.split("::")[2].split("$")[-1] for urn in engine.state()}
    assert "random:index/randomPassword:RandomPassword" in kept
    assert "kubernetes:core/v1:PersistentVolumeClaim" in kept
    assert kubernetes.get("deployments", "flatline") == []
    claims = {claim["metadata"]["name"] for claim in kubernetes.get("persistentvolumeclaims", "flatline")}
    assert {"groups", "attachments", "data-redis-0"} <= claims
