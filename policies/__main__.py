"""Starts the pack. For `--policy-pack policies`, Pulumi runs this folder with the Python on the PATH.

If that Python lacks the pack's packages, the pack restarts with a Python that has them: the one of `.venv` in this
folder, or that of an environment that `./flatline` makes. This file must parse with old Python versions.
"""

import importlib
import importlib.util
import os
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def own_python() -> str:
    """A Python with the packages of requirements.txt. Exits with an error if there is none and none can be made."""
    installed = FOLDER / ".venv" / "bin" / "python"
    if installed.exists():
        return str(installed)
    launcher = FOLDER.parent / "flatline"
    if not launcher.exists():
        sys.exit(
            f"the policy pack needs the packages of {FOLDER / 'requirements.txt'}: install them into {FOLDER}/.venv"
        )
    return str(runpy.run_path(str(launcher))["prepared_for_policies"]())


if __name__ == "__main__":
    if importlib.util.find_spec("pulumi_policy") is None:
        python = own_python()
        os.execv(python, [python, "-u", *sys.argv])
    sys.path.insert(0, str(FOLDER.parent))  # Pulumi runs the pack as a folder, not as a package
    importlib.import_module("policies.pack")
