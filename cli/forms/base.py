"""The base of every form: keys in camelCase, and no key that is not declared."""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

VERSION: Literal[1] = 1
"""Raised when a key goes away or means something else; new keys may come at any time."""


class Block(BaseModel):
    """An object inside of a form. Docstrings below the fields say what they mean."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, defer_build=True, hide_input_in_errors=True
    )


class Form(Block):
    """The output of a command."""

    version: Literal[1] = VERSION
    """That of all forms."""


class OfStack(Form):
    """The output of a command about one stack."""

    stack: str
    """The stack's name."""
