"""What the stores of a stack are called, and how they are reached."""

import os
from typing import Any

import pytest

from config.loading import load
from config.schema import dynamodb, objects
from migration import endpoints, stores
from migration.endpoints import Addresses
from migration.errors import MigrationError
from tests.graph.stack import configuration
from tests.unit.migration.conftest import Aws

LOCAL, CLOUD = load({}), load(configuration("prod"))
TYPED = {"pre-keys": "one", "cdn0": "two"}
NOWHERE: dict[str, Any] = {"region": None, "account": None, "at": Addresses()}


def test_emulators_have_the_names_of_the_schema() -> None:
    names = endpoints.physical_names(LOCAL, {})
    assert names.tables == {path: table.name for path, table in dynamodb.TABLES.items()}
    assert names.buckets == {role: objects.BUCKETS[role] for role in ("pre-keys", "cdn0")}
    assert (names.project, names.instance) == ("flatline-dev", "storage")
    assert endpoints.physical_names(LOCAL, {"cdn0": "own"}).buckets["cdn0"] == "own"


def test_a_cloud_has_names_of_its_own() -> None:
    names = endpoints.physical_names(CLOUD, TYPED)
    assert names.tables["accounts.tableName"] == "flatline-prod-Accounts"
    assert len(set(names.tables.values())) == len(dynamodb.TABLES)
    assert names.buckets == TYPED
    assert names.project == "flatline-example"


@pytest.mark.parametrize("role", TYPED)
def test_the_name_of_a_bucket_in_a_cloud_must_be_typed(role: str) -> None:
    typed = {other: name for other, name in TYPED.items() if other != role}
    with pytest.raises(MigrationError, match=f"bucket for {role} is not known") as refused:
        endpoints.physical_names(CLOUD, typed)
    assert f"--{role}-bucket" in refused.value.remedies[0]


def test_services_of_the_emulators() -> None:
    own = load({"flatline:namespace": "chat"})
    assert {name: (each.namespace, each.name, each.port) for name, each in endpoints.emulators(own).items()} == {
        "dynamodb": ("chat-emulators", "localstack", 4566),
        "s3": ("chat", "object-store", 7070),
        "cdn0": ("chat", "object-store", 7070),
        "bigtable": ("chat", "cbtemulator", 9000),
    }
    assert endpoints.emulators(CLOUD) == {}


def test_emulators_get_their_own_credentials_and_a_cloud_those_of_its_account() -> None:
    emulators = endpoints.connection(LOCAL, **NOWHERE)
    assert (emulators.region, emulators.account) == ("us-east-1", None)
    assert emulators.credentials == {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    cloud = endpoints.connection(CLOUD, **NOWHERE)
    assert (cloud.region, cloud.account, cloud.credentials) == ("eu-central-1", "111122223333", None)
    assert emulators.object_credentials == emulators.credentials
    given: dict[str, Any] = {**NOWHERE, "at": Addresses(dynamodb="http://h", s3="http://o", cdn0="http://o")}
    beside = endpoints.connection(LOCAL, **given)
    assert (beside.credentials, beside.object_credentials) == (emulators.credentials, None)
    typed = endpoints.connection(LOCAL, region="eu-west-1", account="123456789012", at=Addresses(dynamodb="http://h"))
    assert (typed.region, typed.account, typed.credentials) == ("eu-west-1", "123456789012", None)


@pytest.mark.parametrize(("what", "typed"), [("account", "123456789012"), ("region", "us-east-1")])
def test_the_account_of_a_stack_cannot_be_typed_away(what: str, typed: str) -> None:
    given: dict[str, Any] = {**NOWHERE, what: typed}
    with pytest.raises(MigrationError, match=f"--{what} is {typed}, and the stack's target.aws.{what} is"):
        endpoints.connection(CLOUD, **given)


@pytest.mark.parametrize(("account", "allowed"), [("123456789012", True), ("111122223333", False)])
def test_credentials_of_another_account_are_refused(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, account: str, allowed: bool
) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws.url)
    connection = endpoints.Connection(
        region="us-east-1", account=account, at=Addresses(dynamodb=aws.url, bigtable="127.0.0.1:9")
    )
    opened = stores.opened(endpoints.physical_names(LOCAL, {}), connection, readers=1)
    if allowed:
        with opened as collections:
            assert len(collections) == len(dynamodb.TABLES) + 4 + 2
        return
    with pytest.raises(MigrationError, match="belong to account 123456789012, and the stack is in account"), opened:
        pass


def test_the_variable_of_googles_emulator_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stores.EMULATOR_VARIABLE, "somewhere:1")
    with stores._emulator("127.0.0.1:9"):
        assert os.environ[stores.EMULATOR_VARIABLE] == "127.0.0.1:9"
    with stores._emulator(None):
        assert stores.EMULATOR_VARIABLE not in os.environ, "real Bigtable is never taken for an emulator"
    assert os.environ[stores.EMULATOR_VARIABLE] == "somewhere:1"
