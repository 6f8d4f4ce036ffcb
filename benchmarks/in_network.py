"""The parts that need a private network namespace, as the integration tests do.

As a program of its own (python -m benchmarks.in_network <part> <rounds>) it enters one and prints the ratios as JSON.
"""

import json
import sys
from dataclasses import asdict

from benchmarks import cluster, engine, node
from benchmarks.process import run
from benchmarks.sample import Ratio
from tests.lab.private_network import can_enter, enter

PARTS = {"cluster": cluster, "engine": engine, "node": node}


def measure(part: str, rounds: int) -> list[Ratio] | str:
    """The ratios of a part; or why this machine has no private network."""
    if reason := can_enter():
        return reason
    return [
        Ratio(each["name"], each["against"], tuple(each["seconds"]), tuple(each["minimum"]))
        for each in json.loads(run("in_network", part, str(rounds)))
    ]


if __name__ == "__main__":
    enter()
    print(json.dumps([asdict(ratio) for ratio in PARTS[sys.argv[1]].ratios(int(sys.argv[2]))]))
