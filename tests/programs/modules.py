"""Modules of the cluster's programs in a process of Node's, whose functions a test calls."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from components.programs import FOLDER
from tests.lab.node import NODE

HURRIED: Final = ("--import", str(Path(__file__).with_name("hurried.mjs")))
"""Flags of Node's, for a program that waits a fifth of what it would."""
_BEGIN = """
import { createInterface } from 'node:readline';
const print = process.stdout.write.bind(process.stdout);
process.stdout.write = () => true; // what the modules log
const load = (name) => import(`${process.argv[1]}/${name}.mjs`);
"""
_END = """
for await (const line of createInterface({ input: process.stdin })) {
  const { call, given } = JSON.parse(line);
  let reply;
  try {
    reply = { value: await calls[call](given) };
  } catch (error) {
    reply = { error: `${error.constructor.name}: ${error.message}` };
  }
  print(`${JSON.stringify(reply)}\\n`);
}
"""


class CallError(Exception):
    """What a function threw."""


class Modules:
    """The process, which keeps what it was asked to open."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def call(self, name: str, **given: Any) -> Any:
        """What one of `calls` answers; raises CallError."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"call": name, "given": given}) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        if "error" in reply:
            raise CallError(reply["error"])
        return reply.get("value")


@contextmanager
def loaded(script: str) -> Iterator[Modules]:
    """A process with `calls`, which the script defines: functions of one object. `load('lib/aws')` loads a module."""
    command = [NODE, "--input-type=module", "-e", f"{_BEGIN}{script}{_END}", FOLDER.as_uri()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={}) as process:
        try:
            yield Modules(process)
            assert process.stdin
            process.stdin.close()
            assert process.wait(10) == 0, "what it did must not keep the process alive"
        finally:
            process.kill()
