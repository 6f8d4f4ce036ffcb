"""Facts spelt out a second time, by people: what everything else is made from may itself be wrong."""

import json

import yaml

from tests.graph.stack import load
from tests.graph.test_network import edges

STORED = """
accounts.tableName                          Accounts                          U:B
accounts.phoneNumberTableName               Accounts_PhoneNumbers             P:S
accounts.phoneNumberIdentifierTableName     Accounts_PhoneNumberIdentifiers   PNI:B
accounts.usernamesTableName                 Accounts_Usernames                N:B        ttl=TTL
accounts.usedLinkDeviceTokensTableName      Accounts_UsedLinkDeviceTokens     H:B        ttl=E
appleDeviceChecks.tableName                 AppleDeviceChecks                 U:B,KID:B
appleDeviceCheckPublicKeys.tableName        AppleDeviceCheckPublicKeys        PK:B
backups.tableName                           Backups                           U:B
clientPublicKeys.tableName                  ClientPublicKeys                  U:B,D:N
clientReleases.tableName                    ClientReleases                    P:S,V:S    ttl=E
deletedAccounts.tableName                   DeletedAccounts                   P:S        ttl=E
deletedAccountsLock.tableName               DeletedAccountsLock               P:S
ecKeys.tableName                            Keys                              U:B,DK:B
ecSignedPreKeys.tableName                   EC_Signed_Pre_Keys                U:B,D:N
issuedReceipts.tableName                    IssuedReceipts                    A:S        ttl=E
messages.tableName                          Messages                          H:B,S:B    ttl=E
onetimeDonations.tableName                  OnetimeDonations                  P:S        ttl=E
pagedPqKeys.tableName                       PQ_Paged_Keys                     U:B,D:N
phoneNumberIdentifiers.tableName            PhoneNumberIdentifiers            P:S
pqKeys.tableName                            PQ_Keys                           U:B,DK:B
pqLastResortKeys.tableName                  PQ_Last_Resort_Keys               U:B,D:N
profiles.tableName                          Profiles                          U:B,V:S
pushChallenge.tableName                     PushChallenge                     U:B        ttl=T
pushNotificationExperimentSamples.tableName PushNotificationExperimentSamples N:S,AD:B   ttl=E
redeemedReceipts.tableName                  RedeemedReceipts                  S:B        ttl=E
registrationRecovery.tableName              RegistrationRecovery              P:S        ttl=E
remoteConfig.tableName                      RemoteConfig                      N:S
reportMessage.tableName                     ReportMessage                     H:B        ttl=E
scheduledJobs.tableName                     ScheduledJobs                     S:S,T:B    ttl=E
subscriptions.tableName                     Subscriptions                     U:B
verificationSessions.tableName              VerificationSessions              K:S        ttl=E
"""
"""Path in Whisper's YAML, name, keys with their types, and time-to-live, as Whisper's storage classes use them."""

INDEXES = {
    "Accounts": {"ul_to_u": "UL:B"},
    "DeletedAccounts": {"u_to_p": "U:B"},
    "Messages": {"Message_UUID_Index": "H:B,U:B"},
    "PhoneNumberIdentifiers": {"pni_to_p": "PNI:B"},
    "Subscriptions": {"pc_to_u": "PC:B"},
}


def test_tables_are_as_whispers_code_uses_them() -> None:
    """The schema is the origin of all else, so here it is compared with what was read in Whisper's own code."""
    config = yaml.safe_load(load("dev").file("whisper", "/usr/share/signal/dev.yml"))["dynamoDbTables"]
    seeded = json.loads(load("dev").file("localstack", "/opt/flatline/seed.json"))
    requests = {request["TableName"]: request for request in seeded["tables"]}
    indexes = {}
    for line in STORED.strip().splitlines():
        path, name, keys, *rest = line.split()
        block, key = path.split(".")
        assert config[block][key] == name
        request = requests[name]
        types = {each["AttributeName"]: each["AttributeType"] for each in request["AttributeDefinitions"]}
        assert spelt(request["KeySchema"], types) == keys
        assert rest == [f"ttl={attribute}" for table, attribute in seeded["ttl"].items() if table == name]
        found = request.get("GlobalSecondaryIndexes", []) + request.get("LocalSecondaryIndexes", [])
        if found:
            indexes[name] = {index["IndexName"]: spelt(index["KeySchema"], types) for index in found}
    assert indexes == INDEXES


def spelt(schema: list[dict[str, str]], types: dict[str, str]) -> str:
    """The keys of a table or an index, hash key first."""
    return ",".join(f"{key['AttributeName']}:{types[key['AttributeName']]}" for key in schema)


WHISPERS = {
    ("localstack", 4566),
    ("object-store", 7070),
    ("cdn0-gate", 8080),
    ("redis", 6379),
    ("redis-pubsub", 6379),
    ("otel-collector", 8125),
}
EDGES = {
    "whisper": {*WHISPERS, ("registration", 50051)},
    "whisper-persister": WHISPERS,
    "whisper-remove-expired-username-holds": WHISPERS,
    "whisper-remove-expired-devices": WHISPERS,
    "whisper-remove-orphaned-pre-key-pages": WHISPERS,
    "whisper-remove-expired-accounts": WHISPERS,
    "whisper-remove-expired-backups": WHISPERS,
    "whisper-notify-idle-devices": WHISPERS,
    "storage": {("cbtemulator", 9000)},
    "cbtemulator-seed": {("cbtemulator", 9000)},
    "cdn0-gate": {("object-store", 7070)},
    "localstack": {("object-store", 7070)},
    "redis": {("redis", 6379), ("redis", 16379)},
    "redis-membership": {("redis", 6379)},
}
"""Who opens connections to whom in the local stack, spelt out: many are named in files without their port."""


def test_the_edges_of_the_local_stack_are_these() -> None:
    leaving = edges(load("dev"), "egress")
    assert {edge for edge in leaving if edge[1] != "kube-system"} == {
        (caller, callee, port) for caller, targets in EDGES.items() for callee, port in targets
    }
    assert {edge for edge in leaving if edge[1] == "kube-system"} == {(name, "kube-system", 53) for name in EDGES}
