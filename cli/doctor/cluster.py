"""The cluster itself: version, nodes, disks, storage classes, names, network policies and clocks."""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from cli.doctor.model import Check, Evidence, Finding, Item, condition, finding, is_ready, labels_of, short
from config import installation
from config.images import IMAGES
from config.settings import PROJECT

OLDEST, NEWEST = (1, 30), (1, 37)
"""Minor versions of Kubernetes. 1.30 brings `lifecycle.preStop.sleep`; schemas are checked up to the newest."""
PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
FULL = 0.10
"""The part of a disk or volume that is free when it counts as nearly full. The kubelet ends pods below 10 %."""
CLOCK_SECONDS = 30.0
LEASE_SECONDS = 40.0
"""A node renews its lease every 10 s, and is taken for lost after 40 s (kubelet's nodeLeaseDurationSeconds)."""
NODE_LOCAL = "node-local-dns"
NODE_LOCAL_ADDRESS = "169.254.20.10"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def version(evidence: Evidence) -> Iterator[Finding]:
    """A version that is older or newer than those that are known."""
    text = str(evidence.readings["version"].get("gitVersion", ""))
    found = re.match(r"v(\d+)\.(\d+)", text)
    if found is None or not OLDEST <= (int(found[1]), int(found[2])) <= NEWEST:
        known = f"known are {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        yield Finding(symptom="cluster-version", about="cluster", found=f"it runs {text or 'an unknown one'}; {known}")


def nodes(evidence: Evidence) -> Iterator[Finding]:
    """Nodes that are not ready, short of something, or of a processor that no image is for."""
    there = evidence.items("nodes")
    for node in there:
        if not is_ready(node):
            ready = condition(node, "Ready")
            why = ready.get("message") or ready.get("reason") or "it has not said anything"
            yield finding("node-not-ready", node, short(str(why)))
        for pressure in PRESSURES:
            if condition(node, pressure).get("status") == "True":
                yield finding("node-pressure", node, f"{pressure}: {short(condition(node, pressure)['message'])}")
    there_are = {str(each["status"].get("nodeInfo", {}).get("architecture", "")) for each in there} - {""}
    overridden = evidence.settings.images.overrides
    for name in evidence.settings.used_images:
        image = IMAGES[name]
        if there_are and name not in overridden and not there_are & set(image.architectures):
            has, needs = ", ".join(sorted(there_are)), " or ".join(image.architectures)
            yield Finding(symptom="architecture", about=f"image {name}", found=f"it is for {needs}; nodes are {has}")


def disks(evidence: Evidence) -> Iterator[Finding]:
    """The file systems of nodes, as their kubelets count them."""
    for summary in evidence.readings["summaries"]:
        disk, name = summary["node"].get("fs", {}), summary["node"]["nodeName"]
        left = _left(disk)
        if left is not None and left < FULL:
            yield Finding(
                symptom="node-disk-full",
                about=f"node {name}",
                found=f"{left:.0%} of its disk is free ({_gib(disk['availableBytes'])})",
                names={"name": name},
            )


def volumes(evidence: Evidence) -> Iterator[Finding]:
    """The volumes of the stack's pods, as kubelets count them. Those of one disk are told once each."""
    ours = {*evidence.settings.namespaces}
    for summary in evidence.readings["summaries"]:
        for pod in summary.get("pods") or ():
            for volume in pod.get("volume") or ():
                claim, left = volume.get("pvcRef"), _left(volume)
                if claim and claim["namespace"] in ours and left is not None and left < FULL:
                    yield Finding(
                        symptom="volume-nearly-full",
                        about=f"claim {claim['namespace']}/{claim['name']}",
                        found=f"{left:.0%} of it is free ({_gib(volume['availableBytes'])})",
                        names=claim,
                    )


def storage(evidence: Evidence) -> Iterator[Finding]:
    """The storage class that volumes of a local stack get."""
    wanted = getattr(evidence.settings.target, "storage_class", None)
    there = {each["metadata"]["name"]: each for each in evidence.items("storageclasses")}
    listed = f"there are: {', '.join(sorted(there)) or 'none'}"
    if wanted is not None and wanted not in there:
        yield Finding(symptom="storage-class-missing", about=f"storage class {wanted}", found=listed)
    defaults = [each for each in there.values() if _annotation(each, DEFAULT_CLASS) == "true"]
    if wanted is None and not defaults:
        yield Finding(symptom="storage-class-no-default", about="storage classes", found=listed)


def names(evidence: Evidence) -> Iterator[Finding]:
    """The name server's pods, and NodeLocal DNSCache beside them."""
    dns = evidence.settings.cluster_dns
    pods = [
        each
        for each in evidence.items("system", "Pod")
        if each["metadata"]["namespace"] == dns.namespace and dns.pod_labels.items() <= labels_of(each).items()
    ]
    networks = [ipaddress.ip_network(each) for each in dns.networks]
    if not any(map(is_ready, pods)) and not networks:
        labels = ",".join(f"{key}={value}" for key, value in dns.pod_labels.items())
        yield Finding(
            symptom="dns-pods", about=f"pods {labels} in {dns.namespace}", found=f"{len(pods)} are there, none is ready"
        )
    local = [each for each in evidence.items("system", "DaemonSet") if each["metadata"]["name"] == NODE_LOCAL]
    if local and not any(ipaddress.ip_address(NODE_LOCAL_ADDRESS) in each for each in networks):
        found = f"pods ask {NODE_LOCAL_ADDRESS}, which is not in flatline:clusterDns.networks"
        yield finding("node-local-dns", local[0], found, address=NODE_LOCAL_ADDRESS)


