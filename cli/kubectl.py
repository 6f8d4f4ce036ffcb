"""kubectl on the context that somebody named, and the commands to show where none is."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, Any

from errors import FlatlineError

FIELD_MANAGER = "flatline"
"""Who owns the fields of what is applied; render/checkpoint.py hands the same name to an engine."""

NOBODY = "YOUR-CONTEXT"
"""Stands for the context in a command that is shown while none is named."""

_PATIENCE = ("--request-timeout", "10s")
_limits: list[float] = []
"""Of `limited`: the last one counts."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """While this lasts, kubectl is ended where it takes longer for an answer, whoever asks it, in whatever thread."""
    _limits.append(seconds)
    try:
        yield
    finally:
        _limits.remove(seconds)


def _done(context: str, words: Sequence[str], stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """kubectl that has come to its end. Raises FlatlineError if it takes too long."""
    whole, limit = [program(), *command(context, *words)[1:]], _limits[-1] if _limits else None
    try:
        return subprocess.run(whole, check=False, capture_output=True, text=True, input=stdin, timeout=limit)
    except subprocess.TimeoutExpired:
        raise FlatlineError(f"kubectl has no answer from context {context} after {limit:.0f} s") from None


def command(context: str | None, *words: str) -> list[str]:
    """A kubectl command that names its context, so that it cannot reach another one."""
    return ["kubectl", "--context", context or NOBODY, *words]


def apply_commands(context: str | None, folder: str, waits: Sequence[Sequence[str]]) -> list[list[str]]:
    """Applies a rendered folder, then waits until everything is ready.

    Fields that an engine owns by now are taken from it (cli/transfer.py).
    """
    owned = ("--server-side", "--force-conflicts", "--field-manager", FIELD_MANAGER)
    apply = command(context, "apply", *owned, "-k", folder)
    return [apply, *(command(context, *wait) for wait in waits)]


class ConflictError(Exception):
    """Somebody else has made or changed the object meanwhile."""


def run(words: Sequence[str]) -> int:
    """Runs a kubectl command for people to watch; its status."""
    return subprocess.run([program(), *words[1:]], check=False).returncode


def read(context: str, *words: str) -> Any:
    """The parsed answer of `kubectl get`. Raises FlatlineError with kubectl's own words."""
    return json.loads(_answer(context, *words, "--output", "json", *_PATIENCE))


def mounted_secret(context: str, namespace: str, deployment: str, volume: str) -> Mapping[str, str]:
    """The Secret that a deployment's pods mount as a volume, in base64: its name changes with its content.

    Raises FlatlineError.
    """
    where = ("--namespace", namespace)
    pod = read(context, "get", "deployment.apps", deployment, *where)["spec"]["template"]["spec"]
    names = [each["secret"]["secretName"] for each in pod["volumes"] if each["name"] == volume]
    if not names:
        problem = f"the deployment {deployment} has no volume {volume}"
        raise FlatlineError(problem, "Bring the stack up first, with this release.")
    data: Mapping[str, str] = read(context, "get", "secret", names[0], *where)["data"]
    return data


def say(context: str, *words: str) -> str:
    """The output of kubectl, as of `logs` or `exec`. Raises FlatlineError with kubectl's own words."""
    return _answer(context, *_PATIENCE, *words)


@contextmanager
def streamed(context: str, *words: str, stdin: str | None = None) -> Iterator[Iterator[str]]:
    """The lines of a command's output while it runs. Raises FlatlineError if it fails, once its lines were read."""
    with (
        TemporaryFile("w+") as said,
        subprocess.Popen(
            [program(), *command(context, *words)[1:]],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        feeder = threading.Thread(target=_feed, args=(process.stdin, stdin or ""), daemon=True)
        feeder.start()
        try:
            yield iter(process.stdout or ())
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            said.seek(0)
            raise FlatlineError(f"kubectl {words[2]} failed on context {context}", *said.read().splitlines()[-3:])


def _feed(pipe: IO[str] | None, text: str) -> None:
    if pipe is not None:
        with suppress(BrokenPipeError), pipe:  # a command that has ended says why by itself
            pipe.write(text)


def check_credentials(context: str) -> None:
    """Raises FlatlineError if the cluster does not take what kubeconfig has for a context. Only kubectl can tell."""
    if is_installed():
        _answer(context, "get", "--raw", "/version", *_PATIENCE)


def apply(context: str, content: Mapping[str, Any], *, manager: str) -> None:
    """Applies an object, which may be a Secret, by standard input. Raises FlatlineError with kubectl's own words."""
    words = ("apply", "--server-side", "--force-conflicts", "--field-manager", manager, "-f", "-")
    _give(context, words, content, f"apply {content['kind']} {content['metadata'].get('name')}")


def create(context: str, content: Mapping[str, Any]) -> None:
    """Makes an object, which may be a Secret, by standard input.

    Raises ConflictError if there is one; FlatlineError.
    """
    words = ("create", "--field-manager", FIELD_MANAGER, "-f", "-")
    _give(context, words, content, f"create {content['kind']} {content['metadata']['name']}")


def merge(context: str, namespace: str, resource: str, change: Mapping[str, Any]) -> None:
    """Changes parts of an object by a merge patch (RFC 7386), which is given by standard input.

    Raises ConflictError if the patch names another `resourceVersion` than the object has; FlatlineError.
    """
    words = ("-n", namespace, "patch", resource, "--type", "merge", "--patch-file", "/dev/stdin")
    _give(context, (*words, "--field-manager", FIELD_MANAGER), change, f"change {resource}")


def _give(context: str, words: Sequence[str], content: Mapping[str, Any], what: str) -> None:
    answer = _done(context, words, json.dumps(content))
    if answer.returncode != 0:
        if "(AlreadyExists)" in answer.stderr or "(Conflict)" in answer.stderr:
            raise ConflictError(what)
        raise FlatlineError(f"kubectl could not {what} on context {context}", *answer.stderr.strip().splitlines()[-3:])


def is_installed() -> bool:
    """True if kubectl is on the PATH."""
    return shutil.which("kubectl") is not None


def _answer(context: str, *words: str) -> str:
    answer = _done(context, words)
    if answer.returncode != 0:
        said = answer.stderr.strip().splitlines()
        raise FlatlineError(f"kubectl could not read from context {context}", *said[-3:])
    return answer.stdout


def program() -> str:
    """Where kubectl is. Raises FlatlineError if it is not on the PATH."""
    found = shutil.which("kubectl")
    if found is None:
        raise FlatlineError("kubectl is not on the PATH", "Install it (https://kubernetes.io/docs/tasks/tools/).")
    return found
