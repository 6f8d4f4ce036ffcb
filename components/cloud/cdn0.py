"""CDN0 on S3: the same gate as before the emulator, under the same host and the pinned certificate."""

from dataclasses import dataclass

import pulumi

from components.base import Component
from components.capabilities import Bucket
from components.cdn0_gate import GateArgs, gate, routes
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Scale
from components.secrets import Secrets


@dataclass(frozen=True, kw_only=True)
class Cdn0OnS3Args:
    """`bucket` comes with the access to read its public keys."""

    namespace: WorkloadNamespace
    secrets: Secrets
    bucket: Bucket
    scale: Scale


class Cdn0OnS3(Component):
    """Reads by the gate's own role; uploads by the user who signed the form. S3 is never public."""

    TYPE = "flatline:cloud:Cdn0OnS3"

    def __init__(self, name: str, args: Cdn0OnS3Args, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        pods = gate(
            f"{name}-gate",
            GateArgs(
                namespace=args.namespace,
                secrets=args.secrets,
                writes="form",
                upstream=f"https://s3.{args.bucket.region}.amazonaws.com",
                bucket=args.bucket,
                scale=args.scale,
            ),
            self.child_opts,
        )
        self.network_peers = (pods.network_peer,)
        self.routes = routes(name, pods, args.bucket.name)
        self.register_outputs({"address": pods.endpoint("http").address})
