"""The output of `--json`: one object on standard output, of a form of cli/forms."""

import json
from collections.abc import Mapping
from typing import Any

from cli.forms.base import VERSION, Form
from cli.terminal import Terminal


def show(form: type[Form], content: Mapping[str, Any], terminal: Terminal) -> None:
    """Prints what is of a form, with the version first. Raises pydantic's ValidationError for anything else.

    Other characters than ASCII's are escaped, so that every terminal, pipe and locale takes them.
    """
    found = {"version": VERSION, **content}
    form.model_validate(found)
    terminal.document(json.dumps(found, indent=2, allow_nan=False))
