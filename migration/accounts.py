"""Accounts as Whisper keeps them: what is read of one, and how one is deleted or its devices are signed out.

The forms and the order are those of Whisper's own code (`AccountsManager.delete`, `Accounts`, `KeysManager`,
`PagedSingleUseKEMPreKeyStore`, `ProfilesManager`, `MessagesCache`, `AccountLockManager`; flatline-whisper-service
1b31502d). Nothing reads a person's content: names, profiles and messages are deleted unread.
"""

import binascii
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Protocol

from errors import FlatlineError
from migration.dynamodb import translated_errors
from migration.endpoints import PhysicalNames
from migration.errors import MigrationError
from migration.items import Item

SIGNED_OUT = "blocked."
"""Before the hash of a device's password. No password has a hash of this form (`SaltedTokenHash.verify`)."""

REMEMBERED = timedelta(days=30)
"""How long a deleted account's identifier waits for its number to come back (`DELETED_ACCOUNTS_TIME_TO_LIVE`)."""

LEASE_SECONDS = 120
"""Of the lock on an account; Whisper's own is 15 s, and waits for what the row says."""

ATTEMPTS = 5
FORGET_ATTEMPTS, FORGET_SECONDS = 3, 2.0
"""How often, and after what pause, Redis is asked to forget an account that is gone from the tables."""
DEVICES = range(1, 128)
"""Every number that a device can have (`Device.MAXIMUM_DEVICE_ID`)."""
DISCONNECTION_CHANNEL = "disconnection_requests"
_SLOTS = 16384


class Redis(Protocol):
    """Commands for Redis. Each answers with a number; anything else is an error."""

    def check(self) -> None:
        """Asks both servers for something, before anything is changed."""

    def cluster(self, commands: Sequence[Sequence[str]]) -> None:
        """Runs commands on the nodes that have their keys."""

    def publish(self, channel: str, message: bytes) -> None:
        """Publishes on the server for publications."""


@dataclass(frozen=True)
class Device:
    """A device by its number, 1 for the phone itself. Times are UTC; `seen` is exact to a day."""

    number: int
    created: datetime
    seen: datetime
    blocked: bool


@dataclass(frozen=True)
class Account:
    """An account, without what its owner wrote. `identifier` is its ACI, `pni` that of its number."""

    number: str
    identifier: uuid.UUID
    pni: uuid.UUID
    version: int
    devices: tuple[Device, ...]
    username: bytes | None = field(repr=False)
    data: bytes = field(repr=False)

    @property
    def blocked(self) -> bool:
        """True if every device is signed out by `Accounts.block`."""
        return bool(self.devices) and all(device.blocked for device in self.devices)


@dataclass(frozen=True)
class Deleted:
    """What stays known for some time of an account that is deleted. `pni` is the identifier of its number."""

    identifier: uuid.UUID
    pni: uuid.UUID


@dataclass(frozen=True)
class Holdings:
    """Data that is deleted with an account: rows as (path of the table, key), objects as (role of the bucket, key).

    `rows` go before the account, those of `itself` with it, in one transaction.
    """

    rows: tuple[tuple[str, Item], ...]
    itself: tuple[tuple[str, Item], ...]
    objects: tuple[tuple[str, str], ...]


