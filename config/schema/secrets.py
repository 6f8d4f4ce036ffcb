"""Every secret of an installation: what it is made of and all of its readers, so that a shared one cannot differ.

Lengths and encodings are what the services' own parsers demand (Whisper's secrets bundle takes standard
base64 or text, Storage's YAML takes hexadecimal or base64). Values are made by `components.secrets`.
"""

from dataclasses import dataclass
from typing import Literal

Encoding = Literal["base64", "hex", "pem", "json"]

Kind = Literal["random", "server-params", "generic-params", "curve25519", "ec-p256", "service-account"]
"""Kinds of secrets.

`random`: random bytes. `server-params`, `generic-params`: libsignal's ServerSecretParams (2721 bytes) and
GenericServerSecretParams (385 bytes). `curve25519`: a private key (32 bytes). `ec-p256`: a PKCS#8 PEM key.
`service-account`: the JSON of a Google service account with a key of its own.
"""

Service = Literal[
    "whisper", "storage", "redis", "object-store", "cdn0-gate", "cdn3", "registration", "calling", "signer", "turn"
]


@dataclass(frozen=True)
class Epochs:
    """How often a secret was made again: its `newest` epoch, and the one whose value is `used`."""

    newest: int = 1
    used: int = 1


@dataclass(frozen=True)
class Reader:
    """A service that reads a secret at a path (a key of Whisper's bundle, a path in YAML, a file) in an encoding.

    `yaml_path` is where Whisper's YAML refers to the key of its bundle, if the path there is another one.
    """

    service: Service
    path: str
    encoding: Encoding = "base64"
    yaml_path: str = ""


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A secret: `length` in bytes is what it is made of before encoding (for `random`)."""

    name: str
    kind: Kind = "random"
    length: int = 32
    readers: tuple[Reader, ...]
    why: str


def _whisper(path: str, encoding: Encoding = "base64", yaml_path: str = "") -> Reader:
    return Reader("whisper", path, encoding, yaml_path)


UNUSED = "demanded by the parser, used by nothing"
"""Why a secret is there that has to have a form, and no meaning."""


def _unused(name: str, *readers: Reader, kind: Kind = "random") -> Secret:
    return Secret(name=name, kind=kind, readers=readers, why=UNUSED)


SECRETS: tuple[Secret, ...] = (
    Secret(
        name="storage-authentication",
        readers=(
            _whisper("storageService.userAuthenticationTokenSharedSecret"),
            Reader("storage", "authentication.key", "hex"),
        ),
        why="Whisper signs the credentials that Storage verifies",
    ),
    Secret(
        name="zk-server",
        kind="server-params",
        readers=(
            _whisper("zkConfig-libsignal-0.42.serverSecret", yaml_path="zkConfig.serverSecret"),
            Reader("storage", "zkConfig.serverSecret"),
        ),
        why="issues and verifies group, profile and receipt credentials",
    ),
    Secret(
        name="zk-calling",
        kind="generic-params",
        readers=(_whisper("callingZkConfig.serverSecret"), Reader("calling", "zkparams")),
        why="issues call link credentials",
    ),
    Secret(
        name="zk-backups",
        kind="generic-params",
        readers=(_whisper("backupsZkConfig.serverSecret"),),
        why="issues backup credentials",
    ),
    Secret(
        name="unidentified-delivery-trust-root",
        kind="curve25519",
        readers=(Reader("signer", "unidentifiedDelivery.trustRoot"),),
        why="signs Whisper's sealed-sender certificate; clients pin its public key",
    ),
    Secret(
        name="unidentified-delivery",
        kind="curve25519",
        readers=(_whisper("unidentifiedDelivery.privateKey"),),
        why="signs the certificates of sealed senders",
    ),
    Secret(
        name="noise-tunnel",
        kind="curve25519",
        readers=(_whisper("noiseTunnel.noiseStaticPrivateKey"),),
        why="static key of the noise tunnel; clients pin its public key",
    ),
    Secret(
        name="noise-tunnel-proxy",
        readers=(_whisper("noiseTunnel.recognizedProxySecret"),),
        why="lets a proxy in front of the noise tunnel vouch for client addresses",
    ),
    Secret(
        name="attachments",
        readers=(
            _whisper("tus.userAuthenticationTokenSharedSecret"),
            Reader("cdn3", "attachments.key"),
        ),
        why="Whisper signs the upload credentials that CDN3 verifies",
    ),
    Secret(
        name="cdn0-whisper-access-key",
        length=10,
        readers=(
            _whisper("cdn.accessKey", "hex", "cdn.credentials.accessKeyId"),
            Reader("cdn0-gate", "whisper.accessKeyId", "hex"),
        ),
        why="names the key pair of Whisper's POST policies",
    ),
    Secret(
        name="cdn0-whisper-secret-key",
        readers=(
            _whisper("cdn.accessSecret", "hex", "cdn.credentials.secretAccessKey"),
            Reader("cdn0-gate", "whisper.secretAccessKey", "hex"),
        ),
        why="signs POST policies for profiles and stickers",
    ),
    Secret(
        name="cdn0-storage-access-key",
        length=10,
        readers=(
            Reader("storage", "cdn.accessKey", "hex"),
            Reader("cdn0-gate", "storage.accessKeyId", "hex"),
        ),
        why="names the key pair of Storage's POST policies",
    ),
    Secret(
        name="cdn0-storage-secret-key",
        readers=(
            Reader("storage", "cdn.accessSecret", "hex"),
            Reader("cdn0-gate", "storage.secretAccessKey", "hex"),
        ),
        why="signs POST policies for group avatars",
    ),
    Secret(
        name="redis",
        readers=(Reader("redis", "password", "hex"),),
        why="password of both Redis installations, part of Whisper's Redis URIs",
    ),
    Secret(
        name="object-store-root",
        readers=(Reader("object-store", "root", "hex"),),
        why="the account flatline-root of the cluster's own S3 server, for its operator, `backup` and `restore`",
    ),
    Secret(
        name="object-store-pre-keys",
        readers=(Reader("object-store", "pre-keys", "hex"),),
        why="the account flatline-pre-keys of the cluster's own S3 server, which Whisper and LocalStack's seed use",
    ),
    Secret(
        name="object-store-cdn0",
        readers=(Reader("object-store", "cdn0", "hex"),),
        why="the account flatline-cdn0 of the cluster's own S3 server, which the gate of CDN0 uses",
    ),
    Secret(
        name="turn",
        readers=(_whisper("turn.coturn.secret", "hex"), Reader("turn", "static-auth-secret", "hex")),
        why="makes the credentials of the TURN server (static-auth-secret), the text itself is the key",
    ),
    Secret(
        name="group-external-service",
        readers=(
            Reader("storage", "group.externalServiceSecret", "hex"),
            Reader("calling", "authentication-key", "hex"),
        ),
        why="Storage signs the tokens of group members that the calling service verifies",
    ),
    Secret(
        name="link-device",
        readers=(_whisper("linkDevice.secret"),),
        why="signs the tokens that link a device",
    ),
    Secret(
        name="registration-collation-salt",
        readers=(_whisper("registrationService.collationKeySalt"),),
        why="hashes client addresses into rate-limit keys",
    ),
    Secret(
        name="registration-webhook",
        readers=(Reader("registration", "webhook.key", "hex"),),
        why="signs the requests to the operator's gateway of codes (kind: webhook); the text itself is the key",
    ),
    Secret(
        name="directory-authentication",
        readers=(_whisper("directoryV2.client.userAuthenticationTokenSharedSecret"),),
        why="signs credentials of a contact discovery service",
    ),
    Secret(
        name="directory-user-id",
        readers=(_whisper("directoryV2.client.userIdTokenSharedSecret"),),
        why="hashes user ids for a contact discovery service",
    ),
    *(
        Secret(
            name=f"{service}-{role}",
            readers=(_whisper(f"{service}.{key}"),),
            why="signs credentials of a secure value recovery service",
        )
        for service in ("svr2", "svrb")
        for role, key in (
            ("authentication", "userAuthenticationTokenSharedSecret"),
            ("user-id", "userIdTokenSharedSecret"),
        )
    ),
    Secret(
        name="payments-authentication",
        readers=(_whisper("paymentsService.userAuthenticationTokenSharedSecret"),),
        why="signs credentials of a payments service",
    ),
    Secret(
        name="issued-receipts-generator",
        readers=(_whisper("dynamoDbTables.issuedReceipts.generator"),),
        why="keys the tags of issued receipts; a plain value of the YAML, not a reference",
    ),
    _unused("tls-key-store", _whisper("tlsKeyStore.password", "hex")),
    _unused("stripe-api", _whisper("stripe.apiKey", "hex")),
    _unused("stripe-idempotency", _whisper("stripe.idempotencyKeyGenerator")),
    _unused("braintree", _whisper("braintree.privateKey", "hex")),
    _unused("cdn3-storage-manager", _whisper("cdn3StorageManager.clientSecret", "hex")),
    _unused("gcp-attachments", _whisper("gcpAttachments.rsaSigningKey", "hex")),
    _unused("key-transparency", _whisper("keyTransparencyService.clientPrivateKey", "hex")),
    _unused("fixer", _whisper("paymentsService.fixerApiKey", "hex", "paymentsService.externalClients.fixerApiKey")),
    _unused(
        "coin-gecko",
        _whisper("paymentsService.coinGeckoApiKey", "hex", "paymentsService.externalClients.coinGeckoApiKey"),
    ),
    _unused("apn-team", _whisper("apn.teamId", "hex")),
    _unused("apn-key", _whisper("apn.keyId", "hex")),
    _unused("storage-datadog", Reader("storage", "datadog.apiKey", "hex")),
    # Parsed by Whisper's workers, so real in form.
    _unused("apn-signing", _whisper("apn.signingKey", "pem"), kind="ec-p256"),
    _unused("app-store", _whisper("appleAppStore.encodedKey", "pem"), kind="ec-p256"),
    _unused("fcm", _whisper("fcm.credentials", "json"), kind="service-account"),
    _unused("google-play", _whisper("googlePlayBilling.credentialsJson", "json"), kind="service-account"),
)

BY_NAME = {secret.name: secret for secret in SECRETS}

PLAIN_VALUES = frozenset({"dynamoDbTables.issuedReceipts.generator"})
"""Paths of Whisper's YAML that take the value itself, because the field is no `secret://` reference."""

WHISPER_REFERENCES = {
    reader.yaml_path or reader.path: f"secret://{reader.path}"
    for secret in SECRETS
    for reader in secret.readers
    if reader.service == "whisper" and reader.path not in PLAIN_VALUES
}
"""References in Whisper's YAML to the keys of its bundle, by path."""
