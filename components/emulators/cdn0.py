"""CDN0 on the cluster's own S3 server, behind a gate that verifies upload forms.

The server knows the gate alone: Whisper and Storage sign forms with key pairs that only the gate has. The gate makes
its own requests; a client's request is never passed on.
"""

from dataclasses import dataclass

import pulumi

from components.base import Component
from components.capabilities import Access, Bucket
from components.cdn0_gate import GateArgs, gate, routes
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Scale
from components.secrets import Secrets


@dataclass(frozen=True, kw_only=True)
class Cdn0Args:
    """`bucket` comes with the access and the key pair of its owner."""

    namespace: WorkloadNamespace
    secrets: Secrets
    bucket: Bucket
    scale: Scale


class Cdn0(Component):
    """Avatars and stickers: anyone reads, the holder of a signed form writes."""

    TYPE = "flatline:emulators:Cdn0"

    def __init__(self, name: str, args: Cdn0Args, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        pods = gate(
            f"{name}-gate",
            GateArgs(
                namespace=args.namespace,
                secrets=args.secrets,
                writes="put",
                upstream=args.bucket.endpoint,
                bucket=args.bucket,
                scale=args.scale,
            ),
            self.child_opts,
        )
        endpoint = pods.endpoint("http")
        self.network_peers = (pods.network_peer,)
        # Whisper deletes a profile's old avatar with its own signed request, which the gate verifies too.
        self.bucket = Bucket(
            access=Access(egress=(endpoint,)),
            region=args.bucket.region,
            name=args.bucket.name,
            endpoint=f"http://{endpoint.address}",
        )
        self.routes = routes(name, pods, args.bucket.name)
        self.register_outputs({"url": self.bucket.endpoint})
