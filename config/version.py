"""The version of Flatline. `pyproject.toml` is the one place that has it."""

import tomllib
from pathlib import Path

VERSION: str = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "version"
]
"""A semantic version, such as `0.1.0`; `CHANGELOG.md` begins with it."""
