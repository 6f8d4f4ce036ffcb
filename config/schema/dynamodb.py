"""The DynamoDB tables that Whisper configures (`dynamoDbTables` in its YAML), as its storage classes use them, and
that of the calling service.

Key schemas, indexes and time-to-live attributes are those that the code of Whisper reads and writes; index
projections are the narrowest that its queries need. `operations` are the API calls of the Java class behind
the table, from which cloud identities are granted.
"""

from dataclasses import dataclass
from typing import Literal

AttributeType = Literal["B", "N", "S"]


@dataclass(frozen=True)
class Key:
    """A key attribute: its name and its type (`B` binary, `N` number, `S` string)."""

    name: str
    type: AttributeType


@dataclass(frozen=True, kw_only=True)
class Index:
    """A secondary index. `local` ones share the table's hash key and exist from its creation or never."""

    name: str
    hash: Key
    range: Key | None = None
    projection: Literal["KEYS_ONLY", "ALL"] = "KEYS_ONLY"
    local: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: `name` in DynamoDB, keys, indexes, and `ttl`, the attribute of epoch seconds that expires rows.

    With `queried_by_index` the indexes alone are queried, never the table.
    """

    name: str
    hash: Key
    range: Key | None = None
    indexes: tuple[Index, ...] = ()
    ttl: str | None = None
    operations: tuple[str, ...]
    queried_by_index: bool = False

    @property
    def key_schema(self) -> list[list[str]]:
        """Name and type of the hash key, and of the range key if there is one."""
        return [[key.name, key.type] for key in (self.hash, self.range) if key is not None]

    def key_attributes(self) -> tuple[Key, ...]:
        """Every attribute that a key or an index is made of, each once, by name."""
        own = [self.hash, self.range]
        indexed = [key for index in self.indexes for key in (index.hash, index.range)]
        found = {key.name: key for key in own + indexed if key is not None}
        return tuple(found[name] for name in sorted(found))


def _operations(text: str) -> tuple[str, ...]:
    names = {
        "Get": ("GetItem",),
        "BatchGet": ("BatchGetItem",),
        "BatchWrite": ("BatchWriteItem",),
        "Put": ("PutItem",),
        "Update": ("UpdateItem",),
        "Delete": ("DeleteItem",),
        "Query": ("Query",),
        "Scan": ("Scan",),
        # A transaction is authorised as the writes it holds, and as condition checks.
        "Transact": ("PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"),
    }
    return tuple(sorted({operation for word in text.split() for operation in names[word]}))


U, P = Key("U", "B"), Key("P", "S")
PNI, DEVICE, DEVICE_KEY = Key("PNI", "B"), Key("D", "N"), Key("DK", "B")

TABLES: dict[str, Table] = {
    "accounts.tableName": Table(
        name="Accounts",
        hash=U,
        indexes=(Index(name="ul_to_u", hash=Key("UL", "B")),),
        operations=_operations("Get Put Update Delete Query Scan Transact"),
        queried_by_index=True,
    ),
    "accounts.phoneNumberTableName": Table(
        name="Accounts_PhoneNumbers", hash=P, operations=_operations("Get Transact")
    ),
    "accounts.phoneNumberIdentifierTableName": Table(
        name="Accounts_PhoneNumberIdentifiers", hash=PNI, operations=_operations("Get Transact")
    ),
    "accounts.usernamesTableName": Table(
        name="Accounts_Usernames",
        hash=Key("N", "B"),
        ttl="TTL",
        operations=_operations("Get Put Update Delete Transact"),
    ),
    "accounts.usedLinkDeviceTokensTableName": Table(
        name="Accounts_UsedLinkDeviceTokens",
        hash=Key("H", "B"),
        ttl="E",
        operations=_operations("Transact"),
    ),
    "appleDeviceChecks.tableName": Table(
        name="AppleDeviceChecks",
        hash=U,
        range=Key("KID", "B"),
        operations=_operations("Get Query Update Transact"),
    ),
    "appleDeviceCheckPublicKeys.tableName": Table(
        name="AppleDeviceCheckPublicKeys", hash=Key("PK", "B"), operations=_operations("Transact")
    ),
    "backups.tableName": Table(name="Backups", hash=U, operations=_operations("Get Update Delete Scan")),
    "clientPublicKeys.tableName": Table(
        name="ClientPublicKeys", hash=U, range=DEVICE, operations=_operations("Get Put Transact")
    ),
    "clientReleases.tableName": Table(
        name="ClientReleases", hash=P, range=Key("V", "S"), ttl="E", operations=_operations("Scan")
    ),
    "deletedAccounts.tableName": Table(
        name="DeletedAccounts",
        hash=P,
        indexes=(Index(name="u_to_p", hash=U),),
        ttl="E",
        operations=_operations("Get Query Transact"),
        queried_by_index=True,
    ),
    "deletedAccountsLock.tableName": Table(
        name="DeletedAccountsLock", hash=P, operations=_operations("Get Put Update Delete")
    ),
    "ecKeys.tableName": Table(name="Keys", hash=U, range=DEVICE_KEY, operations=_operations("Put Query Delete")),
    "ecSignedPreKeys.tableName": Table(
        name="EC_Signed_Pre_Keys", hash=U, range=DEVICE, operations=_operations("Get Put Transact")
    ),
    "issuedReceipts.tableName": Table(
        name="IssuedReceipts", hash=Key("A", "S"), ttl="E", operations=_operations("Update Delete")
    ),
    "messages.tableName": Table(
        name="Messages",
        hash=Key("H", "B"),
        range=Key("S", "B"),
        indexes=(Index(name="Message_UUID_Index", hash=Key("H", "B"), range=U, local=True),),
        ttl="E",
        operations=_operations("Query Delete BatchWrite"),
    ),
    "onetimeDonations.tableName": Table(name="OnetimeDonations", hash=P, ttl="E", operations=_operations("Get Put")),
    "pagedPqKeys.tableName": Table(
        name="PQ_Paged_Keys", hash=U, range=DEVICE, operations=_operations("Get Put Update Delete Query")
    ),
    "phoneNumberIdentifiers.tableName": Table(
        name="PhoneNumberIdentifiers",
        hash=P,
        indexes=(Index(name="pni_to_p", hash=PNI),),
        operations=_operations("BatchGet Query Transact"),
        queried_by_index=True,
    ),
    "pqKeys.tableName": Table(name="PQ_Keys", hash=U, range=DEVICE_KEY, operations=_operations("Put Query Delete")),
    "pqLastResortKeys.tableName": Table(
        name="PQ_Last_Resort_Keys", hash=U, range=DEVICE, operations=_operations("Get Put Transact")
    ),
    "profiles.tableName": Table(
        name="Profiles", hash=U, range=Key("V", "S"), operations=_operations("Get Update Delete Query")
    ),
    "pushChallenge.tableName": Table(name="PushChallenge", hash=U, ttl="T", operations=_operations("Put Delete")),
    "pushNotificationExperimentSamples.tableName": Table(
        name="PushNotificationExperimentSamples",
        hash=Key("N", "S"),
        range=Key("AD", "B"),
        ttl="E",
        operations=_operations("Put Update Delete Query Scan"),
    ),
    "redeemedReceipts.tableName": Table(
        name="RedeemedReceipts", hash=Key("S", "B"), ttl="E", operations=_operations("Update")
    ),
    "registrationRecovery.tableName": Table(
        name="RegistrationRecovery", hash=P, ttl="E", operations=_operations("Get Put Delete")
    ),
    "remoteConfig.tableName": Table(name="RemoteConfig", hash=Key("N", "S"), operations=_operations("Scan Put Delete")),
    "reportMessage.tableName": Table(
        name="ReportMessage", hash=Key("H", "B"), ttl="E", operations=_operations("Put Delete")
    ),
    "scheduledJobs.tableName": Table(
        name="ScheduledJobs",
        hash=Key("S", "S"),
        range=Key("T", "B"),
        ttl="E",
        operations=_operations("Put Query Delete"),
    ),
    "subscriptions.tableName": Table(
        name="Subscriptions",
        hash=U,
        indexes=(Index(name="pc_to_u", hash=Key("PC", "B")),),
        operations=_operations("Get Update Query"),
        queried_by_index=True,
    ),
    "verificationSessions.tableName": Table(
        name="VerificationSessions", hash=Key("K", "S"), ttl="E", operations=_operations("Get Put Delete")
    ),
}
"""Path below `dynamoDbTables` in Whisper's YAML → the table it names."""

ROOMS = "rooms"

GROUP_CALLS: dict[str, Table] = {
    ROOMS: Table(
        name="Rooms",
        hash=Key("roomId", "S"),
        range=Key("recordType", "S"),
        indexes=(Index(name="region-index", hash=Key("region", "S"), range=Key("recordType", "S"), projection="ALL"),),
        ttl="deleteAt",
        operations=_operations("Get Put Update Delete Query Transact"),
    ),
}
"""The table of calls and call links, which only an installation with group calls has. Source: the storage code of the
calling service's frontend."""


def tables(*, group_calls: bool) -> dict[str, Table]:
    """Every table of an installation, by its path in Whisper's YAML or by its own key."""
    return {**TABLES, **(GROUP_CALLS if group_calls else {})}
