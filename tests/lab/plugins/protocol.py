"""The engine's protocol without the rest of the SDK, whose import takes longer than all that a plugin does."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""Stands in a preview for a text that is known only after the update (sdk/go/common/resource/plugin/rpc.go)."""
EXECUTOR = "FLATLINE_PYTHON_EXEC"
"""Names, for the language host, the file pulumi-language-python-exec."""
FORKS = "FLATLINE_FORKS"
"""Names, for the language host, what runs a program in place of the Python that it has itself (tests/forks.py)."""
MESSAGE_BYTES = 400 * 2**20
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"


def serve(add: Any, servicer: Any) -> None:
    """Answers the engine, on a port that is printed first, until it ends this process or ends itself."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    options = [("grpc.max_send_message_length", MESSAGE_BYTES), ("grpc.max_receive_message_length", MESSAGE_BYTES)]
    server = grpc.server(ThreadPoolExecutor(max_workers=16), options=options)
    add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    threading.Thread(target=_end_with_the_engine, daemon=True).start()
    server.wait_for_termination()


def _end_with_the_engine() -> None:
    """The engine holds the other end of the standard input, also when it is killed."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def plain(value: Any) -> Any:
    """A value of the protocol as Python has it: whole numbers as such, secrets without their mark."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET:
            return plain(value["value"])
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def secret(value: Any) -> dict[str, Any]:
    """A value marked as secret: the state then holds it encrypted."""
    return {_SIGNATURE: _SECRET, "value": value}


def knows(value: Any) -> bool:
    """Whether a plain value has no part that is known only after the update."""
    if isinstance(value, dict):
        return all(map(knows, value.values()))
    if isinstance(value, list):
        return all(map(knows, value))
    return bool(value != UNKNOWN)
