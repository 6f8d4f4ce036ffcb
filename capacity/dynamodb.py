"""DynamoDB: request units and storage of each table and index of the schema.

`models` has an entry for every table of `config.schema.dynamodb`: the size of an item, the number of items, and the
operations that the services perform on them. A table without an entry raises ModelError. Request units follow the
developer guide ("DynamoDB read and write operations"): a write takes one for each KiB begun, a read takes one for each
4 KiB begun; an eventually consistent read takes half, a transaction takes twice as many. DynamoDB stores each item
with 100 bytes of overhead for its index.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from capacity.installation import Installation
from capacity.traffic import Traffic, per_second
from capacity.workload import DAY, KIB, MIB, Workload
from config.schema import dynamodb
from config.schema.dynamodb import ROOMS, Table

ITEM_OVERHEAD = 100
"""Bytes that DynamoDB adds to each item and index entry in storage."""

ACCOUNT_SCANS = 2
"""The clean-up commands that run (are not suspended) and read every account once a day."""

IDENTITIES = 2
"""Each device has pre-keys for its account (ACI) and for its number (PNI)."""

ONE_TIME_KEYS = 100
"""One-time pre-keys that a client uploads at once; it uploads again when fewer than ten are left."""

REFILL = ONE_TIME_KEYS - 10


class ModelError(Exception):
    """The model and the schema do not match. The text names the entry that is missing or left over."""


@dataclass(frozen=True)
class Use:
    """An operation: how often a day it happens, and how many bytes each one reads or writes.

    A read with `index` reads that index instead of the table; a write also writes the indexes in `maintains`. `steady`
    operations do not follow the time of day. `unit_rate` bounds the request units a second of a paged scan.
    """

    operation: str
    times: float
    bytes: float
    why: str
    consistent: bool = False
    transaction: bool = False
    steady: bool = False
    index: str = ""
    maintains: tuple[str, ...] = ()
    unit_rate: float = math.inf

    @property
    def reads(self) -> bool:
        """Reads take read units, all other operations take write units."""
        return self.operation in {"GetItem", "BatchGetItem", "Query", "Scan"}

    @property
    def units(self) -> float:
        """Request units of one operation, without those of indexes."""
        if self.reads:
            if self.operation == "Scan":
                return self.bytes / (4 * KIB) / 2
            whole = max(1, math.ceil(self.bytes / (4 * KIB)))
            return whole * (1 if self.consistent else 0.5)
        return max(1, math.ceil(self.bytes / KIB)) * (2 if self.transaction else 1)


@dataclass(frozen=True)
class Item:
    """The mean size of an item in bytes, including attribute names, and what it consists of.

    The methods describe operations on one item, `times` a day. `maintains` names the indexes that a write changes.
    """

    bytes: float
    source: str

    def get(self, times: float, why: str, *, consistent: bool = True) -> Use:
        """Reads an item."""
        return Use("GetItem", times, self.bytes, why, consistent=consistent)

    def put(self, times: float, why: str, *maintains: str, transaction: bool = False) -> Use:
        """Writes a whole item."""
        return self._write("PutItem", times, why, maintains, transaction)

    def update(self, times: float, why: str, *maintains: str, transaction: bool = False) -> Use:
        """Changes an item. DynamoDB counts the size of the whole item."""
        return self._write("UpdateItem", times, why, maintains, transaction)

    def delete(self, times: float, why: str, *maintains: str, transaction: bool = False) -> Use:
        """Deletes an item."""
        return self._write("DeleteItem", times, why, maintains, transaction)

    def _write(self, operation: str, times: float, why: str, maintains: tuple[str, ...], transaction: bool) -> Use:
        return Use(operation, times, self.bytes, why, maintains=maintains, transaction=transaction)


@dataclass(frozen=True)
class TableModel:
    """A table: the size and number of its items, the operations on them, and the number of entries of each index."""

    item: Item
    items: float = 0
    uses: tuple[Use, ...] = ()
    indexed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Request units a second."""

    reads_mean: float = 0
    reads_peak: float = 0
    writes_mean: float = 0
    writes_peak: float = 0


