"""cbtemulator: Bigtable on one disk, and the job that creates its tables."""

from dataclasses import dataclass

import pulumi

from components.base import Component
from components.capabilities import Access, Bigtable, Wait
from components.emulators import seeds
from components.kubernetes.files import program_files
from components.kubernetes.platform import Platform
from components.kubernetes.pod import Check, Container, Disk, DiskMount, PodArgs, Port, Probes, Resources
from components.kubernetes.task import Task, TaskArgs
from components.kubernetes.workload import Workload, WorkloadArgs
from components.programs import BIGTABLE_SEED
from config.schema.bigtable import TABLES

PORT = 9000
PROJECT, INSTANCE = "flatline-dev", "storage"
"""The emulator has no projects; the seed and its readers only have to agree."""

FOLDER = "/var/bigtable"
SEED_DEADLINE_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class CbtemulatorArgs:
    """`disk` is where the tables stay."""

    platform: Platform
    disk: Disk


class Cbtemulator(Component):
    """One emulator, never two on the same disk, and its idempotent seed."""

    TYPE = "flatline:emulators:Cbtemulator"

    def __init__(self, name: str, args: CbtemulatorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        listening = Check(port="grpc")
        workload = Workload(
            name,
            WorkloadArgs(
                shape="recreate",
                pod=PodArgs(
                    platform=args.platform,
                    name=name,
                    component="bigtable",
                    disks=(args.disk,),
                    containers=(
                        Container(
                            name=name,
                            image="cbtemulator",
                            command=("cbtemulator",),
                            args=("-host", "", "-port", str(PORT), "-dir", FOLDER),
                            ports=(Port(name="grpc", number=PORT),),
                            disks=(DiskMount(disk=args.disk.name, path=FOLDER),),
                            probes=Probes(startup=listening, readiness=listening, liveness=listening),
                            resources=Resources(cpu="20m", memory="64Mi", memory_limit="512Mi"),
                        ),
                    ),
                ),
            ),
            self.child,
        )
        endpoint = workload.endpoint("grpc")
        reach = Access(egress=(endpoint,))
        seed = self._seed(f"{name}-seed", args.platform, reach, endpoint.address)
        self.members = (workload.member, seed.member)
        self.bigtable = Bigtable(
            access=Access(
                egress=(endpoint,),
                wait_for=(Wait(scheme="tcp", endpoint=endpoint),),
                ready=(workload,),
                env={"BIGTABLE_EMULATOR_HOST": endpoint.address},
            ),
            project=PROJECT,
            instance=INSTANCE,
            tables={key: table.name for key, table in TABLES.items()},
        )
        self.register_outputs({})

    def _seed(self, name: str, platform: Platform, reach: Access, address: str) -> Task:
        tables = [f"--table={table}={','.join(families)}" for table, families in seeds.bigtable(TABLES).items()]
        files = program_files(name, platform.namespace, BIGTABLE_SEED, opts=self.child)
        return Task(
            name,
            TaskArgs(
                deadline=SEED_DEADLINE_SECONDS + 60,
                pod=PodArgs(
                    platform=platform,
                    name=name,
                    component="bigtable",
                    access=(reach,),
                    containers=(
                        Container(
                            name="seed",
                            image="node",
                            command=("node", BIGTABLE_SEED.path),
                            args=(
                                "--emulator",
                                address,
                                "--project",
                                PROJECT,
                                "--instance",
                                INSTANCE,
                                *tables,
                                "--deadline",
                                str(SEED_DEADLINE_SECONDS),
                            ),
                            files=(files,),
                            resources=Resources(cpu="10m", memory="64Mi", memory_limit="128Mi"),
                        ),
                    ),
                ),
            ),
            self.child,
        )
