"""LocalStack: DynamoDB and S3 on one machine.

It runs as root, picks a service by headers before it looks at paths, and believes everybody: only the declared
consumers may reach it. DynamoDB's tables survive a restart on its disk; S3's objects do not, and the seed makes the
buckets and the dynamic configuration anew at each start.
"""

from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.base import Component
from components.capabilities import Access, Endpoint, Wait
from components.kubernetes.files import Files, FilesArgs
from components.kubernetes.platform import Platform
from components.kubernetes.pod import Check, Container, Disk, DiskMount, PodArgs, Port, Probes, Resources
from components.kubernetes.workload import Workload, WorkloadArgs
from components.programs import LOCALSTACK_SEED
from components.text import to_json

PORT = 4566
REGION = "us-east-1"
SEED_FILE = "/opt/flatline/seed.json"
HOOK = "/etc/localstack/init/ready.d/seed.py"
STATE = "/tmp/localstack"
"""Its temporary folder. DynamoDB's tables are below it, and stay when the folder is not cleared at start."""

OBJECTS = "/tmp/localstack-s3-storage"
"""Where S3 keeps the content of objects, whatever the temporary folder is."""

SEEDED = (
    f"curl -fsS -m 5 http://127.0.0.1:{PORT}/_localstack/init/ready | "
    'python3 -c \'import json, sys; scripts = json.load(sys.stdin)["scripts"]; '
    'sys.exit(not scripts or any(script["state"] != "SUCCESSFUL" for script in scripts))\''
)


@dataclass(frozen=True, kw_only=True)
class LocalStackArgs:
    """`services` is all that it runs; `seed` the file of its seed; `disk` is where DynamoDB's tables stay.

    `objects` bounds the content of all S3 objects.
    """

    platform: Platform
    services: tuple[str, ...]
    seed: dict[str, Any]
    disk: Disk | None = None
    objects: str = "2Gi"
    memory: tuple[str, str] = field(default=("736Mi", "2Gi"))


class LocalStack(Component):
    """One instance. It is ready only after its seed has succeeded."""

    TYPE = "flatline:emulators:LocalStack"

    def __init__(self, name: str, args: LocalStackArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        files = Files(
            f"{name}-seed",
            FilesArgs(
                namespace=args.platform.namespace,
                files={HOOK: LOCALSTACK_SEED.text, SEED_FILE: to_json(args.seed)},
            ),
            self.child,
        )
        seeded = Check(command=("sh", "-c", SEEDED))
        workload = Workload(
            name,
            WorkloadArgs(
                shape="recreate",
                pod=PodArgs(
                    platform=args.platform,
                    name=name,
                    component="aws",
                    root=True,
                    grace=60,
                    disks=(args.disk,) if args.disk else (),
                    containers=(
                        Container(
                            name=name,
                            image="localstack",
                            env={
                                "SERVICES": ",".join(args.services),
                                "STRICT_SERVICE_LOADING": "1",
                                "EAGER_SERVICE_LOADING": "1",
                                "GATEWAY_LISTEN": f"0.0.0.0:{PORT}",
                                "DNS_ADDRESS": "0",
                                "DISABLE_EVENTS": "1",
                                # without it rows that have expired are marked and never deleted
                                "DYNAMODB_REMOVE_EXPIRED_ITEMS": "1",
                                "SKIP_SSL_CERT_DOWNLOAD": "1",
                                "CLEAR_TMP_FOLDER": "0",
                                "AWS_DEFAULT_REGION": REGION,
                                "FLATLINE_SEED_FILE": SEED_FILE,
                            },
                            ports=(Port(name="aws", number=PORT),),
                            files=(files,),
                            disks=(DiskMount(disk=args.disk.name, path=STATE),) if args.disk else (),
                            scratch={"/var/lib/localstack": "1Gi", OBJECTS: args.objects}
                            | ({} if args.disk else {STATE: "1Gi"}),
                            probes=Probes(
                                startup=seeded,
                                readiness=seeded,
                                liveness=Check(port="aws", path="/_localstack/health"),
                                startup_budget=300,
                                timeout=10,
                            ),
                            resources=Resources(cpu="150m", memory=args.memory[0], memory_limit=args.memory[1]),
                        ),
                    ),
                ),
            ),
            self.child,
        )
        self.endpoint: Endpoint = workload.endpoint("aws")
        self.url = f"http://{self.endpoint.address}"
        wait = Wait(scheme="tcp", endpoint=self.endpoint)
        self.access = Access(egress=(self.endpoint,), wait_for=(wait,), ready=(workload,))
        self.members = (workload.member,)
        self.register_outputs({})


CREDENTIALS = {
    "AWS_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}
"""What an AWS SDK wants before it speaks; LocalStack reads an account number out of it and checks nothing."""
