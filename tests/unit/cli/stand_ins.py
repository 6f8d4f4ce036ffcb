"""Programs on a test's PATH, each a fork (tests/forks.py).

Signals alone do not reach a fork: where the variable FAKE_PULUMI_WAITS is set, the program is started as it is.
"""

import shutil
import sys
import textwrap
from pathlib import Path

from tests import forks

PACKAGES = ("json", "grpc", "google.protobuf.wrappers_pb2", "cryptography.hazmat.primitives.ciphers.aead")
"""What the programs import."""


def put_program(folder: Path, name: str, body: str) -> Path:
    """Writes a program in Python; `record(...)` in it appends a line of JSON to the file that is returned."""
    calls = folder / f"{name}.calls"
    program, script = folder / name, folder / f"{name}.py"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        f"def record(**call):\n    open({str(calls)!r}, 'a').write(json.dumps(call) + '\\n')\n" + textwrap.dedent(body)
    )
    if forks.SHELL:
        waits = f'[ -z "$FAKE_PULUMI_WAITS" ] || exec {sys.executable} "$0.py" "$@"'
        program.write_text(f"#!{forks.SHELL}\n{waits}\n{forks.call('$0.py', PACKAGES)}")
    else:
        shutil.copy(script, program)
    program.chmod(0o755)
    return calls
