"""DynamoDB: request units and storage of each table and index of the schema.

`items` holds the size of an item of each table, `uses` how often the services touch it. Both name every table of
`config.schema.dynamodb`, or the model refuses to work. Units are those of the developer guide ("DynamoDB read and
write operations"): a write takes one for each KiB begun, a read one for each 4 KiB begun, half of it where it is
eventually consistent, twice of it in a transaction; an item is stored with 100 bytes of its own for the index.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from capacity.installation import Installation
from capacity.traffic import Traffic, per_second
from capacity.workload import DAY, KIB, MIB, Workload
from config.schema.dynamodb import TABLES, Table

ITEM_OVERHEAD = 100
"""Bytes that DynamoDB adds to each item and index entry in storage."""

ACCOUNT_SCANS = 2
"""Clean-up commands that run (not suspended) and read every account once a day."""

IDENTITIES = 2
"""Each device has pre-keys for its account (ACI) and for its number (PNI)."""

ONE_TIME_KEYS = 100
"""One-time pre-keys that a client uploads at once; it does so again when fewer than ten are left."""

REFILL = ONE_TIME_KEYS - 10


class ModelError(Exception):
    """The model and the schema do not fit together. Says which entry is missing or too many."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item's attributes in bytes, names among them, and what that is made of."""

    bytes: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Use:
    """An operation: how many a day, over how many bytes each.

    `index` is read instead of the table; `maintains` are the indexes that the write changes. `steady` ones do not
    follow the day; a `unit_rate` bounds the request units a second of one that reads page by page.
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
        """Whether it takes read units."""
        return self.operation in {"GetItem", "BatchGetItem", "Query", "Scan"}

    @property
    def units(self) -> float:
        """Request units of one of them, without those of indexes."""
        if self.reads:
            if self.operation == "Scan":
                return self.bytes / (4 * KIB) / 2
            whole = max(1, math.ceil(self.bytes / (4 * KIB)))
            return whole * (1 if self.consistent else 0.5)
        return max(1, math.ceil(self.bytes / KIB)) * (2 if self.transaction else 1)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How many items a table has, how it is used, and how many of its items are in each index."""

    items: float
    uses: tuple[Use, ...] = ()
    indexed: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Request units a second."""

    reads_mean: float = 0
    reads_peak: float = 0
    writes_mean: float = 0
    writes_peak: float = 0


@dataclass(frozen=True, kw_only=True)
class IndexDemand:
    """A secondary index. The writes of a local one are in its table's, whose partitions it shares."""

    name: str
    local: bool
    items: float
    bytes: float
    throughput: Throughput


@dataclass(frozen=True, kw_only=True)
class TableDemand:
    """A table of the schema: `key` is its path in Whisper's YAML; `bytes` are without its indexes'."""

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
        """With its indexes."""
        return self.bytes + sum(index.bytes for index in self.indexes)


