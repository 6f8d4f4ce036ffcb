"""Jobs that run to completion once, and CronJobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.batch.v1 import CronJobSpecArgs, JobSpecArgs, JobTemplateSpecArgs
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.base import Component
from components.capabilities import NetworkPeer
from components.kubernetes.mounted_files import name_of
from components.kubernetes.pod import PodArgs, managed_labels, network_peer, template


@dataclass(frozen=True, kw_only=True)
class JobArgs(PodArgs):
    """A pod that ends. With a `schedule` (cron, UTC) it is a CronJob; `suspended` gives the reason why it waits.

    `deadline` in seconds bounds one run, which is tried again up to `retries` times. `claims` maps volumes to claims of
    other workloads, which are read.
    """

    deadline: int
    retries: int = 10
    claims: Mapping[str, str] = field(default_factory=dict)
    restart: Literal["Always", "Never", "OnFailure"] = "OnFailure"
    schedule: str = ""
    suspended: str = ""


class Job(Component):
    """A Job, named after its content because Jobs cannot change, or a CronJob.

    What a Job does must be idempotent: any change of it is a new Job.
    """

    TYPE = "flatline:kubernetes:Task"

    def __init__(self, name: str, args: JobArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        self._identity = args.namespace.identity(name, args.access)
        account = kubernetes.core.v1.ServiceAccount(
            name,
            metadata=ObjectMetaArgs(
                name=name,
                namespace=args.namespace.metadata_name,
                labels=managed_labels(args),
                annotations=dict(self._identity.annotations) or None,
            ),
            automount_service_account_token=False,
            opts=self.child_opts,
        )
        job = JobSpecArgs(
            backoff_limit=args.retries,
            active_deadline_seconds=args.deadline,
            template=template(args, name_of(account.metadata), args.claims, self._identity),
        )
        started = pulumi.ResourceOptions(parent=self, depends_on=list(self._identity.depends_on))
        metadata = ObjectMetaArgs(namespace=args.namespace.metadata_name, labels=managed_labels(args))
        if args.schedule:
            metadata.name = name
            metadata.annotations = {"flatline.org/suspended-because": args.suspended} if args.suspended else None
            kubernetes.batch.v1.CronJob(
                name,
                metadata=metadata,
                spec=CronJobSpecArgs(
                    schedule=args.schedule,
                    time_zone="Etc/UTC",
                    suspend=bool(args.suspended),
                    concurrency_policy="Forbid",
                    starting_deadline_seconds=3600,
                    successful_jobs_history_limit=1,
                    failed_jobs_history_limit=3,
                    job_template=JobTemplateSpecArgs(spec=job),
                ),
                opts=started,
            )
        else:
            kubernetes.batch.v1.Job(name, metadata=metadata, spec=job, opts=started)
        self.register_outputs({"serviceAccount": name_of(account.metadata)})

    @property
    def network_peer(self) -> NetworkPeer:
        """The pods and everything that they may open connections to."""
        return network_peer(self._name, self._args, self._identity)
