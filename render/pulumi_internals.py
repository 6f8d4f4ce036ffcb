"""The private names of the Pulumi SDK that ``render`` needs. No other module of it uses any.

``requirements.txt`` pins the SDK exactly; an upgrade has to look at this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from pulumi import _types
from pulumi.runtime import config, rpc, settings

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
