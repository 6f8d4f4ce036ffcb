"""`down` without an engine."""

import json
import shutil
from pathlib import Path

import pytest

from tests.unit.cli.checkout import Checkout, calls
from tests.unit.cli.conftest import Clusters

KUBECTL = """
if "get" in sys.argv:
    print(os.environ.get("NAMESPACES", '{"items": []}'))
else:
    record(arguments=sys.argv[1:])
    sys.exit(int(os.environ.get("STATUS", "0")))
"""
OURS = {"app.kubernetes.io/part-of": "flatline"}


@pytest.fixture
def kubectl(brought_up: Checkout, clusters: Clusters) -> Path:
    return brought_up.program("kubectl", KUBECTL)


def labelled(name: str, **labels: str) -> str:
    """What kubectl says of a cluster with one namespace."""
    return json.dumps({"items": [{"metadata": {"name": name, "labels": labels}}]})


def test_it_lists_what_it_keeps(brought_up: Checkout) -> None:
    kept = brought_up.succeed("down").partition("Commands")[0].splitlines()
    assert "- volume flatline/attachments (20Gi)" in kept
    assert "- volume flatline/data-redis-0 to -2 (2Gi each)" in kept
    assert "- namespace flatline" in kept
    assert "- namespace flatline-emulators" in kept
    assert any("state/dev.json" in line for line in kept)


def test_without_a_name_it_shows_commands_that_spare_data(brought_up: Checkout) -> None:
    commands = [line for line in brought_up.succeed("down").splitlines() if line.startswith("  kubectl")]
    assert len(commands) == 2
    for command in commands:
        assert "--context YOUR-CONTEXT -n flatline" in command
        kinds = command.split()[-1].split(",")
        assert kinds[0] == "deployment.apps"
        assert {"service", "deployment.apps"} <= set(kinds)
        assert not {"namespace", "persistentvolumeclaim"} & set(kinds)
        assert "--selector app.kubernetes.io/part-of=flatline" in command


def test_with_a_name_and_agreement_it_runs_them(brought_up: Checkout, kubectl: Path) -> None:
    state = brought_up.state().read_bytes()
    brought_up.succeed("down", "--context", "mine", "--yes")
    ran = [call["arguments"] for call in calls(kubectl)]
    assert [words[:4] for words in ran] == [
        ["--context", "mine", "-n", "flatline"],
        ["--context", "mine", "-n", "flatline-emulators"],
    ]
    assert brought_up.state().read_bytes() == state
    brought_up.succeed("up")


def test_without_agreement_it_runs_none(brought_up: Checkout, kubectl: Path) -> None:
    assert "nothing was deleted: no agreement" in brought_up.fail("down", "--context", "mine")
    assert calls(kubectl) == []


def test_a_failing_kubectl_ends_it(brought_up: Checkout, kubectl: Path) -> None:
    assert "status 3" in brought_up.fail("down", "--context", "mine", "--yes", STATUS="3")
    assert len(calls(kubectl)) == 1
    state = brought_up.state()
    brought_up.fail("down", "--context", "mine", "--delete-data", "--confirm", "dev", STATUS="3")
    assert state.exists()


@pytest.mark.parametrize("words", [(), ("--confirm", "home"), ("--yes",), ("--context", "mine", "--yes")], ids=" ".join)
def test_data_is_deleted_by_the_stack_s_name_alone(brought_up: Checkout, kubectl: Path, words: tuple[str, ...]) -> None:
    before = brought_up.contents()
    assert "was not typed" in brought_up.fail("down", "--delete-data", *words)
    assert brought_up.state().exists()
    assert brought_up.contents() == before
    assert calls(kubectl) == []


def test_deleting_data_deletes_secrets_and_namespaces(brought_up: Checkout, kubectl: Path) -> None:
    brought_up.succeed("down", "--context", "mine", "--delete-data", "--confirm", "dev")
    assert [call["arguments"] for call in calls(kubectl)] == [
        ["--context", "mine", "delete", "--ignore-not-found", "namespace", "flatline", "flatline-emulators"]
    ]
    assert not brought_up.state().exists()
    assert not brought_up.build().exists()
    assert brought_up.file().exists()
    assert "never been brought up" in brought_up.succeed("down")


