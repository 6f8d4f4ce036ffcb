"""Names of the public hosts in a hosted zone of Route 53."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.base import Component

TTL_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class DnsRecordsArgs:
    """`kind` is the type of the records; `address` is the load balancer's name (CNAME) or address (A)."""

    zone: str
    kind: str
    hosts: tuple[str, ...]
    address: pulumi.Input[str]


class DnsRecords(Component):
    """A record for each host."""

    TYPE = "flatline:cloud:Names"

    def __init__(self, name: str, args: DnsRecordsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        for host in args.hosts:
            aws.route53.Record(
                host,
                zone_id=args.zone,
                name=host,
                type=args.kind,
                ttl=TTL_SECONDS,
                records=[args.address],
                opts=self.child_opts,
            )
        self.register_outputs({"hosts": list(args.hosts)})
