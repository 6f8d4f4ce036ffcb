"""The certificate authority that clients pin, and the wildcard certificate that Traefik serves."""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_tls as tls
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.base import Component
from components.capabilities import ServedCertificate, Tls
from components.kubernetes.mounted_files import name_of
from config import installation

CURVE = "P256"
HOURS = 24


@dataclass(frozen=True, kw_only=True)
class CertificatesArgs:
    """Epochs count rotations; validity in days. `provided` is served in place of the leaf."""

    domain: str
    authority_epoch: int
    signing_epoch: int
    authority_days: int
    leaf_epoch: int
    leaf_days: int
    provided: ServedCertificate | None = None


class Certificates(Component):
    """One authority for each epoch (all of them stay, so that clients can pin two during a change), and one leaf.

    They stay beside a provided certificate too, because what is protected may not leave the program.

    The authority knows nothing of the domain: another domain is another leaf under the same pin.

    `served` is the chain that Traefik serves, as a PEM text: leaf first.

    It is whole once `served_from` has said where the certificate is served.
    """

    TYPE = "flatline:certificates:Certificates"

    def __init__(self, name: str, args: CertificatesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._args = args
        authorities = {epoch: self._authority(epoch) for epoch in range(1, args.authority_epoch + 1)}
        made = {f"authority-{epoch}": certificate.cert_pem for epoch, (_, certificate) in authorities.items()}
        self._certificate: pulumi.Input[str]
        self._key: pulumi.Input[str]
        if args.provided is not None:
            self._certificate, self._key = args.provided.chain, args.provided.private_key
            self.pins = self.authority = pulumi.Output.from_input(args.provided.authority)
        else:
            signer_key, signer = authorities[args.signing_epoch]
            self._certificate, self._key = self._leaf(signer_key, signer)
            made[f"leaf-{args.leaf_epoch}"] = pulumi.Output.from_input(self._certificate)
            self.authority = signer.cert_pem
            self.pins = pulumi.Output.concat(
                *(authorities[epoch][1].cert_pem for epoch in range(args.signing_epoch, args.authority_epoch + 1))
            )
        self.served = pulumi.Output.from_input(self._certificate)
        self.digests: pulumi.Output[dict[str, str]] = pulumi.Output.all(**made).apply(
            lambda texts: {name: installation.digest(text) for name, text in texts.items()}
        )

    @property
    def leaf(self) -> ServedCertificate:
        """The chain and its key as texts, for servers that are not behind Traefik."""
        return ServedCertificate(chain=self._certificate, private_key=self._key, authority=self.authority)

    def served_from(self, namespace: pulumi.Input[str]) -> Tls:
        """The certificate and its key as a Secret in a namespace, for Traefik."""
        secret = kubernetes.core.v1.Secret(
            "certificate",
            metadata=ObjectMetaArgs(namespace=namespace, labels={"app.kubernetes.io/part-of": "flatline"}),
            type="kubernetes.io/tls",
            string_data={"tls.crt": self._certificate, "tls.key": self._key},
            immutable=True,
            opts=self.child_opts,
        )
        self.register_outputs({"authority": self.authority, "served": self.served})
        return Tls(secret_name=name_of(secret.metadata), authority=self.authority)

    def _authority(self, epoch: int) -> tuple[tls.PrivateKey, tls.SelfSignedCert]:
        lasting = pulumi.ResourceOptions(parent=self, protect=True)
        key = tls.PrivateKey(f"authority-{epoch}", algorithm="ECDSA", ecdsa_curve=CURVE, opts=lasting)
        certificate = tls.SelfSignedCert(
            f"authority-{epoch}",
            private_key_pem=key.private_key_pem,
            subject=tls.SelfSignedCertSubjectArgs(common_name=f"Flatline CA {epoch}", organization="Flatline"),
            is_ca_certificate=True,
            max_path_length=0,
            set_subject_key_id=True,
            validity_period_hours=self._args.authority_days * HOURS,
            allowed_uses=["cert_signing", "crl_signing"],
            # another validity is for the next epoch: one that exists is never made again
            opts=pulumi.ResourceOptions(parent=self, protect=True, ignore_changes=["validityPeriodHours"]),
        )
        return key, certificate

    def _leaf(
        self, signer_key: tls.PrivateKey, signer: tls.SelfSignedCert
    ) -> tuple[pulumi.Output[Any], pulumi.Output[str]]:
        name, domain = f"leaf-{self._args.leaf_epoch}", self._args.domain
        key = tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve=CURVE, opts=self.child_opts)
        request = tls.CertRequest(
            name,
            private_key_pem=key.private_key_pem,
            subject=tls.CertRequestSubjectArgs(common_name=domain, organization="Flatline"),
            dns_names=[f"*.{domain}", domain],
            opts=self.child_opts,
        )
        certificate = tls.LocallySignedCert(
            name,
            ca_cert_pem=signer.cert_pem,
            ca_private_key_pem=signer_key.private_key_pem,
            cert_request_pem=request.cert_request_pem,
            validity_period_hours=self._args.leaf_days * HOURS,
            set_subject_key_id=True,
            allowed_uses=["digital_signature", "server_auth"],
            opts=self.child_opts,
        )
        return certificate.cert_pem, key.private_key_pem
