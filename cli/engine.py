"""The Pulumi engine, through the Automation API: where its CLI is, which backend keeps a stack, what it is told.

The SDK is imported by the functions that need it: most commands only ask whether the engine keeps a stack, and would
spend more time on the import than on all else.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import urllib.error
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from cli import engine_files, engine_state
from cli.kubeconfig import Cluster
from cli.stacks import LOCAL_BACKEND, ROOT, LoadedStack, Stack, cache_folder, display_path
from cli.terminal import Terminal
from config.settings import PROJECT
from errors import FlatlineError
from render import checkpoint
from render.passphrase import FILE_VARIABLE, VARIABLE, generated_file

if TYPE_CHECKING:
    from pulumi import automation
    from pulumi.automation.errors import CommandError

BACKEND_VARIABLE = "PULUMI_BACKEND_URL"
DOWNLOAD_PATIENCE_SECONDS = 30.0
_LOCAL_URL = f"file://{LOCAL_BACKEND}"


@dataclass(frozen=True)
class Cli:
    """A Pulumi CLI that can be used, and where it is."""

    command: automation.PulumiCommand

    def __str__(self) -> str:
        return f"Pulumi {self.command.version} ({shutil.which(self.command.command) or self.command.command})"


def installed() -> tuple[Cli | None, str]:
    """The CLI of the PATH, or of an earlier installation of ours; without one, why not."""
    on_path = shutil.which("pulumi") is not None
    if not on_path and not (_own_folder() / "bin" / "pulumi").is_file():
        return None, "there is no Pulumi CLI on the PATH"
    from pulumi.automation.errors import InvalidVersionError

    from cli.engine_command import Command

    try:
        return Cli(Command(root=None if on_path else str(_own_folder()))), ""
    except InvalidVersionError as problem:
        return None, f"the Pulumi CLI cannot be used: {problem}"
    except (OSError, subprocess.CalledProcessError) as problem:
        return None, f"the Pulumi CLI does not start: {problem}"


def install(terminal: Terminal) -> tuple[Cli | None, str]:
    """Fetches the CLI of the SDK's version into the cache folder; without success, why not."""
    from pulumi._version import version as wanted
    from pulumi.automation.errors import InvalidVersionError

    from cli.engine_command import Command

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_PATIENCE_SECONDS)
    try:
        with terminal.step(f"Fetching Pulumi {wanted} from get.pulumi.com"):
            Command.install(root=str(_own_folder()), version=wanted)
        return Cli(Command(root=str(_own_folder()))), ""
    except urllib.error.URLError as problem:
        return None, f"Pulumi could not be fetched: {problem.reason}"
    except subprocess.CalledProcessError as problem:
        last = (problem.output or b"").decode(errors="replace").strip().splitlines()[-1:]
        return None, f"Pulumi could not be installed: {last[0] if last else problem}"
    except (OSError, InvalidVersionError) as problem:
        return None, f"Pulumi could not be installed: {problem}"
    finally:
        socket.setdefaulttimeout(before)


def managing_backend(stack: Stack, cli: Cli | None) -> str | None:
    """The backend in which Pulumi has resources of this stack, None if it has none.

    Looks into our own backend's files; for another backend there is a note of ours, or the CLI is asked. A stack with
    a state file has such a note from the moment that Pulumi gets its secrets (cli/transfer.py), so nobody is asked.
    Raises FlatlineError if it cannot tell.
    """
    if _local_resources(stack):
        return _LOCAL_URL
    if stack.backend.is_file():
        return stack.backend.read_text().strip()
    url = _chosen_backend()
    if cli is None or url is None or stack.state.exists():
        return None
    from pulumi import automation
    from pulumi.automation.errors import CommandError

    engine_files.mend(url, ROOT)
    try:
        there = automation.LocalWorkspace(work_dir=str(ROOT), pulumi_command=cli.command).list_stacks()
    except CommandError as problem:
        raise FlatlineError(
            f"cannot tell whether Pulumi keeps the stack {stack.name} already",
            *_said(problem),
            f"Log in to your backend, or unset {BACKEND_VARIABLE} / run `pulumi logout` to use "
            f"{display_path(LOCAL_BACKEND)}.",
        ) from None
    names = {each.name.rsplit("/", 1)[-1]: each.resource_count or 0 for each in there}
    return url if names.get(stack.name) else None


