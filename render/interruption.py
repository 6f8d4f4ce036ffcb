"""Ends the run of an event loop when a signal arrives, even while the loop is inside the code of a library."""

import asyncio
import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """A context in which a handled signal cancels a task. The signal's own handler runs at the end of the context.

    A handler that raises would raise inside the code that the loop runs at the moment. The SDK's tasks keep such an
    exception, so the loop would wait forever for what they were to resolve. A second signal reaches its handler at
    once.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._received: list[int] = []
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # Python handles signals in its main thread only
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
        for number in self._handlers:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for number in self._received:
            self._handlers[number](number, None)

    def cancel_on_signal(self, task: asyncio.Task[Any]) -> None:
        """Sets the task to cancel. Call it from inside the task's loop."""
        self._task = task
        if self._received:
            task.cancel()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            self._handlers[number](number, frame)
        self._received.append(number)
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
