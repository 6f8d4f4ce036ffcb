"""cbtemulator: Bigtable on one disk, and the job that creates its tables."""

from dataclasses import dataclass

import pulumi

from components.base import Component
from components.capabilities import Access, Bigtable, Volume, VolumeMount, Wait
from components.emulators import seeds
from components.kubernetes.job import Job, JobArgs
from components.kubernetes.mounted_files import program_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources
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
    """`volume` is where the tables stay."""

    namespace: WorkloadNamespace
    volume: Volume


class Cbtemulator(Component):
    """One emulator, never two on the same disk, and its idempotent seed."""

    TYPE = "flatline:emulators:Cbtemulator"

    def __init__(self, name: str, args: CbtemulatorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        listening = ProbeAction(port="grpc")
        workload = Workload(
            name,
            WorkloadArgs(
                kind="recreate",
                namespace=args.namespace,
                name=name,
                component="bigtable",
                volumes=(args.volume,),
                containers=(
                    Container(
                        name=name,
                        image="cbtemulator",
                        command=("cbtemulator",),
                        args=("-host", "", "-port", str(PORT), "-dir", FOLDER),
                        ports=(Port(name="grpc", number=PORT),),
                        volume_mounts=(VolumeMount(volume=args.volume.name, path=FOLDER),),
                        probes=Probes.all(listening),
                        resources=Resources(cpu="20m", memory="64Mi", memory_limit="512Mi"),
                    ),
                ),
            ),
            self.child_opts,
        )
        endpoint = workload.endpoint("grpc")
        reach = Access(egress=(endpoint,))
        seed = self._seed(f"{name}-seed", args.namespace, reach, endpoint.address)
        self.network_peers = (workload.network_peer, seed.network_peer)
        self.bigtable = Bigtable(
            access=Access(
                egress=(endpoint,),
                wait_for=(Wait(scheme="tcp", endpoint=endpoint),),
                depends_on=(workload,),
                env={"BIGTABLE_EMULATOR_HOST": endpoint.address},
            ),
            project=PROJECT,
            instance=INSTANCE,
            tables={key: table.name for key, table in TABLES.items()},
        )
        self.register_outputs({"address": endpoint.address})

    def _seed(self, name: str, namespace: WorkloadNamespace, reach: Access, address: str) -> Job:
        tables = [f"--table={table}={','.join(families)}" for table, families in seeds.bigtable(TABLES).items()]
        files = program_files(name, namespace.metadata_name, BIGTABLE_SEED, opts=self.child_opts)
        return Job(
            name,
            JobArgs(
                deadline=SEED_DEADLINE_SECONDS + 60,
                namespace=namespace,
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
            self.child_opts,
        )
