"""Stack dev on the node that the tests of this folder share, and its upgrade from the previous release."""

import base64
import json
import operator
import re
import time
from dataclasses import dataclass
from typing import Any

import yaml

from tests.integration.deployed import NAMESPACES, rolled_out
from tests.integration.engine import CONTEXT, Engine
from tests.integration.outside import PROBES, Entries, Outside, WebSockets, lasting, report, until
from tests.lab.kubernetes_node import KubernetesNode
from tests.lab.process import wait_until

READY_SECONDS = 240
DOMAIN = "flatline.internal"
UPLOAD_SECRET = "tus.userAuthenticationTokenSharedSecret"


@dataclass
class Deployed:
    """Stack dev on the node, as `./flatline` has put it there."""

    node: KubernetesNode
    engine: Engine
    upgraded: "Upgraded | None" = None

    def outside(self, domain: str = DOMAIN) -> Outside:
        """A client that trusts what `./flatline pins` shows, and nothing else."""
        authority = self.engine.folder / f"{domain}.pem"
        authority.write_text(json.loads(self.engine.flatline("pins", "--json"))["pins"]["caCertificates"])
        return Outside(self.node.machine, domain, authority)

    def wait_served(self, outside: Outside) -> None:
        """Returns when every workload is ready and every host answers."""
        self.wait_ready()
        until(lambda: all(map(outside.answers, PROBES)), 60)

    def pods(self) -> list[dict[str, Any]]:
        """Those that run for good: not of Jobs."""
        found = [each for namespace in NAMESPACES for each in self.node.get("pods", namespace)]
        return [each for each in found if each["metadata"]["ownerReferences"][0]["kind"] != "Job"]

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        for namespace in NAMESPACES:
            self.node.wait_ready(seconds, namespace)

    def serving(self) -> dict[str, list[str]]:
        """The pods that serve now, by their workload: not those that are ending, nor those of Jobs."""
        found: dict[str, list[str]] = {}
        for pod in self.node.get("pods", "flatline"):
            (owner,) = pod["metadata"]["ownerReferences"]
            if owner["kind"] != "Job" and "deletionTimestamp" not in pod["metadata"]:
                found.setdefault(owner["name"], []).append(pod["metadata"]["uid"])
        return {owner: sorted(pods) for owner, pods in found.items()}

    def upload_secret(self) -> bytes:
        """What Whisper signs uploads with."""
        for path in (self.engine.checkout / "build" / "dev").glob("*-secret_*"):
            for text in (yaml.safe_load(path.read_text()).get("stringData") or {}).values():
                if re.search(rf"^{UPLOAD_SECRET}:", text, re.M):
                    return base64.b64decode(yaml.safe_load(text)[UPLOAD_SECRET], validate=True)
        raise AssertionError("no secret for uploads")

    def identities(self) -> dict[str, str]:
        """Of every claim, which says whether its data are still the same."""
        claims = (each for namespace in NAMESPACES for each in self.node.get("persistentvolumeclaims", namespace))
        return {each["metadata"]["name"]: each["metadata"]["uid"] for each in claims}


@dataclass
class Upgraded:
    """What came of the upgrade from the previous release, while a client wrote and held WebSockets."""

    said: str
    lost: list[str]
    written: int
    sockets: WebSockets
    claims_kept: bool


def upgrade(deployed: Deployed) -> Upgraded:
    engine, node, outside = deployed.engine, deployed.node, deployed.outside()
    before, claims = lasting(outside, "previous"), deployed.identities()
    engine.check_out(None)
    said = engine.flatline("upgrade", "--check", "--context", CONTEXT)
    began = time.monotonic()
    with Entries(outside, "upgrade") as entries, WebSockets(outside) as sockets:
        wait_until(lambda: bool(entries.acknowledged) and all(sockets.echoed), 60, "the client is at work")
        engine.typed(engine.flatline("up", "--engine", "none"))
        wait_until(lambda: rolled_out(node) and not ending(node), READY_SECONDS, "the upgrade is rolled out")
        deployed.wait_served(outside)
        count, echoed = len(entries.acknowledged), [*sockets.echoed]
        wait_until(
            lambda: len(entries.acknowledged) > count and all(map(operator.gt, sockets.echoed, echoed)),
            60,
            "the client goes on",
        )
    written = len(entries.acknowledged)
    report(
        f"upgrade of the previous release: {time.monotonic() - began:.0f} s; {written} acknowledged writes; "
        f"WebSockets: {sockets.drained} closed in order, {len(sockets.dropped)} dropped, {sum(sockets.echoed)} "
        f"answers, longest without a connection {sockets.longest:.1f} s"
    )
    return Upgraded(
        said, before.lost() + entries.lost(), written, sockets, deployed.identities().items() >= claims.items()
    )


def ending(node: KubernetesNode) -> bool:
    """Whether a pod that was replaced still keeps what is open."""
    pods = (each for namespace in NAMESPACES for each in node.get("pods", namespace))
    return any("deletionTimestamp" in each["metadata"] for each in pods)
