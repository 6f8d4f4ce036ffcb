"""Every secret of an installation: made once from managed randomness, or provided by the operator."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import pulumi
import pulumi_random as random
import pulumi_tls as tls

from components import signal_keys
from components.base import Component
from config import installation, operator_values
from config.schema.secrets import BY_NAME, SECRETS, Encoding, Epochs, Secret, Service

SEED_CHARACTERS = 64
"""Letters and digits of a seed: 381 bits, more than any value that is expanded from it uses."""

SERVER_CERTIFICATE_ID = 1
"""Key id of the sealed-sender server certificate; libsignal refuses only two reserved ids."""


@dataclass(frozen=True, kw_only=True)
class SecretsArgs:
    """`epochs` are by secret; one without an entry was never rotated.

    `provided` are the operator's own, in the encoding of the first reader; `issued` are a cloud's, read as they are.
    A secret whose readers are all `absent` is not made.
    """

    epochs: Mapping[str, Epochs]
    provided: Mapping[str, pulumi.Input[str]]
    issued: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    absent: frozenset[Service] = frozenset()


class Secrets(Component):
    """The secrets of `config.schema.secrets`.

    Each value is a pure function of a seed, which is a RandomPassword because that keeps its result out of
    resource ids and plain-text state. Every epoch has a seed of its own and all of them stay: a seed is never
    replaced, and a rotation can be taken back. They stay beside a value of the operator's own as well, because
    what is protected may not leave the program.
    """

    TYPE = "flatline:secrets:Secrets"

    def __init__(self, name: str, args: SecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._args = args
        self._seeds: dict[str, pulumi.Output[str]] = {}
        made = [secret for secret in SECRETS if any(reader.service not in args.absent for reader in secret.readers)]
        self._data = {
            secret.name: self._bytes(secret) for secret in made if secret.kind not in {"ec-p256", "service-account"}
        }
        self._text = {
            secret.name: self._document(secret) for secret in made if secret.kind in {"ec-p256", "service-account"}
        }
        self.register_outputs({})

    def of(self, service: Service) -> dict[str, pulumi.Output[str]]:
        """Secrets of a service: path → text in the reader's encoding."""
        return {
            reader.path: self._encoded(secret, reader.encoding)
            for secret in SECRETS
            for reader in secret.readers
            if reader.service == service
        }

    def public(self, name: str) -> pulumi.Output[str]:
        """The public half of Signal key material, in padded base64.

        libsignal's public parameters for `server-params` and `generic-params`; for `curve25519` the serialised key
        (33 bytes, type byte 05).
        """
        kind = cast(signal_keys.KeyKind, BY_NAME[name].kind)
        return pulumi.Output.unsecret(
            self._data[name].apply(lambda secret: signal_keys.to_base64(signal_keys.public_half(kind, secret)))
        )

    @property
    def digests(self) -> pulumi.Output[dict[str, str]]:
        """The digest of each seed by its name, `<secret>-<epoch>`, those of earlier epochs too."""
        return pulumi.Output.unsecret(
            pulumi.Output.all(**self._seeds).apply(
                lambda seeds: {name: installation.digest(seed) for name, seed in seeds.items()}
            )
        )

    def server_certificate(self) -> pulumi.Output[str]:
        """The sealed-sender server certificate, signed by the trust root, in padded base64."""
        root, server = self._data["unidentified-delivery-trust-root"], self._data["unidentified-delivery"]
        return pulumi.Output.all(root, server).apply(
            lambda keys: signal_keys.to_base64(
                signal_keys.server_certificate(
                    keys[0], signal_keys.public_half("curve25519", keys[1]), SERVER_CERTIFICATE_ID, keys[1]
                )
            )
        )

    def _encoded(self, secret: Secret, encoding: Encoding) -> pulumi.Output[str]:
        if secret.name in self._args.issued:
            return pulumi.Output.secret(self._args.issued[secret.name])
        if secret.name in self._text:
            return self._text[secret.name]
        to_text = signal_keys.to_hex if encoding == "hex" else signal_keys.to_base64
        return self._data[secret.name].apply(to_text)

    def _bytes(self, secret: Secret) -> pulumi.Output[bytes]:
        epochs = self._args.epochs.get(secret.name, Epochs())
        seeds = {
            epoch: random.RandomPassword(
                f"{secret.name}-{epoch}",
                length=SEED_CHARACTERS,
                special=False,
                opts=pulumi.ResourceOptions(parent=self, protect=True),
            )
            for epoch in range(1, epochs.newest + 1)
        }
        self._seeds |= {f"{secret.name}-{epoch}": seed.result for epoch, seed in seeds.items()}
        if secret.name in self._args.provided:
            encoding = secret.readers[0].encoding
            provided = pulumi.Output.secret(self._args.provided[secret.name])
            return provided.apply(lambda text: _provided(secret, operator_values.decode(text, encoding)))
        return seeds[epochs.used].result.apply(lambda seed: _material(secret, seed))

    def _document(self, secret: Secret) -> pulumi.Output[str]:
        key = tls.PrivateKey(
            secret.name,
            algorithm="RSA" if secret.kind == "service-account" else "ECDSA",
            rsa_bits=2048 if secret.kind == "service-account" else None,
            ecdsa_curve=None if secret.kind == "service-account" else "P256",
            opts=self.child_opts,
        )
        if secret.kind == "service-account":
            return key.private_key_pem_pkcs8.apply(lambda pem: _service_account(secret.name, pem))
        return key.private_key_pem_pkcs8


def _provided(secret: Secret, data: bytes) -> bytes:
    """Bytes that the operator provided; a Curve25519 key in the clamped form that signing demands."""
    return signal_keys.curve_key_pair(data).private if secret.kind == "curve25519" else data


def _material(secret: Secret, seed: str) -> bytes:
    if secret.kind == "random":
        return signal_keys.expand(seed, f"flatline/{secret.name}", secret.length)
    kind = cast(signal_keys.KeyKind, secret.kind)
    return signal_keys.secret_half(kind, signal_keys.expand(seed, f"flatline/{secret.name}", 32))


def _service_account(name: str, pem: str) -> str:
    """The key file of a Google service account that exists nowhere."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "unused",
            "private_key_id": name,
            "private_key": pem,
            "client_email": f"{name}@unused.invalid",
            "client_id": "0",
            "token_uri": "https://unused.invalid/token",
        }
    )
