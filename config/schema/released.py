"""The tables that installations may have, as their keys were when they were released.

What DynamoDB and Bigtable fix when a table is made must never drift: a change here is a table that is replaced,
empty. So this is kept beside the schema and compared with it before anything is deployed
(`components.cloud.schema_compatibility`).
A new table is added here with the release that brings it.
"""

# hash key, range key, then the range key of each local index: `name:type`
DYNAMODB: dict[str, tuple[str, ...]] = {
    "Accounts": ("U:B",),
    "Accounts_PhoneNumbers": ("P:S",),
    "Accounts_PhoneNumberIdentifiers": ("PNI:B",),
    "Accounts_Usernames": ("N:B",),
    "Accounts_UsedLinkDeviceTokens": ("H:B",),
    "AppleDeviceChecks": ("U:B", "KID:B"),
    "AppleDeviceCheckPublicKeys": ("PK:B",),
    "Backups": ("U:B",),
    "ClientPublicKeys": ("U:B", "D:N"),
    "ClientReleases": ("P:S", "V:S"),
    "DeletedAccounts": ("P:S",),
    "DeletedAccountsLock": ("P:S",),
    "Keys": ("U:B", "DK:B"),
    "EC_Signed_Pre_Keys": ("U:B", "D:N"),
    "IssuedReceipts": ("A:S",),
    "Messages": ("H:B", "S:B", "Message_UUID_Index=U:B"),
    "OnetimeDonations": ("P:S",),
    "PQ_Paged_Keys": ("U:B", "D:N"),
    "PhoneNumberIdentifiers": ("P:S",),
    "PQ_Keys": ("U:B", "DK:B"),
    "PQ_Last_Resort_Keys": ("U:B", "D:N"),
    "Profiles": ("U:B", "V:S"),
    "PushChallenge": ("U:B",),
    "PushNotificationExperimentSamples": ("N:S", "AD:B"),
    "RedeemedReceipts": ("S:B",),
    "RegistrationRecovery": ("P:S",),
    "RemoteConfig": ("N:S",),
    "ReportMessage": ("H:B",),
    "ScheduledJobs": ("S:S", "T:B"),
    "Subscriptions": ("U:B",),
    "VerificationSessions": ("K:S",),
    "Rooms": ("roomId:S", "recordType:S"),
}

# column families
BIGTABLE: dict[str, tuple[str, ...]] = {
    "contacts": ("c",),
    "contact-manifests": ("m",),
    "groups": ("g",),
    "group-logs": ("l",),
}
