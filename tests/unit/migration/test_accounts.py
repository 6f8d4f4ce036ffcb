"""What goes with an account, what stays, and what is refused."""

import base64
import json
import uuid
from collections.abc import Iterator, Sequence

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from errors import FlatlineError
from migration import accounts
from migration.accounts import _slot, _tags, _with_devices
from migration.errors import MigrationError
from tests.lab.redis import key_slot
from tests.unit.migration.whisper import NUMBER, OTHER, SALT, TOKEN, Service, found, identifiers, stores


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with stores() as made:
        yield made


def test_a_deleted_account_leaves_what_whisper_leaves(service: Service) -> None:
    """Nothing of another account is touched; the number keeps its identifier, and gets the account's one back."""
    alone = service.count()
    service.register(OTHER, devices=1)
    both = service.count()
    other = {name: both[name] - alone.get(name, 0) for name in both}

    service.accounts.delete(found(service))

    left = service.count()
    assert left.pop("deletedAccounts.tableName") == 1
    assert left.pop("phoneNumberIdentifiers.tableName") == 2
    assert left == {name: count for name, count in other.items() if name != "phoneNumberIdentifiers.tableName"}
    (row,) = service.dynamodb.scan(TableName="DeletedAccounts")["Items"]
    aci, pni = identifiers(NUMBER)
    assert (row["U"], row["P"]["S"]) == (aci, str(uuid.UUID(bytes=pni["B"])))
    assert service.accounts.find(NUMBER) is None
    assert found(service, OTHER).devices


def test_the_cache_forgets_a_deleted_account_and_its_connections_are_closed(service: Service) -> None:
    account = found(service)
    service.accounts.delete(account)
    tag = f"{account.identifier}::2"
    for command in (
        ["DEL", f"Account3::{account.identifier}"],
        ["DEL", f"AccountMap::{account.pni}"],
        ["DEL", f"profiles::{account.identifier}"],
        ["DEL", f"user_queue::{{{tag}}}"],
        ["DEL", f"user_queue_metadata::{{{tag}}}"],
    ):
        assert command in service.redis.commands
    (index,) = (words[1] for words in service.redis.commands if words[0] == "ZREM" and words[2].endswith(f"{tag}}}"))
    assert key_slot(index.partition("{")[2].rstrip("}")) == key_slot(tag), "both are on one node"
    message = b"\x0a\x10" + account.identifier.bytes + b"\x12\x02\x01\x02"
    assert service.redis.published == [("disconnection_requests", message)]


def test_a_deletion_that_was_cut_off_is_run_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise MigrationError("cut off")

    with monkeypatch.context() as patched:
        patched.setattr(service.redis, "cluster", broken)
        with pytest.raises(MigrationError, match="cut off"):
            service.accounts.delete(found(service))
    account = found(service)
    assert "deletedAccountsLock.tableName" not in service.count(), "the lock is given back"
    service.accounts.delete(account)
    assert service.accounts.find(NUMBER) is None


