"""The program under the real Pulumi engine, on a real API server. Needs `pulumi` and three plugins on the PATH."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.graph.stack import ROOT, configuration, recorded
from tests.lab.kubernetes import Kubernetes

pytestmark = pytest.mark.integration

PROGRAMS = ("pulumi", *(f"pulumi-resource-{name}" for name in ("kubernetes", "random", "tls")))
PASSPHRASE = "correct horse battery staple"
PLAIN = ("result", "bcryptHash", "privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh")
"""Outputs of random and tls resources that are secret."""


class Engine:
    """Runs `pulumi` in a copy of the checkout, on a state and a cluster of its own."""

    def __init__(self, folder: Path, cluster: Kubernetes) -> None:
        self.checkout = folder / "checkout"
        ignored = shutil.ignore_patterns(".git", "build", "state", ".venv", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, self.checkout, ignore=ignored)
        (self.checkout / ".venv").symlink_to(sys.prefix)
        stack_file = self.checkout / "Pulumi.dev.yaml"
        lines = stack_file.read_text().splitlines(keepends=True)
        stack_file.write_text("".join(line for line in lines if not line.startswith("encryptionsalt:")))
        (folder / "backend").mkdir()
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
            "KUBECONFIG": str(cluster.kubeconfig),
            "PULUMI_BACKEND_URL": f"file://{folder / 'backend'}",
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_ERROR_OUTPUT_STRING": "1",
            "PULUMI_K8S_CLIENT_BURST": "300",
            "PULUMI_K8S_CLIENT_QPS": "200",
        }
        self.run("stack", "init", "dev")

    def run(self, *arguments: str, fails: bool = False) -> str:
        command = ["pulumi", *arguments, "--non-interactive"]
        done = subprocess.run(
            command, cwd=self.checkout, env=self._environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert bool(done.returncode) is fails, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr

    def up(self) -> str:
        return self.run("up", "--yes", "--skip-preview", "--stack", "dev")

    def set(self, path: str, value: str) -> None:
        self.run("config", "set", "--stack", "dev", "--path", path, value)

    def state(self) -> dict[str, dict[str, Any]]:
        """The resources of the state by URN, with what is encrypted left so."""
        export = json.loads(self.run("stack", "export", "--stack", "dev"))
        return {resource["urn"]: resource for resource in export["deployment"].get("resources", ())}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, kubernetes: Kubernetes) -> Iterator[Engine]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} on the PATH: no package registry carries them")
    yield Engine(tmp_path_factory.mktemp("engine"), kubernetes)
    kubernetes.delete_namespaces("flatline", "flatline-emulators", wait=False)


def ours(urns: Any) -> set[str]:
    return {urn for urn in urns if not urn.endswith("pulumi:pulumi:Stack::flatline-dev")}


def test_preview_up_and_no_changes(engine: Engine) -> None:
    engine.run("preview", "--stack", "dev")
    engine.up()
    engine.run("preview", "--stack", "dev", "--expect-no-changes")
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


def test_a_changed_domain_replaces_nothing_that_lasts(engine: Engine) -> None:
    before = engine.state()
    engine.set("flatline:domain", "chat.example.org")
    engine.up()
    after = engine.state()
    lasting = {urn for urn, resource in before.items() if resource.get("protect")}
    assert lasting
    assert all(after[urn]["id"] == before[urn]["id"] for urn in lasting if "id" in before[urn])
    engine.run("preview", "--stack", "dev", "--expect-no-changes")


def test_a_rotated_secret_and_more_masters_are_plain_updates(engine: Engine) -> None:
    before = engine.state()
    engine.set("flatline:secrets.attachments.epoch", "2")
    engine.set("flatline:redis.masters", "4")
    engine.up()
    assert set(before) < set(engine.state()), "the earlier seed stays"
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
    engine.up()
