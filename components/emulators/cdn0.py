"""CDN0 on the cluster's own S3 server, behind a gate that verifies upload forms.

The server knows the gate alone: Whisper and Storage sign forms with key pairs that only the gate has. The gate makes
its own requests; a client's request is never passed on.
"""

import pulumi

from components.base import Component
from components.capabilities import Access, Bucket
from components.cdn0_gate import GateArgs, gate, routes


class Cdn0(Component):
    """Avatars and stickers: anyone reads, the holder of a signed form writes."""

    TYPE = "flatline:emulators:Cdn0"

    def __init__(self, name: str, args: GateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        pods = gate(f"{name}-gate", args, self.child_opts)
        endpoint = pods.endpoint("http")
        self.network_peers = (pods.network_peer,)
        # Whisper deletes a profile's old avatar with its own signed request, which the gate verifies too.
        self.bucket = Bucket(
            access=Access(egress=(endpoint,)),
            region=args.store.bucket.region,
            name=args.store.bucket.name,
            endpoint=f"http://{endpoint.address}",
        )
        self.routes = routes(name, pods, args.store.bucket.name)
        self.register_outputs({"url": self.bucket.endpoint})
