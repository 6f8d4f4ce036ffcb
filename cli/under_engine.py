"""Parts of the program that only an engine runs: mistakes become one line, and the cluster is checked first.

`./flatline` has done both before it starts the engine; plain `pulumi` starts here.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import pulumi
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.settings import get_monitor

from cli import kubeconfig, kubectl, packages
from cli.stacks import ROOT, Stack, display_path
from errors import FlatlineError

SAID = 32
"""Tells the engine that the program has said what is wrong; after any other status, RunError's too, it adds an error.
(pulumi/pulumi, sdk/python/cmd/pulumi-language-python-exec)"""

CARRIED = "FLATLINE_SECRETS_CARRIED"
"""A variable of an engine whose stack has been given the secrets of the state file (cli/transfer.py)."""


@contextmanager
def mistakes_as_lines() -> Iterator[None]:
    """Ends the program with one error of the engine's, and without a traceback, where people made a mistake.

    An interruption ends it without a traceback too, also after this block.
    """
    if _by_engine():
        signal.signal(signal.SIGINT, _end)
    try:
        yield
    except FlatlineError as problem:
        if not _by_engine():
            raise
        _say(problem.problem, *problem.remedies)
    except ModuleNotFoundError as problem:
        package = (problem.name or "").partition(".")[0]
        if package not in packages.SDKS or not _by_engine():
            raise
        _say(
            f"{sys.executable} has no Python package {package}, which a stack in the cloud needs",
            f"Run `./flatline check --stack {pulumi.get_stack()}` once, which prepares .venv.",
            "Or install requirements.txt into .venv.",
        )


def _say(*lines: object) -> NoReturn:
    pulumi.log.error("\n".join(map(str, lines)))
    sys.exit(SAID)


def check_cluster(context: str | None) -> None:
    """Raises FlatlineError if the cluster of a context, or of the current one, does not answer or take the credentials.

    The Kubernetes provider takes such a cluster for one without changes: `pulumi up` would say "unchanged" and end
    with 0. A recording, which has no cluster, looks at none.
    """
    if not _by_engine():
        return
    name = context or kubeconfig.current()
    if name is None:
        if "KUBERNETES_SERVICE_HOST" in os.environ:  # a pod, whose cluster is the one it runs on
            return
        raise FlatlineError(
            f"no cluster is named: kubeconfig ({kubeconfig.where()}) has no current context",
            "Write flatline:target.context into the stack's file.",
        )
    cluster = kubeconfig.cluster(name)
    if cluster is None:
        raise FlatlineError(f"there is no context {name} in kubeconfig ({kubeconfig.where()})")
    kubeconfig.check_answers(cluster)
    kubectl.check_credentials(name)


def check_secrets() -> None:
    """Raises FlatlineError if the stack's secrets are in its state file, and plain `pulumi` would make other ones."""
    stack = Stack(pulumi.get_stack())
    if _by_engine() and CARRIED not in os.environ and stack.state.exists():
        raise FlatlineError(
            f"the secrets of stack {stack.name} are in {display_path(stack.state)}, and Pulumi would make others, "
            "which no client knows",
            f"Carry them into Pulumi, once: `./flatline up --stack {stack.name} --context <context>`",
        )


def export_readme() -> None:
    """Exports the page that Pulumi Cloud shows of a stack, as the output `readme`. A recording has none."""
    if _by_engine():
        pulumi.export("readme", (ROOT / "Pulumi.README.md").read_text(encoding="utf-8"))


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the program when the engine was interrupted: what it waits for never comes; a traceback tells nothing."""
    os._exit(128 + number)


def _by_engine() -> bool:
    return not isinstance(get_monitor(), MockMonitor)
