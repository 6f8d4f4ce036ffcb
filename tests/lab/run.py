"""Runs the integration tests in a private network namespace, after fetching and building what they need.

python -m tests.lab.run [--no-fetch] [pytest arguments]

Without pytest arguments: tests/integration. With --no-fetch nothing is prepared; what is not in the cache is then
missing in the tests, which say so. Where no namespace can be made, the tests that need one say so. The exit status is
pytest's; 1 if a process was left behind, which is ended and named, and in CI (the variable CI is set) also if
something could not be prepared, which is named at the end.
"""

import importlib
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress

import tests.lab
from tests.lab.go import shared_folder
from tests.lab.private_network import can_enter, enter, network_namespace, processes_inside
from tests.lab.process import slowness

PROGRESS_SECONDS = 10
GRACE_SECONDS = 2
NO_FETCH = "--no-fetch"
UNPREPARED = "--unprepared="
"""Each, between the two processes: a name and why it could not be prepared."""


def preparations() -> dict[str, Callable[[], object]]:
    """The function `prepare` of every module of tests.lab that has one, by the module's name."""
    names = [module.name for module in pkgutil.iter_modules(tests.lab.__path__)]
    modules = {name: importlib.import_module(f"tests.lab.{name}") for name in names if name != "run"}
    return {name: module.prepare for name, module in modules.items() if hasattr(module, "prepare")}


def prepare(tasks: dict[str, Callable[[], object]]) -> dict[str, str]:
    """Runs `tasks`, two at a time, and tells how each goes; returns why those that failed did, by name."""
    failed: dict[str, str] = {}
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=2) as pool:
        names = {pool.submit(task): name for name, task in tasks.items()}
        left = set(names)
        while left:
            done, left = wait(left, PROGRESS_SECONDS, FIRST_COMPLETED)
            for future in done:
                if error := future.exception():
                    failed[names[future]] = str(error) or type(error).__name__
                    _say(f"{names[future]}: {failed[names[future]]}")
            if not done:
                now = ", ".join(sorted(names[future] for future in left if future.running()))
                _say(f"preparing {now} ({time.monotonic() - began:.0f} s, {len(left)} of {len(tasks)} left)")
    _say(f"prepared {len(tasks) - len(failed)} of {len(tasks)} in {time.monotonic() - began:.1f} s")
    return failed


def run_inside(arguments: Sequence[str]) -> int:
    """pytest's exit status for `arguments`, in the namespace if one can be had."""
    outside = network_namespace()
    if reason := can_enter():
        _say(f"no private network namespace: {reason}")
        return _pytest(arguments)
    enter()
    processes_inside(outside)
    with _guarded(outside):
        status = _pytest(arguments)
    return _end_leftovers(outside) or status


@contextmanager
def _guarded(outside: str) -> Iterator[None]:
    """When this process is killed while the context lasts, another one ends what runs in its namespace."""
    held, hold = os.pipe()
    guard = os.fork()
    if guard == 0:
        try:
            os.setsid()  # what kills a whole group leaves it alone
            os.close(hold)
            os.read(held, 1)  # until this process has ended
            while left := processes_inside(outside):
                for number in left:
                    with suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)
        finally:
            os._exit(0)
    os.close(held)
    try:
        yield
    finally:
        os.kill(guard, signal.SIGKILL)
        os.waitpid(guard, 0)
        os.close(hold)


def main(arguments: Sequence[str]) -> int:
    if NO_FETCH not in arguments:
        with shared_folder():
            failed = prepare(preparations())
        # A new process image, because user_namespaces(7) are refused to a process with more than one thread.
        told = [f"{UNPREPARED}{name}: {reason}" for name, reason in failed.items()]
        command = [sys.executable, "-m", "tests.lab.run", NO_FETCH, *told, *arguments]
        os.execv(command[0], command)
    unprepared = [each.removeprefix(UNPREPARED) for each in arguments if each.startswith(UNPREPARED)]
    status = run_inside([each for each in arguments if each != NO_FETCH and not each.startswith(UNPREPARED)])
    for each in unprepared:
        _say(f"not prepared: {each}")
    return status or (1 if unprepared and os.environ.get("CI") else 0)


def _pytest(arguments: Sequence[str]) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell inherits "ignored"
    process = subprocess.Popen([sys.executable, "-m", "pytest", *(arguments or ["tests/integration"])])

    def interrupt(number: int, frame: object) -> None:
        process.send_signal(signal.SIGINT)  # fixtures then end their servers

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to pytest as well
    return process.wait()


def _end_leftovers(outside: str) -> int:
    """1 if some process outlived the tests."""
    deadline = time.monotonic() + GRACE_SECONDS * slowness()
    while (left := processes_inside(outside)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for number, command in left.items():
        _say(f"left behind, ended now: {command}")
        os.kill(number, signal.SIGKILL)
    return 1 if left else 0


def _say(text: str) -> None:
    print(f"lab: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