class Accounts:
    """The accounts of a stack. `dynamodb` and `buckets` (by role) are boto3's clients. Raises MigrationError."""

    def __init__(
        self,
        dynamodb: Any,
        buckets: Mapping[str, Any],
        names: PhysicalNames,
        redis: Redis,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamodb, self._buckets, self._names, self._redis = dynamodb, buckets, names, redis
        self._sleep = sleep

    def check(self) -> None:
        """Raises FlatlineError where Redis could not be changed: a cache would keep what is gone from the tables."""
        self._redis.check()

    def all(self) -> Iterator[Account]:
        """Every account, in the order of the table."""
        for item in self._pages("scan", "accounts.tableName"):
            yield _account(item)

    def find(self, who: str | uuid.UUID) -> Account | None:
        """The account of a number in E.164 form, or of an account's identifier."""
        with translated_errors("reading accounts"):
            own = _binary(who) if isinstance(who, uuid.UUID) else None
            if own is None and (row := self._get("accounts.phoneNumberTableName", {"P": {"S": who}})):
                own = row["U"]
            found = self._get("accounts.tableName", {"U": own}) if own else None
        return _account(found) if found else None

    def deleted(self, who: str | uuid.UUID) -> Deleted | None:
        """The account that a number had, or of an identifier, if it was deleted in the last 30 days."""
        table = self._names.tables["deletedAccounts.tableName"]
        with translated_errors("reading deleted accounts"):
            if isinstance(who, uuid.UUID):
                rows = self._dynamodb.query(
                    TableName=table,
                    IndexName="u_to_p",
                    KeyConditionExpression="#U = :owner",
                    ExpressionAttributeNames={"#U": "U"},
                    ExpressionAttributeValues={":owner": _binary(who)},
                )["Items"]
                return Deleted(who, uuid.UUID(rows[0]["P"]["S"])) if rows else None
            number = self._get("phoneNumberIdentifiers.tableName", {"P": {"S": who}})
            if number is None:
                return None
            pni = uuid.UUID(bytes=bytes(number["PNI"]["B"]))
            row = self._get("deletedAccounts.tableName", {"P": {"S": str(pni)}})
        return Deleted(uuid.UUID(bytes=bytes(row["U"]["B"])), pni) if row else None

    def holdings(self, account: Account) -> Holdings:
        """Data that `delete` deletes."""
        rows: list[tuple[str, Item]] = []
        objects: list[tuple[str, str]] = []
        owners = (account.identifier, account.pni)
        for path in ("ecKeys.tableName", "pqKeys.tableName"):
            for owner in owners:
                rows += [(path, {"U": each["U"], "DK": each["DK"]}) for each in self._owned(path, owner, "U, DK")]
        for owner in owners:
            for each in self._owned("pagedPqKeys.tableName", owner, "U, D, ID"):
                rows.append(("pagedPqKeys.tableName", {"U": each["U"], "D": each["D"]}))
                objects.append(("pre-keys", f"{owner}/{each['D']['N']}/{uuid.UUID(bytes=each['ID']['B'])}"))
        for each in self._owned("profiles.tableName", account.identifier, "U, V, A"):
            rows.append(("profiles.tableName", {"U": each["U"], "V": each["V"]}))
            if each.get("A", {}).get("S"):
                objects.append(("cdn0", each["A"]["S"]))
        rows.append(self._recovery(account))
        return Holdings(tuple(rows), tuple(_own_rows(account)), tuple(objects))

    def delete(self, account: Account) -> Holdings:
        """Deletes an account as Whisper does, and ends its connections; what it held.

        What goes before the account itself may be deleted again: where this fails, it can be run again. Where it fails
        after that, `forget` with what `deleted` finds ends it. Messages that were persisted, holds of earlier
        usernames and groups stay; the first two expire.
        """
        with self._locked(account.pni):
            account = self._again(account)
            held = self.holdings(account)
            with translated_errors("deleting the account"):
                for role, key in held.objects:
                    self._buckets[role].delete_object(Bucket=self._names.buckets[role], Key=key)
                for path, key in held.rows:
                    self._dynamodb.delete_item(TableName=self._names.tables[path], Key=key)
            self._redis.cluster(_queues(account))
            expires = int((datetime.now(UTC) + REMEMBERED).timestamp())
            remembered = {"P": {"S": str(account.pni)}, "U": _binary(account.identifier), "E": {"N": str(expires)}}
            deletions = [{"Delete": {"TableName": self._names.tables[path], "Key": key}} for path, key in held.itself]
            put = {"Put": {"TableName": self._names.tables["deletedAccounts.tableName"], "Item": remembered}}
            with translated_errors("deleting the account"):
                self._dynamodb.transact_write_items(TransactItems=[*deletions, put])
            self._forget_deleted(account)
        return held

    def _forget_deleted(self, account: Account) -> None:
        """Insists, since the tables do not have the account any more, and Redis would serve it for two days."""
        for left in reversed(range(FORGET_ATTEMPTS)):
            try:
                self.forget(account)
                return
            except FlatlineError as problem:
                if not left:
                    raise MigrationError(
                        f"account {account.identifier} is deleted from the tables, but Redis may serve it for two "
                        f"days: {problem.problem}",
                        "Run the same command again: it takes the account out of Redis. So does the identifier in "
                        "place of the number.",
                    ) from None
            self._sleep(FORGET_SECONDS)

    def block(self, account: Account) -> Account:
        """Signs out every device of an account, and deletes the password that registers it without a code."""
        path, key = self._recovery(account)
        with translated_errors("blocking the account"):
            self._dynamodb.delete_item(TableName=self._names.tables[path], Key=key)
        return self._changed(account, blocked=True)

    def unblock(self, account: Account) -> Account:
        """Takes back what `block` did to the devices."""
        return self._changed(account, blocked=False)

    def _changed(self, account: Account, *, blocked: bool) -> Account:
        for _ in range(ATTEMPTS):
            if self._put(account, _with_devices(account.data, blocked=blocked)):
                break
            account = self._again(account)
        else:
            raise MigrationError("the account changes all the time", "Run it again.")
        self.forget(account)
        changed = self.find(account.number)
        if changed is None:
            raise MigrationError(f"{account.number} has no account any more")
        return changed

    def _put(self, account: Account, data: bytes) -> bool:
        """Writes the JSON of an account. False if the account has changed meanwhile."""
        with translated_errors("changing the account"):
            try:
                self._dynamodb.update_item(
                    TableName=self._names.tables["accounts.tableName"],
                    Key={"U": _binary(account.identifier)},
                    UpdateExpression="SET #data = :data ADD #version :one",
                    ConditionExpression="attribute_exists(#number) AND #version = :version",
                    ExpressionAttributeNames={"#data": "D", "#version": "V", "#number": "P"},
                    ExpressionAttributeValues={
                        ":data": {"B": data},
                        ":version": {"N": str(account.version)},
                        ":one": {"N": "1"},
                    },
                )
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def _again(self, account: Account) -> Account:
        """The account as it is now. Raises MigrationError if its number has another one, or none."""
        now = self.find(account.number)
        if now is None or now.identifier != account.identifier:
            raise MigrationError(f"{account.number} has no such account any more; nothing was changed")
        return now

    def forget(self, account: Account | Deleted) -> None:
        """Takes an account out of the cache, and has its connections closed. It may be run again."""
        devices = [each.number for each in account.devices] if isinstance(account, Account) else DEVICES
        self._redis.cluster([["DEL", f"AccountMap::{account.pni}"], ["DEL", f"Account3::{account.identifier}"]])
        self._redis.publish(DISCONNECTION_CHANNEL, _disconnection(account.identifier, devices))

    def _recovery(self, account: Account) -> tuple[str, Item]:
        return "registrationRecovery.tableName", {"P": {"S": str(account.pni)}}

    @contextmanager
    def _locked(self, pni: uuid.UUID) -> Iterator[None]:
        """Holds the lock that Whisper takes to register, delete or move a number (amazon-dynamodb-lock-client)."""
        table, key = self._names.tables["deletedAccountsLock.tableName"], {"P": {"S": str(pni)}}
        version = str(uuid.uuid4())
        item = {
            **key,
            "ownerName": {"S": "flatline"},
            "leaseDuration": {"S": str(LEASE_SECONDS * 1000)},
            "recordVersionNumber": {"S": version},
        }
        if not self._took_lock(table, item, "attribute_not_exists(#P) OR attribute_exists(isReleased)", {"#P": "P"}):
            other = self._get("deletedAccountsLock.tableName", key) or {}
            self._sleep(int(other.get("leaseDuration", {}).get("S", "0")) / 1000 + 1)
            held = {":version": other.get("recordVersionNumber", {"S": ""})}
            if not self._took_lock(table, item, "#version = :version", {"#version": "recordVersionNumber"}, held):
                raise MigrationError(
                    "the account is registered, moved or deleted by somebody else just now; nothing was changed",
                    "Run it again in a minute.",
                )
        try:
            yield
        finally:
            with translated_errors("unlocking the account"):
                self._dynamodb.delete_item(
                    TableName=table,
                    Key=key,
                    ConditionExpression="#version = :version",
                    ExpressionAttributeNames={"#version": "recordVersionNumber"},
                    ExpressionAttributeValues={":version": {"S": version}},
                )

    def _took_lock(
        self, table: str, item: Item, condition: str, names: Mapping[str, str], values: Item | None = None
    ) -> bool:
        request: dict[str, Any] = {"ExpressionAttributeNames": dict(names)}
        if values is not None:
            request["ExpressionAttributeValues"] = values
        with translated_errors("locking the account"):
            try:
                self._dynamodb.put_item(TableName=table, Item=item, ConditionExpression=condition, **request)
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def _get(self, path: str, key: Item) -> Item | None:
        answer = self._dynamodb.get_item(TableName=self._names.tables[path], Key=key, ConsistentRead=True)
        found: Item | None = answer.get("Item")
        return found

    def _owned(self, path: str, owner: uuid.UUID, attributes: str) -> Iterator[Item]:
        names = {f"#{name}": name for name in attributes.split(", ")}
        return self._pages(
            "query",
            path,
            KeyConditionExpression="#U = :owner",
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={":owner": _binary(owner)},
            ProjectionExpression=", ".join(names),
        )

    def _pages(self, operation: str, path: str, **request: Any) -> Iterator[Item]:
        with translated_errors(f"reading table {self._names.tables[path]}"):
            for page in self._dynamodb.get_paginator(operation).paginate(
                TableName=self._names.tables[path], ConsistentRead=True, **request
            ):
                yield from page["Items"]


def _account(item: Item) -> Account:
    data = bytes(item["D"]["B"])
    try:
        content = json.loads(data)
        devices = tuple(
            Device(
                int(each["id"]),
                _time(each.get("created", 0)),
                _time(each.get("lastSeen", 0)),
                str(each.get("authToken", "")).startswith(SIGNED_OUT),
            )
            for each in content["devices"]
        )
        username = bytes(item["N"]["B"]) if "N" in item else None
        identifier, pni = uuid.UUID(bytes=bytes(item["U"]["B"])), uuid.UUID(bytes=bytes(item["PNI"]["B"]))
        return Account(item["P"]["S"], identifier, pni, int(item["V"]["N"]), devices, username, data)
    except (ValueError, KeyError, TypeError):
        raise MigrationError("an account has not the form that this Whisper writes; nothing was changed") from None


def _with_devices(data: bytes, *, blocked: bool) -> bytes:
    """The account's JSON with its devices signed out, or in again; nothing else of it is written again."""
    for device in json.loads(data)["devices"]:
        token = device.get("authToken")
        if not isinstance(token, str) or token.startswith(SIGNED_OUT) is blocked:
            continue
        other = SIGNED_OUT + token if blocked else token.removeprefix(SIGNED_OUT)
        before, after = (f'"authToken":{json.dumps(each)}'.encode() for each in (token, other))
        if before not in data:
            raise MigrationError("an account has not the form that this Whisper writes; nothing was changed")
        data = data.replace(before, after)
    return data


def _own_rows(account: Account) -> list[tuple[str, Item]]:
    """The rows that go in one transaction."""
    own, number = _binary(account.identifier), _binary(account.pni)
    rows: list[tuple[str, Item]] = [
        ("accounts.phoneNumberTableName", {"P": {"S": account.number}}),
        ("accounts.tableName", {"U": own}),
        ("accounts.phoneNumberIdentifierTableName", {"PNI": number}),
    ]
    if account.username is not None:
        rows.append(("accounts.usernamesTableName", {"N": {"B": account.username}}))
    for device in account.devices:
        key = {"N": str(device.number)}
        for path in ("ecSignedPreKeys.tableName", "pqLastResortKeys.tableName"):
            rows += [(path, {"U": owner, "D": key}) for owner in (own, number)]
        rows.append(("clientPublicKeys.tableName", {"U": own, "D": key}))
    return rows


def _queues(account: Account) -> list[list[str]]:
    """The cached part of an account's messages and profile: deleted unread. Shared contents of messages expire."""
    commands = [["DEL", f"profiles::{account.identifier}"]]
    for device in account.devices:
        tag = f"{account.identifier}::{device.number}"
        queue = f"user_queue::{{{tag}}}"
        index = f"user_queue_index::{{{_tags()[_slot(tag)]}}}"
        commands += [["DEL", queue], ["DEL", f"user_queue_metadata::{{{tag}}}"], ["ZREM", index, queue]]
    return commands


def _disconnection(identifier: uuid.UUID, devices: Iterable[int]) -> bytes:
    """A `DisconnectionRequest` (protobuf): bytes 1 the identifier, repeated uint32 2 the devices, each below 128."""
    numbers = bytes(devices)
    return b"\x0a\x10" + identifier.bytes + b"\x12" + bytes([len(numbers)]) + numbers


def _slot(text: str) -> int:
    return binascii.crc_hqx(text.encode(), 0) % _SLOTS


@cache
def _tags() -> Mapping[int, str]:
    """The first number in base 36 whose slot it is, by slot (`RedisClusterUtil.getMinimalHashTag`)."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < _SLOTS:
        text = _base36(number)
        found.setdefault(_slot(text), text)
        number += 1
    return found


def _base36(number: int) -> str:
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def _binary(identifier: uuid.UUID) -> dict[str, bytes]:
    return {"B": identifier.bytes}


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