def managing_cli(stack: Stack) -> tuple[str | None, Cli | None, str]:
    """The backend that keeps the stack, the CLI that reads it, and without one why not.

    A CLI is looked for only where a stack is not kept in its state file, because that takes a second.
    """
    if stack.state.exists() and managing_backend(stack, None) is None:
        return None, None, ""
    cli, no_cli = installed()
    return managing_backend(stack, cli), cli, no_cli


def without_cli(stack: Stack, backend: str, no_cli: str) -> FlatlineError:
    """The error where a stack is kept in a backend, and no CLI can read it."""
    return FlatlineError(f"Pulumi keeps stack {stack.name} ({backend}), and {no_cli}")


def without_cluster(stack: Stack, backend: str) -> FlatlineError:
    """The error where a stack is kept in a backend, and the CLI needs a cluster that nobody named."""
    return FlatlineError(
        f"Pulumi keeps stack {stack.name} ({backend}), and no cluster is named",
        "Name its context: --context, or flatline:target.context in the stack's file.",
    )


def backend() -> str:
    """The backend that the engine will use, for people."""
    return _chosen_backend() or _LOCAL_URL


def plain(loaded: LoadedStack, *words: str) -> list[str]:
    """A command of plain `pulumi` on a stack of ours, with the variables that it needs here."""
    return [*(["env", *_needed(loaded)] if _needed(loaded) else []), *_program(), *words, "--stack", loaded.stack.name]


def environment_hint(loaded: LoadedStack) -> list[list[str]]:
    """The commands after which plain `pulumi` goes on with a stack of ours, and the first one to go on with."""
    exports = [["export", variable] for variable in _needed(loaded)]
    return [*exports, [*_program(), "preview", "--stack", loaded.stack.name]]


def _needed(loaded: LoadedStack) -> list[str]:
    """Variables that plain `pulumi` needs and this environment does not have."""
    needed = [] if _chosen_backend() else [f"{BACKEND_VARIABLE}={_LOCAL_URL}"]
    source = generated_file(PROJECT, loaded.stack.name)
    if VARIABLE not in os.environ and FILE_VARIABLE not in os.environ and source.exists():
        needed.append(f"{FILE_VARIABLE}={source}")
    return needed


def _program() -> list[str]:
    """The CLI as it is typed in the current folder."""
    program = "pulumi" if shutil.which("pulumi") else str(_own_folder() / "bin" / "pulumi")
    return [program] if Path.cwd() == ROOT else [program, "--cwd", str(ROOT)]


@contextmanager
def opened(
    loaded: LoadedStack, cli: Cli, cluster: Cluster | None, project: Path = ROOT, url: str | None = None
) -> Iterator[automation.Stack]:
    """The stack in the engine, made if it is not there; it can reach one cluster or, without one, none at all.

    `project` is the folder of its configuration; `url` is a backend other than the stack's. Raises FlatlineError if the
    engine refuses.
    """
    from pulumi import automation

    if not (ROOT / ".venv" / "bin" / "python").exists():
        raise FlatlineError(
            "Pulumi runs the program with .venv, which is not there",
            "Unset FLATLINE_PYTHON and run again, or make .venv with requirements.txt yourself.",
        )
    if url is None and _chosen_backend() is None:
        LOCAL_BACKEND.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = {} if url is None else {BACKEND_VARIABLE: url}
    with TemporaryDirectory(prefix="flatline-") as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(cluster.kubeconfig() if cluster else "")
        workspace = automation.LocalWorkspace(
            work_dir=str(project),
            pulumi_command=cli.command,
            env_vars={**_environment(loaded), **own, "KUBECONFIG": str(kubeconfig)},
        )
        engine_files.mend(backend(), ROOT)
        with engine_errors("pulumi cannot open the stack"):
            stack = automation.Stack.create_or_select(loaded.stack.name, workspace)
        yield stack


