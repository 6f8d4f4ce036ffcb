"""A program that is run by tests.forked can't tell it from one that is started."""

import os
import subprocess
import sys
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tests import forked
from tests.lab.process import wait_until
from tests.unit.cli.checkout import REPOSITORY, Checkout, calls

WHAT_IT_SEES = """
import json, os, sys
import cli, config.settings
variables = {name: value for name, value in os.environ.items() if name != "LC_CTYPE"}  # Python's own doing
print(json.dumps([sys.argv, variables, os.getcwd(), cli.__file__, config.settings.__file__, __name__, __file__]))
print(sys.stdin.read(), os.isatty(0), sys.stdout.encoding, "é")
print("to stderr", file=sys.stderr)
"""

WHAT_OUR_MODULES_ARE_MADE_OF = """
import cli.under_engine, importlib, pathlib, pkgutil, sys
import cli.__main__, cli.commands, components.flatline, components.targets.cloud, components.targets.local
for module in pkgutil.iter_modules(cli.commands.__path__):
    importlib.import_module(f"cli.commands.{module.name}")
for name, module in sorted(sys.modules.items()):
    if name.strip("_") == name and str(getattr(module, "__file__", "")).startswith(sys.path[0]):
        print(name, {key: value for key, value in vars(module).items() if isinstance(value, (str, pathlib.Path))})
"""
"""Nothing in memory depends on the variables and the folder of the process that has read it."""


