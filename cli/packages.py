"""The SDKs of the clouds, which only a stack in the cloud needs: they are larger than everything else together."""

import importlib.util
import os
import runpy
import sys
from pathlib import Path

from errors import FlatlineError

LAUNCHER = Path(__file__).resolve().parent.parent / "flatline"
SDKS = ("pulumi_aws", "pulumi_gcp")


def missing_sdks() -> list[str]:
    """Those that this Python lacks."""
    return [name for name in SDKS if importlib.util.find_spec(name) is None]


def add_clouds(stack: str) -> None:
    """Starts this command again in an environment that has the SDKs, made now if there is none.

    Returns where this Python has them. Raises FlatlineError if somebody named a Python that lacks one.
    """
    missing = missing_sdks()
    if not missing:
        return
    if os.environ.get("FLATLINE_PYTHON"):
        raise FlatlineError(
            f"{sys.executable} has no Python package {missing[0]}, which stack {stack} needs: it is in the cloud",
            "Unset FLATLINE_PYTHON, or install requirements.txt there.",
        )
    launcher = runpy.run_path(str(LAUNCHER))
    launcher["become"](launcher["prepared"](launcher["CLOUD"]), sys.argv[1:])
