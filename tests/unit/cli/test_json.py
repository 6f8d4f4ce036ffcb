"""`--json`: one object, with a version, of the form that docs/json.schema.json has, and without a secret."""

import hashlib
import json
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from cli import document, stores
from cli.commands import connect
from cli.forms import FORMS
from cli.forms.base import Form
from cli.forms.checks import Connect
from cli.forms.stack import Outputs, Secrets
from cli.terminal import Terminal
from connectivity.check import Host, Step
from docs import command_pages
from migration.transfer import Outcome
from policies import scan
from policies.scan import Failed, ScanReport, Skip
from tests.unit.cli import kubectl_cli
from tests.unit.cli.checkout import REPOSITORY, Checkout
from tests.unit.cli.conftest import Clusters
from tests.unit.cli.test_documentation import COMMANDS
from tests.unit.cli.test_up import secrets_of

SCHEMA = json.loads((REPOSITORY / "docs" / "json.schema.json").read_text())
DOES = {
    "up",
    "render",
    "down",
    "cluster remove",
    "invite",
    "revoke",
    "accounts delete",
    "accounts block",
    "accounts unblock",
    "secret set",
    "rotate certificate",
    "rotate authority",
    "rotate secret",
    "stack new",
    "backup",
    "migrate secrets",
    "schema",
    "test",
    "turn config",
}
"""Commands that do something: what they show is how that went."""
ELSEWHERE = {
    *("accounts list", "accounts show", "connect", "diff", "doctor"),
    *("images", "invitations", "restore", "scan", "upgrade"),
}
"""Need what is not here; the form of their documents is tried below, the rest with real servers."""


def as_documented(command: str, found: Any) -> bool:
    """Of a form of the command, and of the published schema, which allows keys that come later."""
    jsonschema.validate(found, {**SCHEMA, **SCHEMA["$defs"][command]})
    return any(not _problem(form, found) for form in FORMS[command])


def _problem(form: type[Form], found: Any) -> str:
    try:
        form.model_validate(found)
    except ValidationError as problem:
        return str(problem)
    return ""


def test_every_command_that_shows_something_has_a_form() -> None:
    with_it = {name for name, parser in COMMANDS.items() if "--json" in parser._option_string_actions}
    assert with_it == set(COMMANDS) - DOES == set(FORMS)
    assert set(COMMANDS) >= DOES
    assert not any("--format" in parser._option_string_actions for parser in COMMANDS.values())


def test_every_key_has_a_meaning_and_every_command_a_definition() -> None:
    for name, forms in FORMS.items():
        assert name in SCHEMA["$defs"]
        for form in forms:
            assert form.__doc__
            assert not [key for key, _, meaning in command_pages.keys(form) if not meaning]


@pytest.mark.parametrize(
    "content",
    [
        {"stack": "dev", "secrets": [], "more": 1},
        {"stack": "dev"},
        {"stack": "dev", "secrets": None},
        {"stack": 1, "secrets": []},
    ],
    ids=["another key", "a key less", "null", "a number"],
)
def test_nothing_of_another_form_is_printed(content: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValidationError):
        document.show(Secrets, content, Terminal())
    assert capsys.readouterr().out == ""


def test_any_terminal_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    document.show(Outputs, {"stack": "dev", "outputs": {"a": "\ud800 \u00e9"}}, Terminal())
    assert capsys.readouterr().out.isascii()


def words(name: str) -> list[str]:
    required = ["--users", "40", "--messages-per-day", "40"] if name == "capacity" else []
    return [*name.split(), *required, "--json"]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - DOES - ELSEWHERE))
def test_it_is_one_versioned_object_of_the_documented_form_without_a_secret(whole: Checkout, name: str) -> None:
    whole.file("broken").write_text("config: [")
    secrets = secrets_of(whole.build())
    assert len(secrets) > 30
    passphrase = next(whole.home.rglob("*.passphrase")).read_text().strip()
    result = whole.run(*words(name))
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["version"] == 1
    assert not [secret for secret in (*secrets, passphrase) if secret in result.stdout + result.stderr]
    assert as_documented(name, found)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - DOES - ELSEWHERE - {"capacity", "stack list"}))
def test_a_failure_leaves_standard_output_empty(checkout: Checkout, name: str) -> None:
    result = checkout.run(*words(name), "--stack", "nobody")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: there is no stack nobody")


