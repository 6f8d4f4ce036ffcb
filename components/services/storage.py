"""Storage: groups, their members and their avatars' upload forms."""

from dataclasses import dataclass

import pulumi

from components import java
from components.base import Component
from components.capabilities import Bigtable, Bucket, Route
from components.config_tree import merged, nested, yaml_of
from components.kubernetes.mounted_files import secret_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Scale
from components.kubernetes.workload import Workload, WorkloadArgs
from components.secrets import Secrets
from config.services.java import STORAGE
from config.services.storage import ADMIN_PORT, CONSTANTS, HTTP_PORT

CONFIG = "/usr/share/signal/dev.yml"
MAIN = "org.signal.storageservice.StorageService"


@dataclass(frozen=True, kw_only=True)
class StorageArgs:
    """The capabilities that Storage uses. It never calls S3: it signs upload forms for the bucket."""

    namespace: WorkloadNamespace
    secrets: Secrets
    bigtable: Bigtable
    cdn0: Bucket
    scale: Scale
    log_requests: bool


class Storage(Component):
    """The storage service. Its one file holds its secrets, so it is a Secret."""

    TYPE = "flatline:services:Storage"

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        wired = {
            "bigtable": {
                "projectId": args.bigtable.project,
                "instanceId": args.bigtable.instance,
                **args.bigtable.tables,
            },
            "cdn": {"bucket": args.cdn0.name, "region": args.cdn0.region},
            "server": java.request_log(args.log_requests),
        }
        config = secret_files(
            f"{name}-config",
            args.namespace.metadata_name,
            {CONFIG: yaml_of(merged(CONSTANTS, wired, nested(args.secrets.of("storage"))))},
            self.child_opts,
        )
        alive = ProbeAction(port="admin", path="/healthcheck")
        workload = Workload(
            name,
            WorkloadArgs(
                namespace=args.namespace,
                name=name,
                component="storage",
                access=(args.bigtable.access,),
                scale=args.scale,
                termination_grace_seconds=30,
                containers=(
                    Container(
                        name=name,
                        image="storage",
                        command=java.command(STORAGE, ("-Xss512k",), MAIN, "server", CONFIG),
                        ports=(Port(name="http", number=HTTP_PORT), Port(name="admin", number=ADMIN_PORT)),
                        files=(config,),
                        empty_dirs=java.EMPTY_DIRS,
                        probes=Probes(
                            startup=alive,
                            # reads a row of each table at first, so it is ready only after the tables exist
                            readiness=ProbeAction(port="http", path="/_ready"),
                            liveness=alive,
                            startup_budget=120,
                        ),
                        resources=java.resources(STORAGE, cpu="50m", busy_cpu="100m"),
                        pre_stop_sleep_seconds=5,
                    ),
                ),
            ),
            self.child_opts,
        )
        self.network_peers = (workload.network_peer,)
        self.route = Route(name=name, host="storage", endpoint=workload.endpoint("http"))
        self.admin_route = Route(name=f"{name}-admin", host="storage-admin", endpoint=workload.endpoint("admin"))
        self.register_outputs({"address": self.route.endpoint.address})
