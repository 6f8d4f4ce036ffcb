"""CDN0 without S3: the public bucket in a LocalStack of its own, behind a gate that verifies upload forms.

LocalStack believes headers over paths and never verifies a POST signature, so nothing but the gate may reach this
one, and it runs nothing but S3. The gate makes its own requests; a client's request is never passed on.
"""

from dataclasses import dataclass

import pulumi

from components.base import Component
from components.capabilities import Access, Bucket, Route
from components.emulators import seeds
from components.emulators.localstack import PORT, REGION, LocalStack, LocalStackArgs
from components.kubernetes.files import Files, FilesArgs
from components.kubernetes.platform import Platform
from components.kubernetes.pod import Check, Container, PodArgs, Port, Probes, Resources
from components.kubernetes.workload import Workload, WorkloadArgs
from components.programs import CDN0_GATE
from components.secrets import Secrets
from components.text import json_of, nested, to_json
from config.schema.objects import BUCKETS, CDN0_KEYS

GATE_PORT, GATE_HEALTH_PORT = 8080, 8081
CONFIG, CREDENTIALS = "/opt/flatline/cdn0-gate.json", "/opt/flatline/cdn0-credentials.json"
BUCKET = BUCKETS["cdn0"]

PUBLIC_KEYS = "|".join(rule.pattern for rule in CDN0_KEYS)
NO_UPGRADE = "!HeaderRegexp(`Upgrade`, `.*`)"
READS = f"(Method(`GET`) || Method(`HEAD`)) && PathRegexp(`^/(?:{PUBLIC_KEYS})$`) && {NO_UPGRADE}"
UPLOADS = f"Method(`POST`) && Path(`/`) && HeaderRegexp(`Content-Type`, `^multipart/form-data`) && {NO_UPGRADE}"


@dataclass(frozen=True, kw_only=True)
class Cdn0Args:
    """`services` is where the gate runs, `emulators` where LocalStack may."""

    services: Platform
    emulators: Platform
    secrets: Secrets


class Cdn0(Component):
    """Avatars and stickers: anyone reads, the holder of a signed form writes."""

    TYPE = "flatline:emulators:Cdn0"

    def __init__(self, name: str, args: Cdn0Args, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        store = LocalStack(
            f"{name}-store",
            LocalStackArgs(
                platform=args.emulators,
                services=("s3",),
                seed=seeds.localstack(region=REGION, port=PORT, buckets=(BUCKET,)),
                objects="10Gi",
                memory=("256Mi", "1Gi"),
            ),
            self.child,
        )
        gate = self._gate(f"{name}-gate", args, store)
        endpoint = gate.endpoint("http")
        self.members = (*store.members, gate.member)
        # Whisper deletes a profile's old avatar with its own signed request, which the gate verifies too.
        self.bucket = Bucket(
            access=Access(egress=(endpoint,)), region=REGION, name=BUCKET, endpoint=f"http://{endpoint.address}"
        )
        self.routes = tuple(
            Route(
                name=f"{name}-{role}", host="cdn0", endpoint=endpoint, match=match, prefix=f"/{BUCKET}", no_query=True
            )
            for role, match in (("read", READS), ("upload", UPLOADS))
        )
        self.register_outputs({})

    def _gate(self, name: str, args: Cdn0Args, store: LocalStack) -> Workload:
        configuration = {
            "listen": {"port": GATE_PORT},
            "health": {"port": GATE_HEALTH_PORT},
            "upstream": store.url,
            "bucket": BUCKET,
            "region": REGION,
            "reads": [rule.pattern for rule in CDN0_KEYS],
            "uploads": {rule.name: {"pattern": rule.pattern, "maxBytes": rule.max_bytes} for rule in CDN0_KEYS},
        }
        files = Files(
            name,
            FilesArgs(
                namespace=args.services.namespace,
                files={CDN0_GATE.path: CDN0_GATE.text, CONFIG: to_json(configuration)},
            ),
            self.child,
        )
        keys = nested(args.secrets.of("cdn0-gate"))
        credentials = Files(
            f"{name}-credentials",
            FilesArgs(
                namespace=args.services.namespace,
                files={
                    CREDENTIALS: json_of(
                        [
                            {
                                "name": signer,
                                **keys[signer],
                                "uploads": [rule.name for rule in CDN0_KEYS if rule.signer == signer],
                                "deletes": [r.name for r in CDN0_KEYS if r.signer == signer and r.deletes],
                            }
                            for signer in sorted(keys)
                        ]
                    )
                },
                secret=True,
            ),
            self.child,
        )
        alive, ready = Check(port="health", path="/healthz"), Check(port="health", path="/readyz")
        return Workload(
            name,
            WorkloadArgs(
                pod=PodArgs(
                    platform=args.services,
                    name=name,
                    component="cdn0",
                    access=(store.access,),
                    grace=40,
                    containers=(
                        Container(
                            name="gate",
                            image="node",
                            command=("node", CDN0_GATE.path),
                            args=("--config", CONFIG, "--credentials", CREDENTIALS),
                            ports=(
                                Port(name="http", number=GATE_PORT),
                                Port(name="health", number=GATE_HEALTH_PORT, published=False),
                            ),
                            files=(files, credentials),
                            probes=Probes(startup=alive, readiness=ready, liveness=alive),
                            resources=Resources(cpu="50m", memory="96Mi", memory_limit="384Mi"),
                            stop_delay=5,
                        ),
                    ),
                ),
            ),
            self.child,
        )