def test_status_of_a_cluster(brought_up: Checkout, clusters: Clusters) -> None:
    kubectl_cli.put(brought_up)
    kubectl_cli.write(
        brought_up,
        [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployments",
                "metadata": {"name": "whisper", "namespace": "flatline"},
                "spec": {"replicas": 2},
            }
        ],
    )
    brought_up.program(
        "kubectl", kubectl_cli.BODY.replace("resource(each) in kinds", "resource(each).partition('.')[0] in kinds")
    )
    found = json.loads(brought_up.succeed("status", "--context", "mine", "--json"))
    assert as_documented("status", found)
    workload = {"name": "whisper", "namespace": "flatline", "ready": 0, "wanted": 2}
    assert workload in found["cluster"]["workloads"]


def test_preview_of_changes(brought_up: Checkout) -> None:
    brought_up.configure({"secrets": {"turn": {"epoch": 2}}, "domain": "chat.example.org"})
    found = json.loads(brought_up.succeed("preview", "--json"))
    assert as_documented("preview", found)
    assert found["by"] == "files"
    assert any(each.startswith("Secret flatline/turn-key-") for each in found["changed"])
    assert "urls" in found["pins"]


def test_preview_by_the_engine(deployed: Checkout) -> None:
    deployed.program("kubectl", kubectl_cli.BODY)
    kubectl_cli.write(deployed, [each for each in kubectl_cli.read(deployed) if each["kind"] != "Deployment"])
    found = json.loads(deployed.succeed("preview", "--context", "mine", "--json"))
    assert as_documented("preview", found)
    assert (found["by"], found["changes"]) == ("pulumi", {"create": 4})
    assert found["lost"] == ["Deployment flatline/whisper"]


def test_the_form_of_a_verification(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [Outcome("dynamodb", "Accounts", 3, verified=True), Outcome("objects", "cdn0", 1, missing=1)]
    assert stores.show_document("dev", outcomes, Terminal()) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == 1
    assert as_documented("restore", found)
    assert [each["verified"] for each in found["collections"]] == [True, False]


def test_the_form_of_a_scan() -> None:
    skip = Skip("CKV_K8S_43", "*", "a reason")
    failed = Failed("CKV_K8S_43", "Image should use digest", "Deployment.flatline.whisper", "whisper.yaml")
    skipped = Failed("CKV_K8S_8", "Liveness", "Deployment.flatline.whisper", "whisper.yaml", skip)
    report = ScanReport(version="3", objects=2, passed=1, failed=(failed,), skipped=(skipped,), unused=(skip,))
    assert as_documented("scan", {"version": 1, "stack": "dev", **scan.as_document(report)})


def test_the_files_of_a_client(whole: Checkout) -> None:
    kit = whole.root / "clients" / "dev" / "android"
    found = json.loads(whole.succeed("pins", "--for", "android", "--json"))
    assert as_documented("pins", found)
    assert found["folder"] == str(kit)
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kit.iterdir()} == found["files"]
    document = json.loads((kit / "pins.json").read_text())
    assert document == json.loads(whole.succeed("pins", "--json"))
    (kit / "whisper.store").write_bytes(b"an old one")
    refused = whole.fail("pins", "--for", "android")
    assert "differs in whisper.store; nothing was written" in refused
    assert "--overwrite" in refused
    assert (kit / "whisper.store").read_bytes() == b"an old one"
    assert "whisper.store (replaced)" in whole.succeed("pins", "--for", "android", "--overwrite")
    assert "whisper.store (as it was)" in whole.succeed("pins", "--for", "android")
    secrets = secrets_of(whole.build())
    assert not [each for path in kit.iterdir() for each in secrets if each.encode() in path.read_bytes()]


@pytest.mark.parametrize("words", [["--output", "kit"], ["--overwrite"]])
def test_what_is_of_a_kit_needs_a_client(brought_up: Checkout, words: list[str]) -> None:
    assert f"error: {words[0]} is for the files of a client" in brought_up.fail("pins", *words)
    assert not (brought_up.root / "kit").exists()


def test_pins_of_another_form_make_no_kit(brought_up: Checkout) -> None:
    """Such as those of an earlier version; here those of the small program, which has few."""
    assert "error: stack dev: pin serverPublicParams " in brought_up.fail("pins", "--for", "ios", "--output", "kit")
    assert not (brought_up.root / "kit").exists()


def test_the_form_of_a_connection(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [Step("name", passed=True, found="192.0.2.10"), Step("connection", passed=False, cause="a", cure="b")]
    hosts = [Host("whisper", "whisper.example.org", ("192.0.2.10",), steps, ["a remark"])]
    content = {"stack": None, "domain": "example.org", "served": False, "hosts": connect.listed(hosts)}
    document.show(Connect, content, Terminal())
    assert as_documented("connect", json.loads(capsys.readouterr().out))
