"""Values that a client is built with: public parameters and URLs. None of it is secret."""

import base64
from collections.abc import Mapping

import pulumi
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from components.secrets import Secrets
from config.schema.hosts import PublicHost, host_name

Pins = Mapping[str, pulumi.Input[object]]


def pins(domain: str, hosts: tuple[PublicHost, ...], authorities: pulumi.Output[str], secrets: Secrets) -> Pins:
    """The client pins as stack outputs; `hosts` are those that clients connect to.

    `caCertificates` is a PEM text (two certificates while an authority is being replaced), `caCertificatesDer` the
    same as base64 DER for libsignal. Public parameters are padded base64 of libsignal's serialised forms; public
    keys are base64 of 33 bytes (type byte 05).
    """
    return {
        "urls": {host: f"https://{host_name(host, domain)}" for host in hosts},
        "caCertificates": authorities,
        "caCertificatesDer": authorities.apply(_der),
        "serverPublicParams": secrets.public("zk-server"),
        "genericServerPublicParams": secrets.public("zk-calling"),
        "backupServerPublicParams": secrets.public("zk-backups"),
        "unidentifiedSenderTrustRoot": secrets.public("unidentified-delivery-trust-root"),
        "noisePublicKey": secrets.public("noise-tunnel"),
    }


def _der(pem: str) -> list[str]:
    return [
        base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
        for certificate in x509.load_pem_x509_certificates(pem.encode())
    ]
