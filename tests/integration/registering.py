"""Registrations on the node: by the operator's commands, and by calls from Whisper's pod as Whisper makes them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.graph.stack import ROOT
from tests.integration.deployed import NAMESPACES, labels
from tests.lab.kubernetes_client import kubectl_binary
from tests.lab.kubernetes_node import KubernetesNode
from tests.programs import registration_contract

CONTEXT = "lab"
SECRET = "registration-invitations"
CALLS = """
import json
client = Client(0)
client.channel = grpc.insecure_channel("registration.flatline.svc:50051")
for number, codes, exists, key in json.loads({calls!r}):
    session = client.ready(number, key, exists=exists)
    for code in codes:
        client.check(session, code)
    print("verified", json.dumps(client.get(session).session_metadata.verified))
"""


def flatline(node: KubernetesNode, *words: str) -> str:
    """What `./flatline` prints on standard output for the stack dev of this repository, which is on the node."""
    path = f"{kubectl_binary().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        [*node.prefix, sys.executable, str(ROOT / "flatline"), *words, "--context", CONTEXT],
        cwd=ROOT,
        env={
            "PATH": path,
            "HOME": str(node.folder),
            "KUBECONFIG": str(node.kubeconfig),
            "FLATLINE_PYTHON": sys.executable,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def invite(node: KubernetesNode, *words: str) -> tuple[str, list[str]]:
    """The number that was invited (its digits), and its codes."""
    number, *codes = (line.partition(": ")[2] for line in flatline(node, "invite", *words).splitlines())
    return number.removeprefix("+"), codes


def states(node: KubernetesNode) -> dict[str, str | None]:
    """What `./flatline invitations` says of each number (its digits)."""
    found = json.loads(flatline(node, "invitations", "--json"))["invitations"]
    return {each["number"].removeprefix("+"): each["state"] for each in found}


def known(node: KubernetesNode) -> set[str]:
    """The numbers that the registration service finds in its folder."""
    names = node.execute("flatline", "registration-0", "sh", "-c", "ls /etc/flatline/invitations").split()
    return set(names)


def verified(node: KubernetesNode, *calls: tuple[str, list[str], bool], key: str = "") -> list[bool]:
    """Whether each registration (number, codes, whether there is an account) may go on, played in Whisper's pod.

    All are of one client, `key`, or of a client for each number.
    """
    keyed = [(*call, key or f"key of {call[0]}") for call in calls]
    (pod, *_) = (each["metadata"]["name"] for each in node.get("pods", "flatline", labels=labels("whisper")))
    program = Path(registration_contract.__file__).read_text() + CALLS.format(calls=json.dumps(keyed))
    said = node.execute("flatline", pod, "python3", "-", stdin=program)
    return [json.loads(answer) for answer in re.findall(r"^verified (.*)$", said, re.M)]


def stored(node: KubernetesNode) -> dict[str, Any]:
    """The Secret of the invitations."""
    (found,) = (each for each in node.get("secrets", "flatline") if each["metadata"]["name"] == SECRET)
    return found


def places(node: KubernetesNode, manifests: Path) -> Iterator[tuple[str, str]]:
    """Everything that may be read later: logs, objects but for the Secret itself, manifests, arguments, variables."""
    for namespace in NAMESPACES:
        for pod in node.get("pods", namespace):
            name = pod["metadata"]["name"]
            yield f"log of {name}", node.kubectl("logs", "-n", namespace, name, "--all-containers")
    for name, server in node.servers.items():
        yield f"log of {name}", server.text()
    for found in node.everything():
        if (found["kind"], found["metadata"]["name"]) != ("Secret", SECRET):
            yield f"{found['kind']} {found['metadata']['name']}", json.dumps(found)
    for path in manifests.rglob("*"):
        if path.is_file():
            yield str(path), path.read_text()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        yield f"process {process.name}", text.decode(errors="replace")


def holding(secrets: Iterable[str], found: Iterable[tuple[str, str]]) -> list[str]:
    """The places that have one of some texts. Six digits may also be a part of a number, a digest or a fraction."""
    every = [re.compile(rf"(?<![\w.]){each}(?!\w)" if each.isdigit() else re.escape(each)) for each in secrets]
    return [place for place, text in found if any(each.search(text) for each in every)]
