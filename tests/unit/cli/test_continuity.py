"""Secrets that are lost, older, or another stack's are never replaced in silence."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from cli.continuity import Facts, Held, Trace, judge
from tests.unit.cli import kubectl_cli
from tests.unit.cli.checkout import Checkout
from tests.unit.cli.conftest import Clusters

OWN = "5f0a3c9be1d24876a91be07742cd3f680c5d7e21f3b8496ae4d2c19075ab638f"
COMMANDS = (("up",), ("render",), ("preview",), ("pins",), ("down",), ("outputs",))
PART = {"app.kubernetes.io/part-of": "flatline"}
TWO = {"secrets": {"turn": {"epoch": 2}}}
MOVED = {"domain": "chat.example.org"}


def everything(checkout: Checkout) -> dict[str, bytes]:
    """Every file of a checkout's stack and of its home."""
    folders = (checkout.root / "state", checkout.root / "build", checkout.home)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in [*files, *checkout.root.glob("Pulumi.*.yaml")]}


def state_gone(checkout: Checkout) -> None:
    checkout.state().unlink()


def state_and_build_gone(checkout: Checkout) -> None:
    checkout.state().unlink()
    shutil.rmtree(checkout.build())


def only_the_passphrase_file(checkout: Checkout) -> None:
    """As an earlier version of this program leaves it."""
    state_and_build_gone(checkout)
    (checkout.home / ".config" / "flatline" / "flatline-dev.brought-up").unlink()


def gone_beside_a_value_of_ones_own(checkout: Checkout) -> None:
    checkout.succeed("secret", "set", "turn", stdin=OWN)
    checkout.succeed("up")
    state_and_build_gone(checkout)


def interrupted_and_state_gone(checkout: Checkout) -> None:
    checkout.state().unlink()
    checkout.build().rename(checkout.build().with_name(".dev.previous"))
    shutil.rmtree(checkout.home / ".config")


def all_gone_but_the_tree(checkout: Checkout) -> None:
    checkout.state().unlink()
    shutil.rmtree(checkout.home / ".config")


def older_by_an_epoch(checkout: Checkout) -> None:
    older(checkout, TWO)


def older_and_of_an_earlier_version(checkout: Checkout) -> None:
    """A state that does not say which values it ever had."""
    module = checkout.module("cli/continuity.py")
    now = module.read_text()
    module.write_text(now.replace("    kept.state.add_digests(digests)\n", ""))
    assert module.read_text() != now
    checkout.succeed("up", "--start-over", "dev")
    older(checkout, TWO)
    module.write_text(now)
    assert b"digests" not in checkout.state().read_bytes()


def older_by_a_certificate(checkout: Checkout) -> None:
    older(checkout, {**MOVED, "certificates": {"leaf": {"validityDays": 30}}})


def older(checkout: Checkout, change: Mapping[str, object]) -> None:
    before = checkout.state().read_bytes()
    checkout.configure(change)
    checkout.succeed("up", "--confirm", "dev")
    checkout.state().write_bytes(before)


def from_another_stack(checkout: Checkout) -> None:
    checkout.succeed("stack", "new", "home", "--domain", "chat.example.org")
    checkout.succeed("up", "--stack", "home")
    shutil.copy(checkout.state("home"), checkout.state())


def from_another_installation(checkout: Checkout) -> None:
    ours = checkout.build().rename(checkout.root / "ours")
    checkout.state().unlink()
    checkout.succeed("up", "--start-over", "dev")
    shutil.rmtree(checkout.build())
    ours.rename(checkout.build())


def cut_off(checkout: Checkout) -> None:
    os.truncate(checkout.state(), 2000)


def a_folder(checkout: Checkout) -> None:
    checkout.state().unlink()
    checkout.state().mkdir()


LOST: list[tuple[Callable[[Checkout], None], str, tuple[tuple[str, ...], ...]]] = [
    (state_gone, "are missing", COMMANDS),
    (state_and_build_gone, "are missing", COMMANDS),
    (only_the_passphrase_file, "are missing", COMMANDS[:1]),
    (gone_beside_a_value_of_ones_own, "are missing", COMMANDS[:1]),
    (interrupted_and_state_gone, "are missing", COMMANDS[:1]),
    (all_gone_but_the_tree, "are missing", COMMANDS[:2]),
    (older_by_an_epoch, "is older than build/dev", COMMANDS),
    (older_and_of_an_earlier_version, "is older than build/dev", COMMANDS[:3]),
    (older_by_a_certificate, "is older than build/dev", COMMANDS[:2]),
    (from_another_stack, "secrets of stack flatline/home", COMMANDS),
    (cut_off, "is damaged", COMMANDS),
    (a_folder, "cannot be read: Is a directory", COMMANDS[:1]),
    (from_another_installation, "another installation", COMMANDS[:2]),
]


