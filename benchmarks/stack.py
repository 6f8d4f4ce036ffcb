"""The program with the configuration of stack dev, recorded without an engine."""

import runpy

from benchmarks.process import ROOT
from config.settings import PROJECT
from render import stack_file
from render.model import Recording, Values
from render.recorder import record

STACK = "dev"
PASSPHRASE = "of a benchmark"  # encrypts a state that lasts as long as the measurement


def passphrase() -> str:
    return PASSPHRASE


def recorded(values: Values, *, stack: str = STACK, domain: str | None = None) -> Recording:
    """A recording, under a name and a domain of its own where they are given."""
    read = stack_file.read(ROOT / f"Pulumi.{STACK}.yaml", passphrase)
    return record(
        lambda: runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__"),
        project=PROJECT,
        stack=stack,
        config={**read.config, **({"flatline:domain": domain} if domain else {})},
        secret_keys=read.secret_keys,
        values=values,
    )
