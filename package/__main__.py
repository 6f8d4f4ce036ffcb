"""Starts the component package: the Pulumi engine runs this folder, with the Python of the PATH.

Where that Python lacks the program's packages, the package goes on in one that has them: `.venv` of the checkout, which
`./flatline` or `pulumi install` makes, or else the one that `./flatline` prepares. Old Pythons read this file too.
"""

import importlib
import importlib.util
import os
import runpy
import sys

STARTED = "FLATLINE_PACKAGE_STARTED"
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def own_python() -> str:
    """A Python with the packages of requirements.txt. Ends this program where none can be made."""
    given = os.environ.get("FLATLINE_PYTHON") or os.path.join(ROOT, ".venv", "bin", "python")
    if os.access(given, os.X_OK):
        return given
    launcher = runpy.run_path(os.path.join(ROOT, "flatline"))
    return str(launcher["prepared"](launcher["CLOUD"]))


if __name__ == "__main__":
    if importlib.util.find_spec("rbcl") is None:  # what no other program needs
        if os.environ.pop(STARTED, ""):
            sys.exit(sys.executable + " lacks packages of requirements.txt; install them there")
        os.environ[STARTED] = "1"
        python = own_python()
        os.execv(python, [python, "-u", *sys.argv])
    sys.path.insert(0, ROOT)  # the engine runs the folder, not the package
    importlib.import_module("package.provider").main()
