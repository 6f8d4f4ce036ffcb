"""Signal's own library, as an independent judge of our key material: one Node.js process that answers questions."""

import base64
import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tests.lab.node import NODE, npm_install

REFERENCE = Path(__file__).resolve().parent.parent / "reference"
ANSWER_SECONDS = 300


class LibsignalError(Exception):
    """libsignal refused: bytes that it can't read, or a proof or signature that doesn't verify."""


class Libsignal:
    """A conversation with tests/reference/libsignal.mjs, whose table of operations says what may be asked."""

    def __init__(self, process: "subprocess.Popen[str]", errors: IO[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests, self._answers = process.stdin, process.stdout
        self._errors = errors

    def ask(self, operation: str, **arguments: Any) -> Any:
        """The answer to one operation; bytes are bytes both ways. Raises LibsignalError when libsignal refuses."""
        request = json.dumps({"operation": operation, "arguments": arguments}, default=_as_base64)
        watchdog = threading.Timer(ANSWER_SECONDS, self._process.kill)
        watchdog.start()
        try:
            self._requests.write(f"{request}\n")
            self._requests.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            raise RuntimeError(f"libsignal.mjs ended without an answer to {operation}: {self._last_words()}")
        answer = json.loads(line, object_hook=_from_base64)
        if "error" in answer:
            raise LibsignalError(f"{operation}: {answer['error']['name']}: {answer['error']['message']}")
        return answer["result"]

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        with suppress(BrokenPipeError):  # a request that the process did not live to read
            self._requests.close()

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        return f"exit status {status}\n{self._errors.read()[-2000:]}"


@contextmanager
def libsignal() -> Iterator[Libsignal]:
    """Installs the locked npm package once per machine and runs the process for as long as the block lasts.

    Raises `Missing` where it is not installed and there is no network.
    """
    installed = _install()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [NODE, str(REFERENCE / "libsignal.mjs"), str(installed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        reference = Libsignal(process, errors)
        try:
            yield reference
        finally:
            reference.close()


def _install() -> Path:
    try:
        return npm_install("libsignal", REFERENCE)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(
            "npm could not install the reference library of tests/reference/package-lock.json "
            f"(exit status {error.returncode}). It needs the npm registry, or a cache that npm already filled.\n"
            f"{error.stderr or error.output or ''}"
        ) from error


prepare = _install


def _as_base64(value: object) -> dict[str, str]:
    if not isinstance(value, bytes):
        raise TypeError(f"expected bytes or a JSON value, got {type(value).__name__}")
    return {"base64": base64.b64encode(value).decode("ascii")}


def _from_base64(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"], validate=True) if value.keys() == {"base64"} else value
