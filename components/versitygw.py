"""versitygw: an S3 server that keeps its objects as files on one disk.

It holds what clients have uploaded and cannot make again: pages of pre-keys, avatars and stickers. Each bucket belongs
to one account, which can neither use nor see the other bucket. The account that may do everything is the operator's.
"""

from dataclasses import dataclass, replace
from typing import Literal

import pulumi

from components.base import Component
from components.capabilities import Access, Bucket, Endpoint, Volume, VolumeMount, Wait
from components.config_tree import json_of, shared_credentials
from components.kubernetes.mounted_files import MountedFiles, program_files, secret_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources
from components.kubernetes.workload import Workload, WorkloadArgs
from components.programs import OBJECT_STORE_START
from components.secrets import Secrets
from config.schema.objects import BUCKETS

PORT = 7070
REGION = "us-east-1"
FOLDER = "/var/object-store"
BUCKETS_FOLDER = f"{FOLDER}/buckets"
"""Not the root of the volume: a folder there, such as `lost+found`, is not a bucket."""

ROOT_SECRET_FILE = "/etc/flatline/object-store/root-secret"
ACCOUNTS_FILE = "/etc/flatline/object-store/users.json"
CREDENTIALS_FILE = "/etc/flatline/aws-credentials"
"""Where a consumer finds its key pair, in the form of AWS's shared credentials file."""

Role = Literal["pre-keys", "cdn0"]
ROOT = "flatline-root"
OWNERS: dict[Role, str] = {"pre-keys": "flatline-pre-keys", "cdn0": "flatline-cdn0"}
"""Bucket → access key id of the account that owns it.

Whisper shows its id to LocalStack too, which takes an account number out of ids that begin with twelve digits, and
treats ids of 20 and more characters that begin with AKIA, ASIA, LKIA or LSIA in its own way. These are neither, so
the tables are those of LocalStack's default account.
"""


@dataclass(frozen=True, kw_only=True)
class VersitygwArgs:
    """`volume` is where the objects stay."""

    namespace: WorkloadNamespace
    secrets: Secrets
    volume: Volume


class Versitygw(Component):
    """One server, never two on the same disk. Its start makes the buckets and gives them their owners."""

    TYPE = "flatline:versitygw:Versitygw"

    def __init__(self, name: str, args: VersitygwArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._platform = args.namespace
        self._keys = args.secrets.of("object-store")
        program = program_files(
            f"{name}-program", args.namespace.metadata_name, OBJECT_STORE_START, opts=self.child_opts
        )
        accounts = secret_files(
            f"{name}-accounts",
            args.namespace.metadata_name,
            {ROOT_SECRET_FILE: self._keys["root"], ACCOUNTS_FILE: self._accounts()},
            self.child_opts,
        )
        healthy = ProbeAction(port="s3", path="/health")
        workload = Workload(
            name,
            WorkloadArgs(
                kind="recreate",
                namespace=args.namespace,
                name=name,
                component="objects",
                volumes=(args.volume,),
                containers=(
                    Container(
                        name=name,
                        image="versitygw",
                        command=(OBJECT_STORE_START.path,),
                        args=(
                            *("--port", str(PORT)),
                            *("--data-dir", BUCKETS_FOLDER),
                            *("--root-secret-file", ROOT_SECRET_FILE),
                            *("--accounts-file", ACCOUNTS_FILE),
                            *(f"{BUCKETS[role]}={owner}" for role, owner in OWNERS.items()),
                        ),
                        ports=(Port(name="s3", number=PORT),),
                        files=(program, accounts),
                        volume_mounts=(VolumeMount(volume=args.volume.name, path=FOLDER),),
                        probes=Probes.all(healthy),
                        resources=Resources(cpu="20m", memory="96Mi", memory_limit="512Mi"),
                    ),
                ),
            ),
            self.child_opts,
        )
        endpoint: Endpoint = workload.endpoint("s3")
        self.url = f"http://{endpoint.address}"
        wait = Wait(scheme="tcp", endpoint=endpoint)
        self.access = Access(egress=(endpoint,), wait_for=(wait,), depends_on=(workload,))
        self.network_peers = (workload.network_peer,)
        self.register_outputs({"url": self.url})

    def _accounts(self) -> pulumi.Output[str]:
        """The file of versitygw's internal accounts."""
        return json_of(
            {
                "accessAccounts": {
                    owner: {"access": owner, "secret": self._keys[role], "role": "user"}
                    for role, owner in OWNERS.items()
                }
            }
        )

    def bucket(self, role: Role, user: str) -> Bucket:
        """A bucket, for pods beside the server that use it as its owner; `user` names their key pair's file."""
        files = self.credentials(user, role, self._platform)
        return Bucket(
            access=replace(self.access, env={"AWS_SHARED_CREDENTIALS_FILE": CREDENTIALS_FILE}, files=(files,)),
            region=REGION,
            name=BUCKETS[role],
            endpoint=self.url,
        )

    def credentials(self, name: str, role: Role, namespace: WorkloadNamespace) -> MountedFiles:
        """The key pair of a bucket's owner, for pods of a platform, at `CREDENTIALS_FILE`."""
        text = shared_credentials(OWNERS[role], self._keys[role])
        return secret_files(name, namespace.metadata_name, {CREDENTIALS_FILE: text}, self.child_opts)
