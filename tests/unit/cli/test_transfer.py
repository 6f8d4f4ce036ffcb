"""One stack, two ways: its secrets go from its state file to the engine and back, and are the same all the way."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.installation import SECRETS_ANNOTATION, STACK_LABEL, written
from render import checkpoint, passphrase
from render.checkpoint import ExportedResource
from render.state import State
from tests.unit.cli import kubectl_cli, pulumi_backend
from tests.unit.cli.checkout import Checkout, at_home, calls, kubeconfig
from tests.unit.cli.conftest import Clusters, served
from tests.unit.render.programs import shown

PART = "app.kubernetes.io/part-of"
ON_MINE = ("--context", "mine", "--yes")
COPY, OWN = "/flatline-", "/state/pulumi"
"""Parts of the addresses of the backend in which the engine rehearses, and of the stack's own."""

ECHOED = {"special", "isCaCertificate", "ecdsaCurve"}
"""Inputs that the small program gives."""

STEPS_THERE = [
    ("stack init", COPY),
    ("stack import", COPY),
    ("refresh", COPY),
    ("preview", COPY),
    ("stack import", OWN),
]
"""What the engine does before it is in charge."""


@pytest.fixture
def stack(brought_up: Checkout, clusters: Clusters) -> Checkout:
    """A stack that was rendered, and then an engine and a cluster that answers."""
    return with_engine(brought_up, clusters.text)


