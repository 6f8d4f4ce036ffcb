"""Holds one thread of a process, as a disk that does not answer holds the thread that waits for it.

As a program of its own (python -m tests.lab.held_thread <thread>) it prints a line when the thread stands, and ends
with it. The thread goes on when the program is ended first.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WAIT_FOR_ALL = 0x40000000
"""__WALL: a thread that somebody else has started is waited for, too. (linux/ptrace.h, linux/wait.h)"""


@contextmanager
def held_thread(process: int, name: str) -> Iterator[None]:
    """While the context lasts, the thread of that name does not run. Raises ValueError if there is none."""
    names = {int(path.name): (path / "comm").read_text().strip() for path in Path(f"/proc/{process}/task").iterdir()}
    thread = next((thread for thread, its_name in names.items() if its_name == name), None)
    if thread is None:
        raise ValueError(f"process {process} has no thread {name}, but {sorted(set(names.values()))}")
    command = [sys.executable, "-m", "tests.lab.held_thread", str(thread)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline(), f"{command} ended with {holder.wait()}"
            yield
        finally:
            holder.kill()


def _hold(thread: int) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if system.ptrace(request, thread, None, None) == -1:
            raise OSError(ctypes.get_errno(), f"ptrace of thread {thread}")
    stopped = False
    while True:
        _, status = os.waitpid(thread, WAIT_FOR_ALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return
        if not stopped:
            print("it stands", flush=True)
            stopped = True


if __name__ == "__main__":
    _hold(int(sys.argv[1]))
