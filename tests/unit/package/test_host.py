"""The package as the engine starts it: a process that prints a port and answers the protocol of providers."""

import inspect
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from config.version import VERSION
from tests.graph.stack import ROOT

START = (sys.executable, "-S", str(ROOT / "package"), "127.0.0.1:9")
ENVIRONMENT = {**os.environ, "FLATLINE_PYTHON": sys.executable}


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    """The protocol's client of a running package, started by a Python without packages. Nobody asks the engine."""
    with subprocess.Popen(START, cwd="/", env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            yield provider_pb2_grpc.ResourceProviderStub(channel)
        process.terminate()


def test_it_has_a_version_and_a_schema(host: Any) -> None:
    assert host.GetPluginInfo(empty_pb2.Empty()).version == VERSION
    schema = json.loads(host.GetSchema(provider_pb2.GetSchemaRequest()).schema)
    assert "flatline:index:Flatline" in schema["resources"]


def test_a_python_that_lacks_packages_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    environment = {**ENVIRONMENT, "FLATLINE_PYTHON": str(bare)}
    done = subprocess.run(START, cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "lacks packages of requirements.txt" in done.stderr


def test_without_an_environment_the_launcher_prepares_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLATLINE_PYTHON", raising=False)
    own_python = runpy.run_path(str(ROOT / "package" / "__main__.py"))["own_python"]
    own_python.__globals__["ROOT"] = str(tmp_path)
    (tmp_path / "flatline").write_text("CLOUD = 'cloud'\n\n\ndef prepared(group):\n    return f'/prepared/{group}'\n")
    assert own_python() == "/prepared/cloud"
    launcher = runpy.run_path(str(ROOT / "flatline"))
    assert inspect.signature(launcher["prepared"]).bind(launcher["CLOUD"])
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert own_python() == str(tmp_path / ".venv" / "bin" / "python")
