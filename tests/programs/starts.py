"""Programs of the cluster that cannot start: each says why in one line, shows its usage, and ends with status 2."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.programs import FOLDER
from tests.lab.node import NODE

STARTS = Path(__file__).with_name("starts.mjs")
SECONDS = 20

Words = Sequence[str | Path]


def by_name(good: Mapping[str, str | Path], changes: Mapping[str, str | None]) -> list[str]:
    """Words for good flags with some changed, or left out for None."""
    flags = {**good, **changes}
    return [str(part) for name, value in flags.items() if value is not None for part in (f"--{name}", value)]


def all_refused(
    program: Path,
    starts: Sequence[tuple[Words, str]],
    *,
    environment: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
) -> None:
    """Fails for the starts that do not end as they must; each has its words, and how the problem begins.

    None may show one of `secrets`.
    """
    given = [
        {"file": str(program), "words": [*map(str, words)], "environment": {**(environment or {})}, "seconds": SECONDS}
        for words, _ in starts
    ]
    done = subprocess.run([NODE, STARTS], input=json.dumps(given), capture_output=True, text=True, check=True)
    answers = json.loads(done.stdout)
    name = str(program.relative_to(FOLDER))
    problems = [
        f"{start['words']}: {problem}: {answer}"
        for start, (_, says), answer in zip(given, starts, answers, strict=True)
        for problem in _problems(answer, name, says, secrets)
    ]
    assert not problems, "\n".join(problems)


def _problems(answer: dict[str, Any], name: str, says: str, secrets: Sequence[str]) -> Iterator[str]:
    if answer["status"] != 2:
        yield "must end with status 2"
    if not answer["errors"].startswith(f"{name}: {says}"):
        yield f"must begin with {name}: {says}"
    if f"\nusage: {name} " not in answer["errors"]:
        yield "must show its usage"
    if any(secret in answer["output"] + answer["errors"] for secret in secrets):
        yield "shows a secret"