@dataclass(frozen=True, kw_only=True)
class IndexDemand:
    """A secondary index. The writes of a local index count in its table, whose partitions it shares."""

    name: str
    local: bool
    items: float
    bytes: float
    throughput: Throughput


@dataclass(frozen=True, kw_only=True)
class TableDemand:
    """A table of the schema: `key` is its path in Whisper's YAML; `bytes` excludes its indexes."""

    key: str
    name: str
    item: Item
    items: float
    bytes: float
    throughput: Throughput
    uses: tuple[Use, ...]
    indexes: tuple[IndexDemand, ...]

    @property
    def stored_bytes(self) -> float:
        """Bytes of the table and its indexes."""
        return self.bytes + sum(index.bytes for index in self.indexes)


PROFILE = Item(600, "account id, version (64), commitment (97), encrypted name, about, emoji, avatar's path")


def account_item(workload: Workload) -> Item:
    """The item of an account, whose size depends on the number of devices."""
    return Item(900 + 600 * workload.devices, "JSON of the account: about 900 bytes, and 600 for each device")


def models(workload: Workload, traffic: Traffic, installation: Installation, pods: float) -> dict[str, TableModel]:
    """The model of every table, by its path in Whisper's YAML. `pods` is the number of Whisper's pods."""
    return {
        **_accounts(workload, traffic),
        **_registration(workload, traffic),
        **_pre_keys(workload, traffic),
        **_messages(workload, traffic, installation),
        **_configuration(pods),
        **_unused(),
        **(_rooms(workload, traffic) if installation.group_calls else {}),
    }


def _accounts(workload: Workload, traffic: Traffic) -> dict[str, TableModel]:
    users = float(workload.users)
    usernames = users * workload.usernames
    username_changes = usernames * workload.registrations
    account = account_item(workload)
    number = Item(35, "number, account id (16)")
    number_id = Item(36, "number's id (16), account id (16)")
    username = Item(75, "hash (32), account id (16), confirmed, expiry")
    token = Item(50, "hash (32), expiry")
    cached_reads = (traffic.active_users + traffic.bundles) * workload.cache_misses
    profile_reads = traffic.active_users * workload.profile_reads * workload.cache_misses
    return {
        "accounts.tableName": TableModel(
            account,
            users,
            (
                account.get(cached_reads, "accounts that Redis (two days) does not have"),
                account.update(traffic.active_devices * 1.1, "day of last use of each device; attributes"),
                account.put(traffic.registrations, "registration", "ul_to_u", transaction=True),
                account.update(username_changes, "username or its link changed", "ul_to_u", transaction=True),
                account.delete(traffic.deletions, "account deleted", "ul_to_u", transaction=True),
                Use("Query", usernames * 0.05, 32, "username links that are opened", index="ul_to_u"),
                Use(
                    "Scan",
                    ACCOUNT_SCANS,
                    users * account.bytes,
                    "clean-up commands read every account",
                    steady=True,
                    unit_rate=workload.scan_mib * MIB / (4 * KIB) / 2,
                ),
            ),
            {"ul_to_u": usernames},
        ),
        "accounts.phoneNumberTableName": TableModel(
            number,
            users,
            (
                number.get(traffic.registrations, "registration"),
                number.put(traffic.registrations, "registration", transaction=True),
                number.delete(traffic.deletions, "account deleted", transaction=True),
            ),
        ),
        "accounts.phoneNumberIdentifierTableName": TableModel(
            number_id,
            users,
            (
                number_id.get(traffic.bundles * workload.cache_misses / 2, "accounts asked for by their number's id"),
                number_id.put(traffic.registrations, "registration", transaction=True),
                number_id.delete(traffic.deletions, "account deleted", transaction=True),
            ),
        ),
        "accounts.usernamesTableName": TableModel(
            username,
            usernames,
            (
                username.get(usernames * 0.05, "usernames that are looked up", consistent=False),
                username.put(username_changes, "reserved, then confirmed", transaction=True),
                username.delete(traffic.deletions * workload.usernames, "account deleted", transaction=True),
            ),
        ),
        "accounts.usedLinkDeviceTokensTableName": TableModel(
            token, traffic.links, (token.put(traffic.links, "device linked", transaction=True),)
        ),
        "profiles.tableName": TableModel(
            PROFILE,
            users * workload.versions,
            (
                PROFILE.get(profile_reads, "profiles that Redis does not have", consistent=False),
                PROFILE.update(traffic.registrations + traffic.avatar_changes * 2, "profile or avatar changed"),
                Use("Query", traffic.deletions, PROFILE.bytes * workload.versions, "account deleted", consistent=True),
                PROFILE.delete(traffic.deletions * workload.versions, "account deleted"),
            ),
        ),
    }


