"""`render --secrets`: trees for git hold no secret, differ only where something changed, and are refused when unfit.

Stand-ins take the place of sops and kubeseal here; tests/integration/test_gitops.py has the real ones.
"""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.arguments import parse
from cli.gitops import check
from errors import FlatlineError
from render import gitops, manifests
from tests.graph.stack import load
from tests.unit.cli.checkout import Checkout

RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
STAND_IN = """
secret = json.load(sys.stdin)
assert not any(value in word for value in secret["data"].values() for word in [*sys.argv, *os.environ.values()])
if os.path.exists(os.environ["HOME"] + "/refusal"):
    sys.exit("it has " + next(iter(secret["data"].values())))
hidden = {name: "ENC[" + os.urandom(12).hex() + "]" for name in secret["data"]}
print(json.dumps({**secret, "data": hidden, "sops": {}, "spec": {"encryptedData": hidden}}))
"""


@pytest.fixture
def checkout(brought_up: Checkout) -> Checkout:
    """With stand-ins of the tools, which say a secret when they refuse, and refuse while a file `refusal` is there."""
    for tool in ("sops", "kubeseal"):
        brought_up.program(tool, STAND_IN)
    (brought_up.home / "cluster.pem").write_text("the certificate of a cluster")
    return brought_up


def words(checkout: Checkout, way: str) -> list[str]:
    """The options of a way; its tree is `tree` in the home folder."""
    options = {
        "sops": ["--recipient", RECIPIENT],
        "sealed": ["--certificate", str(checkout.home / "cluster.pem")],
        "external-secrets": ["--store", "vault", "--values", str(checkout.home / "values.json")],
    }
    return ["render", "--secrets", way, "--output", str(checkout.home / "tree"), *options[way]]


def tree(checkout: Checkout) -> dict[str, str]:
    return {path.name: path.read_text() for path in (checkout.home / "tree").iterdir()}


def secrets(checkout: Checkout) -> dict[str, dict[str, Any]]:
    """The Secrets of the plain rendering, by the name of their file."""
    files = {path.name: yaml.safe_load(path.read_text()) for path in (checkout.root / "build/dev").glob("10-secret_*")}
    assert files
    return files


@pytest.mark.parametrize("way", ["sops", "sealed", "external-secrets"])
def test_no_secret_is_in_the_tree(checkout: Checkout, way: str) -> None:
    checkout.succeed(*words(checkout, way))
    found = tree(checkout)
    for name, secret in secrets(checkout).items():
        assert name in found
        for value in secret["stringData"].values():
            for line in value.splitlines():
                if len(line) >= 16 and not line.startswith("-----"):
                    for form in (line, base64.b64encode(line.encode()).decode()):
                        assert all(form not in text for text in found.values()), name
    assert set(yaml.safe_load(found["kustomization.yaml"])["resources"]) == {
        name for name in found if name[:2].isdigit()
    }
    assert manifests.STACK_OUTPUTS not in found


@pytest.mark.parametrize("way", ["sops", "sealed"])
def test_a_second_run_changes_nothing_and_a_changed_file_is_made_again(checkout: Checkout, way: str) -> None:
    """Encryption is different each time, so what did not change must be left alone; also in a clone, with its modes."""
    checkout.succeed(*words(checkout, way))
    first = tree(checkout)
    for path in (checkout.home / "tree").iterdir():
        path.chmod(0o644)
    assert "Nothing has changed" in checkout.succeed(*words(checkout, way))
    assert tree(checkout) == first

    (name, *_) = secrets(checkout)
    path = checkout.home / "tree" / name
    path.write_text(path.read_text().replace("ENC[", "ENC[00", 1))
    checkout.succeed(*words(checkout, way))
    changed = {each for each, text in tree(checkout).items() if text != first[each]}
    assert changed == {name, gitops.DIGESTS}


def test_another_recipient_encrypts_everything_again(checkout: Checkout) -> None:
    checkout.succeed(*words(checkout, "sops"))
    first = tree(checkout)
    checkout.succeed(*words(checkout, "sops"), "--recipient", RECIPIENT.replace("ql3", "ql4"))
    assert {each for each, text in tree(checkout).items() if text != first[each]} == {
        *secrets(checkout),
        gitops.DIGESTS,
    }


def test_values_for_a_store_are_those_of_the_secrets(checkout: Checkout) -> None:
    """What a store gives for an ExternalSecret is the Secret of the plain rendering: name, type, labels, values."""
    checkout.succeed(*words(checkout, "external-secrets"))
    path = checkout.home / "values.json"
    assert path.stat().st_mode & 0o777 == 0o600
    store = json.loads(path.read_text())
    for name, secret in secrets(checkout).items():
        found = yaml.safe_load(tree(checkout)[name])
        assert (found["apiVersion"], found["kind"]) == ("external-secrets.io/v1", "ExternalSecret")
        assert found["metadata"]["name"] == secret["metadata"]["name"]
        spec = found["spec"]
        assert spec["secretStoreRef"] == {"kind": "ClusterSecretStore", "name": "vault"}
        assert spec["target"]["template"]["type"] == secret.get("type", "Opaque")
        assert spec["target"]["template"]["metadata"]["labels"] == secret["metadata"]["labels"]
        ((extract,),) = (each.values() for each in spec["dataFrom"])
        assert extract["decodingStrategy"] == "Base64"
        values = {each: base64.b64decode(text).decode() for each, text in store.pop(extract["key"]).items()}
        assert values == secret["stringData"]
    assert not store


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--redact", "exclude each other"),
        ("--certificate x", "--certificate belongs to --secrets sealed"),
        ("--recipient AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQ", "is no public key of age"),
        ("--secrets external-secrets", "--recipient belongs to --secrets sops"),
    ],
)
def test_options_that_do_not_fit_are_refused(wrong: str, said: str) -> None:
    typed = f"render --secrets sops --recipient {RECIPIENT} --output tree {wrong}"
    with pytest.raises(FlatlineError, match=said) as refused:
        check(parse(typed.split()))
    assert "KEY-1QQQ" not in refused.value.in_a_line, "it may be the key itself"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--secrets sops --output tree", "--secrets sops needs --recipient"),
        ("--secrets sops --recipient x", "Name a folder in it"),
        ("--store vault", "Add: --secrets external-secrets"),
        ("--secrets sealed --certificate absent --output tree", "Fetch the cluster's certificate"),
        ("--secrets external-secrets --store Vault/a --values /v --output tree", "names no store"),
    ],
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, typed: str, said: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: f"/bin/{tool}")
    with pytest.raises(FlatlineError) as refused:
        check(parse(["render", *typed.split()]))
    assert said in refused.value.in_a_line


