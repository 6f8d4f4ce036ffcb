"""Whisper's YAML as far as it is constant.

Values that depend on another component or on the settings, and references to secrets, are absent here and come from
overlays (`components.services.whisper`, `config.schema.secrets`); a path in both is an error. Blocks of features that
this fork of the service does not construct hold inert values that satisfy its parser and its workers: unknown keys are
fatal to it at any level, and so is a missing mandatory block. Durations are ISO 8601.
"""

from typing import Any

WORKER_THREADS = 16
"""Each persister thread visits about ten of 16384 slots a second: 16 of them make a full round in 103 s."""

HTTP_PORT, ADMIN_PORT = 8080, 8081
NOISE_WEBSOCKET_PORT, NOISE_DIRECT_PORT = 8444, 8445

MESSAGE_RETENTION_DAYS = 30
"""How long an undelivered message is kept (`dynamoDbTables.messages.expiration`)."""


_REDIS = {"timeout": "PT5S"}
"""For an answer of Redis and for opening a connection. At start a failure ends the process; with the default of one
second three of seven starts on a very busy machine ended so."""

UNROUTABLE = "unused.invalid"
"""A host name that never resolves (RFC 2606), for features that have no server here."""

NO_RELAY = "localhost"
"""The TURN server where there is none. Whisper resolves the name for each client that asks, and answers 503 when it
does not resolve; without an answer a client cannot call. This one is in every pod's hosts file and leads a client to
itself: no credential leaves the device, nothing answers, and the call goes on without a relay."""

CONSTANTS: dict[str, Any] = {
    "logging": {
        "level": "INFO",
        "appenders": [{"type": "console", "threshold": "ALL", "timeZone": "UTC", "target": "stdout"}],
    },
    "server": {
        # The leftmost address of X-Forwarded-For is believed, so only the proxy may reach this port.
        "applicationConnectors": [{"type": "http", "port": HTTP_PORT, "useForwardedHeaders": True}],
        "adminConnectors": [{"type": "http", "port": ADMIN_PORT}],
    },
    "stripe": {
        "boostDescription": "unused",
        "supportedCurrenciesByPaymentMethod": {"CARD": ["usd"]},
    },
    "braintree": {
        "merchantId": "unused",
        "publicKey": "unused",
        "environment": "unused",
        "graphqlUrl": f"https://{UNROUTABLE}",
        "merchantAccounts": {"usd": "unused"},
        "supportedCurrenciesByPaymentMethod": {"PAYPAL": ["usd"]},
        "pubSubPublisher": {"project": "unused", "topic": "unused", "credentialConfiguration": "{}"},
    },
    "googlePlayBilling": {
        "packageName": "unused",
        "applicationName": "unused",
        "productIdToLevel": {},
    },
    "appleAppStore": {
        "env": "SANDBOX",
        "bundleId": "unused",
        "appAppleId": 1,
        "issuerId": "unused",
        "keyId": "unused",
        "subscriptionGroupId": "unused",
        "productIdToLevel": {},
    },
    "appleDeviceCheck": {"production": False, "teamId": "unused", "bundleId": "unused"},
    "deviceCheck": {"backupRedemptionDuration": "P30D", "backupRedemptionLevel": 201},
    "dynamoDbTables": {
        "issuedReceipts": {
            "expiration": "P30D",
            "maxIssuedReceiptsPerPaymentId": {
                "STRIPE": 1,
                "BRAINTREE": 1,
                "GOOGLE_PLAY_BILLING": 1,
                "APPLE_APP_STORE": 1,
            },
        },
        "messages": {"expiration": f"P{MESSAGE_RETENTION_DAYS}D"},
        "onetimeDonations": {"expiration": "P90D"},
        "redeemedReceipts": {"expiration": "P30D"},
        "registrationRecovery": {"expiration": "P300D"},
        "scheduledJobs": {"expiration": "P7D"},
    },
    # Only the persister reads it: a message is moved to DynamoDB when it was not delivered for so many minutes.
    "messageCache": {"persistDelayMinutes": 1, "cluster": _REDIS},
    "cacheCluster": _REDIS,
    "pushSchedulerCluster": _REDIS,
    "rateLimitersCluster": _REDIS,
    "pubsub": _REDIS,
    "svr2": {"uri": f"https://{UNROUTABLE}"},
    "svrb": {"uri": f"https://{UNROUTABLE}"},
    "gcpAttachments": {
        "domain": UNROUTABLE,
        "email": f"unused@{UNROUTABLE}",
        "maxSizeInBytes": 1024,
        "pathPrefix": "",
    },
    "apn": {
        "sandbox": True,
        "bundleId": "unused",
    },
    "cdn3StorageManager": {
        "baseUri": f"https://{UNROUTABLE}",
        "clientId": "unused",
    },
    # Demanded even where metrics go by StatsD; true makes the service fail at start.
    "openTelemetry": {"enabled": False},
    "unidentifiedDelivery": {"expiresDays": 7},
    "shortCode": {"baseUrl": f"https://{UNROUTABLE}"},
    "dynamicConfig": {"refreshInterval": "PT10S"},
    "paymentsService": {
        "paymentCurrencies": ["MOB"],
        "externalClients": {
            "coinGeckoCurrencyIds": {"MOB": "mobilecoin"},
        },
    },
    "badges": {"badges": [], "badgeIdsEnabledForAll": [], "receiptLevels": {}},
    "subscription": {
        "badgeGracePeriod": "P15D",
        "badgeExpiration": "P30D",
        "backupExpiration": "P30D",
        "backupGracePeriod": "P15D",
        "backupFreeTierMediaDuration": "P30D",
        "levels": {},
    },
    "oneTimeDonations": {
        "sepaMaximumEuros": "10000",
        "boost": {"level": 1, "expiration": "P90D", "badge": "unused"},
        "gift": {"level": 10, "expiration": "P90D", "badge": "unused"},
        "currencies": {},
    },
    "registrationService": {
        # Not parsed: the fork's client sends a fixed bearer token over plain-text gRPC.
        "credentialConfigurationJson": "{}",
        "identityTokenAudience": "unused",
        "registrationCaCertificate": "unused",
    },
    "keyTransparencyService": {
        "host": UNROUTABLE,
        "port": 443,
    },
    "turn": {
        "coturn": {
            "credentialTtl": "PT24H",
            "clientCredentialTtl": "PT12H",
        },
    },
    # No key store: TLS is off while nothing routes to these ports.
    "noiseTunnel": {
        "webSocketPort": NOISE_WEBSOCKET_PORT,
        "directPort": NOISE_DIRECT_PORT,
    },
    "externalRequestFilter": {"grpcMethods": [], "paths": [], "permittedInternalRanges": []},
    "idlePrimaryDeviceReminder": {"minIdleDuration": "P30D"},
}