@pytest.mark.parametrize(("happen", "expected", "commands"), LOST, ids=[each.__name__ for each, *_ in LOST])
def test_no_command_goes_on(
    brought_up: Checkout, happen: Callable[[Checkout], None], expected: str, commands: tuple[tuple[str, ...], ...]
) -> None:
    happen(brought_up)
    before = everything(brought_up)
    for command in commands:
        said = brought_up.fail(*command)
        assert expected in said, (command, said)
        assert said.count("error:") == 1
        assert "state/dev.json" in said
        assert "--start-over dev" in said
        assert everything(brought_up) == before, command


def test_a_restored_state_goes_on(brought_up: Checkout) -> None:
    before, state = brought_up.contents(), brought_up.state().read_bytes()
    brought_up.state().unlink()
    brought_up.fail("up")
    brought_up.state().write_bytes(state)
    brought_up.succeed("up")
    assert brought_up.contents() == before


def test_a_tree_that_is_older_than_the_state_goes_on(brought_up: Checkout) -> None:
    for change in (MOVED, {**MOVED, **TWO}, {"certificates": {"leaf": {"validityDays": 30}}}):
        aside = brought_up.root / "older"
        shutil.copytree(brought_up.build(), aside)
        brought_up.configure(change)
        brought_up.succeed("up", "--confirm", "dev")
        newest = brought_up.contents()
        shutil.rmtree(brought_up.build())
        aside.rename(brought_up.build())
        brought_up.succeed("up", "--confirm", "dev")
        assert brought_up.contents() == newest


def test_starting_over_is_asked_for_by_name(brought_up: Checkout) -> None:
    before = everything(brought_up)
    assert "names home, but the stack is dev" in brought_up.fail("up", "--start-over", "home")
    assert everything(brought_up) == before
    result = brought_up.run("up", "--start-over", "dev")
    assert result.returncode == 0, result.stderr
    assert "Every client must be built with the new pins" in result.stderr
    aside = brought_up.root / "state" / "dev.earlier-1"
    assert (aside / "dev.json").read_bytes() == before[str(brought_up.state())]
    assert brought_up.contents(aside / "build")
    assert brought_up.contents(aside / "build") != brought_up.contents()
    brought_up.succeed("up")


def test_starting_over_after_a_loss(brought_up: Checkout) -> None:
    state_gone(brought_up)
    brought_up.succeed("up", "--start-over", "dev")
    # What was rendered with the lost secrets is the only copy of them that is left.
    assert (brought_up.root / "state" / "dev.earlier-1" / "build" / "stack-outputs.json").exists()
    assert not (brought_up.root / "state" / "dev.earlier-1" / "dev.json").exists()


def test_starting_over_that_fails_changes_nothing(brought_up: Checkout) -> None:
    before = everything(brought_up)
    brought_up.fail("up", "--start-over", "dev", "--engine", "pulumi")
    assert everything(brought_up) == before


@pytest.mark.parametrize("command", ["up", "render"])
def test_a_first_run_that_is_killed_has_lost_nothing(checkout: Checkout, command: str) -> None:
    """Its passphrase stays: another checkout may have begun to use it."""
    program = (checkout.root / "__main__.py").read_text()
    (checkout.root / "__main__.py").write_text(program + "\nimport os\nos.kill(os.getpid(), 9)\n")
    assert checkout.run(command).returncode == -9
    (passphrase,) = checkout.home.rglob("*.passphrase")
    before = passphrase.read_text()
    (checkout.root / "__main__.py").write_text(program)
    checkout.succeed("up")
    assert passphrase.read_text() == before
    state_and_build_gone(checkout)
    assert "are missing" in checkout.fail("up")


@pytest.mark.parametrize(
    ("labels", "whose"),
    [({}, "somebody else"), ({**PART, "flatline.org/stack": "flatline.home"}, "another stack of Flatline")],
)
def test_files_are_not_made_for_a_namespace_of_others(
    checkout: Checkout, clusters: Clusters, labels: dict[str, str], whose: str
) -> None:
    kubectl_cli.put(checkout)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flatline", "labels": labels}}
    kubectl_cli.write(checkout, [space])
    said = checkout.fail("up", "--context", "mine")
    assert f"namespace flatline is on context mine already, and belongs to {whose}" in said
    assert not checkout.state().exists()
    assert not checkout.build().exists()


def test_what_precedes_a_first_run_is_no_loss(checkout: Checkout) -> None:
    checkout.succeed("preview")
    checkout.succeed("secret", "set", "turn", stdin=OWN)
    checkout.succeed("up")


def test_a_stack_that_was_deleted_by_name_begins_again(brought_up: Checkout) -> None:
    brought_up.succeed("down", "--delete-data", "--confirm", "dev", "--no-cluster")
    for command in (("preview",), ("down",), ("up",)):
        brought_up.succeed(*command)


def kubectl(checkout: Checkout, clusters: Clusters, build: Path) -> None:
    """A cluster, `mine`, that has the rendered namespaces of a folder."""
    found = [yaml.safe_load(path.read_text()) for path in build.glob("01-namespace_*")]
    checkout.program("kubectl", f"record(arguments=sys.argv[1:])\nprint(json.dumps({{'items': {found!r}}}))")


