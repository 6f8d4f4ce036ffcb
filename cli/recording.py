"""Runs the program of a stack without an engine, with the secrets that the stack keeps."""

import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cli.objects import Object
from cli.stacks import ROOT, LoadedStack
from cli.terminal import Terminal
from config.settings import PROJECT
from errors import FlatlineError
from render.model import Recording, Values
from render.recorder import record
from render.state import State
from render.values import SeededValues, StateValues

PROGRAM = ROOT / "__main__.py"


@dataclass
class RecordedStack:
    """A recording with the stack's own secrets. They are saved by `save`, before anything is written from them.

    `made` are the URNs of what was not there before; `applied` is what is in a cluster beside the last rendering.
    """

    recording: Recording
    state: State
    made: list[str]
    notices: list[str] = field(default_factory=list)
    applied: list[Object] = field(default_factory=list)

    def save(self) -> None:
        """Keeps what this recording made new."""
        self.state.save()


@contextmanager
def record_with_state(loaded: LoadedStack, terminal: Terminal) -> Iterator[RecordedStack]:
    """The program with the secrets of the stack's state, which stays locked meanwhile.

    Raises FlatlineError for a stack in a cloud, whose secrets are the engine's.
    """
    if loaded.in_cloud:
        raise FlatlineError(f"stack {loaded.stack.name} is in a cloud: its secrets are kept by the Pulumi engine alone")
    doing = "Recording the program" if loaded.stack.state.exists() else "Making the secrets and recording the program"
    with opened_state(loaded) as state:
        yield recorded(loaded, state, StateValues(state), terminal, doing)


def opened_state(loaded: LoadedStack, earlier: Path | None = None) -> State:
    """The stack's state, locked until it is closed."""
    return State(
        loaded.stack.state,
        project=PROJECT,
        stack=loaded.stack.name,
        passphrase=loaded.passphrase,
        salt=loaded.config.encryption_salt,
        fallback=earlier,
    )


def recorded(
    loaded: LoadedStack, state: State, values: StateValues, terminal: Terminal, doing: str = "Recording the program"
) -> RecordedStack:
    """The program with values of a state that is open."""
    recording = recorded_with(loaded, values, terminal, doing)
    return RecordedStack(recording, state, values.created, list(state.notices))


def record_with_placeholders(loaded: LoadedStack, terminal: Terminal) -> Recording:
    """The program with values that belong to nobody. For what is shown without secrets only.

    In a cloud, texts say what only a deployment can tell (render/cloud_provider.py); no credentials are asked for.
    """
    return recorded_with(loaded, SeededValues("shown without secrets"), terminal)


def recorded_with(
    loaded: LoadedStack, values: Values, terminal: Terminal, doing: str = "Recording the program"
) -> Recording:
    """The program with some values. Raises what the program raises; its warnings are shown."""
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
