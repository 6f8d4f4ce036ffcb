"""Whisper's YAML as far as it is constant.

Whatever depends on another component, on the settings or on a generated value is absent here and comes from an
overlay (`components.services.whisper`); a path in both is an error. Blocks of features that this fork of the
service does not construct hold inert values that satisfy its parser and its workers: unknown keys are fatal to
it at any level, and so is a missing mandatory block. Durations are ISO 8601.
"""

from typing import Any

WORKER_THREADS = 16
"""Each persister thread visits about ten of 16384 slots a second: 16 of them make a full round in 103 s."""

HTTP_PORT, ADMIN_PORT = 8080, 8081
NOISE_WEBSOCKET_PORT, NOISE_DIRECT_PORT = 8444, 8445

MESSAGE_RETENTION_DAYS = 30
"""How long an undelivered message is kept (`dynamoDbTables.messages.expiration`)."""


def _secret(path: str) -> str:
    return f"secret://{path}"


def _shared(block: str) -> dict[str, str]:
    key = "userAuthenticationTokenSharedSecret"
    return {key: _secret(f"{block}.{key}")}


def _shared_pair(block: str) -> dict[str, str]:
    key = "userIdTokenSharedSecret"
    return {**_shared(block), key: _secret(f"{block}.{key}")}


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
    "tlsKeyStore": {"password": _secret("tlsKeyStore.password")},
    "stripe": {
        "apiKey": _secret("stripe.apiKey"),
        "idempotencyKeyGenerator": _secret("stripe.idempotencyKeyGenerator"),
        "boostDescription": "unused",
        "supportedCurrenciesByPaymentMethod": {"CARD": ["usd"]},
    },
    "braintree": {
        "merchantId": "unused",
        "publicKey": "unused",
        "privateKey": _secret("braintree.privateKey"),
        "environment": "unused",
        "graphqlUrl": f"https://{UNROUTABLE}",
        "merchantAccounts": {"usd": "unused"},
        "supportedCurrenciesByPaymentMethod": {"PAYPAL": ["usd"]},
        "pubSubPublisher": {"project": "unused", "topic": "unused", "credentialConfiguration": "{}"},
    },
    "googlePlayBilling": {
        "credentialsJson": _secret("googlePlayBilling.credentialsJson"),
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
        "encodedKey": _secret("appleAppStore.encodedKey"),
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
    "directoryV2": {"client": _shared_pair("directoryV2.client")},
    "svr2": {"uri": f"https://{UNROUTABLE}", **_shared_pair("svr2")},
    "svrb": {"uri": f"https://{UNROUTABLE}", **_shared_pair("svrb")},
    "gcpAttachments": {
        "domain": UNROUTABLE,
        "email": f"unused@{UNROUTABLE}",
        "maxSizeInBytes": 1024,
        "pathPrefix": "",
        "rsaSigningKey": _secret("gcpAttachments.rsaSigningKey"),
    },
    "tus": _shared("tus"),
    "apn": {
        "sandbox": True,
        "bundleId": "unused",
        "teamId": _secret("apn.teamId"),
        "keyId": _secret("apn.keyId"),
        "signingKey": _secret("apn.signingKey"),
    },
    "fcm": {"credentials": _secret("fcm.credentials")},
    "cdn": {
        "credentials": {
            "accessKeyId": _secret("cdn.accessKey"),
            "secretAccessKey": _secret("cdn.accessSecret"),
        },
    },
    "cdn3StorageManager": {
        "baseUri": f"https://{UNROUTABLE}",
        "clientId": "unused",
        "clientSecret": _secret("cdn3StorageManager.clientSecret"),
    },
    # Demanded even where metrics go by StatsD; true makes the service fail at start.
    "openTelemetry": {"enabled": False},
    "unidentifiedDelivery": {"privateKey": _secret("unidentifiedDelivery.privateKey"), "expiresDays": 7},
    "shortCode": {"baseUrl": f"https://{UNROUTABLE}"},
    "storageService": _shared("storageService"),
    "zkConfig": {"serverSecret": _secret("zkConfig-libsignal-0.42.serverSecret")},
    "callingZkConfig": {"serverSecret": _secret("callingZkConfig.serverSecret")},
    "backupsZkConfig": {"serverSecret": _secret("backupsZkConfig.serverSecret")},
    "dynamicConfig": {"refreshInterval": "PT10S"},
    "paymentsService": {
        **_shared("paymentsService"),
        "paymentCurrencies": ["MOB"],
        "externalClients": {
            "fixerApiKey": _secret("paymentsService.fixerApiKey"),
            "coinGeckoApiKey": _secret("paymentsService.coinGeckoApiKey"),
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
        "collationKeySalt": _secret("registrationService.collationKeySalt"),
    },
    "keyTransparencyService": {
        "host": UNROUTABLE,
        "port": 443,
        "clientPrivateKey": _secret("keyTransparencyService.clientPrivateKey"),
    },
    "turn": {
        "coturn": {
            "secret": _secret("turn.coturn.secret"),
            "credentialTtl": "PT24H",
            "clientCredentialTtl": "PT12H",
        },
    },
    "linkDevice": {"secret": _secret("linkDevice.secret")},
    # No key store: TLS is off while nothing routes to these ports.
    "noiseTunnel": {
        "webSocketPort": NOISE_WEBSOCKET_PORT,
        "directPort": NOISE_DIRECT_PORT,
        "noiseStaticPrivateKey": _secret("noiseTunnel.noiseStaticPrivateKey"),
        "recognizedProxySecret": _secret("noiseTunnel.recognizedProxySecret"),
    },
    "externalRequestFilter": {"grpcMethods": [], "paths": [], "permittedInternalRanges": []},
    "idlePrimaryDeviceReminder": {"minIdleDuration": "P30D"},
}
