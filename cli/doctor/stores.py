"""Findings from a throw-away pod: a write and a read of each store, and how far the persister is behind.

The pod's answer (programs/doctor/stores.mjs) has a key for each store that it asked. `problem` says what went wrong
there, in the words of the store or of the network; without one all went well.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from cli.doctor.model import Check, Evidence, Finding, short

SLOTS = 16384
MEMORY_FULL = 0.85
PERSIST_MINUTES = 1
"""`messageCache.persistDelayMinutes` (config/services/whisper.py); then at most two minutes for a round."""
BEHIND_SECONDS = (PERSIST_MINUTES + 2) * 60 + 120
"""Twice as late as it should ever be counts."""

_TABLES = re.compile(r"ResourceNotFoundException|NOT_FOUND|NoSuchBucket|AccessDenied")


def tables(evidence: Evidence) -> Iterator[Finding]:
    """DynamoDB, the object store and Bigtable."""
    absent = {"dynamodb": "dynamodb-table", "objects": "objects-bucket", "bigtable": "bigtable-table"}
    for store, symptom in absent.items():
        answer = evidence.readings["stores"].get(store)
        if answer and answer.get("problem"):
            problem = str(answer["problem"])
            name = symptom if _TABLES.search(problem) else store
            yield _finding(name, str(answer.get("what", store)), problem)


def redis(evidence: Evidence) -> Iterator[Finding]:
    """The nodes of the Redis Cluster: whether each answers, serves its slots, and has its replicas."""
    answer = evidence.readings["stores"].get("redis")
    if not answer:
        return
    nodes: list[dict[str, Any]] = answer["nodes"]
    for node in nodes:
        if node.get("problem"):
            yield _finding("redis-silent", f"pod {node['name']}", str(node["problem"]), name=node["name"])
        elif node["maxMemory"] and node["usedMemory"] > MEMORY_FULL * node["maxMemory"]:
            part = node["usedMemory"] / node["maxMemory"]
            found = f"{part:.0%} of the {node['maxMemory'] // 2**20} MiB that its data may take"
            yield _finding("redis-memory", f"pod {node['name']}", found, name=node["name"])
    seen = [node for node in nodes if not node.get("problem")]
    bad = [node for node in seen if node["state"] != "ok" or node["slots"] != SLOTS]
    if bad:
        told = f"{bad[0]['name']} says cluster_state {bad[0]['state']}, {bad[0]['slots']} of {SLOTS} slots assigned"
        yield _finding("redis-slots", "Redis Cluster", told)
    wanted = evidence.settings.redis_replicas
    for node in seen:
        if node["role"] == "master" and node["owned"] and node["replicas"] < wanted:
            found = f"{node['replicas']} of {wanted} replicas are in step"
            yield _finding("redis-replication", f"pod {node['name']}", found, name=node["name"])
        elif node["role"] == "slave" and not node["linked"]:
            found = "it has lost the link to its master"
            yield _finding("redis-replication", f"pod {node['name']}", found, name=node["name"])
    if answer.get("problem"):
        yield _finding("redis-write", "Redis Cluster", str(answer["problem"]), name="redis-0")


def pubsub(evidence: Evidence) -> Iterator[Finding]:
    """The stand-alone Redis that tells pods of Whisper what goes on in others."""
    answer = evidence.readings["stores"].get("pubsub")
    if answer and answer.get("problem"):
        yield _finding("pubsub", "redis-pubsub", str(answer["problem"]))


def persister(evidence: Evidence) -> Iterator[Finding]:
    """The age of the oldest message that waits in Redis. Whose it is is not asked."""
    answer = evidence.readings["stores"].get("persister")
    if answer and not answer.get("problem") and answer["oldestSeconds"] > BEHIND_SECONDS:
        minutes = answer["oldestSeconds"] / 60
        found = (
            f"the oldest of {answer['queues']} queues has waited {minutes:.0f} min; it should be {PERSIST_MINUTES + 2}"
        )
        yield _finding("persister-behind", "messages in Redis", found)


def _finding(symptom: str, about: str, found: str, **names: str) -> Finding:
    return Finding(symptom=symptom, about=about, found=short(found), names=names)


CHECKS: Iterable[Check] = (
    Check("tables", "a row in DynamoDB and Bigtable, an object in the object store", ("stores",), tables, running=True),
    Check("redis", "Redis' nodes, slots, replicas and memory, and a key of its own", ("stores",), redis, running=True),
    Check("pubsub", "a notification through Redis", ("stores",), pubsub, running=True),
    Check("persister", "how long messages wait in Redis", ("stores",), persister, running=True),
)
