"""The settings of a cloud target: every mistake names its key and what to write instead."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from config.loading import SettingsError, load
from tests.graph.stack import configuration

Change = Callable[[dict[str, Any]], object]


def problems(change: Change, **others: Any) -> list[str]:
    """The lines that a changed target gives."""
    raw = dict(configuration("prod"))
    target = copy.deepcopy(json.loads(raw["flatline:target"]))
    change(target)
    raw["flatline:target"] = json.dumps(target)
    raw |= {f"flatline:{key}": json.dumps(value) for key, value in others.items()}
    with pytest.raises(SettingsError) as caught:
        load(raw)
    return caught.value.problems


def nothing(target: dict[str, Any]) -> None:
    """For what another block does wrong."""


MISTAKES: list[tuple[str, Change, str, str]] = [
    ("no account", lambda t: t["aws"].pop("account"), "target.aws.account", "write it"),
    ("an account as a number", lambda t: t["aws"].update(account=111122223333), "target.aws.account", "write text"),
    ("a short account", lambda t: t["aws"].update(account="1234"), "target.aws.account", "12 digits"),
    ("a zone for a region", lambda t: t["aws"].update(region="eu-central-1a"), "aws.region", "eu-central-1"),
    ("a long prefix", lambda t: t["aws"].update(namePrefix="a" * 21), "aws.namePrefix", "3 to 20"),
    ("a prefix with a dot", lambda t: t["aws"].update(namePrefix="a.b.c"), "aws.namePrefix", "inner hyphens"),
    ("no network", lambda t: t["aws"].update(networks=[]), "aws.networks", "at least one"),
    ("an unknown identity", lambda t: t["aws"].update(identity={"kind": "irsa"}), "aws.identity.kind", "web-identity"),
    ("an identity without kind", lambda t: t["aws"].update(identity={}), "aws.identity.kind", "write it"),
    (
        "an issuer without scheme",
        lambda t: t["aws"].update(identity={"kind": "web-identity", "issuer": "oidc.example.org"}),
        "aws.identity.issuer",
        "https://",
    ),
    ("a node type of EC2", lambda t: t["aws"]["redis"].update(nodeType="r7g.large"), "redis.nodeType", "cache"),
    ("a node type without size", lambda t: t["aws"]["redis"].update(nodeType="cache.r7g"), "redis.nodeType", "cache"),
    (
        "another node type of EC2",
        lambda t: t["aws"]["redis"].update(pubsubNodeType="t4g.small"),
        "redis.pubsubNodeType",
        "cache",
    ),
    ("no shard", lambda t: t["aws"]["redis"].update(shards=0), "redis.shards", "1"),
    ("more replicas than AWS has", lambda t: t["aws"]["redis"].update(replicasPerShard=6), "replicasPerShard", "5"),
    ("snapshots for too long", lambda t: t["aws"]["redis"].update(snapshotDays=36), "redis.snapshotDays", "35"),
    ("backups for too long", lambda t: t["gcp"].update(backupDays=91), "gcp.backupDays", "90"),
    ("backups for too short", lambda t: t["gcp"].update(backupDays=2), "gcp.backupDays", "3"),
    (
        "nodes that are full before there are more",
        lambda t: t["gcp"]["clusters"][0].update(autoscaling={"minNodes": 1, "maxNodes": 2, "cpuPercent": 81}),
        "autoscaling.cpuPercent",
        "80",
    ),
    ("a key by its alias", lambda t: t["aws"].update(kmsKey="alias/flatline"), "aws.kmsKey", "ARN"),
    (
        "a key of another region",
        lambda t: t["aws"].update(kmsKey="arn:aws:kms:us-east-1:111122223333:key/1"),
        "target.aws",
        "is not in region eu-central-1",
    ),
    ("a tag of ours", lambda t: t["aws"].update(tags={"stack": "x"}), "target.aws", "remove it"),
    ("a table to replace", lambda t: t["aws"].update(replaceTables=["Acounts"]), "aws.replaceTables", "no table"),
    ("a table to adopt", lambda t: t["aws"].update(adopt={"tables": {"X": "yyy"}}), "adopt.tables", "no table"),
    ("a role of a bucket", lambda t: t["aws"].update(adopt={"buckets": {"cdn1": "yyy"}}), "buckets.cdn1", "cdn0"),
    ("a zone's name", lambda t: t["aws"].update(dns={"zone": "example.org"}), "aws.dns.zone", "Z..."),
    ("a project's number", lambda t: t["gcp"].update(project="123456"), "gcp.project", "project id"),
    ("a short instance", lambda t: t["gcp"].update(instance="abc"), "gcp.instance", "6 to 33"),
    ("no cluster", lambda t: t["gcp"].update(clusters=[]), "gcp.clusters", "at least one"),
    ("a region for a zone", lambda t: t["gcp"]["clusters"][0].update(zone="europe-west3"), "clusters.0.zone", "-a"),
    ("a zone twice", lambda t: t["gcp"].update(clusters=t["gcp"]["clusters"] * 2), "target.gcp", "a zone for each"),
    (
        "too much autoscaling",
        lambda t: t["gcp"]["clusters"][0].update(autoscaling={"minNodes": 1, "maxNodes": 11}),
        "clusters.0.autoscaling",
        "1 (minNodes) to 10",
    ),
    ("a table of groups to replace", lambda t: t["gcp"].update(replaceTables=["group"]), "gcp.replaceTables", "groups"),
    ("a local key", lambda t: t.update(volumes={}), "target.volumes", "no known key"),
    ("a key of the cloud", lambda t: t.update(storageClas="x"), "target.storageClas", "did you mean storageClass?"),
    ("a misspelt block", lambda t: t.update(awss={}), "target.awss", "did you mean aws?"),
    ("another identity's key", lambda t: t["aws"]["identity"].update(issuer="x"), "identity.issuer", "cluster, kind"),
]


@pytest.mark.parametrize(("change", "key", "remedy"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_names_its_key_and_its_remedy(change: Change, key: str, remedy: str) -> None:
    (line,) = problems(change)
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
    (line,) = problems(nothing, secrets=secrets)
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