def items(workload: Workload) -> dict[str, Item]:
    """The mean size of an item of each table, by its path in Whisper's YAML."""
    account = 900 + 600 * workload.devices
    return {
        "accounts.tableName": Item(
            bytes=account, source="JSON of the account: about 900 bytes, and 600 for each device"
        ),
        "accounts.phoneNumberTableName": Item(bytes=35, source="number, account id (16)"),
        "accounts.phoneNumberIdentifierTableName": Item(bytes=36, source="number's id (16), account id (16)"),
        "accounts.usernamesTableName": Item(bytes=75, source="hash (32), account id (16), confirmed, expiry"),
        "accounts.usedLinkDeviceTokensTableName": Item(bytes=50, source="hash (32), expiry"),
        "appleDeviceChecks.tableName": Item(bytes=300, source="account id, key id, public key, counter"),
        "appleDeviceCheckPublicKeys.tableName": Item(bytes=150, source="public key, account id"),
        "backups.tableName": Item(bytes=450, source="hashed backup id, public key, folders, counters"),
        "clientPublicKeys.tableName": Item(bytes=55, source="account id (16), device, key (33)"),
        "clientReleases.tableName": Item(bytes=60, source="platform, version, two dates"),
        "deletedAccounts.tableName": Item(bytes=60, source="number's id, account id (16), expiry"),
        "deletedAccountsLock.tableName": Item(bytes=200, source="an item of dynamodb-lock-client"),
        "ecKeys.tableName": Item(bytes=70, source="identity (16), device and key id (16), public key (33)"),
        "ecSignedPreKeys.tableName": Item(
            bytes=135, source="identity (16), device, key id, public key (33), signature (64)"
        ),
        "issuedReceipts.tableName": Item(bytes=150, source="payment id, tags, expiry"),
        "messages.tableName": Item(
            bytes=workload.envelope_bytes + 105,
            source="envelope; device (25), time and id (24), id (16), expiry and names (40)",
        ),
        "onetimeDonations.tableName": Item(bytes=80, source="payment id, time, expiry"),
        "pagedPqKeys.tableName": Item(bytes=55, source="identity (16), device, page id (16), index, count, format"),
        "phoneNumberIdentifiers.tableName": Item(bytes=40, source="number, its id (16)"),
        "pqKeys.tableName": Item(
            bytes=1685, source="identity, device and key id, Kyber-1024 key (1569), signature (64)"
        ),
        "pqLastResortKeys.tableName": Item(
            bytes=1675, source="identity, device, key id, Kyber-1024 key (1569), signature (64)"
        ),
        "profiles.tableName": Item(
            bytes=600, source="account id, version (64), commitment (97), encrypted name, about, emoji, avatar's path"
        ),
        "pushChallenge.tableName": Item(bytes=55, source="account id (16), token (16), expiry"),
        "pushNotificationExperimentSamples.tableName": Item(
            bytes=400, source="experiment, account and device, two states"
        ),
        "redeemedReceipts.tableName": Item(bytes=90, source="serial (16), expiry, level, account id, time"),
        "registrationRecovery.tableName": Item(bytes=150, source="number's id, salt, hash, expiry"),
        "remoteConfig.tableName": Item(bytes=150, source="name, percentage, values"),
        "reportMessage.tableName": Item(bytes=50, source="hash (32), expiry"),
        "scheduledJobs.tableName": Item(bytes=120, source="scheduler, time, payload, expiry"),
        "subscriptions.tableName": Item(bytes=350, source="subscriber, password, customer, level, times"),
        "verificationSessions.tableName": Item(bytes=500, source="JSON of a session, expiry"),
    }


