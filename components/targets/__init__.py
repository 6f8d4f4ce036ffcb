"""The one branch of the program: which target a stack has."""

from typing import assert_never

from components.targets.base import Target
from components.targets.local import LocalTarget
from config.settings import Settings
from config.target import Cloud, Local


def target_of(settings: Settings) -> Target:
    """The target of the settings. It creates no resource yet."""
    match settings.target:
        case Local():
            return LocalTarget(settings, settings.target)
        case Cloud():
            from components.targets.cloud import CloudTarget  # two large SDKs, which a local stack never needs

            return CloudTarget(settings, settings.target)
        case _:
            assert_never(settings.target)
