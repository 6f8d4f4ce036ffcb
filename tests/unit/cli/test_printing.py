"""What is printed can be read and copied: nothing is cut, an unchanged `up` is short, streams may be closed or full."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli.engine_output import Changes
from tests import forked
from tests.unit.cli import kubectl_cli
from tests.unit.cli.checkout import Checkout, prepared
from tests.unit.cli.conftest import Clusters

MOST_LINES = 12
CAPACITY = ("capacity", "--users", "1000000", "--messages-per-day", "40")
SHOWING = (
    ("status",),
    ("outputs",),
    ("pins",),
    ("secret", "list"),
    ("stack", "list"),
    ("check",),
    ("check", "--manifests", "manifests"),
    CAPACITY,
    ("preview",),
    ("up",),
    ("down",),
    ("render", "--stack", "prod", "--output", "elsewhere"),
)
POD = """
apiVersion: v1
kind: Pod
metadata: {name: a-pod-whose-name-is-as-long-as-a-name-may-be-and-longer-than-columns, namespace: default}
spec: {containers: [{name: main, image: "registry.example.org/some/long/path/of/an/image/that/is/here:latest"}]}
"""


@pytest.fixture(scope="module")
def _shown(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    def prepare(made: Checkout) -> None:
        made.file("prod").write_text((Path(__file__).parents[3] / "Pulumi.prod.yaml").read_text())
        (made.root / "manifests").mkdir()
        (made.root / "manifests" / "pod.yaml").write_text(POD)
        made.succeed("up")
        made.succeed("render", "--stack", "prod", "--output", "elsewhere")

    return prepared(tmp_path_factory.mktemp("shown"), prepare, small=False)[0]


@pytest.fixture
def shown(_shown: Checkout, checkout_folder: Path) -> Checkout:
    """A checkout of Flatline itself with the stacks dev and prod, brought up."""
    return _shown.copy(checkout_folder)


@pytest.mark.parametrize("words", SHOWING, ids=" ".join)
def test_no_name_and_no_command_is_broken_at_80_columns(shown: Checkout, words: tuple[str, ...]) -> None:
    piped = shown.run(*words)
    status = 1 if "--manifests" in words else 0
    assert piped.returncode == status, piped.stderr
    environment = shown.environment(TERM="xterm", NO_COLOR="1")
    narrow = forked.flatline(shown.root, words, environment=environment, columns=80)
    assert narrow.returncode == status
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", narrow.stdout).splitlines()
    there = {word for line in lines for word in line.split()}
    lost = {word for word in piped.stdout.split() if word not in there and "─" not in word}
    assert not lost
    for command in re.findall(r"`[^`]+`", piped.stdout):
        assert any(command in line for line in lines), command
    too_long = [line for line in lines if len(line.rstrip()) > 80 and not re.search(r"\S{60}|`", line)]
    assert not too_long, "what can be wrapped is wrapped"


@pytest.mark.parametrize("columns", ["0", "1", "-5", "many", ""])
def test_odd_widths_lose_nothing(brought_up: Checkout, columns: str) -> None:
    assert brought_up.succeed("up", "--help", COLUMNS=columns).startswith("usage: ./flatline up")
    for said in (
        brought_up.succeed("secret", "list", COLUMNS=columns),
        brought_up.on_terminal("secret", "list", COLUMNS=columns),
    ):
        assert {"cdn0-storage-secret-key", "google-play", "whisper"} <= set(said.split())


def test_an_unchanged_up_is_short(shown: Checkout) -> None:
    short(shown, "up")


def test_an_unchanged_up_beside_a_named_cluster_is_short(brought_up: Checkout, clusters: Clusters) -> None:
    kubectl_cli.put(brought_up)
    brought_up.succeed("up", "--context", "mine")
    short(brought_up, "up", "--context", "mine")


def short(checkout: Checkout, *words: str) -> None:
    result = checkout.run(*words)
    assert result.returncode == 0
    assert len(f"{result.stdout}{result.stderr}".splitlines()) <= MOST_LINES, result.stdout + result.stderr
    assert len(checkout.on_terminal(*words).splitlines()) <= MOST_LINES
    assert "Nothing has changed since the last run" in result.stdout
    assert "apply --server-side" in result.stdout
    assert "  ./flatline pins" in result.stdout


def test_an_unchanged_up_of_the_engine_is_short(deployed: Checkout) -> None:
    deployed.program("kubectl", kubectl_cli.BODY)
    result = deployed.run("up", "--context", "mine", "--yes")
    assert result.returncode == 0
    assert "Nothing has changed since the last run. It has 8 resources." in result.stdout  # the stand-in's count
    assert len(f"{result.stdout}{result.stderr}".splitlines()) <= MOST_LINES, result.stdout + result.stderr


@pytest.mark.parametrize(
    "change",
    [
        " +  kubernetes:core/v1:Secret keys creating",
        " ~  kubernetes:apps/v1:Deployment whisper updating [diff: ~spec]",
        "    error: the cluster said no",
        "Diagnostics:",
        "    217 unchanged, 1 changed",
        "something that the next version says",
    ],
)
def test_all_is_shown_of_an_engine_that_changes_something(change: str) -> None:
    said: list[str] = []
    changes = Changes(said.append)
    lines = ["Updating (dev):", "", "\x1b[90m@ Updating....\x1b[0m", "    pulumi:pulumi:Stack flatline-dev running"]
    for line in lines:
        changes(line)
    assert not said
    assert not changes.any
    for line in (change, "Duration: 1s"):
        changes(line)
    assert changes.any
    assert said == [*lines, change, "Duration: 1s"]


def one_line(text: str) -> str:
    assert text.startswith("error: "), text
    assert text.count("\n") == 1, text
    assert text.endswith("\n")
    return text


@pytest.mark.parametrize("words", [("--help",), ("up", "--help"), ("secret", "list"), ("pins",)], ids=" ".join)
def test_a_full_disk_is_one_line(brought_up: Checkout, words: tuple[str, ...]) -> None:
    environment = brought_up.environment()
    result = forked.flatline(brought_up.root, words, environment=environment, stdout=Path("/dev/full"))
    assert result.returncode == 1
    said = one_line(result.stderr)
    assert said == "error: standard output could not be written to the end: No space left on device\n"


def test_a_command_is_not_ended_by_a_full_disk(checkout: Checkout) -> None:
    result = forked.flatline(checkout.root, ("up",), environment=checkout.environment(), stdout=Path("/dev/full"))
    assert result.returncode == 1
    assert (checkout.build() / "stack-outputs.json").exists()


SHELL = (
    ("{} secret list | true", 141, "its reader has gone"),
    ("{} --help | true", 141, "its reader has gone"),
    ("{} secret list >&-", 1, "standard output is closed; nothing was done"),
    ("{} --help >&-", 1, "standard output is closed; nothing was done"),
    ("{} up >&- 2>&-", 1, ""),
    ("{} secret list <&- >/dev/null", 0, ""),
    ("{} secret list 2>&- >/dev/null", 0, ""),
    ("{} upp 2>&- >/dev/null", 2, ""),
    ("{} nothing 2>/dev/full >/dev/null", 2, ""),
)


@pytest.mark.parametrize(("line", "status", "expected"), SHELL, ids=[line for line, _, _ in SHELL])
def test_streams_of_a_shell(brought_up: Checkout, line: str, status: int, expected: str) -> None:
    """With processes as a shell starts them; `sleep` gives the reader time to go."""
    command, _, reader = line.format(f"{sys.executable} ./flatline").partition(" | ")
    environment = {
        **brought_up.environment(),
        "PATH": f"{brought_up.programs}:/usr/bin:/bin",
        "FLATLINE_ENTERED": str(brought_up.root.resolve()),
    }
    result = subprocess.run(
        ["/bin/sh", "-c", f"(sleep 0.3; {command}; echo $? >status) | {reader or 'cat'}"],
        cwd=brought_up.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert int((brought_up.root / "status").read_text()) == status, result.stderr
    assert result.stdout == ""
    assert (expected in one_line(result.stderr)) if expected else result.stderr == ""


def test_a_missing_package_is_one_line(checkout: Checkout, tmp_path: Path) -> None:
    for package, words in (("rich", ("status",)), ("pulumi", ("up",)), ("pydantic", ("secret", "list"))):
        hidden = tmp_path / package
        hidden.mkdir()
        (hidden / "sitecustomize.py").write_text(f"import sys; sys.modules[{package!r}] = None\n")
        result = subprocess.run(
            [sys.executable, str(checkout.root / "flatline"), *words],
            env=checkout.environment(PYTHONPATH=str(hidden)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 1
        (line,) = (line for line in result.stderr.splitlines() if not line.startswith("Making"))
        assert line == (
            f"error: {sys.executable} has no Python package {package}: "
            "unset FLATLINE_PYTHON, or install requirements.txt there"
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("upp",), "upp is no command; did you mean up?"),
        (("statsu",), "statsu is no command; did you mean status?"),
        (("secret", "lst"), "lst is no command; did you mean list?"),
        (("zzz",), "zzz is no command; see `./flatline --help`"),
        (("plan", "--users", "5000"), "plan is called capacity now: ./flatline capacity; see `./flatline --help`"),
        (("up", "--stak", "dev"), "there is no option --stak; did you mean --stack?"),
        (("pins", "--jsno"), "there is no option --jsno; did you mean --json?"),
        (("up", "dev"), "dev is one word too many; see `./flatline up --help`"),
        (("secret", "set", "turn", "c2VjcmV0"), "the value is never an argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_mistyped_gets_one_line(brought_up: Checkout, words: tuple[str, ...], said: str) -> None:
    line = one_line(brought_up.fail(*words, status=2))
    assert said in line
    assert "c2VjcmV0" not in line