def _registration(workload: Workload, traffic: Traffic) -> dict[str, TableModel]:
    users = float(workload.users)
    deleted = Item(60, "number's id, account id (16), expiry")
    lock = Item(200, "an item of dynamodb-lock-client")
    locked = traffic.registrations + traffic.deletions
    identifier = Item(40, "number, its id (16)")
    recovery = Item(150, "number's id, salt, hash, expiry")
    session = Item(500, "JSON of a session, expiry")
    return {
        "deletedAccounts.tableName": TableModel(
            deleted,
            traffic.deletions * 30,
            (
                deleted.get(traffic.registrations, "registration"),
                deleted.put(traffic.deletions, "account deleted", "u_to_p", transaction=True),
            ),
            {"u_to_p": traffic.deletions * 30},
        ),
        "deletedAccountsLock.tableName": TableModel(
            lock,
            1,
            (lock.get(locked, "lock taken"), lock.put(locked, "lock taken"), lock.delete(locked, "lock given back")),
        ),
        "phoneNumberIdentifiers.tableName": TableModel(
            identifier,
            users,
            (
                Use("BatchGetItem", traffic.registrations, identifier.bytes, "registration"),
                identifier.put(traffic.registrations, "registration", "pni_to_p", transaction=True),
                Use("Query", traffic.deletions, 32, "account deleted", index="pni_to_p"),
            ),
            {"pni_to_p": users},
        ),
        "registrationRecovery.tableName": TableModel(
            recovery,
            users,
            (
                recovery.get(traffic.registrations, "registration"),
                recovery.put(traffic.registrations + traffic.active_users / 7, "refreshed by clients"),
                recovery.delete(traffic.deletions, "account deleted"),
            ),
        ),
        "verificationSessions.tableName": TableModel(
            session,
            traffic.registrations,
            (
                session.put(traffic.registrations * 4, "each step of a registration"),
                session.get(traffic.registrations * 4, "each step of a registration"),
            ),
        ),
    }


def _pre_keys(workload: Workload, traffic: Traffic) -> dict[str, TableModel]:
    devices = traffic.devices
    joins, takes = traffic.registrations + traffic.links, traffic.bundles * IDENTITIES / 2
    refills = takes / REFILL
    rotations = traffic.active_devices * IDENTITIES / 2
    client = Item(55, "account id (16), device, key (33)")
    ec = Item(70, "identity (16), device and key id (16), public key (33)")
    signed = Item(135, "identity (16), device, key id, public key (33), signature (64)")
    page = Item(55, "identity (16), device, page id (16), index, count, format")
    pq = Item(1685, "identity, device and key id, Kyber-1024 key (1569), signature (64)")
    last_resort = Item(1675, "identity, device, key id, Kyber-1024 key (1569), signature (64)")

    def repeated(key: Item) -> TableModel:
        return TableModel(
            key,
            devices * IDENTITIES,
            (
                key.put(rotations, "clients rotate it every two days, for each identity"),
                key.put(joins * IDENTITIES, "registration or link", transaction=True),
                key.get(takes, "one in each bundle"),
                key.delete(traffic.deletions * workload.devices * IDENTITIES, "account deleted", transaction=True),
            ),
        )

    def query(times: float, why: str) -> Use:
        return Use("Query", times, ec.bytes * ONE_TIME_KEYS, why)

    return {
        "clientPublicKeys.tableName": TableModel(
            client,
            devices,
            (
                client.put(joins, "registration or link", transaction=True),
                client.delete(traffic.deletions * workload.devices, "account deleted", transaction=True),
            ),
        ),
        "ecKeys.tableName": TableModel(
            ec,
            devices * IDENTITIES * ONE_TIME_KEYS,
            (
                query(takes, "one in each bundle"),
                ec.delete(takes + refills * (ONE_TIME_KEYS - REFILL), "taken, or replaced"),
                ec.put(refills * ONE_TIME_KEYS + joins * IDENTITIES * ONE_TIME_KEYS, "100 at a time"),
                query(rotations, "clients count theirs every two days"),
            ),
        ),
        "ecSignedPreKeys.tableName": repeated(signed),
        "pagedPqKeys.tableName": TableModel(
            page,
            devices * IDENTITIES,
            (
                page.update(takes, "the next key of the page, in each bundle"),
                page.put(refills + joins * IDENTITIES, "a new page"),
                page.get(rotations, "clients count theirs every two days"),
                page.get(devices * IDENTITIES / 7, "orphaned pages are looked for every week"),
                page.delete(traffic.deletions * workload.devices * IDENTITIES, "account deleted"),
            ),
        ),
        "pqKeys.tableName": TableModel(
            pq,
            0,
            (Use("Query", refills + joins * IDENTITIES, 0, "a new page removes older single keys", consistent=True),),
        ),
        "pqLastResortKeys.tableName": repeated(last_resort),
    }