@pytest.mark.parametrize(
    "body",
    [
        WHAT_IT_SEES,
        WHAT_OUR_MODULES_ARE_MADE_OF,
        "import sys; sys.exit(3)",
        "import sys; sys.exit('said')",
        "import os; print('lost'); os.kill(os.getpid(), 15)",
        "import os; os.write(1, b'raw'); os.write(2, b'raw')",
        "import subprocess; subprocess.run(['/bin/sh', '-c', 'cat; echo child; echo child >&2'])",
        "import threading; threading.Timer(0.1, print, ['late']).start()",
        "import signal; print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))",
    ],
)
def test_it_sees_and_answers_the_same(checkout: Checkout, body: str) -> None:
    program = checkout.root / "program.py"
    program.write_text(body)
    environment = checkout.environment(OWN="word")
    started = subprocess.run(
        [sys.executable, str(program), "a", "b c"],
        cwd=checkout.root,
        env=environment,
        input="typed",
        capture_output=True,
        text=True,
        check=False,
    )
    done = forked.run(program, ["a", "b c"], environment=environment, stdin="typed", timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (started.returncode, started.stdout, started.stderr)


def test_it_has_the_modules_of_its_checkout_as_they_are(checkout: Checkout, tmp_path: Path) -> None:
    def in_memory(root: Path) -> str:
        program = root / "program.py"
        program.write_text(
            "import sys\n"
            "files = [str(vars(module).get('__file__')) for name, module in sys.modules.items() if '__m' not in name]\n"
            f"print(min(100, sum(file.startswith('{checkout.root}/') for file in files)))\n"
            "import render.passphrase\nprint(render.passphrase.__file__, render.passphrase.ITERATIONS)\n"
        )
        return forked.run(program, [], environment={}, stdin="", timeout=60).stdout

    other = Checkout.make(tmp_path / "other").root
    path = "render/passphrase.py"
    assert in_memory(checkout.root) == f"100\n{checkout.root / path} 10\n"
    assert in_memory(other) == f"0\n{other / path} 10\n"
    checkout.module(path).write_text("ITERATIONS = 7\n")
    assert in_memory(checkout.root) == f"0\n{checkout.root / path} 7\n"


def test_a_server_that_was_started_again_does_not_make_it_work_in_the_repository(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a signal to all processes of the tests: it has read its modules where the tests run."""
    server = forkserver.ForkServer()
    monkeypatch.setattr(forkserver, "_forkserver", server)
    for name in ("ensure_running", "connect_to_new_process", "set_forkserver_preload"):
        monkeypatch.setattr(forkserver, name, getattr(server, name))
    server.set_forkserver_preload(["cli.stacks"])
    program = checkout.root / "program.py"
    program.write_text("from cli.stacks import ROOT\nprint(ROOT)\n")
    monkeypatch.chdir(REPOSITORY)
    try:
        done = forked.run(program, [], environment={}, stdin="", timeout=60)
    finally:
        server._stop()  # pyrefly: ignore[missing-attribute]
    assert (done.stdout, done.stderr) == (f"{checkout.root.resolve()}\n", "")


def test_an_exception_is_shown(checkout: Checkout) -> None:
    program = checkout.root / "program.py"
    program.write_text("raise ValueError('said')")
    done = forked.run(program, [], environment=checkout.environment(), stdin="", timeout=60)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ValueError: said\n")


def test_one_that_does_not_end_is_killed(checkout: Checkout, tmp_path: Path) -> None:
    program = checkout.root / "program.py"
    pid = tmp_path / "pid"
    program.write_text(f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    with pytest.raises(subprocess.TimeoutExpired):
        forked.run(program, [], environment=checkout.environment(), stdin="", timeout=2)
    assert not Path("/proc", pid.read_text()).exists()


def test_an_edited_module_is_of_its_checkout_alone(checkout: Checkout, tmp_path: Path) -> None:
    checkout.module("cli/__init__.py").write_text("edited = True\n")
    assert "edited" not in (Checkout.make(tmp_path / "other").root / "cli" / "__init__.py").read_text()


def test_an_edit_of_what_all_checkouts_share_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    file = checkout.root / "cli" / "__init__.py"
    text, before = file.read_bytes(), file.stat()
    file.write_text("edited = True\n")
    try:
        with pytest.raises(ValueError, match=r"cli/__init__\.py is edited in all checkouts"):
            Checkout.make(tmp_path / "other")
    finally:
        file.write_bytes(text)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    Checkout.make(tmp_path / "another")


STAND_IN = """
record(arguments=sys.argv[1:])
print(sys.argv, os.getcwd(), os.environ["OWN"], os.environ["EMPTY"] == "", sys.stdin.read(), os.getppid(), __name__)
print("to stderr", file=sys.stderr)
sys.exit({"none": None, "text": "said", "number": 3, "true": True}[sys.argv[1]])
"""


@pytest.mark.parametrize("how", ["none", "text", "number", "true", "an exception"])
def test_a_stand_in_is_as_a_program_that_is_started(checkout: Checkout, how: str) -> None:
    recorded = checkout.program("stand-in", STAND_IN)
    program = checkout.programs / "stand-in"

    def call(**variables: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [program, how, "b c", ""],
            cwd=checkout.home,
            env={"OWN": "word", "EMPTY": "", **variables},
            input="typed",
            capture_output=True,
            text=True,
            check=False,
        )
        *_, errors = done.stderr.rpartition("\n  File ")
        return (
            done.returncode,
            done.stdout.replace("stand-in.py", "stand-in"),
            errors.replace("stand-in.py", "stand-in"),
        )

    forked_call = call()
    assert forked_call == call(FAKE_PULUMI_WAITS="started as it is")
    assert [each["arguments"] for each in calls(recorded)] == [[how, "b c", ""]] * 2


def test_a_stand_in_ends_with_the_program_that_is_killed(checkout: Checkout) -> None:
    recorded = checkout.program("stand-in", "import time\nrecord(pid=os.getpid())\ntime.sleep(600)")
    caller = subprocess.Popen([checkout.programs / "stand-in"], stdin=subprocess.DEVNULL)
    wait_until(lambda: bool(calls(recorded)), 20, "the stand-in")
    (call,) = calls(recorded)
    caller.kill()
    caller.wait()
    wait_until(lambda: not Path("/proc", str(call["pid"])).exists(), 20, "its end")