def uses(workload: Workload, traffic: Traffic, installation: Installation, pods: float) -> dict[str, Stored]:
    """How many items each table has and how it is used, by its path in Whisper's YAML. `pods` are Whisper's."""
    w, t, size = workload, traffic, {key: item.bytes for key, item in items(workload).items()}
    users, devices = float(w.users), t.devices
    joins, takes = t.registrations + t.links, t.bundles * IDENTITIES / 2
    refills, connects = takes / REFILL, t.active_devices * w.reconnects
    fetched = t.persisted * (1 - w.abandoned)
    rotations = t.active_devices * IDENTITIES / 2
    refreshes = pods * DAY / 10
    key_page, refilled = size["ecKeys.tableName"] * ONE_TIME_KEYS, refills * ONE_TIME_KEYS
    accounts_bytes = users * size["accounts.tableName"]
    usernames = users * w.usernames
    username_changes = usernames * w.registrations

    def put(key: str, times: float, why: str, *, transaction: bool = False, maintains: tuple[str, ...] = ()) -> Use:
        return Use(
            operation="PutItem", times=times, bytes=size[key], why=why, transaction=transaction, maintains=maintains
        )

    def get(key: str, times: float, why: str, *, consistent: bool = True) -> Use:
        return Use(operation="GetItem", times=times, bytes=size[key], why=why, consistent=consistent)

    def update(key: str, times: float, why: str) -> Use:
        return Use(operation="UpdateItem", times=times, bytes=size[key], why=why)

    def delete(key: str, times: float, why: str, *maintains: str, transaction: bool = False) -> Use:
        return Use(
            operation="DeleteItem", times=times, bytes=size[key], why=why, maintains=maintains, transaction=transaction
        )

    def repeated_key(key: str) -> Stored:
        return Stored(
            items=devices * IDENTITIES,
            uses=(
                put(key, rotations, "clients rotate it every two days, for each identity"),
                put(key, joins * IDENTITIES, "registration or link", transaction=True),
                get(key, takes, "one in each bundle"),
                delete(key, t.deletions * w.devices * IDENTITIES, "account deleted", transaction=True),
            ),
        )

    return {
        "accounts.tableName": Stored(
            items=users,
            indexed={"ul_to_u": usernames},
            uses=(
                get(
                    "accounts.tableName",
                    (t.active_users + t.bundles) * w.cache_misses,
                    "accounts that Redis (two days) does not have",
                ),
                update("accounts.tableName", t.active_devices * 1.1, "day of last use of each device; attributes"),
                put(
                    "accounts.tableName",
                    t.registrations,
                    "registration",
                    transaction=True,
                    maintains=("ul_to_u",),
                ),
                Use(
                    operation="UpdateItem",
                    times=username_changes,
                    bytes=size["accounts.tableName"],
                    why="username or its link changed",
                    transaction=True,
                    maintains=("ul_to_u",),
                ),
                delete("accounts.tableName", t.deletions, "account deleted", "ul_to_u", transaction=True),
                Use(
                    operation="Query",
                    times=usernames * 0.05,
                    bytes=32,
                    why="username links that are opened",
                    index="ul_to_u",
                ),
                Use(
                    operation="Scan",
                    times=ACCOUNT_SCANS,
                    bytes=accounts_bytes,
                    why="clean-up commands read every account",
                    steady=True,
                    unit_rate=w.scan_mib * MIB / (4 * KIB) / 2,
                ),
            ),
        ),
        "accounts.phoneNumberTableName": Stored(
            items=users,
            uses=(
                get("accounts.phoneNumberTableName", t.registrations, "registration"),
                put("accounts.phoneNumberTableName", t.registrations, "registration", transaction=True),
                delete("accounts.phoneNumberTableName", t.deletions, "account deleted", transaction=True),
            ),
        ),
        "accounts.phoneNumberIdentifierTableName": Stored(
            items=users,
            uses=(
                get(
                    "accounts.phoneNumberIdentifierTableName",
                    t.bundles * w.cache_misses / 2,
                    "accounts asked for by their number's id",
                ),
                put("accounts.phoneNumberIdentifierTableName", t.registrations, "registration", transaction=True),
                delete("accounts.phoneNumberIdentifierTableName", t.deletions, "account deleted", transaction=True),
            ),
        ),
        "accounts.usernamesTableName": Stored(
            items=usernames,
            uses=(
                get("accounts.usernamesTableName", usernames * 0.05, "usernames that are looked up", consistent=False),
                put("accounts.usernamesTableName", username_changes, "reserved, then confirmed", transaction=True),
                delete("accounts.usernamesTableName", t.deletions * w.usernames, "account deleted", transaction=True),
            ),
        ),
        "accounts.usedLinkDeviceTokensTableName": Stored(
            items=t.links,
            uses=(put("accounts.usedLinkDeviceTokensTableName", t.links, "device linked", transaction=True),),
        ),
        "appleDeviceChecks.tableName": Stored(items=0),
        "appleDeviceCheckPublicKeys.tableName": Stored(items=0),
        "backups.tableName": Stored(items=0),
        "clientPublicKeys.tableName": Stored(
            items=devices,
            uses=(
                put("clientPublicKeys.tableName", joins, "registration or link", transaction=True),
                delete("clientPublicKeys.tableName", t.deletions * w.devices, "account deleted", transaction=True),
            ),
        ),
        "clientReleases.tableName": Stored(
            items=100,
            uses=(
                Use(
                    operation="Scan",
                    times=pods * 6,
                    bytes=100 * size["clientReleases.tableName"],
                    why="each Whisper pod reads it every four hours",
                    steady=True,
                ),
            ),
        ),
        "deletedAccounts.tableName": Stored(
            items=t.deletions * 30,
            indexed={"u_to_p": t.deletions * 30},
            uses=(
                get("deletedAccounts.tableName", t.registrations, "registration"),
                put(
                    "deletedAccounts.tableName", t.deletions, "account deleted", transaction=True, maintains=("u_to_p",)
                ),
            ),
        ),
        "deletedAccountsLock.tableName": Stored(
            items=1,
            uses=(
                get("deletedAccountsLock.tableName", t.registrations + t.deletions, "lock taken"),
                put("deletedAccountsLock.tableName", t.registrations + t.deletions, "lock taken"),
                delete("deletedAccountsLock.tableName", t.registrations + t.deletions, "lock given back"),
            ),
        ),
        "ecKeys.tableName": Stored(
            items=devices * IDENTITIES * ONE_TIME_KEYS,
            uses=(
                Use(operation="Query", times=takes, bytes=key_page, why="one in each bundle"),
                delete("ecKeys.tableName", takes + refills * (ONE_TIME_KEYS - REFILL), "taken, or replaced"),
                put("ecKeys.tableName", refilled + joins * IDENTITIES * ONE_TIME_KEYS, "100 at a time"),
                Use(operation="Query", times=rotations, bytes=key_page, why="clients count theirs every two days"),
            ),
        ),
        "ecSignedPreKeys.tableName": repeated_key("ecSignedPreKeys.tableName"),
        "issuedReceipts.tableName": Stored(items=0),
        "messages.tableName": Stored(
            items=fetched * w.offline_days + t.persisted * w.abandoned * installation.message_days,
            indexed={
                "Message_UUID_Index": fetched * w.offline_days + t.persisted * w.abandoned * installation.message_days
            },
            uses=(
                Use(
                    operation="BatchWriteItem",
                    times=t.persisted,
                    bytes=size["messages.tableName"],
                    why="the persister, up to 25 at a time",
                    maintains=("Message_UUID_Index",),
                ),
                Use(
                    operation="Query",
                    times=connects,
                    bytes=fetched * size["messages.tableName"] / connects,
                    why="each connection asks for what waits",
                    consistent=True,
                ),
                delete("messages.tableName", fetched, "delivered", "Message_UUID_Index"),
            ),
        ),
        "onetimeDonations.tableName": Stored(items=0),
        "pagedPqKeys.tableName": Stored(
            items=devices * IDENTITIES,
            uses=(
                update("pagedPqKeys.tableName", takes, "the next key of the page, in each bundle"),
                put("pagedPqKeys.tableName", refills + joins * IDENTITIES, "a new page"),
                get("pagedPqKeys.tableName", rotations, "clients count theirs every two days"),
                get("pagedPqKeys.tableName", devices * IDENTITIES / 7, "orphaned pages are looked for every week"),
                delete("pagedPqKeys.tableName", t.deletions * w.devices * IDENTITIES, "account deleted"),
            ),
        ),
        "phoneNumberIdentifiers.tableName": Stored(
            items=users,
            indexed={"pni_to_p": users},
            uses=(
                Use(
                    operation="BatchGetItem",
                    times=t.registrations,
                    bytes=size["phoneNumberIdentifiers.tableName"],
                    why="registration",
                ),
                put(
                    "phoneNumberIdentifiers.tableName",
                    t.registrations,
                    "registration",
                    transaction=True,
                    maintains=("pni_to_p",),
                ),
                Use(operation="Query", times=t.deletions, bytes=32, why="account deleted", index="pni_to_p"),
            ),
        ),
        "pqKeys.tableName": Stored(
            items=0,
            uses=(
                Use(
                    operation="Query",
                    times=refills + joins * IDENTITIES,
                    bytes=0,
                    why="keys from before pages are removed with a new page",
                    consistent=True,
                ),
            ),
        ),
        "pqLastResortKeys.tableName": repeated_key("pqLastResortKeys.tableName"),
        "profiles.tableName": Stored(
            items=users * w.versions,
            uses=(
                get(
                    "profiles.tableName",
                    t.active_users * w.profile_reads * w.cache_misses,
                    "profiles that Redis does not have",
                    consistent=False,
                ),
                update("profiles.tableName", t.registrations + t.avatar_changes * 2, "profile or avatar changed"),
                Use(
                    operation="Query",
                    times=t.deletions,
                    bytes=size["profiles.tableName"] * w.versions,
                    why="account deleted",
                    consistent=True,
                ),
                delete("profiles.tableName", t.deletions * w.versions, "account deleted"),
            ),
        ),
        "pushChallenge.tableName": Stored(items=0),
        "pushNotificationExperimentSamples.tableName": Stored(items=0),
        "redeemedReceipts.tableName": Stored(items=0),
        "registrationRecovery.tableName": Stored(
            items=users,
            uses=(
                get("registrationRecovery.tableName", t.registrations, "registration"),
                put("registrationRecovery.tableName", t.registrations + t.active_users / 7, "refreshed by clients"),
                delete("registrationRecovery.tableName", t.deletions, "account deleted"),
            ),
        ),
        "remoteConfig.tableName": Stored(
            items=20,
            uses=(
                Use(
                    operation="Scan",
                    times=refreshes,
                    bytes=4 * KIB,
                    why="each Whisper pod reads it every ten seconds",
                    steady=True,
                ),
            ),
        ),
        "reportMessage.tableName": Stored(
            items=t.messages * t.recipients * w.unsealed * 7,
            uses=(
                put(
                    "reportMessage.tableName", t.messages * t.recipients * w.unsealed, "messages that show their sender"
                ),
            ),
        ),
        "scheduledJobs.tableName": Stored(items=0),
        "subscriptions.tableName": Stored(items=0, indexed={"pc_to_u": 0}),
        "verificationSessions.tableName": Stored(
            items=t.registrations,
            uses=(
                put("verificationSessions.tableName", t.registrations * 4, "each step of a registration"),
                get("verificationSessions.tableName", t.registrations * 4, "each step of a registration"),
            ),
        ),
    }