def _messages(workload: Workload, traffic: Traffic, installation: Installation) -> dict[str, TableModel]:
    message = Item(
        workload.envelope_bytes + 105, "envelope; device (25), time and id (24), id (16), expiry and names (40)"
    )
    report = Item(50, "hash (32), expiry")
    connects = traffic.active_devices * workload.reconnects
    fetched = traffic.persisted * (1 - workload.abandoned)
    stored = fetched * workload.offline_days + traffic.persisted * workload.abandoned * installation.message_days
    reported = traffic.messages * traffic.recipients * workload.unsealed
    index = ("Message_UUID_Index",)
    return {
        "messages.tableName": TableModel(
            message,
            stored,
            (
                Use(
                    "BatchWriteItem",
                    traffic.persisted,
                    message.bytes,
                    "up to 25 at a time, by the persister",
                    maintains=index,
                ),
                Use(
                    "Query",
                    connects,
                    fetched * message.bytes / connects,
                    "each connection asks for what waits",
                    consistent=True,
                ),
                message.delete(fetched, "delivered", *index),
            ),
            dict.fromkeys(index, stored),
        ),
        "reportMessage.tableName": TableModel(
            report, reported * 7, (report.put(reported, "messages that show their sender"),)
        ),
    }


def _configuration(pods: float) -> dict[str, TableModel]:
    release = Item(60, "platform, version, two dates")

    def scan(times: float, size: float, why: str) -> Use:
        return Use("Scan", times, size, why, steady=True)

    return {
        "clientReleases.tableName": TableModel(
            release, 100, (scan(pods * 6, 100 * release.bytes, "each Whisper pod reads it every four hours"),)
        ),
        "remoteConfig.tableName": TableModel(
            Item(150, "name, percentage, values"),
            20,
            (scan(pods * DAY / 10, 4 * KIB, "each Whisper pod reads it every ten seconds"),),
        ),
    }


def _rooms(workload: Workload, traffic: Traffic) -> dict[str, TableModel]:
    """The frontend of the calling service asks every ten seconds which calls are under way, to end those that are not.

    Each member of a group looks who is in a call before joining.
    """
    call, index = Item(300, "room, era, backend's address, region, creator"), "region-index"
    calls, links = traffic.groups * workload.group_calls, workload.users * workload.call_links
    under_way = calls * workload.group_call_minutes * 60 / DAY
    return {
        ROOMS: TableModel(
            call,
            under_way + links,
            (
                call.update(calls, "the first member joins", index),
                call.get(2 * calls * workload.group_size, "members look, and join"),
                call.delete(calls, "the call has ended", index),
                Use("Query", DAY / 10, under_way * call.bytes, "calls under way", steady=True, index=index),
            ),
            {index: under_way},
        )
    }