def network(evidence: Evidence) -> Iterator[Finding]:
    """The findings of two throw-away pods: whether a policy of theirs was kept, and whether the name server answers."""
    trial = evidence.readings["trial"]
    if trial["closed"]:
        yield Finding(
            symptom="policies-not-enforced",
            about="network policies",
            found="a pod reached a port of another one that a policy closes",
        )
    if not trial["open"]:
        yield Finding(
            symptom="policies-refuse",
            about="network policies",
            found="a pod did not reach a port of another one that a policy opens",
        )
    problem = (trial.get("dns") or {}).get("problem")
    if problem:
        yield Finding(
            symptom="dns-silent",
            about="cluster name server",
            found=f"a pod asked {', '.join(trial['nameServers'])} for kubernetes.default.svc: {problem}",
            names={"namespace": evidence.settings.cluster_dns.namespace},
        )


def images(evidence: Evidence) -> Iterator[Finding]:
    """The answers of registries to a pod about each image; those that every node has already are not missed."""
    held = [
        {name for image in node["status"].get("images") or () for name in image.get("names") or ()}
        for node in evidence.items("nodes")
    ]
    answers: dict[str, str] = evidence.readings["trial"].get("images", {})
    wanted = {
        reference: answer
        for reference, answer in answers.items()
        if answer != "ok" and not all(reference in names for names in held)
    }
    silent = [reference for reference, answer in wanted.items() if answer.startswith("no answer")]
    if silent and "ok" not in answers.values() and len(silent) == len(wanted):
        told = f"{len(silent)} images are not on every node, and no registry answered a pod ({wanted[silent[0]]})"
        yield Finding(symptom="registry-unseen", about="registries", found=told)
        return
    for reference, answer in wanted.items():
        yield Finding(
            symptom="image-not-published",
            about=f"image {reference}",
            found=f"{reference.partition('/')[0]} answered a pod: {answer}; not every node has it already",
            names={"name": reference},
        )


def clocks(evidence: Evidence) -> Iterator[Finding]:
    """Each node's clock by the time that it writes into its lease, and this machine's by the cluster's.

    A lease that is old tells of a node that is gone, not of a clock: that is told of the node.
    """
    ahead = float(evidence.readings["clock"])
    if abs(ahead) > CLOCK_SECONDS:
        found = f"the cluster is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
        yield Finding(symptom="clock-of-this-machine", about="clocks", found=found)
    now = evidence.now + timedelta(seconds=ahead)
    ready = {each["metadata"]["name"] for each in evidence.items("nodes") if is_ready(each)}
    for lease in evidence.items("leases"):
        renewed = lease["spec"].get("renewTime")
        difference = (datetime.fromisoformat(renewed) - now).total_seconds() if renewed else 0.0
        name = lease["metadata"]["name"]
        if difference > CLOCK_SECONDS or (name in ready and difference < -(LEASE_SECONDS + CLOCK_SECONDS)):
            where = "ahead of" if difference > 0 else "behind"
            found = f"it is about {abs(difference):.0f} s {where} the cluster's"
            yield Finding(symptom="clock-of-node", about=f"node {name}", found=found, names={"name": name})


def owners(evidence: Evidence) -> Iterator[Finding]:
    """Compares the stack's namespaces with their labels: another stack may have them."""
    mine = installation.stack_label(PROJECT, evidence.stack)
    wanted = {*evidence.settings.namespaces}
    for each in evidence.items("namespaces"):
        owner = labels_of(each).get(installation.STACK_LABEL, mine)
        if each["metadata"]["name"] in wanted and owner != mine:
            yield finding("namespace-of-another", each, f"its label says {owner}")


def _left(disk: Item) -> float | None:
    """The part of a disk that is free; None where the kubelet does not tell."""
    capacity, available = disk.get("capacityBytes"), disk.get("availableBytes")
    return available / capacity if capacity and available is not None else None


def _gib(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB"


def _annotation(item: Item, name: str) -> Any:
    return (item["metadata"].get("annotations") or {}).get(name)


CHECKS: Iterable[Check] = (
    Check("version", "the version of Kubernetes", ("version",), version),
    Check("nodes", "nodes, and the processors that images are for", ("nodes",), nodes),
    Check("disks", "free space of the nodes' disks", ("summaries",), disks),
    Check("storage", "storage classes", ("storageclasses",), storage),
    Check("names", "the pods of the cluster's name server", ("system",), names),
    Check("network", "two throw-away pods, a network policy and the name server", ("trial",), network),
    Check("images", "every image at its registry, asked by a pod", ("trial", "nodes"), images),
    Check("clocks", "the clocks of nodes and of this machine", ("clock", "leases", "nodes"), clocks),
    Check("owners", "whose the namespaces are", ("namespaces",), owners),
    Check("volumes", "free space of the volumes", ("summaries",), volumes, running=True),
)
