"""The settings of a cloud target: every mistake names its key and what to write instead."""

import json
from typing import Any

import pytest

from config.loading import SettingsError, load
from tests.graph.stack import configuration
from tests.unit.policies.good import ABSENT, put

TARGET = json.loads(configuration("prod")["flatline:target"])
CLUSTERS = TARGET["gcp"]["clusters"]


def problems(target: dict[str, Any], **others: Any) -> list[str]:
    """The lines that a target gives, and other blocks."""
    raw = {f"flatline:{key}": json.dumps(value) for key, value in {"target": target, **others}.items()}
    with pytest.raises(SettingsError) as caught:
        load({**configuration("prod"), **raw})
    return caught.value.problems


MISTAKES: list[tuple[str, str, Any, str, str]] = [
    ("no account", "aws.account", ABSENT, "target.aws.account", "write it"),
    ("an account as a number", "aws.account", 111122223333, "target.aws.account", "write text"),
    ("a short account", "aws.account", "1234", "target.aws.account", "12 digits"),
    ("a zone for a region", "aws.region", "eu-central-1a", "aws.region", "eu-central-1"),
    ("a long prefix", "aws.namePrefix", "a" * 21, "aws.namePrefix", "3 to 20"),
    ("a prefix with a dot", "aws.namePrefix", "a.b.c", "aws.namePrefix", "inner hyphens"),
    ("no network", "aws.networks", [], "aws.networks", "at least one"),
    ("an unknown identity", "aws.identity", {"kind": "irsa"}, "aws.identity.kind", "web-identity"),
    ("an identity without kind", "aws.identity", {}, "aws.identity.kind", "write it"),
    (
        "an issuer without scheme",
        "aws.identity",
        {"kind": "web-identity", "issuer": "oidc.example.org"},
        "aws.identity.issuer",
        "https://",
    ),
    ("a node type of EC2", "aws.redis.nodeType", "r7g.large", "redis.nodeType", "cache"),
    ("a node type without size", "aws.redis.nodeType", "cache.r7g", "redis.nodeType", "cache"),
    ("another node type of EC2", "aws.redis.pubsubNodeType", "t4g.small", "redis.pubsubNodeType", "cache"),
    ("no shard", "aws.redis.shards", 0, "redis.shards", "1"),
    ("more replicas than AWS has", "aws.redis.replicasPerShard", 6, "replicasPerShard", "5"),
    ("snapshots for too long", "aws.redis.snapshotDays", 36, "redis.snapshotDays", "35"),
    ("backups for too long", "gcp.backupDays", 91, "gcp.backupDays", "90"),
    ("backups for too short", "gcp.backupDays", 2, "gcp.backupDays", "3"),
    (
        "nodes that are full before there are more",
        "gcp.clusters.0.autoscaling",
        {"minNodes": 1, "maxNodes": 2, "cpuPercent": 81},
        "autoscaling.cpuPercent",
        "80",
    ),
    ("a key by its alias", "aws.kmsKey", "alias/flatline", "aws.kmsKey", "ARN"),
    (
        "a key of another region",
        "aws.kmsKey",
        "arn:aws:kms:us-east-1:111122223333:key/1",
        "target.aws",
        "is not in region eu-central-1",
    ),
    ("a tag of ours", "aws.tags", {"stack": "x"}, "target.aws", "remove it"),
    ("a table to replace", "aws.replaceTables", ["Acounts"], "aws.replaceTables", "no table"),
    ("a table to adopt", "aws.adopt", {"tables": {"X": "yyy"}}, "adopt.tables", "no table"),
    ("a role of a bucket", "aws.adopt", {"buckets": {"cdn1": "yyy"}}, "buckets.cdn1", "cdn0"),
    ("a zone's name", "aws.dns", {"zone": "example.org"}, "aws.dns.zone", "Z..."),
    ("a project's number", "gcp.project", "123456", "gcp.project", "project id"),
    ("a short instance", "gcp.instance", "abc", "gcp.instance", "6 to 33"),
    ("no cluster", "gcp.clusters", [], "gcp.clusters", "at least one"),
    ("a region for a zone", "gcp.clusters.0.zone", "europe-west3", "clusters.0.zone", "-a"),
    ("a zone twice", "gcp.clusters", CLUSTERS * 2, "target.gcp", "a zone for each"),
    (
        "too much autoscaling",
        "gcp.clusters.0.autoscaling",
        {"minNodes": 1, "maxNodes": 11},
        "clusters.0.autoscaling",
        "1 (minNodes) to 10",
    ),
    ("a table of groups to replace", "gcp.replaceTables", ["group"], "gcp.replaceTables", "groups"),
    ("a local key", "volumes", {}, "target.volumes", "no known key"),
    ("a key of the cloud", "storageClas", "x", "target.storageClas", "did you mean storageClass?"),
    ("a misspelt block", "awss", {}, "target.awss", "did you mean aws?"),
    ("another identity's key", "aws.identity.issuer", "x", "identity.issuer", "cluster, kind"),
]
"""What is wrong, the path of the key below the target, its value, and what the line says."""


@pytest.mark.parametrize(("path", "value", "key", "remedy"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_names_its_key_and_its_remedy(path: str, value: Any, key: str, remedy: str) -> None:
    steps = tuple(int(step) if step.isdigit() else step for step in path.split("."))
    (line,) = problems(put(TARGET, steps, value))
    assert key in line
    assert remedy in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("secrets", "remedy"),
    [
        ({"cdn0-whisper-access-key": {"epoch": 2}}, "comes with cdn0-whisper-secret-key"),
        ({"cdn0-storage-secret-key": {"value": "0" * 64}}, "AWS makes it"),
        ({"cdn0-storage-secret-key": {"epoch": 3, "activeEpoch": 1}}, "write 2 or more"),
    ],
)
def test_keys_that_sign_uploads_are_those_of_aws(secrets: dict[str, Any], remedy: str) -> None:
    (line,) = problems(TARGET, secrets=secrets)
    assert remedy in line
    assert "0000" not in line


def test_the_volume_of_uploads_has_one_pod() -> None:
    with pytest.raises(SettingsError, match="one pod at a time"):
        load({"flatline:scaling": json.dumps({"cdn3": {"replicas": 2}})})


def test_growth_is_upwards() -> None:
    with pytest.raises(SettingsError, match="write more than replicas 3"):
        load({"flatline:scaling": json.dumps({"whisper": {"replicas": 3, "maxReplicas": 3}})})


def test_entry_points_of_the_chart_have_its_names() -> None:
    with pytest.raises(SettingsError, match="web and websecure"):
        load({"flatline:ingress": json.dumps({"install": {}, "tlsEntryPoint": "https"})})


def test_a_target_without_kind_is_local() -> None:
    settings = load({"flatline:target": json.dumps({"volumes": {"redis": "4Gi"}})})
    assert settings.target.kind == "local"
    assert settings.target.volumes.redis == "4Gi"