def test_without_the_tool_nothing_is_written(checkout: Checkout) -> None:
    (checkout.programs / "sops").unlink()
    done = checkout.run(*words(checkout, "sops"))
    assert done.returncode == 1
    assert "sops is not on the PATH" in done.stderr
    assert not (checkout.home / "tree").exists()


def test_a_tool_that_fails_says_no_secret_and_leaves_the_tree(checkout: Checkout) -> None:
    checkout.succeed(*words(checkout, "sops"))
    first = tree(checkout)
    (checkout.home / "refusal").touch()
    done = checkout.run(*words(checkout, "sops"), "--recipient", RECIPIENT.replace("ql3", "ql4"))
    assert done.returncode == 1
    assert "sops cannot hide the Secret" in done.stderr
    for secret in secrets(checkout).values():
        for value in secret["stringData"].values():
            assert base64.b64encode(value.encode()).decode() not in done.stdout + done.stderr
    assert tree(checkout) == first


def test_values_do_not_go_into_the_repository(tmp_path: Path) -> None:
    repository = tmp_path / "deploy"
    (repository / ".git").mkdir(parents=True)
    (repository / "home").mkdir()
    (tmp_path / "link").symlink_to(repository / "home")
    for folder in (repository / "home", tmp_path / "link"):
        where = ["--output", str(folder), "--values", str(repository / "values.json")]
        with pytest.raises(FlatlineError, match="whose files go into git"):
            check(parse(["render", "--secrets", "external-secrets", "--store", "vault", *where]))


def test_a_plain_rendering_is_not_made_a_tree_for_git(checkout: Checkout) -> None:
    before = (checkout.root / "build/dev/kustomization.yaml").read_text()
    done = checkout.run("render", "--secrets", "sops", "--recipient", RECIPIENT, "--output", "build/dev")
    assert done.returncode == 1
    assert "plain secrets" in done.stderr
    assert (checkout.root / "build/dev/kustomization.yaml").read_text() == before


def test_a_leak_elsewhere_is_found(tmp_path: Path) -> None:
    """A hiding place that hides nothing is noticed before anything is written."""
    with pytest.raises(manifests.ManifestError, match="would show a secret"):
        gitops.tree(load("dev").recording, lambda secret: secret, b"k" * 32, "", tmp_path)


@pytest.fixture(scope="module")
def dev() -> dict[str, dict[str, Any]]:
    """The whole stack's objects as a tree for git has them, by file."""
    texts = gitops.tree(
        load("dev").recording,
        lambda secret: gitops.external(secret, store=("ClusterSecretStore", "s"), key="k"),
        b"k" * 32,
        "",
        Path("nowhere"),
    )
    return {name: yaml.safe_load(text) for name, text in texts.items() if name[:2].isdigit()}


def test_what_holds_data_is_never_deleted(dev: dict[str, dict[str, Any]]) -> None:
    kept = {
        each["metadata"]["name"]
        for each in dev.values()
        if each["metadata"].get("annotations", {}).get("kustomize.toolkit.fluxcd.io/prune") == "disabled"
        and each["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
    }
    assert kept == {"flatline", "flatline-emulators", "groups", "database", "objects", "attachments"}


def test_waves_come_before_what_needs_them(dev: dict[str, dict[str, Any]]) -> None:
    """Namespaces, then Secrets, then all else; a claim that waits for its first pod is in the wave of the pods."""
    waves: dict[str, set[str]] = {}
    for each in dev.values():
        notes = each["metadata"].get("annotations", {})
        waves.setdefault(notes.get("argocd.argoproj.io/sync-wave", "0"), set()).add(each["kind"])
    assert waves["-2"] == {"Namespace"}
    assert waves["-1"] == {"ExternalSecret"}
    assert {"Deployment", "StatefulSet", "Job", "PersistentVolumeClaim"} <= waves["0"]


def test_pods_name_the_content_of_their_secrets(dev: dict[str, dict[str, Any]]) -> None:
    """A changed value is another name in the pod template, so that pods restart with it; Traefik reads anew."""
    named = {
        volume["secret"]["secretName"]
        for pod in load("dev").pods()
        for volume in pod.spec.get("volumes", ())
        if "secret" in volume and not volume["secret"].get("optional")
    }
    made = {each["metadata"]["name"] for each in dev.values() if each["kind"] == "ExternalSecret"}
    assert {name.rpartition("-")[0] for name in made - named} == {"certificate"}
    assert named < made


def test_other_objects_are_as_rendered(dev: dict[str, dict[str, Any]]) -> None:
    """Beyond the notes for Argo CD and Flux nothing differs from the plain rendering."""
    for resource in manifests.kubernetes_objects(load("dev").recording):
        if resource.outputs["kind"] in {"Secret", *gitops.KEPT}:
            continue
        assert dev[manifests.file_name(resource)] == resource.outputs
