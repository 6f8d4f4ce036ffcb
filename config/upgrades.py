"""Notes for operators on each version of Flatline: `upgrades.yaml`, of which this is the form.

A version is three numbers with dots, such as `0.1.0`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, TypeAdapter

from config.base_model import StrictModel

NUMBERS = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"

Version = Annotated[str, Field(pattern=f"^{NUMBERS}$")]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]


class Upgrade(StrictModel):
    """Notes on one version."""

    back_to: Version
    """The oldest version that can serve what this one has written: `up` goes back to it, and to no older one."""
    step: Text | None = None
    """Changes that `up` of this version alone makes to an installation. Nobody can jump over such a version."""
    backup: Texts = ()
    """Data to back up before, each with its reason."""
    notes: Texts = ()
    """Things that operators must do, or notice."""


def parsed(text: str) -> dict[str, Upgrade]:
    """The upgrades of a YAML text by version. Raises ValueError for another form."""
    return TypeAdapter(dict[Version, Upgrade]).validate_python(yaml.safe_load(text))


UPGRADES: Mapping[str, Upgrade] = parsed(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def number(version: str) -> tuple[int, ...]:
    """A version as numbers, which can be compared. Raises ValueError for another form."""
    if not re.fullmatch(NUMBERS, version):
        raise ValueError(f"{version} is no version of three numbers")
    return tuple(map(int, version.split(".")))


def on_the_way(deployed: str, here: str, upgrades: Mapping[str, Upgrade] = UPGRADES) -> list[str]:
    """The versions after the deployed one up to this one, oldest first."""
    passed = (version for version in upgrades if number(deployed) < number(version) <= number(here))
    return sorted(passed, key=number)


def jumped_over(deployed: str, here: str, upgrades: Mapping[str, Upgrade] = UPGRADES) -> str | None:
    """The first version between the two that has a step of its own, None if there is none."""
    return next((each for each in on_the_way(deployed, here, upgrades) if upgrades[each].step and each != here), None)


def document(version: str, upgrades: Mapping[str, Upgrade] = UPGRADES) -> list[str]:
    """The points of a version, as CHANGELOG.md has them."""
    each = upgrades[version]
    if each.back_to == version:
        back = "`up` does not go back from it to an earlier version: restore a backup."
    else:
        back = f"`up` goes back from it to {each.back_to}."
    return [
        *([f"**No version after it can be reached without it**: {each.step}"] if each.step else []),
        *(f"**Back up first**: {text}" for text in each.backup),
        back,
        *each.notes,
    ]
