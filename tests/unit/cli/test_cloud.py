"""A stack in a cloud: shown without credentials or an engine, and brought up by the engine or not at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import engine_state, objects
from tests.unit.cli import pulumi_backend, pulumi_cli
from tests.unit.cli.checkout import Checkout, calls
from tests.unit.cli.conftest import Clusters

PROGRAM = Path(__file__).with_name("cloud_program.py")
TARGET: dict[str, Any] = {
    "kind": "cloud",
    "aws": {
        "region": "eu-central-1",
        "account": "123456789012",
        "networks": ["10.0.0.0/16"],
        "identity": {"kind": "pod-identity", "cluster": "home"},
        "redis": {"kind": "in-cluster"},
    },
    "gcp": {
        "project": "chat-example",
        "clusters": [{"zone": "europe-west3-a"}],
        "identity": {"kind": "workload-identity", "pool": "chat-example.svc.id.goog"},
    },
}
PROD = ("--stack", "prod")


@pytest.fixture
def prod(checkout: Checkout) -> Checkout:
    """A checkout with a stack prod in a cloud."""
    shutil.copy(PROGRAM, checkout.root / "__main__.py")
    checkout.configure({"domain": "chat.example.org", "target": TARGET}, "prod")
    return checkout


def made(checkout: Checkout) -> list[str]:
    """What a run made in the checkout and at home."""
    names = [name for name in ("state", "build", "program-ran") if (checkout.root / name).exists()]
    return names + [str(path) for path in checkout.home.rglob("*.passphrase")]


class TestRender:
    def test_it_shows_objects_and_a_plan(self, prod: Checkout) -> None:
        said = prod.succeed("render", *PROD)
        folder = prod.build("prod.redacted")
        assert sorted(path.name for path in folder.iterdir()) == [
            ".written-by-flatline",
            "01-namespace_flatline.yaml",
            "10-configmap_flatline_endpoints.yaml",
            "10-secret_flatline_uploader.yaml",
            "cloud-plan.yaml",
        ]
        assert "5 cloud resources in build/prod.redacted/cloud-plan.yaml." in said
        assert "3 objects in build/prod.redacted/, without secrets." in said
        rows = [line.split() for line in said.splitlines()]
        assert ["aws", "dynamodb", "Table", "2", "2"] in rows
        assert ["gcp", "bigtable", "Instance", "1", "0"] in rows
        # it makes and keeps no secrets
        assert made(prod) == ["build", "program-ran"]
        content = yaml.safe_load((folder / "10-secret_flatline_uploader.yaml").read_text())
        assert content["stringData"] == {"secret": "REDACTED", "password": "REDACTED"}
        plan = yaml.safe_load((folder / "cloud-plan.yaml").read_text())
        assert plan["aws:elasticache:ReplicationGroup cache"]["inputs"]["authToken"] == "REDACTED"
        # --redact and a second run change nothing
        before = prod.contents(folder)
        assert "Nothing has changed since the last run." in prod.succeed("render", *PROD, "--redact")
        assert prod.contents(folder) == before

    def test_where_it_was_deployed_from_is_left_alone(self, prod: Checkout, tmp_path: Path) -> None:
        prod.succeed("render", *PROD, "--output", str(tmp_path / "review"))
        assert not prod.build("prod").exists()
        assert (tmp_path / "review" / "cloud-plan.yaml").is_file()
        assert sorted(each.kind for each in objects.read(tmp_path / "review")) == ["ConfigMap", "Namespace", "Secret"]


class TestUp:
    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            ((), "no cluster is named"),
            (("--yes",), "no cluster is named"),
            (("--engine", "none"), "--engine none says to do without"),
            (("--context", "gone", "--engine", "none"), "--engine none says to do without"),
            (("--engine", "pulumi"), "--engine pulumi cannot be had"),
        ],
    )
    def test_without_an_engine_it_is_refused_before_anything_is_made(
        self, prod: Checkout, words: tuple[str, ...], reason: str
    ) -> None:
        said = prod.fail("up", *PROD, *words)
        assert reason in said
        assert made(prod) == []
        if not words:
            first, _, remedies = said.partition("\n")
            assert "stack prod is in a cloud, which only the Pulumi engine can bring up" in first
            assert "./flatline up --stack prod --context <context> --yes" in remedies
            assert "./flatline render --stack prod" in remedies

    def test_a_cluster_without_a_cli(self, prod: Checkout, clusters: Clusters) -> None:
        said = prod.fail("up", *PROD, "--context", "mine", "--yes")  # nothing can be fetched
        assert "there is no Pulumi CLI on the PATH" in said
        assert "only the Pulumi engine can bring up" in said
        assert made(prod) == []

    def test_by_the_engine(self, prod: Checkout, clusters: Clusters) -> None:
        cli = pulumi_cli.put(prod)
        prod.succeed("up", *PROD, "--context", "mine", "--yes")
        assert [call["arguments"][0] for call in calls(cli)][-1] in {"up", "stack"}
        assert any(call["arguments"][0] == "up" for call in calls(cli))
        assert not prod.state("prod").exists()
        before = len(calls(cli))
        prod.succeed("render", *PROD)
        assert len(calls(cli)) == before, "it is shown without the engine"

    def test_a_stack_that_was_local_keeps_its_secrets(self, prod: Checkout, clusters: Clusters) -> None:
        small = PROGRAM.with_name("small_program.py")
        shutil.copy(small, prod.root / "__main__.py")
        prod.configure({"domain": "chat.example.org", "namespace": "flatline-prod"}, "prod")
        prod.succeed("up", *PROD)
        before, built = prod.state("prod").read_bytes(), prod.contents(prod.build("prod"))
        shutil.copy(PROGRAM, prod.root / "__main__.py")
        prod.configure({"domain": "chat.example.org", "namespace": "flatline-prod", "target": TARGET}, "prod")
        assert "only the Pulumi engine can bring up" in prod.fail("up", *PROD)
        assert (prod.state("prod").read_bytes(), prod.contents(prod.build("prod"))) == (before, built)
        calls_made = pulumi_backend.put(prod)
        said = prod.succeed("up", *PROD, "--context", "mine", "--yes")
        assert "secrets: carried over from state/prod.json" in said
        backend = prod.root / "state" / "pulumi" / ".pulumi" / "stacks" / "flatline" / "prod.json"
        kinds = [each["type"] for each in json.loads(backend.read_text())["checkpoint"]["latest"]["resources"]]
        assert "random:index/randomPassword:RandomPassword" in kinds
        assert not [kind for kind in kinds if kind.startswith(("kubernetes:", "aws:"))]
        assert "refresh" not in [call["verb"] for call in calls(calls_made)]


def test_preview_without_an_engine_says_why_it_cannot(prod: Checkout) -> None:
    said = prod.fail("preview", *PROD)
    assert "only the Pulumi engine knows what there is: there is no Pulumi CLI" in said
    assert "./flatline render --stack prod" in said
    assert made(prod) == ["program-ran"]


def test_preview_finds_what_is_wrong_with_the_program_first(prod: Checkout) -> None:
    program = prod.root / "__main__.py"
    program.write_text(program.read_text() + 'aws.sqs.Queue("queue", opts=amazon)\n')
    assert "aws:sqs/queue:Queue 'queue': only the Pulumi engine" in prod.fail("preview", *PROD)


def test_check_sees_cloud_resources(prod: Checkout) -> None:
    done = prod.run("check", *PROD, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    about = {finding["resource"] for finding in found["findings"] if finding["rule"].startswith("dynamodb-")}
    assert {"Table/accounts", "Table/keys"} <= about
    assert any(finding["rule"].startswith("bigtable-") for finding in found["findings"])
    assert made(prod) == ["program-ran"]


def test_what_down_keeps_is_told_by_name() -> None:
    resources = [
        {"type": "aws:dynamodb/table:Table", "id": "flatline-accounts", "protect": True},
        {"type": "kubernetes:core/v1:Namespace", "id": "flatline", "protect": True},
        {"type": "random:index/randomPassword:RandomPassword", "id": "none", "protect": True},
        {"type": "aws:iam/role:Role", "id": "whisper"},
    ]
    assert engine_state.protected({"resources": resources}) == [
        "Namespace flatline",
        "Table flatline-accounts",
        "1 secrets and certificate authorities",
    ]
