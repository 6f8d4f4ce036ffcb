"""A program in place of Flatline's own, for tests of the commands: the same kinds of objects, a few of each."""

from typing import Any

import pulumi
import pulumi_random as random
import pulumi_tls as tls

from config import loading
from config.installation import SECRETS_ANNOTATION, STACK_LABEL, digest, stack_label, written
from config.version import VERSION

settings = loading.of_stack()
protected = pulumi.ResourceOptions(protect=True)
kubernetes = pulumi.ProviderResource("kubernetes", "kubernetes", {"context": settings.target.context})
randoms, certificates = random.Provider("random"), tls.Provider("tls")

NAMESPACES = (settings.namespace, settings.emulator_namespace)


def kubernetes_object(
    api: str,
    kind: str,
    role: str,
    namespace: str | None,
    content: dict[str, Any],
    *,
    named: bool = True,
    notes: pulumi.Input[str] | None = None,
) -> pulumi.CustomResource:
    """An object with our label; without a name of its own it is named after its content."""
    metadata: dict[str, Any] = {"labels": {"app.kubernetes.io/part-of": "flatline"}}
    if named:
        metadata["name"] = role
    if namespace:
        metadata["namespace"] = namespace
    if kind == "Namespace":
        metadata["labels"] = {**metadata["labels"], STACK_LABEL: stack_label("flatline", pulumi.get_stack())}
    if notes is not None:
        metadata["annotations"] = {SECRETS_ANNOTATION: notes}
    token = f"kubernetes:{api if '/' in api else f'core/{api}'}:{kind}"
    return pulumi.CustomResource(
        token,
        f"{namespace}-{role}" if named else role,
        {"apiVersion": api, "kind": kind, "metadata": metadata, **content},
        pulumi.ResourceOptions(provider=kubernetes, protect=kind in {"Namespace", "PersistentVolumeClaim"}),
    )


def claim(size: str) -> dict[str, Any]:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}


epoch = settings.secret("turn").epoch
given = settings.secrets["turn"].value if "turn" in settings.secrets else None
seed = random.RandomPassword(
    f"turn-{epoch}", length=40, special=False, opts=pulumi.ResourceOptions(provider=randoms, protect=True)
)
made_by_tls = pulumi.ResourceOptions(provider=certificates)
key = tls.PrivateKey("authority", algorithm="ECDSA", ecdsa_curve="P256", opts=made_by_tls)
authority = tls.SelfSignedCert(
    "authority",
    private_key_pem=key.private_key_pem,
    subject=tls.SelfSignedCertSubjectArgs(common_name="Test CA"),
    is_ca_certificate=True,
    validity_period_hours=settings.certificates.leaf.validity_days * 24,
    allowed_uses=["cert_signing"],
    opts=made_by_tls,
)

digests = pulumi.Output.unsecret(
    pulumi.Output.all(seed.result, authority.cert_pem).apply(
        lambda made: written({f"turn-{epoch}": digest(made[0]), "leaf-1": digest(made[1])})
    )
)
for namespace in NAMESPACES:
    kubernetes_object("v1", "Namespace", namespace, None, {}, notes=digests if namespace == NAMESPACES[0] else None)
    kubernetes_object("v1", "Service", "web", namespace, {"spec": {"ports": [{"port": 80}]}})
    kubernetes_object("apps/v1", "Deployment", "web", namespace, {"spec": {"replicas": 1}})
kubernetes_object("v1", "PersistentVolumeClaim", "attachments", NAMESPACES[0], {"spec": claim("20Gi")})
kubernetes_object(
    "apps/v1",
    "StatefulSet",
    "redis",
    NAMESPACES[0],
    {
        "spec": {
            "replicas": settings.redis_nodes,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim("2Gi")}],
        }
    },
)
kubernetes_object("v1", "ConfigMap", "web-config", NAMESPACES[0], {"data": {"domain": settings.domain}}, named=False)
kubernetes_object(
    "v1",
    "Secret",
    "turn-key",
    NAMESPACES[0],
    {"stringData": {"turn": pulumi.Output.secret(given.get_secret_value()) if given else seed.result}},
    named=False,
)
kubernetes_object(
    "v1",
    "Secret",
    "certificate",
    NAMESPACES[0],
    {"type": "kubernetes.io/tls", "stringData": {"tls.crt": authority.cert_pem, "tls.key": key.private_key_pem}},
    named=False,
)

pulumi.export("urls", {"whisper": f"https://{settings.host('whisper')}"})
pulumi.export("caCertificates", authority.cert_pem)
pulumi.export("servedCertificate", authority.cert_pem)
pulumi.export("version", VERSION)
