"""The type checker, with this project's settings, finds the mistakes that it is there for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SETTING = """\
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.kubernetes.pod import Scale


@dataclass(frozen=True)
class Frozen:
    value: int


class Base:
    def go(self, count: int) -> int:
        return count


def counts(count: int) -> int:
    return count + 1


def any_value() -> Any:
    return 1


OUTPUT: pulumi.Output[int] = pulumi.Output.from_input(3)
TEXT: pulumi.Output[str] = pulumi.Output.from_input("3")


"""

MISTAKES = {
    "a resource's argument of another type": 'aws.dynamodb.Table("t", hash_key=3)',
    "a resource's argument that does not exist": 'aws.dynamodb.Table("t", hash_keys="a")',
    "an argument inside of another": 'kubernetes.core.v1.ServiceSpecArgs(type=["ClusterIP"])',
    "an output of a resource that does not exist": 'kubernetes.core.v1.Namespace("n").specs',
    "an option that does not exist": "pulumi.ResourceOptions(parents=None)",
    "an Output in place of its value": "counts(OUTPUT)",
    "an Output that is added to a text": 'print("a" + TEXT)',
    "an Output of another type": "def f() -> pulumi.Output[int]:\n    return TEXT.apply(lambda text: text.upper())",
    "an argument of ours that does not exist": "Scale(replica=1)",
    "None": "def f(text: str | None) -> str:\n    return text.upper()",
    "a way without a value": 'def f(flag: bool) -> str:\n    if flag:\n        return "x"',
    "a name that may have no value": "def f(flag: bool) -> int:\n    if flag:\n        a = 1\n    return a",
    "a kind that a match leaves out": (
        'def f(kind: Literal["a", "b"]) -> int:\n    match kind:\n        case "a":\n            return 1\n'
        "        case other:\n            assert_never(other)"
    ),
    "a frozen field": "Frozen(1).value = 2",
    "an override that fits its base no more": "class C(Base):\n    def go(self, count: str) -> int:\n        return 1",
    "a list of something else": "def f(values: list[int]) -> list[object]:\n    return values",
    "parameters without types": "def f(a):\n    print(a)",
    "a result without a type": "def f(a: int):\n    return a",
    "a generic type without arguments": "def f(a: dict) -> None:\n    print(a)",
    "a value of any type as the result": "def f() -> int:\n    return any_value()",
    "a comparison that is never true": "def f(a: str, b: int) -> bool:\n    return a == b",
    "a coroutine that nobody waits for": "async def f() -> int:\n    return 1\n\n\nasync def g() -> None:\n    f()",
    "a module that does not exist": "import no_such_module",
    "an ignored mistake that is none": "a: int = 1  # pyrefly: ignore[bad-assignment]",
    "an ignored mistake of another checker": 'a: int = "1"  # type: ignore',
}


def found(folder: Path, texts: dict[str, str]) -> dict[str, list[str]]:
    """What the checker says of each text, by its name."""
    names = {f"case_{number}.py": name for number, name in enumerate(texts)}
    for file, name in names.items():
        (folder / file).write_text(texts[name])
    command = [sys.executable, "-m", "pyrefly", "check", "--config", str(ROOT / "pyproject.toml")]
    result = subprocess.run(
        [*command, "--python-interpreter-path", sys.executable, "--output-format", "json", *sorted(names)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    errors: dict[str, list[str]] = {name: [] for name in texts}
    for error in json.loads(result.stdout)["errors"]:
        errors[names[Path(error["path"]).name]].append(error["concise_description"])
    return errors


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    texts = {"nothing": "", **MISTAKES}
    return found(tmp_path_factory.mktemp("types"), {name: SETTING + text + "\n" for name, text in texts.items()})


def test_nothing_is_found_where_nothing_is_wrong(errors: dict[str, list[str]]) -> None:
    assert errors["nothing"] == []


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(errors: dict[str, list[str]], name: str) -> None:
    assert errors[name]