def test_a_name_alone_is_not_enough(brought_up: Checkout) -> None:
    assert "--delete-data" in brought_up.fail("down", "--confirm", "dev")
    assert brought_up.state().exists()


def test_it_knows_the_stack_from_its_state(brought_up: Checkout) -> None:
    before, state = brought_up.succeed("down"), brought_up.state().read_bytes()
    shutil.rmtree(brought_up.build())
    assert brought_up.succeed("down") == before
    assert not brought_up.build().exists()
    assert brought_up.state().read_bytes() == state


def test_without_a_cluster_no_key_is_deleted(brought_up: Checkout) -> None:
    before, state = brought_up.contents(), brought_up.state().read_bytes()
    said = brought_up.fail("down", "--delete-data", "--confirm", "dev")
    assert "may still run" in said
    assert "--no-cluster" in said
    assert (brought_up.contents(), brought_up.state().read_bytes()) == (before, state)
    brought_up.succeed("down", "--delete-data", "--confirm", "dev", "--no-cluster")
    assert not brought_up.state().exists()
    assert not brought_up.build().exists()


def test_deleting_data_removes_what_a_killed_run_left(brought_up: Checkout) -> None:
    left = brought_up.build().with_name(".dev.unfinished-a1b2c3_4")
    shutil.copytree(brought_up.build(), left)
    shutil.copytree(brought_up.build(), brought_up.build().with_name(".dev.previous"))
    brought_up.succeed("down", "--delete-data", "--confirm", "dev", "--no-cluster")
    assert list(brought_up.build().parent.iterdir()) == []


def test_a_namespace_with_the_label_of_another_stack_is_left_alone(brought_up: Checkout, kubectl: Path) -> None:
    for path in brought_up.build().glob("01-namespace_*"):
        path.write_text(path.read_text().replace("flatline.dev", "flatline.home"))
    said = brought_up.run("down", "--delete-data", "--confirm", "dev", "--context", "mine")
    assert "Namespace flatline is another stack's as well" in said.stderr
    assert calls(kubectl) == []


@pytest.mark.parametrize("data", [True, False], ids=["delete data", "plain"])
@pytest.mark.parametrize(
    ("labels", "whose"),
    [({}, "somebody else"), ({**OURS, "flatline.org/stack": "flatline.home"}, "another stack of Flatline")],
)
def test_a_namespace_that_somebody_else_made_is_left_alone(
    brought_up: Checkout, kubectl: Path, data: bool, labels: dict[str, str], whose: str
) -> None:
    """The stack's file, or the context, is not what it was, and the rendered objects are gone."""
    shutil.rmtree(brought_up.build())
    brought_up.configure({"namespace": "monitoring"})
    state = brought_up.state().read_bytes()
    words = ("--delete-data", "--confirm", "dev") if data else ("--yes",)
    said = brought_up.fail("down", "--context", "mine", *words, NAMESPACES=labelled("monitoring", **labels))
    assert f"namespace monitoring on context mine belongs to {whose}" in said
    assert calls(kubectl) == []
    assert brought_up.state().read_bytes() == state


def test_its_own_namespace_of_an_earlier_release_goes(brought_up: Checkout, kubectl: Path) -> None:
    words = ("--context", "mine", "--delete-data", "--confirm", "dev")
    brought_up.succeed("down", *words, NAMESPACES=labelled("flatline", **OURS))
    assert len(calls(kubectl)) == 1


@pytest.mark.parametrize("labelled", [True, False])
def test_another_stacks_namespaces_are_never_named(brought_up: Checkout, kubectl: Path, labelled: bool) -> None:
    """Two stacks that were rendered into the same namespaces before that was an error, and before there was a label."""
    for path in () if labelled else brought_up.build().glob("01-namespace_*"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if "flatline.org/stack" not in line))
    shutil.copytree(brought_up.build(), brought_up.build("home"))
    shutil.copy(brought_up.file(), brought_up.file("home"))
    said = brought_up.run("down", "--delete-data", "--confirm", "home", "--stack", "home", "--context", "mine")
    assert "Namespace flatline is another stack's as well" in said.stderr
    assert calls(kubectl) == []
    assert brought_up.state().exists()
    assert brought_up.build().exists()
