"""Small Pulumi programs for the tests of the recorder, the values and the manifests."""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random
import pulumi_tls as tls
from pulumi import ResourceOptions

from render import checkpoint
from render.model import RecordedResource, Recording, Values
from render.recorder import record
from render.values import SeededValues


def run(
    program: Callable[[], object],
    *,
    values: Values | None = None,
    preview: bool = False,
    config: Mapping[str, str] | None = None,
    secret_keys: Collection[str] = (),
) -> Recording:
    return record(
        program,
        project="flatline",
        stack="dev",
        config=config or {},
        secret_keys=secret_keys,
        values=values or SeededValues("test"),
        preview=preview,
    )


@cache
def kept(program: Callable[[], object], seed: str = "test", *, preview: bool = False) -> Recording:
    """A recording that is made once; tests must not change it. For what is tried of it, not of how it is made."""
    return run(program, values=SeededValues(seed), preview=preview)


def named(recording: Recording, name: str) -> RecordedResource:
    (resource,) = [resource for resource in recording if resource.name == name]
    return resource


class Providers:
    """Explicit providers of the packages that the programs use."""

    def __init__(self) -> None:
        self.kubernetes = ResourceOptions(provider=kubernetes.Provider("kubernetes"))
        self.random = ResourceOptions(provider=random.Provider("random"))
        self.tls = ResourceOptions(provider=tls.Provider("tls"))
        self.all = ResourceOptions(
            providers=[options.provider for options in (self.kubernetes, self.random, self.tls)]  # pyrefly: ignore[bad-argument-type]
        )


METADATA: Any = {"namespace": "flatline"}


def in_kubernetes(program: Callable[[ResourceOptions], object], **options: Any) -> Recording:
    """The recording of a program that gets the options of an explicit provider."""
    return run(lambda: program(Providers().kubernetes) and None, **options)


def config_map(name: str, data: Any, opts: ResourceOptions) -> kubernetes.core.v1.ConfigMap:
    return kubernetes.core.v1.ConfigMap(name, metadata=METADATA, data=data, opts=opts)


class Nested(pulumi.ComponentResource):
    """A component with a password, a Secret that holds it, and a component inside."""

    def __init__(self, name: str, depth: int, opts: ResourceOptions | None = None) -> None:
        super().__init__(f"flatline:test:Nested{depth}", name, None, opts)
        child = ResourceOptions(parent=self)
        self.password = random.RandomPassword(f"{name}-password", length=24, special=False, opts=child)
        self.secret = kubernetes.core.v1.Secret(
            f"{name}-secret",
            metadata={"namespace": "flatline"},
            string_data={"password": self.password.result},
            opts=child,
        )
        if depth:
            Nested(f"{name}-inner", depth - 1, child)
        self.register_outputs({"password": self.password.result, "name": self.secret.metadata["name"]})


def whole() -> None:
    """Every kind of resource: providers, nested components, random, tls, built-in and custom objects, outputs."""
    providers = Providers()
    nested = Nested("outer", 2, providers.all)
    config_map = kubernetes.core.v1.ConfigMap(
        "settings", metadata={"namespace": "flatline"}, data={"a.yaml": "a: 1\nb: 2\n"}, opts=providers.kubernetes
    )
    kubernetes.core.v1.Namespace("namespace", metadata={"name": "flatline"}, opts=providers.kubernetes)
    service = kubernetes.core.v1.Service(
        "service",
        metadata={"name": "whisper", "namespace": "flatline"},
        spec={"ports": [{"port": 8080, "target_port": "http"}]},
        opts=providers.kubernetes,
    )
    kubernetes.apps.v1.Deployment(
        "deployment",
        metadata={"name": "whisper", "namespace": "flatline"},
        spec=_pods(nested, config_map),
        opts=providers.kubernetes,
    )
    kubernetes.apiextensions.CustomResource(
        "route",
        api_version="traefik.io/v1alpha1",
        kind="IngressRoute",
        metadata={"name": "whisper", "namespace": "flatline"},
        spec={"entryPoints": ["websecure"], "routes": [{"match": "Host(`a`)", "snake_case": 1.5, "priority": 10}]},
        opts=providers.kubernetes,
    )
    authority(providers)
    pulumi.export("port", service.spec.ports[0].port)
    pulumi.export("password", nested.password.result)
    pulumi.export("nested", {"list": [1, nested.password.result], "ratio": 0.5})


def _pods(nested: Nested, config_map: kubernetes.core.v1.ConfigMap) -> Any:
    return {
        "replicas": 1,
        "selector": {"match_labels": {"app": "whisper"}},
        "template": {
            "metadata": {"labels": {"app": "whisper"}},
            "spec": {
                "containers": [{"name": "whisper", "image": "whisper:1", "ports": [{"container_port": 8080}]}],
                "volumes": [
                    {"name": "secret", "secret": {"secret_name": nested.secret.metadata["name"]}},
                    {"name": "config", "config_map": {"name": config_map.metadata["name"]}},
                    {"name": "scratch", "empty_dir": {}},
                ],
            },
        },
    }


def authority(providers: Providers, *, subject: str = "Test CA", hours: int = 1000) -> tls.LocallySignedCert:
    """A certificate authority and a leaf that it signed."""
    ca_key = tls.PrivateKey("ca-key", algorithm="ECDSA", ecdsa_curve="P256", opts=providers.tls)
    ca = tls.SelfSignedCert(
        "ca",
        private_key_pem=ca_key.private_key_pem,
        subject={"common_name": subject, "organization": "Flatline"},
        validity_period_hours=10 * hours,
        is_ca_certificate=True,
        set_subject_key_id=True,
        allowed_uses=["cert_signing", "crl_signing"],
        max_path_length=0,
        opts=providers.tls,
    )
    leaf_key = tls.PrivateKey("leaf-key", algorithm="ECDSA", ecdsa_curve="P256", opts=providers.tls)
    request = tls.CertRequest(
        "request",
        private_key_pem=leaf_key.private_key_pem,
        subject={"common_name": "flatline.internal"},
        dns_names=["flatline.internal", "*.flatline.internal"],
        opts=providers.tls,
    )
    leaf = tls.LocallySignedCert(
        "leaf",
        cert_request_pem=request.cert_request_pem,
        ca_cert_pem=ca.cert_pem,
        ca_private_key_pem=ca_key.private_key_pem,
        validity_period_hours=hours,
        allowed_uses=["digital_signature", "server_auth"],
        set_subject_key_id=True,
        opts=providers.tls,
    )
    pulumi.export("ca", ca.cert_pem)
    pulumi.export("leaf", leaf.cert_pem)
    return leaf


def shown(value: Any, decrypt: Callable[[str], str]) -> Any:
    """A checkpoint with its secrets shown, as `pulumi stack export --show-secrets` does."""
    if checkpoint.is_secret(value):
        return {**value, "plaintext": decrypt(value["ciphertext"])}
    if isinstance(value, dict):
        return {key: shown(item, decrypt) for key, item in value.items()}
    return [shown(item, decrypt) for item in value] if isinstance(value, list) else value