@pytest.mark.parametrize("command", [("up",), ("preview",)], ids=" ".join)
def test_a_named_cluster_shows_what_was(brought_up: Checkout, clusters: Clusters, command: tuple[str, ...]) -> None:
    kubectl(brought_up, clusters, brought_up.build())
    brought_up.succeed(*command, "--context", "mine")
    state_and_build_gone(brought_up)
    shutil.rmtree(brought_up.home / ".config")
    before = everything(brought_up)
    said = brought_up.fail(*command, "--context", "mine")
    assert "namespace flatline on context mine" in said
    assert everything(brought_up) == before


def test_a_named_cluster_shows_an_older_state(brought_up: Checkout, clusters: Clusters) -> None:
    state, tree = brought_up.state().read_bytes(), brought_up.root / "older"
    shutil.copytree(brought_up.build(), tree)
    brought_up.configure(TWO)
    brought_up.succeed("up")
    kubectl(brought_up, clusters, brought_up.build())
    brought_up.state().write_bytes(state)
    shutil.rmtree(brought_up.build())
    tree.rename(brought_up.build())
    before = everything(brought_up)
    assert "is older than namespace flatline on context mine" in brought_up.fail("up", "--context", "mine")
    assert everything(brought_up) == before


def test_another_stacks_namespaces_in_a_cluster_are_no_trace(checkout: Checkout, clusters: Clusters) -> None:
    checkout.succeed("up")
    kubectl(checkout, clusters, checkout.build())
    checkout.succeed("stack", "new", "home", "--domain", "chat.example.org")
    checkout.succeed("up", "--stack", "home", "--context", "mine")


# --- the engine ---------------------------------------------------------------------------------------------

ON_MINE = ("--context", "mine", "--yes")


def test_a_lost_backend_is_no_fresh_start(deployed: Checkout) -> None:
    shutil.rmtree(deployed.root / "state" / "pulumi")
    for command in (("up", *ON_MINE), ("up",), ("render",), ("preview", "--context", "mine"), ("pins",), ("down",)):
        said = deployed.fail(*command)
        assert "are missing" in said, command
        assert f"there is no state of it in file://{deployed.root}/state/pulumi" in said
    assert not deployed.state().exists()
    assert not (deployed.root / "state" / "pulumi").exists()


@pytest.mark.usefixtures("engine")
def test_another_backend_is_no_fresh_start(checkout: Checkout, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/mine"
    checkout.succeed("up", *ON_MINE, PULUMI_BACKEND_URL=url, PULUMI_CONFIG_PASSPHRASE="p")
    said = checkout.fail("up", *ON_MINE, PULUMI_CONFIG_PASSPHRASE="p")
    assert f"keeps stack dev in {url}" in said
    assert f"export PULUMI_BACKEND_URL={url}" in said
    assert not (checkout.root / "state" / "pulumi").exists()


@pytest.mark.usefixtures("engine")
def test_a_failed_first_deployment_can_be_repeated(checkout: Checkout) -> None:
    assert checkout.run("up", *ON_MINE, FAKE_PULUMI_FAILS="1").returncode == 1
    checkout.succeed("up", *ON_MINE)


def test_the_domain_of_a_deployed_stack(deployed: Checkout) -> None:
    deployed.configure(MOVED)
    said = deployed.fail("up", *ON_MINE)
    assert "whisper.flatline.internal becomes https://whisper.chat.example.org" in said
    assert "--confirm dev" in said
    deployed.succeed("up", *ON_MINE, "--confirm", "dev")


# --- the judgement itself -----------------------------------------------------------------------------------

TREE = Trace("build/dev", {"a-1": "11", "b-1": "22"})


def facts(held: Held | None, *traces: Trace) -> Facts:
    return Facts("dev", "state/dev.json", held, traces)


def held(digests: dict[str, tuple[str, ...]] | None, stack: str = "flatline/dev") -> Held:
    return Held("state/dev.json", stack, digests)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (facts(None), None),
        (facts(None, TREE), "are missing"),
        (facts(held({"a-1": ("11",), "b-1": ("22",)}), TREE), None),
        (facts(held({"a-1": ("11",), "b-1": ("22", "33")}), TREE), None),
        (facts(held({"a-1": ("11",), "b-1": ("22",), "c-1": ("44",)}), TREE), None),
        (facts(held({"a-1": ("11",)}), TREE), "does not know b-1"),
        (facts(held({"a-1": ("11",), "b-1": ("33",)}), TREE), "does not know b-1"),
        (facts(held({"c-1": ("11",)}), TREE), "another installation"),
        (facts(held(None), TREE), None),
        (facts(held({}, "flatline/home"), TREE), "of stack flatline/home"),
        (facts(held({}, "flatline/home")), "of stack flatline/home"),
        (facts(held({"a-1": ("11",)}), Trace("its passphrase")), None),
    ],
)
def test_judgement(given: Facts, expected: str | None) -> None:
    problem = judge(given)
    assert (problem is None) == (expected is None)
    assert problem is None or (expected or "") in problem.problem
