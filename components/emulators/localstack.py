"""LocalStack: DynamoDB, and the bucket of Whisper's dynamic configuration.

It runs as root, picks a service by headers before it looks at paths, and believes everybody: only the declared
consumers may reach it. DynamoDB's tables survive a restart on its disk. S3's objects do not: the seed makes the
configuration at each start, and what clients upload is kept elsewhere.
"""

from dataclasses import dataclass
from typing import Any

import pulumi

from components.base import Component
from components.capabilities import Access, Endpoint, Volume, VolumeMount, Wait
from components.config_tree import to_json
from components.kubernetes.mounted_files import MountedFiles, MountedFilesArgs
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources
from components.kubernetes.workload import Workload, WorkloadArgs
from components.programs import LOCALSTACK_SEED, MOUNT

PORT = 4566
REGION = "us-east-1"
SEED_FILE = "/opt/flatline/seed.json"
HOOK = "/etc/localstack/init/ready.d/seed.py"
STATE = "/tmp/localstack"
"""Its temporary folder. DynamoDB's tables are below it, and stay when the folder is not cleared at start."""

OBJECTS = "/tmp/localstack-s3-storage"
"""Where S3 keeps the content of objects, whatever the temporary folder is."""

SERVICES = ("dynamodb", "s3")

SEEDED = (
    f"curl -fsS -m 5 http://127.0.0.1:{PORT}/_localstack/init/ready | "
    'python3 -c \'import json, sys; scripts = json.load(sys.stdin)["scripts"]; '
    'sys.exit(not scripts or any(script["state"] != "SUCCESSFUL" for script in scripts))\''
)


@dataclass(frozen=True, kw_only=True)
class LocalStackArgs:
    """`seed` is the file of its seed; `volume` is where DynamoDB's tables stay.

    `access` and `files` are what the seed needs to look into another store.
    """

    namespace: WorkloadNamespace
    seed: dict[str, Any]
    volume: Volume
    access: tuple[Access, ...] = ()
    files: tuple[MountedFiles, ...] = ()


class LocalStack(Component):
    """One instance. It is ready only after its seed has succeeded."""

    TYPE = "flatline:emulators:LocalStack"

    def __init__(self, name: str, args: LocalStackArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        files = MountedFiles(
            f"{name}-seed",
            MountedFilesArgs(
                namespace=args.namespace.metadata_name,
                files={
                    HOOK: LOCALSTACK_SEED.text,
                    **{f"{MOUNT}/{name}": text for name, text in LOCALSTACK_SEED.imported.items()},
                    SEED_FILE: to_json(args.seed),
                },
            ),
            self.child_opts,
        )
        seeded = ProbeAction(command=("sh", "-c", SEEDED))
        workload = Workload(
            name,
            WorkloadArgs(
                kind="recreate",
                namespace=args.namespace,
                name=name,
                component="aws",
                root=True,
                termination_grace_seconds=60,
                access=args.access,
                volumes=(args.volume,),
                containers=(
                    Container(
                        name=name,
                        image="localstack",
                        env={
                            "SERVICES": ",".join(SERVICES),
                            "STRICT_SERVICE_LOADING": "1",
                            "EAGER_SERVICE_LOADING": "1",
                            "GATEWAY_LISTEN": f"[::]:{PORT}",
                            "DNS_ADDRESS": "0",
                            "DISABLE_EVENTS": "1",
                            # without it rows that have expired are marked and never deleted
                            "DYNAMODB_REMOVE_EXPIRED_ITEMS": "1",
                            "SKIP_SSL_CERT_DOWNLOAD": "1",
                            "CLEAR_TMP_FOLDER": "0",
                            "AWS_DEFAULT_REGION": REGION,
                            "FLATLINE_SEED_FILE": SEED_FILE,
                            "FLATLINE_SEED_PROGRAM": f"{MOUNT}/seed",
                        },
                        ports=(Port(name="aws", number=PORT),),
                        files=(files, *args.files),
                        volume_mounts=(VolumeMount(volume=args.volume.name, path=STATE),),
                        empty_dirs={"/var/lib/localstack": "1Gi", OBJECTS: "64Mi"},
                        probes=Probes(
                            startup=seeded,
                            readiness=seeded,
                            liveness=ProbeAction(port="aws", path="/_localstack/health"),
                            startup_budget=300,
                            timeout=10,
                        ),
                        resources=Resources(cpu="150m", memory="736Mi", memory_limit="2Gi"),
                    ),
                ),
            ),
            self.child_opts,
        )
        self.endpoint: Endpoint = workload.endpoint("aws")
        self.url = f"http://{self.endpoint.address}"
        wait = Wait(scheme="tcp", endpoint=self.endpoint)
        self.access = Access(egress=(self.endpoint,), wait_for=(wait,), depends_on=(workload,))
        self.network_peers = (workload.network_peer,)
        self.register_outputs({"url": self.url})


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
"""Dummy credentials: SDKs require some. LocalStack validates nothing; any id without an account number will do."""
