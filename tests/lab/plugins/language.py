"""Stands in for ``pulumi-language-python``: runs Python programs and policy packs for the engine.

The program runs, as with the real one, in ``pulumi-language-python-exec``, which the variable ``protocol.EXECUTOR``
names. Not offered: installing packages, conversions, generated code, debuggers.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from tests.lab.plugins import protocol

OWN = (protocol.EXECUTOR, protocol.FORKS, "PYTHONPATH")
"""Variables of this process that no program sees."""
SHOWN_TO_THE_USER = 32
"""The executor's exit status for a program that has said what is wrong."""


class Language(language_pb2_grpc.LanguageRuntimeServicer):
    """Programs run with the virtual environment that the project's options name, or with the PATH's Python."""

    def __init__(self, engine: str) -> None:
        self._engine = engine

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's names
        return plugin_pb2.PluginInfo(version="0.0.0")

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:  # noqa: N802
        """None: the engine finds a provider when the program asks for it."""
        return language_pb2.GetRequiredPackagesResponse()

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:  # noqa: N802
        return language_pb2.RuntimeOptionsResponse()

    def About(self, request: Any, context: Any) -> Any:  # noqa: N802
        return language_pb2.AboutResponse(executable=_python(request.info), version=platform.python_version())

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: N802
        python = _python(request.info)
        if not Path(python).exists():
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{python} is missing; run pulumi install to make it")
        command = [
            *_start(python, os.environ[protocol.EXECUTOR]),
            *("--monitor", request.monitor_address, "--engine", self._engine),
            *("--project", request.project, "--stack", request.stack, "--organization", request.organization),
            *("--root_directory", request.info.root_directory, "--pwd", request.pwd),
            *("--dry_run", "true" if request.dryRun else "false", "--parallel", str(request.parallel)),
            str(Path(request.info.program_directory, request.info.entry_point)),
            *request.args,
        ]
        environment = _environment(request.info, dict(os.environ))
        environment["PULUMI_CONFIG"] = json.dumps(dict(request.config))
        environment["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(list(request.configSecretKeys))
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        context.add_callback(lambda: _interrupt(process))
        status = process.wait()
        if status == 0:
            return language_pb2.RunResponse()
        if status == SHOWN_TO_THE_USER:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"the program ended with exit status {status}")

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Nothing, as for every folder without a requirements.txt."""
        if Path(request.info.program_directory, "requirements.txt").exists():
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "the stand-in of the language host installs no packages")
        return iter(())

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """A policy pack or a component package: its output, piece by piece, then its exit status."""
        environment = dict(pair.split("=", 1) for pair in request.env)
        program = str(Path(request.info.program_directory, request.info.entry_point))
        command = _start(_python(request.info), program)
        process = subprocess.Popen(
            [*command, *request.args],
            cwd=request.pwd or None,
            env=_environment(request.info, environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        context.add_callback(lambda: _interrupt(process))
        said: SimpleQueue[Any] = SimpleQueue()
        readers = [
            threading.Thread(target=_read, args=(stream, name, said), daemon=True)
            for name, stream in (("stdout", process.stdout), ("stderr", process.stderr))
        ]
        for reader in readers:
            reader.start()
        for _ in readers:
            while (response := said.get()) is not None:
                yield response
        yield language_pb2.RunPluginResponse(exitcode=process.wait())


def _python(info: Any) -> str:
    """The Python of a project, by its option ``virtualenv``, below its root unless absolute."""
    folder = info.options.fields["virtualenv"].string_value
    return str(Path(info.root_directory, folder, "bin", "python")) if folder else "python3"


def _start(python: str, program: str) -> list[str]:
    """The words that start a program: a fork is as good where that has the same packages."""
    forks, found = os.environ.get(protocol.FORKS), Path(shutil.which(python) or python)
    if not forks or found.parents[1].resolve() != Path(sys.prefix).resolve():
        return [python, "-u", program]
    return [forks, str(Path(program, "__main__.py")) if Path(program).is_dir() else program]


def _environment(info: Any, variables: dict[str, str]) -> dict[str, str]:
    """The variables of a program: with its virtual environment active."""
    kept = {key: value for key, value in variables.items() if key not in OWN}
    folder = Path(_python(info)).parent
    if folder.is_absolute():
        kept |= {"VIRTUAL_ENV": str(folder.parent), "PATH": f"{folder}{os.pathsep}{kept.get('PATH', os.defpath)}"}
    return kept


def _read(stream: IO[bytes] | None, name: str, said: "SimpleQueue[Any]") -> None:
    assert stream is not None
    while piece := os.read(stream.fileno(), 65536):
        answer = language_pb2.RunPluginResponse()
        setattr(answer, name, piece)
        said.put(answer)
    said.put(None)


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    """What the engine no longer waits for."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)


def main(arguments: list[str]) -> None:
    """Serves the engine whose address is the last argument."""
    protocol.serve(
        language_pb2_grpc.add_LanguageRuntimeServicer_to_server, Language(arguments[-1] if arguments else "")
    )
