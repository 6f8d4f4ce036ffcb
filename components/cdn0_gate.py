"""The gate of CDN0: the only door to the bucket of avatars and stickers, whatever the bucket is in."""

from dataclasses import dataclass
from typing import ClassVar

import pulumi

from components.capabilities import Bucket, Route
from components.config_tree import json_of, nested
from components.kubernetes.mounted_files import program_files, secret_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources, Scale
from components.kubernetes.workload import Workload, WorkloadArgs
from components.programs import CDN0_GATE
from components.secrets import Secrets
from config.schema.objects import CDN0_KEYS, KeyRule

PORT, HEALTH_PORT = 8080, 8081
CREDENTIALS = "/etc/flatline/cdn0-credentials.json"

PUBLIC_KEYS = "|".join(rule.pattern for rule in CDN0_KEYS)
NO_UPGRADE = "!HeaderRegexp(`Upgrade`, `.*`)"
READS = f"(Method(`GET`) || Method(`HEAD`)) && PathRegexp(`^/(?:{PUBLIC_KEYS})$`) && {NO_UPGRADE}"
UPLOADS = f"Method(`POST`) && Path(`/`) && HeaderRegexp(`Content-Type`, `^multipart/form-data`) && {NO_UPGRADE}"


@dataclass(frozen=True)
class OwnServer:
    """A bucket on an S3 server that knows the gate alone. The gate checks a form, and then writes and deletes itself.

    The bucket comes with the access and the key pair of its owner.
    """

    bucket: Bucket
    writes: ClassVar = "put"

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return self.bucket.endpoint

    def deletes(self, rule: KeyRule) -> bool:
        """True if the gate deletes objects of these keys for their signer."""
        return rule.deletes


@dataclass(frozen=True)
class AmazonS3:
    """A bucket of Amazon S3, which checks forms by itself. The bucket comes with the access to read its public keys."""

    bucket: Bucket
    writes: ClassVar = "form"

    @property
    def endpoint(self) -> str:
        """The URL of S3 in the bucket's region."""
        return f"https://s3.{self.bucket.region}.amazonaws.com"

    def deletes(self, rule: KeyRule) -> bool:
        """False: signers send their deletions to S3 themselves."""
        return False


@dataclass(frozen=True, kw_only=True)
class GateArgs:
    """The gate and the store behind it."""

    namespace: WorkloadNamespace
    secrets: Secrets
    store: OwnServer | AmazonS3
    scale: Scale


def gate(name: str, args: GateArgs, opts: pulumi.ResourceOptions) -> Workload:
    """The gate's pods. It makes its own requests; a client's request is never passed on."""
    files = program_files(name, args.namespace.metadata_name, CDN0_GATE, opts=opts)
    keys = nested(args.secrets.of("cdn0-gate"))
    credentials = secret_files(
        f"{name}-credentials",
        args.namespace.metadata_name,
        {
            CREDENTIALS: json_of(
                [
                    {
                        "name": signer,
                        **keys[signer],
                        "uploads": [rule.name for rule in CDN0_KEYS if rule.signer == signer],
                        "deletes": [
                            rule.name for rule in CDN0_KEYS if rule.signer == signer and args.store.deletes(rule)
                        ],
                    }
                    for signer in sorted(keys)
                ]
            )
        },
        opts,
    )
    alive, ready = ProbeAction(port="health", path="/livez"), ProbeAction(port="health", path="/readyz")
    return Workload(
        name,
        WorkloadArgs(
            namespace=args.namespace,
            name=name,
            component="cdn0",
            access=(args.store.bucket.access,),
            scale=args.scale,
            termination_grace_seconds=40,
            containers=(
                Container(
                    name="gate",
                    image="node",
                    command=("node", CDN0_GATE.path),
                    args=(
                        f"--listen=:{PORT}",
                        f"--health-listen=:{HEALTH_PORT}",
                        f"--writes={args.store.writes}",
                        f"--s3-endpoint={args.store.endpoint}",
                        pulumi.Output.concat("--s3-bucket=", args.store.bucket.name),
                        f"--s3-region={args.store.bucket.region}",
                        *(f"--read={rule.pattern}" for rule in CDN0_KEYS),
                        *(f"--upload={rule.name}:{rule.max_bytes}:{rule.pattern}" for rule in CDN0_KEYS),
                        f"--credentials-file={CREDENTIALS}",
                    ),
                    ports=(
                        Port(name="http", number=PORT),
                        Port(name="health", number=HEALTH_PORT, published=False),
                    ),
                    files=(files, credentials),
                    probes=Probes(startup=alive, readiness=ready, liveness=alive),
                    resources=Resources(cpu="25m", memory="64Mi", memory_limit="384Mi", busy=("50m", "96Mi")),
                    pre_stop_sleep_seconds=5,
                ),
            ),
        ),
        opts,
    )


def routes(name: str, pods: Workload, bucket: pulumi.Input[str]) -> tuple[Route, ...]:
    """Reads of public keys and uploads by form; nothing else has a route."""
    return tuple(
        Route(
            name=f"{name}-{role}",
            host="cdn0",
            endpoint=pods.endpoint("http"),
            match=match,
            prefix=pulumi.Output.concat("/", bucket),
            no_query=True,
        )
        for role, match in (("read", READS), ("upload", UPLOADS))
    )