@pytest.fixture(scope="module")
def _carried(_brought_up: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = tmp_path_factory.mktemp("carried")
    with at_home(folder) as place, served() as server:
        made = with_engine(_brought_up.copy(place), kubeconfig({"mine": server.url}))
        made.succeed("up", *ON_MINE)
    return made.at(folder)


@pytest.fixture
def carried(_carried: Checkout, checkout_folder: Path, clusters: Clusters) -> Checkout:
    """The same stack, deployed by the engine."""
    return with_engine(_carried.copy(checkout_folder), clusters.text)


def with_engine(checkout: Checkout, clusters: str) -> Checkout:
    (checkout.home / "kubeconfig").write_text(clusters)
    pulumi_backend.put(checkout)
    return checkout


def verbs(stack: Checkout) -> list[str]:
    """What the CLI did in the stack's own backend."""
    return [
        call["verb"] for call in calls(stack.programs / "pulumi.calls") if call["own"] and call["verb"] != "version"
    ]


def every_verb(stack: Checkout) -> list[str]:
    """What the CLI did in any backend."""
    return [call["verb"] for call in calls(stack.programs / "pulumi.calls")]


def secret_text(stack: Checkout) -> str:
    (file,) = stack.home.rglob("*.passphrase")
    return file.read_text().strip()


def in_file(stack: Checkout, path: Path | None = None) -> dict[str, Any]:
    """Every value in the state file."""
    state = State(path or stack.state(), project="flatline", stack="dev", passphrase=lambda: secret_text(stack))
    with state:
        return {urn: (each.id, {**each.defaults, **each.outputs}) for urn, each in state.values().items()}


def in_engine(stack: Checkout) -> dict[str, ExportedResource]:
    """Every value in the engine's backend, read by the passphrase alone."""
    path = stack.root / "state" / "pulumi" / ".pulumi" / "stacks" / "flatline" / "dev.json"
    if not path.exists():
        return {}
    deployment = json.loads(path.read_text())["checkpoint"]["latest"]
    if not deployment.get("resources"):
        return {}
    crypter = passphrase.unlock(secret_text(stack), deployment["secrets_providers"]["state"]["salt"])
    return checkpoint.generated_resources({"version": 3, "deployment": shown(deployment, crypter.decrypt)})


def same(kept: dict[str, Any], carried: dict[str, ExportedResource]) -> bool:
    there = {urn: each.generated for urn, each in carried.items()}
    return kept.keys() == there.keys() and all(
        kept[urn][0] == each.id and each.outputs.items() <= kept[urn][1].items() for urn, each in there.items()
    )


def everything(stack: Checkout) -> dict[str, bytes]:
    """What must be as it was after a step that failed."""
    found = {path.name: path.read_bytes() for path in (stack.root / "state").glob("dev*") if path.suffix != ".lock"}
    return {**found, **stack.contents(), stack.file().name: stack.file().read_bytes()}


class TestThere:
    def test_the_secrets_are_carried(self, stack: Checkout) -> None:
        kept, state = in_file(stack), stack.state().read_bytes()
        said = stack.succeed("up", *ON_MINE)
        assert "secrets: carried over from state/dev.json; none is made again" in said
        assert "state/dev.json is now state/dev.json.before-pulumi" in said
        assert same(kept, in_engine(stack))
        assert not stack.state().exists()
        assert (stack.root / "state" / "dev.json.before-pulumi").read_bytes() == state
        assert verbs(stack).index("stack import") < verbs(stack).index("refresh") < verbs(stack).index("up")

    def test_the_objects_keep_their_names(self, stack: Checkout) -> None:
        rendered = {
            (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
            for name, text in stack.contents().items()
            if name.endswith(".yaml") and "kind" in (each := yaml.safe_load(text)) and each["kind"] != "Kustomization"
        }
        said = stack.succeed("up", *ON_MINE)
        path = stack.root / "state" / "pulumi" / ".pulumi" / "stacks" / "flatline" / "dev.json"
        resources = json.loads(path.read_text())["checkpoint"]["latest"]["resources"]
        inputs = [each["inputs"] for each in resources if each["type"].startswith("kubernetes:")]
        kept = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in inputs}
        assert kept == rendered
        assert "no longer part of the stack" not in said

    def test_kubectl_and_the_engine_own_fields_under_one_name(self, stack: Checkout) -> None:
        said = stack.succeed("up", "--engine", "none")
        assert f"--force-conflicts --field-manager {checkpoint.FIELD_MANAGER} " in said

    def test_what_the_engine_does_not_have_is_listed_for_deletion(self, stack: Checkout) -> None:
        domain = {"domain": "chat.example.org"}
        old = next(name for name in stack.contents() if "web-config" in name).rpartition("_")[2].removesuffix(".yaml")
        stack.configure(domain)
        said = stack.succeed("up", *ON_MINE, "--confirm", "dev")
        assert f"kubectl --context mine -n flatline delete --ignore-not-found configmap/{old}" in said

    @pytest.mark.parametrize(
        ("labels", "secrets", "problem"),
        [
            ({}, None, "It belongs to somebody else"),
            ({PART: "flatline", STACK_LABEL: "flatline.other"}, None, "It belongs to another stack of Flatline"),
            ({PART: "flatline", STACK_LABEL: "flatline.dev"}, {"turn-1": "0"}, "those of another installation"),
        ],
    )
    def test_another_one_s_namespace_is_not_adopted(
        self, stack: Checkout, labels: dict[str, str], secrets: dict[str, str] | None, problem: str
    ) -> None:
        """Even if it has the name of one that was rendered, but never applied."""
        kubectl_cli.put(stack)
        notes = {} if secrets is None else {SECRETS_ANNOTATION: written(secrets)}
        metadata = {"name": "flatline", "labels": labels, "annotations": notes}
        kubectl_cli.write(stack, [{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        before = everything(stack)
        for words in (("up", *ON_MINE), ("preview", "--context", "mine")):
            assert problem in stack.fail(*words)
            assert everything(stack) == before
            assert not {"stack init", "stack import", "refresh", "up"} & {*every_verb(stack)}

    def test_its_own_namespaces_are_adopted(self, stack: Checkout) -> None:
        """With the tree that was applied, and with a state that was restored into a checkout without one."""
        kubectl_cli.put(stack)
        files = [yaml.safe_load(text) for name, text in stack.contents().items() if name.endswith(".yaml")]
        kubectl_cli.write(stack, [each for each in files if "kind" in each and each["kind"] != "Kustomization"])
        assert len(kubectl_cli.names(stack, "Namespace")) == 2
        shutil.rmtree(stack.build())
        kept = in_file(stack)
        stack.succeed("up", *ON_MINE)
        assert same(kept, in_engine(stack))

    def test_a_step_that_fails_leaves_the_stack_as_it_was(self, stack: Checkout) -> None:
        before, kept = everything(stack), in_file(stack)
        for verb, where in STEPS_THERE:
            said = stack.fail("up", *ON_MINE, FAKE_PULUMI_FAILS=verb, FAKE_PULUMI_FAILS_IN=where)
            assert "it was not to be" in said, verb
            assert everything(stack) == before, verb
            assert in_engine(stack) == {}, verb
        assert "Nothing has changed" in stack.succeed("up", "--engine", "none")
        stack.succeed("up", *ON_MINE)
        assert same(kept, in_engine(stack))

    @pytest.mark.parametrize(
        ("verb", "where"), [*STEPS_THERE, ("stack select", OWN), ("stack export", OWN), ("refresh", OWN), ("up", OWN)]
    )
    def test_an_interruption_anywhere_loses_nothing(self, stack: Checkout, verb: str, where: str) -> None:
        kept = in_file(stack)
        stack.run("up", *ON_MINE, FAKE_PULUMI_KILLS=verb, FAKE_PULUMI_FAILS_IN=where)
        assert in_file(stack) == kept
        assert in_engine(stack) == {} or same(kept, in_engine(stack))
        stack.succeed("up", *ON_MINE)
        assert same(kept, in_engine(stack))
        assert not stack.state().exists()

    @pytest.mark.parametrize("how", [{"FAKE_PULUMI_KILLS": "up"}, {"FAKE_PULUMI_FAILS": "up"}])
    def test_an_update_that_fails_leaves_both_ways_open(self, stack: Checkout, how: dict[str, str]) -> None:
        kept, rendered = in_file(stack), stack.contents()
        assert stack.run("up", *ON_MINE, **how, FAKE_PULUMI_FAILS_IN=OWN).returncode != 0
        assert "kept by Pulumi" in stack.fail("render")
        assert "brought back from Pulumi" in stack.succeed("up", "--engine", "none")
        assert in_file(stack) == kept
        assert stack.contents() == rendered
        assert in_engine(stack) == {}

    def test_an_engine_that_would_replace_a_secret_does_not_get_it(self, stack: Checkout) -> None:
        before = everything(stack)
        said = stack.fail("up", *ON_MINE, FAKE_PULUMI_REPLACES="turn-1")
        assert "Pulumi would make 1 secrets of stack dev again: turn-1" in said
        assert everything(stack) == before
        assert "up" not in verbs(stack)

    def test_a_preview_is_made_on_a_copy(self, stack: Checkout) -> None:
        before = everything(stack)
        assert "the preview" in stack.succeed("preview", "--context", "mine")
        assert everything(stack) == before
        assert verbs(stack) == []
        assert "Nothing." in stack.succeed("preview")

    def test_without_agreement_nothing_is_carried(self, stack: Checkout) -> None:
        before = everything(stack)
        assert "there is no terminal to agree on" in stack.succeed("up", "--context", "mine")
        assert everything(stack) == before
        assert verbs(stack) == []

    def test_what_a_changed_configuration_makes_new_is_the_engine_s_to_make(self, stack: Checkout) -> None:
        kept = in_file(stack)
        stack.configure({"certificates": {"leaf": {"validityDays": 30}}})
        before = everything(stack)
        assert "pin caCertificates: clients that do not trust" in stack.fail("up", *ON_MINE)
        assert everything(stack) == before
        stack.succeed("up", *ON_MINE, "--confirm", "dev")
        missing = kept.keys() - in_engine(stack).keys()
        assert {urn.rpartition("$")[2].rpartition("::")[0] for urn in missing} == {
            urn.rpartition("$")[2].rpartition("::")[0] for urn in kept if "SelfSignedCert" in urn
        }

    def test_without_a_cli_a_stack_goes_on_with_files(self, stack: Checkout) -> None:
        (stack.programs / "pulumi").unlink()
        said = stack.succeed("up", *ON_MINE)
        assert "rendering: there is no Pulumi CLI on the PATH" in said
        assert stack.state().exists()


class TestBack:
    def test_there_and_back_is_byte_for_byte(self, stack: Checkout) -> None:
        state, rendered = stack.state().read_bytes(), stack.contents()
        pins = stack.succeed("pins", "--json")
        for _ in range(2):
            stack.succeed("up", *ON_MINE)
            said = stack.succeed("up", "--engine", "none")
            assert "secrets: brought back from Pulumi" in said
            assert stack.state().read_bytes() == state
            assert stack.contents() == rendered
            assert stack.succeed("pins", "--json") == pins
            assert in_engine(stack) == {}
            assert [path.name for path in (stack.root / "state").glob("dev*")] in (
                ["dev.json", "dev.json.lock"],
                ["dev.json.lock", "dev.json"],
            )

    def test_what_the_engine_changed_counts(self, carried: Checkout) -> None:
        carried.succeed("up", *ON_MINE, FAKE_PULUMI_CHANGES="turn-1")
        kept = in_engine(carried)
        said = carried.fail("up", "--engine", "none")
        assert "is older than build/dev: it does not know turn-1" in said
        assert "If it was replaced in Pulumi on purpose, delete build/dev" in said
        assert in_engine(carried) == kept
        shutil.rmtree(carried.build())
        carried.succeed("up", "--engine", "none")
        assert "another" in [each["result"] for _, each in in_file(carried).values() if "result" in each]

    def test_pins_that_would_change_are_named_before_they_do(self, carried: Checkout) -> None:
        outputs = (carried.build() / "stack-outputs.json").read_text()
        carried.succeed("up", *ON_MINE, FAKE_PULUMI_OUTPUTS=outputs)
        before, ups = in_engine(carried), verbs(carried).count("up")
        carried.configure({"certificates": {"leaf": {"validityDays": 30}}})  # the small program's authority has it
        said = carried.fail("up", *ON_MINE, FAKE_PULUMI_OUTPUTS=outputs)
        assert "pin caCertificates: clients that do not trust the new authority cannot connect" in said
        assert "pin urls" not in said
        assert (in_engine(carried), verbs(carried).count("up")) == (before, ups)
        carried.succeed("up", *ON_MINE, "--confirm", "dev", FAKE_PULUMI_OUTPUTS=outputs)
        assert verbs(carried).count("up") == ups + 1

    def test_without_the_earlier_file_the_values_are_the_same(self, carried: Checkout) -> None:
        earlier = carried.root / "state" / "dev.json.before-pulumi"
        kept = in_file(carried, earlier)
        earlier.unlink()
        said = carried.succeed("up", "--engine", "none")
        back = in_file(carried)
        assert back.keys() == kept.keys()
        # what a provider fills in for inputs that were given is not noted again
        assert all(each.items() <= kept[urn][1].items() for urn, (_, each) in back.items())
        assert all(set(kept[urn][1]) - set(each) <= ECHOED for urn, (_, each) in back.items())
        # names of Secrets come from a key that is new: what had the earlier names is listed
        assert "secret/turn-key-" in said.partition("what is no longer part of the stack")[2]

    def test_a_file_of_other_secrets_is_left_alone(self, carried: Checkout) -> None:
        other = carried.root / "state" / "dev.json.before-pulumi"
        kept = in_file(carried, other)
        carried.succeed("up", *ON_MINE, FAKE_PULUMI_CHANGES="turn-1")
        content = other.read_bytes()
        shutil.rmtree(carried.build())
        carried.succeed("up", "--engine", "none")
        assert in_file(carried) != kept
        assert other.read_bytes() == content
        carried.succeed("up", *ON_MINE)
        assert other.read_bytes() == content
        assert (carried.root / "state" / "dev.json.before-pulumi.2").exists()

    def test_a_step_that_fails_leaves_the_stack_as_it_was(self, carried: Checkout) -> None:
        before, kept = everything(carried), in_engine(carried)
        for verb in ("stack select", "stack export", "stack import"):
            carried.fail("up", "--engine", "none", FAKE_PULUMI_FAILS=verb)
            assert everything(carried) == before, verb
            assert in_engine(carried) == kept, verb
        carried.succeed("up", "--engine", "none")

    @pytest.mark.parametrize("verb", ["stack select", "stack export", "stack import"])
    def test_an_interruption_anywhere_loses_nothing(self, carried: Checkout, verb: str) -> None:
        kept = in_file(carried, carried.root / "state" / "dev.json.before-pulumi")
        carried.run("up", "--engine", "none", FAKE_PULUMI_KILLS=verb)
        carried.succeed("up", "--engine", "none")
        assert in_file(carried) == kept

    def test_a_protected_secret_of_another_form_is_an_error(self, carried: Checkout) -> None:
        program = carried.root / "__main__.py"
        program.write_text(program.read_text().replace("length=40", "length=50"))
        before, kept = everything(carried), in_engine(carried)
        assert "is protected" in carried.fail("up", "--engine", "none")
        assert everything(carried) == before
        assert in_engine(carried) == kept

    def test_it_needs_the_cli(self, carried: Checkout) -> None:
        (carried.programs / "pulumi").unlink()
        said = carried.fail("up", "--engine", "none")
        assert "its secrets cannot be brought back: there is no Pulumi CLI on the PATH" in said
        assert not carried.state().exists()


class TestTwoSets:
    def test_are_named_and_can_be_left(self, stack: Checkout, tmp_path: Path) -> None:
        checkout = Checkout.make(tmp_path / "other")
        stack.succeed("up", *ON_MINE)
        (file,) = stack.home.rglob("*.passphrase")
        copy = checkout.home / file.relative_to(stack.home)
        copy.parent.mkdir(parents=True)
        copy.write_text(file.read_text())
        copy.chmod(0o600)
        checkout.succeed("up", "--engine", "none", "--start-over", "dev")
        stack.state().write_bytes(checkout.state().read_bytes())
        shutil.rmtree(stack.build())
        shutil.copytree(checkout.build(), stack.build())
        before = everything(stack)
        for words in (("up", *ON_MINE), ("up", "--engine", "none")):
            said = stack.fail(*words)
            assert "two sets of secrets: state/dev.json, and one that Pulumi keeps (turn-1 differ)" in said
            assert "mv state/dev.json state/dev.json.other" in said
            assert everything(stack) == before
        stack.state().rename(stack.root / "state" / "dev.json.other")
        shutil.rmtree(stack.build())
        stack.succeed("up", *ON_MINE)


class TestReview:
    def test_a_redacted_rendering_leaves_nothing_but_the_tree(self, checkout: Checkout) -> None:
        checkout.succeed("render", "--redact")
        assert not (checkout.root / "state").exists()
        assert not list(checkout.home.rglob("*.passphrase"))
        assert checkout.build("dev.redacted").is_dir()

    def test_it_needs_no_passphrase(self, stack: Checkout) -> None:
        state = stack.state().read_bytes()
        for path in stack.home.rglob("*.passphrase"):
            path.unlink()
        stack.succeed("render", "--redact")
        assert stack.state().read_bytes() == state


# Prints the state that an archive of the stack gets.
STATE = """
from cli import installation, stacks
from cli.terminal import Terminal
print(installation.documents(stacks.read("dev"), None, Terminal())["state"], end="")
"""


def test_secrets_that_the_engine_keeps_are_in_an_archive_as_a_state_file(stack: Checkout, tmp_path: Path) -> None:
    before = stack.succeed("pins", "--json")
    stack.succeed("up", *ON_MINE)
    verbs_before = verbs(stack)
    done = subprocess.run(
        [sys.executable, "-c", STATE], cwd=stack.root, env=stack.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not stack.state().exists()
    assert not {"stack import", "up"} & set(verbs(stack)[len(verbs_before) :]), "the engine's stack is as it was"

    other = Checkout.make(tmp_path / "other")
    other.file().write_text(stack.file().read_text())
    other.state().parent.mkdir()
    other.state().write_text(done.stdout)
    other.succeed("up", "--engine", "none", PULUMI_CONFIG_PASSPHRASE=secret_text(stack))
    assert other.succeed("pins", "--json") == before
