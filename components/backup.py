"""Backups by schedule: a CronJob that reads the stores and writes an encrypted archive into an S3 bucket.

It has the public key alone, so it cannot read what it wrote. The stack's file, its encrypted secrets and its pins are
in no resource of the program; commands put them into a Secret of their own (cli/backup_documents.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.base import Component
from components.capabilities import Access, Archived, Network, Pods, VolumeMount
from components.config_tree import to_json
from components.kubernetes.job import Job, JobArgs
from components.kubernetes.mounted_files import MountedFiles, MountedFilesArgs, OperatorFolder, program_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Resources
from components.programs import BACKUP, BACKUP_FILES
from config.schema.backup import DOCUMENTS

FOLDER = "/etc/flatline/backup"
PLAN_FILE = f"{FOLDER}/plan.json"
DOCUMENTS_FOLDER = f"{FOLDER}/documents"
RUN_SECONDS = 6 * 3600
RETRIES = 2


def key_file(name: str) -> str:
    """Where the program finds a key pair, in the form of AWS's shared credentials file."""
    return f"{FOLDER}/keys/{name}"


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """The place of archives; `endpoint` is a URL, `prefix` empty or with a slash at its end."""

    endpoint: str
    region: str
    bucket: str
    prefix: str
    key_pair: pulumi.Output[str]


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A volume of other pods, and what it is called in an archive. `claim` holds it."""

    name: str
    claim: str
    pods: Pods


@dataclass(frozen=True, kw_only=True)
class BackupArgs:
    """`stack` names the archives. `keep` is how many stay, by period. `secrets` maps collections to Secrets."""

    namespace: WorkloadNamespace
    stack: str
    release: str
    schedule: str
    recipient: str
    keep: Mapping[str, int]
    to: Bucket
    stores: Archived
    secrets: Mapping[str, str]
    folders: tuple[Folder, ...]
    external_egress: tuple[Network, ...]


class Backup(Component):
    """One archive for each run, never two at once."""

    TYPE = "flatline:index:Backup"

    def __init__(self, name: str, args: BackupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        namespace = args.namespace.metadata_name
        program = program_files(f"{name}-program", namespace, BACKUP, BACKUP_FILES, opts=self.child_opts)
        plan = MountedFiles(
            f"{name}-plan",
            MountedFilesArgs(namespace=namespace, files={PLAN_FILE: to_json(self._plan(args))}),
            self.child_opts,
        )
        keys = {key_file(each): text for each, text in {**args.stores.keys, "place": args.to.key_pair}.items()}
        key_files = MountedFiles(
            f"{name}-keys", MountedFilesArgs(namespace=namespace, files=keys, secret=True), self.child_opts
        )
        operators = (
            OperatorFolder(name=DOCUMENTS, folder=DOCUMENTS_FOLDER),
            *(OperatorFolder(name=secret, folder=f"{FOLDER}/{each}") for each, secret in args.secrets.items()),
        )
        job = Job(
            name,
            JobArgs(
                namespace=args.namespace,
                name=name,
                component="backup",
                schedule=args.schedule,
                deadline=RUN_SECONDS,
                retries=RETRIES,
                restart="Never",
                termination_grace_seconds=60,
                access=(Access(egress=args.stores.egress, external_egress=args.external_egress),),
                claims={each.name: each.claim for each in args.folders},
                beside=tuple(each.pods for each in args.folders),
                containers=(
                    Container(
                        name=name,
                        image="node",
                        command=("node", BACKUP.path),
                        args=("--plan", PLAN_FILE),
                        files=(program, plan, key_files, *operators),
                        volume_mounts=tuple(
                            VolumeMount(volume=each.name, path=_folder(each.name), read_only=True)
                            for each in args.folders
                        ),
                        # four objects of 10 MiB with their JSON, and a part of 16 MiB
                        resources=Resources(cpu="50m", memory="128Mi", memory_limit="768Mi"),
                    ),
                ),
            ),
            self.child_opts,
        )
        self.network_peers = (job.network_peer,)
        self.register_outputs({})

    def _plan(self, args: BackupArgs) -> dict[str, object]:
        place = args.to
        return {
            "stack": args.stack,
            "release": args.release,
            "recipient": args.recipient,
            "keep": dict(args.keep),
            "to": {
                "endpoint": place.endpoint,
                "region": place.region,
                "bucket": place.bucket,
                "prefix": place.prefix,
                "credentials": key_file("place"),
            },
            **args.stores.plan,
            "secrets": [{"name": each, "folder": f"{FOLDER}/{each}"} for each in args.secrets],
            "files": [{"name": each.name, "folder": _folder(each.name)} for each in args.folders],
            "reader": BACKUP_FILES.path,
            "documents": DOCUMENTS_FOLDER,
        }


def _folder(name: str) -> str:
    return f"/srv/volumes/{name}"
