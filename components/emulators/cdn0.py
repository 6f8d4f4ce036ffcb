"""CDN0 without S3: the public bucket in a LocalStack of its own, behind a gate that verifies upload forms.

LocalStack believes headers over paths and never verifies a POST signature, so nothing but the gate may reach this
one, and it runs nothing but S3. The gate makes its own requests; a client's request is never passed on.
"""

from dataclasses import dataclass

import pulumi

from components.base import Component
from components.capabilities import Access, Bucket
from components.cdn0_gate import GateArgs, gate, routes
from components.emulators import seeds
from components.emulators.localstack import PORT, REGION, LocalStack, LocalStackArgs
from components.kubernetes.platform import Platform
from components.kubernetes.pod import Scale
from components.secrets import Secrets
from config.schema.objects import BUCKETS

BUCKET = BUCKETS["cdn0"]


@dataclass(frozen=True, kw_only=True)
class Cdn0Args:
    """`services` is where the gate runs, `emulators` where LocalStack may."""

    services: Platform
    emulators: Platform
    secrets: Secrets
    scale: Scale


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
        pods = gate(
            f"{name}-gate",
            GateArgs(
                platform=args.services,
                secrets=args.secrets,
                store="emulator",
                upstream=store.url,
                bucket=BUCKET,
                region=REGION,
                access=store.access,
                deletes=True,
                scale=args.scale,
            ),
            self.child,
        )
        endpoint = pods.endpoint("http")
        self.members = (*store.members, pods.member)
        # Whisper deletes a profile's old avatar with its own signed request, which the gate verifies too.
        self.bucket = Bucket(
            access=Access(egress=(endpoint,)), region=REGION, name=BUCKET, endpoint=f"http://{endpoint.address}"
        )
        self.routes = routes(name, pods, BUCKET)
        self.register_outputs({})