@contextmanager
def engine_errors(what: str, *, shown_already: bool = False, unlock: Sequence[str] = ()) -> Iterator[None]:
    """Turns what the engine reports into a FlatlineError; with `shown_already` its output is not repeated.

    `unlock` is the command that clears a lock, for backends whose locks nobody here can look at.
    """
    from pulumi.automation.errors import CommandError, ConcurrentUpdateError

    try:
        yield
    except ConcurrentUpdateError as problem:
        raise FlatlineError(
            f"{what}: another run of Pulumi has locked the stack",
            *([] if shown_already else _said(problem)),
            "Wait until it has ended. If it was killed, clear its lock:",
            commands=[unlock] if unlock else (),
        ) from None
    except CommandError as problem:
        raise FlatlineError(what, *(["Its messages are above."] if shown_already else _said(problem))) from None


def run(
    cli: Cli,
    stack: automation.Stack,
    *words: str,
    on_output: Callable[[str], object] | None = None,
    on_error: Callable[[str], object] | None = None,
) -> str:
    """Standard output of a command on an open stack that the Automation API does not have. Raises CommandError."""
    workspace = stack.workspace
    words = (*words, "--stack", stack.name)
    return cli.command.run([*words], workspace.work_dir, workspace.env_vars, on_output, on_error).stdout


def update(cli: Cli, stack: automation.Stack, terminal: Terminal, show: Callable[[str], object]) -> Mapping[str, Any]:
    """Deploys the stack without a preview and returns its outputs, of which secret ones are not shown.

    `Stack.up` of the Automation API also asks for the secret outputs and for the history: two more starts of the CLI.
    """
    words = ("up", "--yes", "--skip-preview", "--suppress-outputs", "--color", terminal.engine_colour)
    run(cli, stack, *words, on_output=show, on_error=terminal.note)
    return dict(json.loads(run(cli, stack, "stack", "output", "--json")))


def exported(stack: automation.Stack) -> dict[str, Any]:
    """`pulumi stack export` with the secrets shown, which stay in this process."""
    with engine_errors("pulumi cannot read the stack"):
        found = stack.export_stack()
    return {"version": found.version or checkpoint.VERSION, "deployment": found.deployment or {}}


def deployment(stack: automation.Stack) -> Mapping[str, Any]:
    """The state of a stack with its secrets."""
    content: Mapping[str, Any] = exported(stack)["deployment"]
    return content


def import_state(cli: Cli, stack: automation.Stack, content: Mapping[str, Any], problem: str) -> None:
    """Makes a checkpoint the state of a stack. Raises FlatlineError, with the problem, if the engine refuses it."""
    with engine_errors(problem), TemporaryDirectory(prefix="flatline-") as folder:
        file = Path(folder) / "state.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(content))
        run(cli, stack, "stack", "import", "--file", str(file))


def previewed(stack: automation.Stack, terminal: Terminal, doing: str = "") -> list[automation.StepEventMetadata]:
    """What the engine would do, step by step.

    People see its lines; those of a preview that is only a part of `doing` something they see if it fails.
    """
    steps: list[automation.StepEventMetadata] = []
    said: list[str] = []

    def take(event: automation.EngineEvent) -> None:
        if event.resource_pre_event is not None:
            steps.append(event.resource_pre_event.metadata)

    with engine_errors("pulumi preview failed", shown_already=True):
        if not doing:
            shown: dict[str, Any] = {"on_output": terminal.verbatim, "on_error": terminal.note}
            stack.preview(color=terminal.engine_colour, on_event=take, **shown)
            return steps
        try:
            with terminal.step(doing):
                stack.preview(color=terminal.engine_colour, on_event=take, on_output=said.append, on_error=said.append)
        except Exception:
            for line in said:
                terminal.note(line)
            raise
    return steps


def settle(cli: Cli, stack: automation.Stack, there: Collection[str]) -> list[str]:
    """Ends the operations that an earlier run left under way; the URNs of objects that were taken over.

    `there` are the URNs of objects that were being made and that the cluster has. Secrets stay encrypted meanwhile.
    """
    problem = "pulumi cannot settle what an earlier run left"
    with engine_errors(problem):
        content = json.loads(run(cli, stack, "stack", "export"))
    content["deployment"], adopted = engine_state.settled(content["deployment"], there)
    import_state(cli, stack, content, problem)
    return adopted


def refresh(stack: automation.Stack, urns: Sequence[str], terminal: Terminal) -> None:
    """Lets the engine read some resources of the state again."""
    with engine_errors("pulumi refresh failed", shown_already=True):
        stack.refresh(target=[*urns], color=terminal.engine_colour, on_output=terminal.verbatim, on_error=terminal.note)


