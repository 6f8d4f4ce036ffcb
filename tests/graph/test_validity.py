"""Every object is one that Kubernetes and Traefik accept, under an identity that nobody changes by accident."""

from pathlib import Path

import kubernetes_validate
import pytest

from config.schema.dynamodb import TABLES
from tests.graph.stack import Stack, configuration, load, recorded, stack_files

HOLDS_DATA = {
    "aws:dynamodb/table:Table",
    "aws:elasticache/replicationGroup:ReplicationGroup",
    "aws:kms/key:Key",
    "aws:s3/bucket:Bucket",
    "aws:s3/bucketObjectv2:BucketObjectv2",
    "gcp:bigtable/instance:Instance",
    "gcp:bigtable/table:Table",
}
"""Of clouds, besides the stand-alone Redis, which keeps nothing."""

MADE_ONCE = {"random:index/randomPassword:RandomPassword", "random:index/randomId:RandomId"}
"""Seeds of secrets, and of the buckets' names."""

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("version", ["1.33", "1.34"])
def test_every_object_is_valid(stack: Stack, version: str) -> None:
    for found in stack.objects:
        if not found["apiVersion"].startswith("traefik.io/"):
            kubernetes_validate.validate(found, version, strict=True)


def test_objects_are_unique(stack: Stack) -> None:
    keys = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in stack.objects]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", stack_files())
def test_identities_are_those_that_reviewers_have_seen(name: str, request: pytest.FixtureRequest) -> None:
    """A changed URN is a deleted and a created resource. After a wanted change: ./flatline test --update-golden."""
    urns = "".join(f"{resource.urn}\n" for resource in load(name).resources)
    golden = GOLDEN / f"{name}.urns"
    if request.config.getoption("--update-golden"):
        golden.write_text(urns)
    assert golden.read_text() == urns


@pytest.mark.parametrize("name", stack_files())
def test_preview_and_update_show_the_same(name: str) -> None:
    preview = recorded(configuration(name), stack=name, preview=True)
    assert [r.urn for r in preview.resources] == [r.urn for r in load(name).resources]


def test_every_resource_has_an_explicit_provider(stack: Stack) -> None:
    for resource in stack.resources:
        if resource.custom and not resource.type.startswith("pulumi:providers:"):
            assert resource.provider
            assert "::default" not in resource.provider


@pytest.mark.parametrize("name", stack_files())
def test_a_stack_has_no_default_providers(name: str) -> None:
    assert configuration(name)["pulumi:disable-default-providers"] == '["*"]'


def test_types_are_ours(stack: Stack) -> None:
    components = {resource.type for resource in stack.resources if not resource.custom}
    assert all(token.startswith(("flatline:", "pulumi:pulumi:Stack")) for token in components)


def test_what_holds_data_is_protected(stack: Stack) -> None:
    protected = {"Namespace", "PersistentVolumeClaim"}
    for resource in stack.resources:
        kind = resource.outputs.get("kind")
        lasting = kind in protected or resource.type in MADE_ONCE
        lasting = lasting or (resource.type.startswith("tls:") and resource.name.startswith("authority-"))
        if resource.type in HOLDS_DATA and resource.name != "redis-pubsub":
            assert resource.retain_on_delete, resource.urn
            lasting = True
        assert resource.protect == lasting, resource.urn


def test_schema_has_the_31_tables() -> None:
    assert len(TABLES) == len({table.name for table in TABLES.values()}) == 31
