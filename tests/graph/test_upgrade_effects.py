"""What `upgrade --check` says of a change, on the objects of stack dev."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from cli import upgrade_effects
from cli.objects import Object
from cli.upgrade_effects import Effects, Pair
from render.manifests import kubernetes_objects
from tests.graph.stack import Stack, load, recorded, stack_files
from tests.graph.test_calls import TARGETS, with_calls
from tests.graph.test_cloud_stack import VARIANTS
from tests.graph.test_cloud_stack import changed as changed_stack

Content = dict[str, Any]


@pytest.fixture(scope="module")
def dev() -> list[Object]:
    return [Object(each.outputs) for each in kubernetes_objects(load("dev").recording)]


def changed(dev: list[Object], *edits: tuple[str, str, Callable[[Content], object]]) -> Effects:
    """The effects of edits: kind, role and what is done to the object."""
    pairs: list[Pair] = []
    for each in dev:
        content = copy.deepcopy(dict(each.content))
        for kind, role, edit in edits:
            if (each.kind, each.role) == (kind, role):
                edit(content)
        pairs.append((each, Object(content)))
    return upgrade_effects.of(pairs)


def container(content: Content) -> Content:
    found: Content = content["spec"]["template"]["spec"]["containers"][0]
    return found


def test_nothing(dev: list[Object]) -> None:
    assert upgrade_effects.of([(each, each) for each in dev]) == Effects((), (), 0, 0, 0)


def test_pods_their_reasons_and_their_order(dev: list[Object]) -> None:
    def image(content: Content) -> None:
        container(content)["image"] = "registry.example.org/new:2"

    found = changed(dev, *(("Deployment", name, image) for name in ("whisper", "object-store", "cdn0-gate")))
    store, gate, whisper = found.restarts
    assert (gate.workload, gate.after) == ("Deployment flatline/cdn0-gate", ("object-store",))
    assert (store.workload, store.after) == ("Deployment flatline/object-store", ())
    assert (whisper.workload, whisper.after) == ("Deployment flatline/whisper", ("object-store",))
    assert whisper.why[0].startswith("image of whisper: ")
    assert whisper.why[0].endswith("becomes registry.example.org/new:2")
    assert whisper.how == "one pod after the other, each replaced by one that is ready"
    assert "WebSockets stay open for 10 s" in whisper.clients
    assert store.how == "the pod ends before the next one starts"
    assert (found.changed, found.new, found.gone) == (3, 0, 0)


def test_a_secret_that_changes_is_named_by_its_role_alone(dev: list[Object]) -> None:
    def rename(content: Content) -> None:
        text = json.dumps(content)
        (name,) = {each.name for each in dev if each.kind == "Secret" and each.role == "redis-password"}
        content.update(json.loads(text.replace(name, "redis-password-ffffffffff")))

    (redis,) = changed(dev, ("StatefulSet", "redis", rename)).restarts
    assert redis.why == ("files: Secret redis-password",)
    assert redis.pods == 3
    assert redis.how == "one pod after the other, each away while it restarts"


def test_values_of_an_environment_are_not_shown(dev: list[Object]) -> None:
    def edit(content: Content) -> None:
        container(content).setdefault("env", []).append({"name": "HINT", "value": "private"})

    (storage,) = changed(dev, ("Deployment", "storage", edit)).restarts
    assert storage.why == ("env of storage",)


def test_tables_buckets_and_claims(dev: list[Object]) -> None:
    def seed(content: Content) -> None:
        found = json.loads(content["data"]["seed.json"])
        found["tables"] = [each for each in found["tables"] if each["TableName"] != "Accounts"]
        found["tables"].append({"TableName": "Polls"})
        content["data"]["seed.json"] = json.dumps(found)

    def bucket(content: Content) -> None:
        container(content)["args"].append("stickers=flatline-cdn0")

    def grow(content: Content) -> None:
        content["spec"]["resources"]["requests"]["storage"] = "99Gi"

    def shrink(content: Content) -> None:
        content["spec"]["replicas"] = 2

    found = changed(
        dev,
        ("ConfigMap", "localstack-seed", seed),
        ("Deployment", "object-store", bucket),
        ("PersistentVolumeClaim", "objects", grow),
        ("StatefulSet", "redis", shrink),
    )
    assert {(each.what, each.change) for each in found.data} == {
        ("table Accounts", "gone"),
        ("table Polls", "new"),
        ("bucket stickers", "new"),
        ("claim flatline/objects", "changed"),
        ("claim flatline/data-redis-2", "gone"),
    }


def test_a_new_claim_is_empty_and_bigtable_counts(dev: list[Object]) -> None:
    pairs: list[Pair] = [
        (None if each.kind in {"PersistentVolumeClaim", "Job"} else each, each)
        for each in dev
        if each.kind in {"PersistentVolumeClaim", "Job"}
    ]
    found = {each.what: each for each in upgrade_effects.of(pairs).data}
    assert found["claim flatline/objects"].how.endswith("empty")
    assert found["table contacts (Bigtable)"].change == "new"


def test_cloud_resources_that_hold_data(dev: list[Object]) -> None:
    cloud = [
        ("aws:dynamodb/table:Table", "accounts", "replace"),
        ("aws:s3/bucketPolicy:BucketPolicy", "cdn", "update"),
        ("aws:iam/role:Role", "whisper", "create"),
    ]
    (only,) = upgrade_effects.of([], cloud).data
    assert (only.what, only.change) == ("aws:dynamodb/table:Table accounts", "replace")


def test_what_clients_notice_is_known_of_every_workload_of_every_option() -> None:
    stacks = [load(name) for name in stack_files()] + [with_calls(target, "both") for target in TARGETS]
    stacks += [Stack(recorded(changed_stack(change), stack="prod")) for change in VARIANTS.values() if change]
    names = {each["metadata"]["name"] for stack in stacks for each in stack.of(*upgrade_effects.WORKLOADS)}
    assert names == set(upgrade_effects.NOTICED)


def test_that_calls_end_is_said() -> None:
    before = [Object(each.outputs) for each in kubernetes_objects(with_calls("dev", "both").recording)]

    def image(content: Content) -> None:
        container(content)["image"] = "registry.example.org/new:2"

    found = changed(before, *(("Deployment", name, image) for name in ("turn", "calling-frontend", "calling-backend")))
    ended = {each.workload.rpartition("/")[2]: each.clients for each in found.restarts}
    assert "break off" in ended["turn"]
    assert "group calls end" in ended["calling-backend"]
    assert "group calls go on" in ended["calling-frontend"]
