"""The private names of the Pulumi SDK that ``render`` needs. No other module of it uses any.

``requirements.txt`` pins the SDK exactly; an upgrade has to look at this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from pulumi import _types
from pulumi.runtime import config, resource, rpc, settings, stack
from pulumi.runtime.proto import source_pb2

UNKNOWN_VALUE: Final = rpc.UNKNOWN
"""The text that takes the place of an unknown value in a request."""

SIGNATURE_KEY: Final = rpc._special_sig_key
SECRET_SIGNATURE: Final = rpc._special_secret_sig
RESOURCE_SIGNATURE: Final = rpc._special_resource_sig


def set_configuration(values: Mapping[str, str], secret_keys: Collection[str]) -> None:
    """Sets the configuration of the current context. The environment is not consulted.

    The SDK's own ``set_all_config`` would fall back to PULUMI_CONFIG_* for keys that are absent.
    """
    config.CONFIG.set(_ClosedConfig(values))
    config._SECRET_KEYS.set(set(secret_keys))


class _ClosedConfig(dict[str, str]):
    """Configuration that answers for every key."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> None:
        return None


def reset_root_resource() -> None:
    """Forgets the root resource of an earlier run in the current context."""
    settings.ROOT.set(None)


def pending_registrations() -> list[asyncio.Task[Any]]:
    """The tasks of the running loop that register a resource."""
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "rpc_wrapper"]


def registration_failure() -> BaseException | None:
    """The first failure of a registration that the program did not handle."""
    manager: Any = settings.SETTINGS.rpc_manager  # a property of the context, which the SDK types as its decorator
    failure: BaseException | None = manager.unhandled_exception
    return failure


def output_hints(cls: type) -> dict[str, Any]:
    """The type hints of a resource class's outputs, or of an output type's fields, by their names in requests."""
    return dict(_types._raw_return_hints(cls))


def unwrap_optional(hint: Any) -> Any:
    """The type of a hint that allows ``None``."""
    return _types.unwrap_optional_type(hint)


def is_output_type(hint: Any) -> bool:
    """True for a class of the SDK that describes a nested output."""
    return isinstance(hint, type) and bool(_types.is_output_type(hint))


READ_RELEASE: Final = "3.272.0"
"""The release of the SDK whose code `without_engine_costs` was written for."""

_INSTALLED: Final = importlib.metadata.version("pulumi")
_OWN_TRACE: Final = resource._get_stack_trace
_OWN_WAIT: Final = stack.wait_for_rpcs


@contextlib.contextmanager
def without_engine_costs() -> Iterator[None]:
    """Saves two costs of the SDK which are half of a recording's time, and which change nothing in it.

    - For each resource the SDK sends the stack trace of its constructor, which an engine shows in messages. Nothing
      here reads it.
    - At the end the SDK waits until one more output is resolved, and does so once for each output; each time it looks
      at all of them. Here they are waited for together, and the SDK's own wait, which reports failures, comes last.

    With another release of the SDK this does nothing: a recording then takes longer, and is the same.
    """
    if _INSTALLED != READ_RELEASE:
        yield
        return
    resource._get_stack_trace, stack.wait_for_rpcs = source_pb2.StackTrace, _wait_for_rpcs
    try:
        yield
    finally:
        resource._get_stack_trace, stack.wait_for_rpcs = _OWN_TRACE, _OWN_WAIT


async def _wait_for_rpcs(await_all_outstanding_tasks: bool = True) -> None:
    """The SDK's wait, after one that looks at each output once."""
    await _OWN_WAIT(False)
    while await_all_outstanding_tasks and (pending := _pending_outputs()):
        resolved, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
        for output in resolved:
            await output  # raises what its program raised, as the SDK's wait does
    await _OWN_WAIT(await_all_outstanding_tasks)


def _pending_outputs() -> list[asyncio.Task[Any]]:
    """The outputs of the program that are not resolved yet."""
    context: Any = settings.SETTINGS  # its properties are typed as their decorator
    with context.lock:
        return [output for output in context.outputs if not output.done()]
