"""The provider in a process of its own, because its part of the SDK and Google's client libraries, which other tests
import, both define `google.rpc.Status`.

python -m tests.unit.package.provider_process < requests
"""

import json
import subprocess
import sys
from typing import Any

import pulumi
from pulumi.errors import InputPropertiesError

from render.recorder import record
from render.values import SeededValues
from tests.graph.stack import PROJECT, ROOT

OUTPUT = "an Output of"
"""The one key of a block that stands for an Output."""


def asked(*inputs: dict[str, Any]) -> dict[str, Any]:
    """The provider's `schema`, and what the engine is told about each of some wrong arguments (`refused`)."""
    command = [sys.executable, "-m", "tests.unit.package.provider_process"]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(inputs), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _refusal(provider: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    def program() -> None:
        provider.construct("x", "flatline:index:Flatline", _with_outputs(inputs))

    try:
        record(program, project=PROJECT, stack="dev", config={}, values=SeededValues("seed"))
    except InputPropertiesError as error:
        return {"message": error.message, "errors": error.errors}
    return {}


def _with_outputs(value: Any) -> Any:
    if isinstance(value, dict) and OUTPUT in value:
        return pulumi.Output.from_input(value[OUTPUT])
    return {key: _with_outputs(each) for key, each in value.items()} if isinstance(value, dict) else value


if __name__ == "__main__":
    from package.provider import FlatlineProvider

    served = FlatlineProvider()
    refused = [_refusal(served, each) for each in json.load(sys.stdin)]
    print(json.dumps({"schema": json.loads(served.schema or ""), "refused": refused}))