def _unused() -> dict[str, TableModel]:
    """Tables that stay empty: payments, backups, push challenges, Apple devices and experiments."""
    items = {
        "appleDeviceChecks.tableName": Item(300, "account id, key id, public key, counter"),
        "appleDeviceCheckPublicKeys.tableName": Item(150, "public key, account id"),
        "backups.tableName": Item(450, "hashed backup id, public key, folders, counters"),
        "issuedReceipts.tableName": Item(150, "payment id, tags, expiry"),
        "onetimeDonations.tableName": Item(80, "payment id, time, expiry"),
        "pushChallenge.tableName": Item(55, "account id (16), token (16), expiry"),
        "pushNotificationExperimentSamples.tableName": Item(400, "experiment, account and device, two states"),
        "redeemedReceipts.tableName": Item(90, "serial (16), expiry, level, account id, time"),
        "scheduledJobs.tableName": Item(120, "scheduler, time, payload, expiry"),
    }
    subscription = Item(350, "subscriber, password, customer, level, times")
    return {
        **{key: TableModel(item) for key, item in items.items()},
        "subscriptions.tableName": TableModel(subscription, indexed={"pc_to_u": 0}),
    }


def demand(
    workload: Workload,
    traffic: Traffic,
    installation: Installation,
    pods: float,
    tables: Mapping[str, Table] | None = None,
) -> tuple[TableDemand, ...]:
    """The demand on each table, in the schema's order. Raises ModelError if `tables` and the model do not match."""
    if tables is None:
        tables = dynamodb.tables(group_calls=installation.group_calls)
    known = models(workload, traffic, installation, pods)
    for key in sorted(tables.keys() - known.keys()):
        raise ModelError(f"{key} has no model: add one to capacity/dynamodb.py")
    for key in sorted(known.keys() - tables.keys()):
        raise ModelError(f"{key} has a model but is not in the schema: remove it from capacity/dynamodb.py")
    return tuple(_table(key, table, known[key], workload.peak) for key, table in tables.items())


def _table(key: str, table: Table, model: TableModel, peak: float) -> TableDemand:
    names = {index.name for index in table.indexes}
    if names != model.indexed.keys():
        raise ModelError(f"{table.name} has the indexes {sorted(names)}, but its model has {sorted(model.indexed)}")
    for use in model.uses:
        if use.operation not in table.operations:
            raise ModelError(f"{table.name}: the model uses {use.operation}, which the schema does not grant")
    local = {index.name for index in table.indexes if index.local}
    return TableDemand(
        key=key,
        name=table.name,
        item=model.item,
        items=model.items,
        bytes=model.items * (model.item.bytes + ITEM_OVERHEAD),
        throughput=_throughput(model.uses, peak, index="", local=local),
        uses=model.uses,
        indexes=tuple(
            IndexDemand(
                name=index.name,
                local=index.local,
                items=model.indexed[index.name],
                bytes=model.indexed[index.name] * (_entry_bytes(table, model.item) + ITEM_OVERHEAD),
                throughput=_throughput(model.uses, peak, index=index.name, local=local),
            )
            for index in table.indexes
        ),
    )


def _entry_bytes(table: Table, item: Item) -> float:
    """The size of an index entry. If the index projects keys only: about 20 bytes for each key of table and index."""
    keys_only = all(index.projection == "KEYS_ONLY" for index in table.indexes)
    return 20.0 * len(table.key_attributes()) if keys_only else item.bytes


def _throughput(uses: tuple[Use, ...], peak: float, *, index: str, local: set[str]) -> Throughput:
    """Request units a second of an index, or of the table if `index` is empty. A table pays for its local indexes."""
    sums = dict.fromkeys(("reads_mean", "reads_peak", "writes_mean", "writes_peak"), 0.0)
    for use in uses:
        units = _units(use, index, local)
        kind, mean = "reads" if use.reads else "writes", per_second(use.times * units)
        sums[f"{kind}_mean"] += mean
        highest = mean * (1 if use.steady else peak)
        if use.unit_rate < math.inf:
            # A whole scan at once runs as fast as its pages arrive.
            highest = max(mean, min(use.unit_rate, units))
        sums[f"{kind}_peak"] += highest
    return Throughput(**sums)


def _units(use: Use, index: str, local: set[str]) -> float:
    """Request units of one operation on an index, or on the table if `index` is empty."""
    if use.reads:
        return use.units if use.index == index or (not index and use.index in local) else 0.0
    if index:
        return 1.0 if index in use.maintains else 0.0
    return use.units + sum(1 for name in use.maintains if name in local)