def unprotect(stack: automation.Stack, cli: Cli) -> None:
    """Takes the protection of every resource away."""
    with engine_errors("pulumi cannot take the protection away"):
        run(cli, stack, "state", "unprotect", "--all", "--yes")


def forget(stack: automation.Stack) -> None:
    """Removes an empty stack from its backend; its configuration file stays."""
    with engine_errors("pulumi cannot remove the stack"):
        stack.workspace.remove_stack(stack.name, preserve_config=True)


def note_backend(stack: Stack) -> None:
    """Remembers a backend of the operator's own, for runs without the CLI."""
    url = _chosen_backend()
    if url is not None:
        stack.backend.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        stack.backend.write_text(url + "\n")


def _environment(loaded: LoadedStack) -> dict[str, str]:
    variables = {
        "PULUMI_ERROR_OUTPUT_STRING": "1",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "GOGC": os.environ.get("GOGC", "400"),  # the CLI and its plugins collect garbage a third as often
        "FLATLINE_SECRETS_CARRIED": "true",  # cli/under_engine.py, which loads the SDK
        # As the program says (components/targets/base.py), for providers that do not read it there yet.
        "PULUMI_K8S_ENABLE_PATCH_FORCE": "true",
    }
    if _chosen_backend() is None:
        variables[BACKEND_VARIABLE] = _LOCAL_URL
    if _by_passphrase(loaded.stack) or loaded.stack.state.exists():
        loaded.passphrase.find()  # refuses an empty one, and a file that others can read
        if VARIABLE not in os.environ and FILE_VARIABLE not in os.environ:
            variables[FILE_VARIABLE] = str(generated_file(PROJECT, loaded.stack.name))
    return variables


def _by_passphrase(stack: Stack) -> bool:
    provider = (yaml.safe_load(stack.file.read_text()) or {}).get("secretsprovider")
    return provider in {None, "", "passphrase", "default"} and not _is_service(_chosen_backend())


def _is_service(url: str | None) -> bool:
    """True if a backend is Pulumi Cloud or a server like it, which has keys of its own."""
    return url is not None and url.startswith(("https://", "http://"))


def _chosen_backend() -> str | None:
    """The backend that the operator chose: by variable, in Pulumi.yaml, by token or by login."""
    url = os.environ.get(BACKEND_VARIABLE)
    if url:
        return url
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text()) or {}
    in_project = (project.get("backend") or {}).get("url")
    if in_project:
        return str(in_project)
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    try:
        login = json.loads((home / "credentials.json").read_text()).get("current")
    except (FileNotFoundError, ValueError):
        login = None
    if login:
        return str(login)
    return "https://api.pulumi.com" if os.environ.get("PULUMI_ACCESS_TOKEN") else None


def _own_folder() -> Path:
    return cache_folder() / f"pulumi-{version('pulumi')}"


def has_begun(stack: Stack) -> bool:
    """True if the local backend has a checkpoint of the stack, even one without resources."""
    return _local_checkpoint(stack) is not None


def _local_resources(stack: Stack) -> bool:
    """True if the checkpoint in the local backend has resources."""
    file = _local_checkpoint(stack)
    if file is None:
        return False
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    latest = json.loads(content).get("checkpoint", {}).get("latest") or {}
    return bool(latest.get("resources"))


def _local_checkpoint(stack: Stack) -> Path | None:
    """The checkpoint in our own backend (pulumi/pulumi, pkg/backend/diy)."""
    folder = LOCAL_BACKEND / ".pulumi" / "stacks"
    paths = (folder / PROJECT / f"{stack.name}.json", folder / f"{stack.name}.json")
    files = (file for path in paths for file in (path, Path(f"{path}.gz")))
    return next((file for file in files if file.is_file()), None)


def _said(problem: CommandError) -> list[str]:
    """The lines of the CLI's standard error, without the wrapping of the Automation API."""
    lines = [line.strip() for line in str(problem).splitlines()]
    start = next((i for i, line in enumerate(lines) if line.startswith("stderr:")), 0)
    return [line.removeprefix("stderr:").strip() for line in lines[start:] if line.removeprefix("stderr:").strip()][:6]
