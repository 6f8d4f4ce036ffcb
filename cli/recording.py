"""Runs the program of a stack without an engine, with the secrets that the stack keeps."""

import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cli.failure import Failure
from cli.stacks import ROOT, Loaded
from cli.terminal import Terminal
from config.settings import PROJECT
from render.recorder import Recording, Values, record
from render.state import State
from render.values import SeededValues, StateValues

PROGRAM = ROOT / "__main__.py"


@dataclass
class Kept:
    """A recording with the stack's own secrets. They are saved by `save`, before anything is written from them."""

    recording: Recording
    state: State
    notices: list[str] = field(default_factory=list)

    def save(self) -> None:
        """Keeps what this recording made new."""
        self.state.save()


@contextmanager
def with_own_secrets(loaded: Loaded, terminal: Terminal) -> Iterator[Kept]:
    """The program with the secrets of the stack's state, which stays locked meanwhile.

    Raises Failure for a stack in a cloud, whose secrets are the engine's.
    """
    if loaded.in_cloud:
        raise Failure(f"stack {loaded.stack.name} is in a cloud: its secrets are kept by the Pulumi engine alone")
    new = not loaded.stack.state.exists()
    state = State(
        loaded.stack.state,
        project=PROJECT,
        stack=loaded.stack.name,
        passphrase=loaded.passphrase,
        salt=loaded.config.encryption_salt,
    )
    with state:
        doing = "Making the secrets and recording the program" if new else "Recording the program"
        recording = _record(loaded, StateValues(state), terminal, doing)
        yield Kept(recording, state, list(state.notices))


def with_passing_secrets(loaded: Loaded, terminal: Terminal) -> Recording:
    """The program with values that belong to nobody. For what is shown without secrets only.

    In a cloud, texts say what only a deployment can tell (render/cloud_provider.py); no credentials are asked for.
    """
    return _record(loaded, SeededValues("shown without secrets"), terminal, "Recording the program")


def _record(loaded: Loaded, values: Values, terminal: Terminal, doing: str) -> Recording:
    with terminal.step(doing):
        recording = record(
            lambda: runpy.run_path(str(PROGRAM), run_name="__main__"),
            project=PROJECT,
            stack=loaded.stack.name,
            config=loaded.config.config,
            secret_keys=loaded.config.secret_keys,
            values=values,
        )
    for message in recording.messages:
        if message.severity in {"warning", "error"}:
            terminal.warn(message.text)
    return recording
