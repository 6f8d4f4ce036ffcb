"""Runs a Pulumi program without an engine and records every resource that it registers.

The program runs through ``run_in_stack``, the entry point of the real language host, so stack outputs, configuration
and the order of shutdown are those of the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from inspect import isawaitable
from typing import Any, Final

from pulumi.runtime import settings
from pulumi.runtime.stack import run_in_stack

from render import pulumi_internals
from render.interruption import Interruption
from render.model import Recording, RecordingError, Values
from render.monitor import LogEngine, Monitor

TIMEOUT_SECONDS: Final = 300.0
"""A program that runs longer than this waits for an Output that nothing will ever resolve."""


def record(
    program: Callable[[], object],
    *,
    project: str,
    stack: str,
    config: Mapping[str, str],
    secret_keys: Collection[str] = (),
    values: Values,
    preview: bool = False,
) -> Recording:
    """Runs ``program`` in a fresh Pulumi runtime and returns what it registered.

    ``config`` maps full keys (``flatline:domain``) to text, as the engine passes them; the environment is not
    consulted. Can be called any number of times in a process, but not from inside a running event loop.

    Raises the exception of the program, from its body or from an ``apply``, with a note that names the resource.
    Raises ``RecordingError`` for a duplicate URN, a custom resource without an explicit provider, an Output turned to
    text, an unknown input outside a preview, a look-up (``get``, invoke), and anything else that needs an engine.
    """
    monitor = Monitor(project, stack, values, preview)

    def run() -> None:
        pulumi_internals.reset_root_resource()
        pulumi_internals.set_configuration(config, secret_keys)
        settings.configure(
            settings.Settings(
                project=project,
                stack=stack,
                monitor=monitor,
                engine=LogEngine(monitor),
                dry_run=preview,
                legacy_apply_enabled=False,
                organization="organization",
            )
        )
        _run_to_end(program, monitor)

    with _paused_garbage_collection(), pulumi_internals.without_engine_costs():
        contextvars.copy_context().run(run)
    return monitor.recording()


@contextlib.contextmanager
def _paused_garbage_collection() -> Iterator[None]:
    """Pauses garbage collection: it would visit every class of the SDKs again and again, to free a few megabytes.

    That would be most of the time of a recording (benchmarks.recording). What was made meanwhile counts as old after
    it, as if it had been visited: nothing of it is young enough to be garbage.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.unfreeze()
            gc.enable()


def _run_to_end(program: Callable[[], object], monitor: Monitor) -> None:
    program_failures: list[BaseException] = []

    def start() -> Awaitable[None] | None:
        try:
            result = program()
        except BaseException as failure:
            program_failures.append(failure)
            raise
        return wait_for(result) if isawaitable(result) else None

    async def wait_for(result: Awaitable[object]) -> None:
        try:
            await result
        except BaseException as failure:
            program_failures.append(failure)
            raise

    async def main(interruption: Interruption) -> None:
        task = asyncio.current_task()
        assert task is not None
        interruption.cancel_on_signal(task)
        asyncio.get_running_loop().set_exception_handler(_exception_handler(monitor))
        limit = asyncio.timeout(TIMEOUT_SECONDS)
        try:
            async with limit:
                await run_in_stack(start)
        except BaseException:
            monitor.failed = True
            if limit.expired():
                raise RecordingError(
                    f"the program did not finish within {TIMEOUT_SECONDS:.0f} s: it waits for an Output that"
                    " nothing resolves"
                ) from None
            await _wait_for_registrations()
            raise

    try:
        with Interruption() as interruption, asyncio.Runner() as runner:
            runner.run(main(interruption))
    except BaseException as failure:
        raise _first_cause([*program_failures, *filter(None, [monitor.failure]), failure]) from None


def _exception_handler(monitor: Monitor) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Makes a handler that is silent after a failure: the SDK leaves futures that only repeat it."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if monitor.failed or monitor.failure is not None:
            logging.getLogger(__name__).debug("after a failure: %s", context.get("message"))
        else:
            loop.default_exception_handler(context)

    return handle


async def _wait_for_registrations() -> None:
    """Lets registrations that depend on a failed resource fail too, so that the SDK can name one of them."""
    registrations = pulumi_internals.pending_registrations()
    if registrations:
        await asyncio.wait(registrations, timeout=1)


def _first_cause(failures: list[BaseException]) -> BaseException:
    """The original of the first failure, with a note that names the resource.

    The SDK wraps a ValueError or an AssertionError in an exception that repeats the input, which may be a secret.
    """
    failure, note = _unwrapped(failures[0])
    registration_failure = pulumi_internals.registration_failure()
    if note is None and registration_failure is not None:
        cause, registration_note = _unwrapped(registration_failure)
        note = registration_note if cause is failure else None
    if note is not None:
        failure.add_note(note)
    return failure


def _unwrapped(failure: BaseException) -> tuple[BaseException, str | None]:
    """The original of a failure that the SDK wrapped, and the wrapper's line that names the resource."""
    note = None
    visited: list[BaseException] = []
    while failure not in visited and str(failure).startswith("While processing ") and failure.__cause__:
        visited.append(failure)
        first_line = str(failure).partition("\n")[0]
        if first_line.startswith("While processing resource: "):
            note = first_line
        failure = failure.__cause__
    return failure, note
