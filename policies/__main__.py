"""Starts the pack: Pulumi runs this folder, with the Python of the PATH, for `--policy-pack policies`.

Where that Python lacks the pack's packages, the pack goes on in an environment that has them: `.venv` in this folder,
or else one that `./flatline` makes. Old Pythons read this file too.
"""

import importlib
import importlib.util
import os
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def own_python() -> str:
    """A Python with the packages of requirements.txt. Ends this program where there is none and none can be made."""
    given = FOLDER / ".venv" / "bin" / "python"
    if given.exists():
        return str(given)
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
    sys.path.insert(0, str(FOLDER.parent))  # the pack is run as a folder, not as a package
    importlib.import_module("policies.pack")
