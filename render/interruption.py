"""Ends a run of an event loop when a signal comes, whatever the loop does at that moment."""

import asyncio
import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """While it is open, a signal that has a handler cancels the task given to `ends`; when it closes, the handler runs.

    A handler that raises would raise inside whatever the loop runs. Tasks keep such an exception, so the loop goes on
    and waits for ever for what they would have resolved. A second signal reaches its handler at once.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._received: list[int] = []
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # Python handles signals in its main thread alone
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
        for number in self._handlers:
            signal.signal(number, self._take)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for number in self._received:
            self._handlers[number](number, None)

    def ends(self, task: asyncio.Task[Any]) -> None:
        """Names the task to cancel, from inside its loop."""
        self._task = task
        if self._received:
            task.cancel()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            self._handlers[number](number, frame)
        self._received.append(number)
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