@pytest.mark.parametrize("by", ["number", "identifier"])
def test_redis_that_fails_after_the_tables_is_asked_again_and_then_by_another_run(
    service: Service, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = found(service)
    asked = list[str]()

    def forgets_nothing(commands: Sequence[Sequence[str]]) -> None:
        if any(words[1].startswith("Account3") for words in commands):
            asked.append("forget")
            raise FlatlineError("Redis does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(service.redis, "cluster", forgets_nothing)
        with pytest.raises(MigrationError, match="deleted from the tables, but Redis may serve it") as refused:
            service.accounts.delete(account)
    assert len(asked) == 3
    assert "again" in refused.value.in_a_line
    assert "deletedAccountsLock.tableName" not in service.count(), "the lock is given back"

    who = NUMBER if by == "number" else account.identifier
    assert service.accounts.find(who) is None
    deleted = service.accounts.deleted(who)
    assert deleted == accounts.Deleted(account.identifier, account.pni)
    service.accounts.forget(deleted)
    assert ["DEL", f"Account3::{account.identifier}"] in service.redis.commands
    assert ["DEL", f"AccountMap::{account.pni}"] in service.redis.commands
    ((_, message),) = service.redis.published
    assert message == b"\x0a\x10" + account.identifier.bytes + b"\x12\x7f" + bytes(range(1, 128)), "every device"


def test_an_account_is_found_by_its_identifier(service: Service) -> None:
    account = found(service)
    assert service.accounts.find(account.identifier) == account
    for nobody in (OTHER, uuid.uuid4()):
        assert service.accounts.find(nobody) is None
        assert service.accounts.deleted(nobody) is None


def test_a_number_that_has_another_account_meanwhile_keeps_it(service: Service) -> None:
    """Somebody may take the number over while the command waits for it to be typed."""
    stale = found(service)
    service.register(OTHER)
    service.put("accounts.phoneNumberTableName", P={"S": NUMBER}, U=identifiers(OTHER)[0])
    before = service.count()
    with pytest.raises(MigrationError, match="has no such account any more; nothing was changed"):
        service.accounts.delete(stale)
    assert service.count() == before
    assert service.redis.commands == []


def test_a_store_that_does_not_answer_is_said(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    monkeypatch.setattr(service.dynamodb, "update_item", broken)
    with pytest.raises(MigrationError, match="changing the account: "):
        service.accounts.block(found(service))


def test_a_blocked_device_has_no_password_and_gets_its_own_back(service: Service) -> None:
    before = found(service)
    blocked = service.accounts.block(before)
    assert blocked.blocked
    assert blocked.version == 4
    tokens = [each["authToken"] for each in json.loads(blocked.data)["devices"]]
    assert all(token.startswith("blocked.2.") for token in tokens), "neither form of a hash (SaltedTokenHash)"
    assert "registrationRecovery.tableName" not in service.count()
    assert service.redis.published
    assert ["DEL", f"Account3::{before.identifier}"] in service.redis.commands

    after = service.accounts.unblock(blocked)
    assert not after.blocked
    assert after.data == before.data, "nothing else of it was written anew"
    assert service.accounts.block(after).version == 6


def test_a_change_at_the_same_time_is_kept(service: Service) -> None:
    stale = found(service)
    changed = stale.data.replace(b'"registrationId":7', b'"registrationId":8')
    aci, _ = identifiers(NUMBER)
    service.dynamodb.update_item(
        TableName="Accounts",
        Key={"U": aci},
        UpdateExpression="SET D = :data, V = :version",
        ExpressionAttributeValues={":data": {"B": changed}, ":version": {"N": "4"}},
    )
    blocked = service.accounts.block(stale)
    assert blocked.blocked
    assert b'"registrationId":8' in blocked.data


def test_a_lock_that_is_held_is_respected_and_a_dead_one_taken(service: Service) -> None:
    """As amazon-dynamodb-lock-client: an owner that lives writes another version before its lease ends."""
    account = found(service)
    lock = {"P": {"S": str(account.pni)}, "leaseDuration": {"S": "15000"}, "ownerName": {"S": "whisper"}}
    service.put("deletedAccountsLock.tableName", **lock, recordVersionNumber={"S": "1"})

    def alive(seconds: float) -> None:
        service.put("deletedAccountsLock.tableName", **lock, recordVersionNumber={"S": "2"})

    before = service.count()
    service.accounts._sleep = alive
    with pytest.raises(MigrationError, match="somebody else"):
        service.accounts.delete(account)
    assert service.count() == before

    service.accounts._sleep = service.slept.append
    service.accounts.delete(account)
    assert service.slept == [16.0]
    assert "deletedAccountsLock.tableName" not in service.count()


def test_nothing_of_a_persons_content_is_in_what_is_shown(service: Service) -> None:
    (account,) = service.accounts.all()
    shown = repr(account)
    for secret in (TOKEN[:20], SALT, "c2VjcmV0", base64.b64encode(account.username or b"").decode()):
        assert secret not in shown


def test_an_account_of_another_form_is_refused(service: Service) -> None:
    aci, _ = identifiers(NUMBER)
    service.dynamodb.update_item(
        TableName="Accounts",
        Key={"U": aci},
        UpdateExpression="SET D = :data",
        ExpressionAttributeValues={":data": {"B": b'{"devices": 3}'}},
    )
    with pytest.raises(MigrationError, match="form"):
        service.accounts.find(NUMBER)


@given(st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), min_size=1, max_size=4, unique=True))
def test_blocking_is_undone_byte_for_byte(hashes: list[str]) -> None:
    text = json.dumps({"devices": [{"id": n, "authToken": f"2.{each}"} for n, each in enumerate(hashes, 1)]})
    data = text.replace(": ", ":").encode()
    blocked = _with_devices(data, blocked=True)
    assert _with_devices(blocked, blocked=True) == blocked
    assert blocked.count(accounts.SIGNED_OUT.encode()) == len(hashes)
    assert _with_devices(blocked, blocked=False) == data


def test_every_slot_has_a_tag_of_its_own() -> None:
    tags = _tags()
    assert len(tags) == 16384
    for slot in (0, 1, 5000, 16383):
        assert key_slot(tags[slot]) == slot == _slot(tags[slot])
