"""The Pulumi engine: the real CLI and Kubernetes provider, and stand-ins of the plugins that no registry has."""

import importlib.metadata
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import forks
from tests.forked import PACKAGES
from tests.lab import cache
from tests.lab.fetch import fetched
from tests.lab.go import go_build, go_module_dir, required_version
from tests.lab.plugins.protocol import EXECUTOR, FORKS

SOURCES = Path(__file__).resolve().parent
ROOT = SOURCES.parents[1]
CLI = "github.com/pulumi/pulumi/pkg/v3"
SDK = "github.com/pulumi/pulumi/sdk/v3"
FORKED = Path("bin", "forked")
"""Below an engine's folder: what runs a program as a fork, in the place of Python, where it may."""
IN_MEMORY = tuple(each for each in PACKAGES if each.split(".")[0] not in {"boto3", "google"})
"""Of programs and plugins that are forks (tests/forks.py)."""


def cli_binary() -> Path:
    """The Pulumi CLI, built once (about 5 minutes of processor time). Raises `Missing`."""
    folder = SOURCES / "pulumi"
    release = {f"{SDK}/go/common/version.Version": required_version(folder, CLI)}  # without it the SDK refuses the CLI
    return go_build("pulumi", folder, package=f"{CLI}/cmd/pulumi", variables=release)


def kubernetes_binary() -> Path:
    """The Kubernetes provider, built once (about 11 minutes of processor time). Raises `Missing`."""
    release = {"main.Version": importlib.metadata.version("pulumi-kubernetes")}
    return go_build("pulumi-resource-kubernetes", SOURCES / "pulumi-kubernetes", variables=release)


def python_executor() -> Path:
    """The program that runs Python programs under the engine, out of the Go module of the SDK. Raises `Missing`."""
    version = required_version(SOURCES / "pulumi", SDK)

    def copy(target: Path) -> None:
        with go_module_dir(SDK, version) as module:
            shutil.copyfile(module / "python/cmd/pulumi-language-python-exec", target / "exec.py")

    return fetched("pulumi-language-python-exec", cache.digest(version), copy) / "exec.py"


def prepare() -> None:
    """Builds the engine, before there is no network."""
    cli_binary()
    kubernetes_binary()
    python_executor()


def engine_environment(folder: Path, prefix: Sequence[str] = (), *, forked: bool = True) -> dict[str, str]:
    """The variables with which `pulumi` runs offline, on a home and a backend of its own in `folder`.

    PATH has the CLI, the home its plugins at the SDKs' versions, as if they were downloaded. To be added: KUBECONFIG
    and a passphrase. `prefix`: words before a command that run it where the engine runs. What is in Python is `forked`,
    unless its start is measured. Raises `Missing`.
    """
    backend, home = folder / "backend", folder / "home"
    backend.mkdir(parents=True, exist_ok=True)
    _link(folder / "bin" / "pulumi", cli_binary())
    python = f"{shlex.quote(sys.executable)} -P"
    variables = {EXECUTOR: str(python_executor())}
    if forked and forks.SHELL:
        variables[FORKS] = python = str(folder / FORKED)
        Path(python).write_text(f"#!{forks.SHELL}\n{forks.call('$1', IN_MEMORY, tuple(prefix))}")
        Path(python).chmod(0o755)
    _script(home, "language", "python", "0.0.0", python, variables)
    for name in ("kubernetes", "random", "tls"):
        version = importlib.metadata.version(f"pulumi-{name}")
        if name == "kubernetes":
            _link(_plugin(home, "resource", name, version), kubernetes_binary())
        else:
            _script(home, "resource", name, version, python)
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "KUBE"))},
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PULUMI_BACKEND_URL": f"file://{backend}",
        "PULUMI_HOME": str(home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_ERROR_OUTPUT_STRING": "1",
    }


def _plugin(home: Path, kind: str, name: str, version: str) -> Path:
    return home / "plugins" / f"{kind}-{name}-v{version}" / f"pulumi-{kind}-{name}"


def _link(place: Path, binary: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(binary)


def _script(
    home: Path, kind: str, name: str, version: str, python: str, variables: Mapping[str, str] | None = None
) -> None:
    """A plugin that is one of tests.lab.plugins."""
    place = _plugin(home, kind, name, version)
    place.parent.mkdir(parents=True, exist_ok=True)
    given = {"PYTHONPATH": str(ROOT), **(variables or {})}
    words = " ".join(f"{key}={shlex.quote(value)}" for key, value in given.items())
    plugin = kind if kind == "language" else name
    place.write_text(f'#!/bin/sh\n{words} exec {python} {SOURCES / "plugins" / "__main__.py"} {plugin} "$@"\n')
    place.chmod(0o755)
