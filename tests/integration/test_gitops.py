"""Trees for git, with the real tools: what opens them gives the Secrets of the rendering, and a cluster takes them."""

import base64
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.gitops import by_kubeseal, by_sops
from render import gitops, manifests
from tests.graph.stack import load
from tests.integration.deployed import NAMESPACES
from tests.lab import gitops as tools
from tests.lab.fetch import skip_if_missing
from tests.lab.kubernetes import Kubernetes
from tests.lab.kubernetes_client import KubectlError

pytestmark = pytest.mark.integration

KEY = b"k" * 32
STORE = ("ClusterSecretStore", "vault")
WAVE = "argocd.argoproj.io/sync-wave"

Object = dict[str, Any]


def on_the_path(monkeypatch: pytest.MonkeyPatch, tool: Callable[[], Path]) -> None:
    with skip_if_missing():
        monkeypatch.setenv("PATH", f"{tool().parent}{os.pathsep}{os.environ['PATH']}")


def written(folder: Path, hidden: gitops.Hidden) -> dict[str, bytes]:
    """The tree of stack dev in a folder; its files."""
    gitops.write(folder, gitops.tree(load("dev").recording, hidden, KEY, "", folder))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def objects(folder: Path) -> list[Object]:
    return [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("[0-9]*.yaml"))]


def plain() -> dict[str, Object]:
    """The Secrets of the rendering, by the name of their file."""
    recording = load("dev").recording
    names = [
        manifests.file_name(each)
        for each in manifests.kubernetes_objects(recording)
        if each.outputs["kind"] == "Secret"
    ]
    return dict(zip(names, gitops.secrets(recording), strict=True))


def test_sops_gives_the_secrets_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_path(monkeypatch, tools.sops)
    monkeypatch.setenv("SOPS_PGP_FP", "0" * 40)  # a variable of the user's own adds no recipient
    recipient, key = tools.age_key(tmp_path)
    hidden = partial(by_sops, recipients=[recipient])
    first = written(tmp_path / "tree", hidden)
    for name, secret in plain().items():
        assert yaml.safe_load(first[name])["kind"] == "Secret"
        assert tools.opened_by_sops(tmp_path / "tree" / name, key) == secret
    assert written(tmp_path / "tree", hidden) == first, "a commit shows only what changed"


def test_kubeseal_gives_the_secrets_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_path(monkeypatch, tools.kubeseal)
    certificate, key = tools.sealing_key(tmp_path)
    hidden = partial(by_kubeseal, certificate=certificate)
    first = written(tmp_path / "tree", hidden)
    for name, secret in plain().items():
        opened = tools.opened_by_kubeseal(tmp_path / "tree" / name, key)
        assert {name: opened["metadata"][name] for name in secret["metadata"]} == secret["metadata"]
        assert (opened["type"], opened["data"]) == (secret.get("type", "Opaque"), secret["data"])
        assert opened["immutable"] is True
    assert written(tmp_path / "tree", hidden) == first


def test_a_cluster_takes_the_tree_wave_by_wave_and_keeps_what_holds_data(
    own_kubernetes: Kubernetes, tmp_path: Path
) -> None:
    """The API server checks ExternalSecrets by their own definitions; the test plays their operator."""
    cluster = own_kubernetes
    with skip_if_missing():
        cluster.apply(tools.definitions())
    places: dict[str, dict[str, str]] = {}

    def hidden(secret: Object) -> Object:
        place = str(secret["metadata"]["name"])
        places[place] = secret["data"]
        return gitops.external(secret, store=STORE, key=place)

    written(tmp_path / "tree", hidden)
    waves: dict[int, list[Object]] = {}
    for each in objects(tmp_path / "tree"):
        waves.setdefault(int(each["metadata"].get("annotations", {}).get(WAVE, "0")), []).append(each)
    with pytest.raises(KubectlError, match="not found"):
        cluster.apply(waves[-1])
    assert sorted(waves) == [-2, -1, 0]
    assert cluster.apply(waves[-2]).warnings == []
    assert cluster.apply(waves[-1]).warnings == []
    for namespace in NAMESPACES:
        for each in cluster.get("externalsecrets.external-secrets.io", namespace):
            assert each["spec"]["dataFrom"][0]["extract"]["decodingStrategy"] == "Base64", "nothing was pruned"
            cluster.apply([made(each, places)])
    assert cluster.apply(waves[0]).warnings == []
    for namespace in NAMESPACES:
        cluster.wait_ready(120, namespace)

    prunable = [
        each
        for wave in waves.values()
        for each in wave
        if "kustomize.toolkit.fluxcd.io/prune" not in each["metadata"].get("annotations", {})
    ]
    for each in prunable:
        cluster.kubectl(
            *("delete", each["kind"], each["metadata"]["name"], "-n", each["metadata"]["namespace"]), "--wait=false"
        )
    kept = [each["metadata"]["name"] for namespace in NAMESPACES for each in cluster.get("pvc", namespace)]
    assert {"groups", "database", "objects", "attachments"} <= set(kept)


def test_definitions_take_sealed_secrets(
    own_kubernetes: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_path(monkeypatch, tools.kubeseal)
    certificate, _ = tools.sealing_key(tmp_path)
    with skip_if_missing():
        own_kubernetes.apply(tools.definitions())
    written(tmp_path / "tree", partial(by_kubeseal, certificate=certificate))
    found = objects(tmp_path / "tree")
    for kind in ("Namespace", "SealedSecret"):
        assert own_kubernetes.apply([each for each in found if each["kind"] == kind]).warnings == []


def made(external: Object, places: dict[str, dict[str, str]]) -> Object:
    """The Secret that the operator makes: what the place has, decoded, under the name and in the form of the target."""
    metadata, target = external["metadata"], external["spec"]["target"]
    (place,) = (each["extract"]["key"] for each in external["spec"]["dataFrom"])
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": target["template"]["type"],
        "immutable": target["immutable"],
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            **target["template"]["metadata"],
        },
        "stringData": {name: base64.b64decode(value).decode() for name, value in places[place].items()},
    }
