"""Modules of this package that run as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(module: str, *words: str) -> str:
    """The output of a module. Raises RuntimeError with the end of what it says where it fails."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *words]
    environment = {**os.environ, "PULUMI_ERROR_OUTPUT_STRING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:4])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
