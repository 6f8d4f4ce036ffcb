"""The SDKs of the clouds, which only a stack in the cloud needs: they are larger than everything else together."""

import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from errors import FlatlineError

LAUNCHER = Path(__file__).resolve().parent.parent / "flatline"
SDKS = ("pulumi_aws", "pulumi_gcp")
CLIENTS = ("boto3", "google.cloud.bigtable")
"""Packages that ask the stores of a cloud themselves."""


def missing_sdks(names: Sequence[str] = SDKS) -> list[str]:
    """Those that this Python lacks."""
    return [name for name in names if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def add_clouds(stack: str, *, clients: bool = False) -> None:
    """Starts this command again in an environment that has the SDKs, made now if there is none; also the stores'
    `clients` where they are wanted.

    Returns where this Python has them. Raises FlatlineError if somebody named a Python that lacks one.
    """
    missing = missing_sdks((*SDKS, *CLIENTS) if clients else SDKS)
    if not missing:
        return
    if os.environ.get("FLATLINE_PYTHON"):
        raise FlatlineError(
            f"{sys.executable} has no Python package {missing[0]}, which stack {stack} needs: it is in the cloud",
            "Unset FLATLINE_PYTHON, or install "
            + ("the group migration of pyproject.toml there." if clients else "requirements.txt there."),
        )
    launcher = runpy.run_path(str(LAUNCHER))
    launcher["become"](launcher["prepared"](launcher["MIGRATION" if clients else "CLOUD"]), sys.argv[1:])
