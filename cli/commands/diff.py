"""`diff`: what a change of this repository does to a stack's rendered objects, between two git revisions.

Each revision is checked out into a temporary folder and renders the stack itself, without secrets. Nothing is written
to the repository: git uses an index in the temporary folder.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cli import difference, document, objects, stacks
from cli.forms.stack import Diff
from cli.objects import Object
from cli.stacks import ROOT
from cli.terminal import Terminal
from errors import FlatlineError
from render.manifests import PLAN

SHORT = 12
"""Digits of a commit that people see."""
_NOTHING = "/dev/null"
"""The name of the missing side in a unified difference."""

Part = tuple[str, Any]
"""A title, and what is rendered under it."""
_ABSENT: Part = ("", None)


@dataclass(frozen=True)
class Revision:
    """A revision to compare: a commit, or the files as they are if empty. `name` is for messages."""

    name: str
    commit: str


@dataclass(frozen=True)
class Change:
    """An object, cloud resource or output that is `new`, `gone` or `changed`, and its unified difference."""

    change: str
    object: str
    lines: tuple[str, ...]


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Shows each difference."""
    stacks.named(arguments.stack)
    before, after = _revision(arguments.before), _revision(arguments.after)
    with tempfile.TemporaryDirectory(prefix="flatline-diff-") as folder:
        trees = [
            _rendered(revision, arguments.stack, Path(folder, side), terminal)
            for side, revision in (("from", before), ("to", after))
        ]
        changes = list(_changes(*trees))
    for each in changes:
        terminal.diff(each.lines, indent=0)
    count = {kind: sum(each.change == kind for each in changes) for kind in ("new", "changed", "gone")}
    what = ", ".join(f"{number} {kind}" for kind, number in count.items()) if changes else "nothing differs"
    terminal.say(f"{what} in stack {arguments.stack} between {before.name} and {after.name}.", "bold")
    if arguments.json:
        found = [{"change": each.change, "object": each.object, "diff": "\n".join(each.lines)} for each in changes]
        sides = {"from": before.commit, "to": after.commit or None}
        document.show(Diff, {"stack": arguments.stack, **sides, "changes": found}, terminal)
    return 0


def _revision(name: str | None) -> Revision:
    """Raises FlatlineError for a name that git does not know."""
    if name is None:
        return Revision("the working tree", "")
    found = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if found.returncode == 1:
        raise FlatlineError(
            f"there is no revision {name} in this repository",
            "Write a branch, a tag or a commit that `git rev-parse` knows; `git fetch` brings those of others.",
        )
    if found.returncode != 0:
        raise FlatlineError(
            f"git cannot read {ROOT}: {_last_line(found.stderr)}", "`diff` needs a clone of the repository."
        )
    commit = found.stdout.strip()
    return Revision(commit[:SHORT] if commit.startswith(name) else f"{name} ({commit[:SHORT]})", commit)


def _git(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(ROOT), *words]
    try:
        return subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise FlatlineError("git is not on the PATH", "`diff` reads revisions with it. Install git.") from None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["(no message)"])[-1]


def _rendered(revision: Revision, stack: str, folder: Path, terminal: Terminal) -> Path:
    """The folder with what a revision renders. Raises FlatlineError if it cannot."""
    checkout, output = ROOT, folder / "rendered"
    with terminal.step(f"Rendering {revision.name}"):
        if revision.commit:
            checkout = folder / "checkout"
            _check_out(revision.commit, checkout)
            _add_stack_file(stack, checkout)
        command = [sys.executable, str(checkout / "flatline"), "render", "--redact", "--stack", stack]
        done = subprocess.run(
            [*command, "--output", str(output)], cwd=checkout, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        problem, *remedies = _said(done.stderr)
        raise FlatlineError(f"stack {stack} cannot be rendered at {revision.name}: {problem}", *remedies)
    return output


def _check_out(commit: str, folder: Path) -> None:
    """Writes the files of a commit to a new folder, by an index of its own, so that the repository stays as it is."""
    folder.mkdir(parents=True)
    index = str(folder.with_name("index"))
    for words in (["read-tree", f"{commit}:./"], ["checkout-index", "--all", f"--prefix={folder}/"]):
        done = _git(*words, GIT_INDEX_FILE=index)
        if done.returncode != 0:
            raise FlatlineError(f"git cannot check out {commit[:SHORT]}: {_last_line(done.stderr)}")


def _add_stack_file(stack: str, checkout: Path) -> None:
    """A stack whose file is not in the revision, because only this checkout has it, is compared as it is here."""
    name = stacks.Stack(stack).file.name
    if not (checkout / name).exists():
        shutil.copy(stacks.find(stack).file, checkout / name)


def _said(errors: str) -> list[str]:
    """The error that a child ended with, without its mark, and its other lines."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or ["(no message)"]
    marked = [at for at, line in enumerate(lines) if line.startswith("error: ")]
    first, *others = lines[marked[0] if marked else -1 :]
    return [first.removeprefix("error: ").removeprefix("flatline: "), *others]


def _changes(before: Path, after: Path) -> Iterator[Change]:
    """The differences between two rendered folders, in the order of the names."""
    found = difference.between(objects.read(before), objects.read(after))
    old, new = _others(before), _others(after)
    pairs = [
        *((_ABSENT, _part(each)) for each in found.new),
        *((_part(each), _ABSENT) for each in found.gone),
        *((_part(one), _part(other)) for one, other in found.changed),
        *((_side(old, title), _side(new, title)) for title in old | new if old.get(title) != new.get(title)),
    ]
    for (one, content), (other, now) in sorted(pairs, key=lambda pair: pair[0][0] or pair[1][0]):
        lines = difference.unified((one or _NOTHING, content), (other or _NOTHING, now))
        yield Change("new" if not one else "changed" if other else "gone", other or one, tuple(lines))


def _part(each: Object) -> Part:
    return str(each), each.content


def _side(parts: Mapping[str, Any], title: str) -> Part:
    return (title, parts[title]) if title in parts else _ABSENT


def _others(folder: Path) -> dict[str, Any]:
    """Rendered texts beside Kubernetes objects, by title: cloud resources and stack outputs."""
    plan = folder / PLAN
    resources: Mapping[str, Any] = yaml.safe_load(plan.read_text(encoding="utf-8")) if plan.is_file() else {}
    outputs = objects.outputs(folder) or {}
    return {**resources, **{f"output {name}": value for name, value in outputs.items()}}
