"""CDN0 on S3: the same gate as before the emulator, under the same host and the pinned certificate."""

import pulumi

from components.base import Component
from components.cdn0_gate import GateArgs, gate, routes


class Cdn0OnS3(Component):
    """Reads by the gate's own role; uploads by the user who signed the form. S3 is never public."""

    TYPE = "flatline:cloud:Cdn0OnS3"

    def __init__(self, name: str, args: GateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        pods = gate(f"{name}-gate", args, self.child_opts)
        self.network_peers = (pods.network_peer,)
        self.routes = routes(name, pods, args.store.bucket.name)
        self.register_outputs({"address": pods.endpoint("http").address})