def demand(
    workload: Workload,
    traffic: Traffic,
    installation: Installation,
    pods: float,
    tables: Mapping[str, Table] = TABLES,
) -> tuple[TableDemand, ...]:
    """What each table of the schema is asked for, in the schema's order. Raises ModelError for one that is unknown."""
    sizes, used = items(workload), uses(workload, traffic, installation, pods)
    for what, known in (("item size", sizes.keys()), ("access pattern", used.keys())):
        for key in sorted(tables.keys() - known):
            raise ModelError(f"{key} has no {what}: write it in capacity/dynamodb.py")
        for key in sorted(known - tables.keys()):
            raise ModelError(f"{key} has an {what}, but is no table of the schema: remove it from capacity/dynamodb.py")
    return tuple(_table(key, table, sizes[key], used[key], workload.peak) for key, table in tables.items())


def _table(key: str, table: Table, item: Item, stored: Stored, peak: float) -> TableDemand:
    counts = stored.indexed or {}
    names = {index.name for index in table.indexes}
    if names != counts.keys():
        raise ModelError(f"{table.name} has the indexes {sorted(names)}, the model {sorted(counts)}")
    for use in stored.uses:
        if use.operation not in table.operations:
            raise ModelError(f"{table.name}: the model has {use.operation}, which is none of the schema's operations")
    local = {index.name for index in table.indexes if index.local}
    return TableDemand(
        key=key,
        name=table.name,
        item=item,
        items=stored.items,
        bytes=stored.items * (item.bytes + ITEM_OVERHEAD),
        throughput=_throughput(stored.uses, peak, index="", local=local),
        uses=stored.uses,
        indexes=tuple(
            IndexDemand(
                name=index.name,
                local=index.local,
                items=counts[index.name],
                bytes=counts[index.name] * (_entry_bytes(table, item) + ITEM_OVERHEAD),
                throughput=_throughput(stored.uses, peak, index=index.name, local=local),
            )
            for index in table.indexes
        ),
    )


def _entry_bytes(table: Table, item: Item) -> float:
    """An entry of an index that projects keys only: the keys of the table and of the index, about 20 bytes each."""
    narrow = all(index.projection == "KEYS_ONLY" for index in table.indexes)
    return 20.0 * len(table.key_attributes()) if narrow else item.bytes


def _throughput(all_uses: tuple[Use, ...], peak: float, *, index: str, local: set[str]) -> Throughput:
    """Of a table (`index` empty; with its local indexes, whose capacity it shares) or of an index."""
    sums = dict.fromkeys(("reads_mean", "reads_peak", "writes_mean", "writes_peak"), 0.0)
    for use in all_uses:
        units = 0.0
        if use.reads:
            units = use.units if use.index == index or (not index and use.index in local) else 0.0
        elif index:
            units = 1.0 if index in use.maintains else 0.0
        else:
            units = use.units + sum(1 for name in use.maintains if name in local)
        kind, mean = "reads" if use.reads else "writes", per_second(use.times * units)
        sums[f"{kind}_mean"] += mean
        highest = mean * (1 if use.steady else peak)
        if use.unit_rate < math.inf:
            # a whole scan in a row, as fast as its pages come
            highest = max(mean, min(use.unit_rate, units))
        sums[f"{kind}_peak"] += highest
    return Throughput(**sums)
