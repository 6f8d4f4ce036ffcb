"""Workloads: a Deployment or a StatefulSet with its Service, account, volumes and disruption budget."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.autoscaling import v2 as autoscaling
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudgetSpecArgs

from components.base import Component
from components.capabilities import Endpoint, Network, NetworkPeer, Volume
from components.kubernetes.mounted_files import name_of
from components.kubernetes.pod import (
    PodArgs,
    Port,
    labels,
    managed_labels,
    network_peer,
    pods,
    template,
)

WorkloadKind = Literal["rolling", "recreate", "stateful"]
"""`rolling` and `recreate` are Deployments; `stateful` is a StatefulSet whose disks come from claim templates."""


@dataclass(frozen=True, kw_only=True)
class WorkloadArgs(PodArgs):
    """A pod and how it is kept running.

    `headless_service` adds a headless Service of that name, which also lists pods that are not ready, so that pods
    find each other. `external_egress` are networks outside of the cluster that the pods may reach, and
    `external_ingress` those that may reach them. `annotations` are those of the Service.
    """

    kind: WorkloadKind = "rolling"
    headless_service: str = ""
    external_egress: tuple[Network, ...] = ()
    external_ingress: tuple[Network, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


class Workload(Component):
    """Everything that keeps one kind of pod running and reachable.

    A disk of a Deployment is a claim of its own, protected: neither an update nor a destroy takes it away. A claim
    template's disks are not Pulumi's at all and are retained by the StatefulSet.
    """

    TYPE = "flatline:kubernetes:Workload"

    def __init__(self, name: str, args: WorkloadArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.args, self._name = args, name
        self.pods = pods(args.namespace, args.name, args.component)
        self._ports = [port for container in args.containers for port in container.ports if port.published]
        self._identity = args.namespace.identity(name, args.access)
        metadata = self._metadata(name)
        metadata.annotations = dict(self._identity.annotations) or None
        account = kubernetes.core.v1.ServiceAccount(
            name, metadata=metadata, automount_service_account_token=False, opts=self.child_opts
        )
        if self._ports:
            self._service(name, headless=False)
        if args.headless_service:
            self._service(args.headless_service, headless=True)
        if args.kind == "stateful":
            self._stateful_set(name_of(account.metadata))
        else:
            self._deployment(name_of(account.metadata))
        if args.scale.maximum:
            self._autoscaler()
        if args.scale.is_replicated:
            kubernetes.policy.v1.PodDisruptionBudget(
                name,
                metadata=self._metadata(name),
                spec=PodDisruptionBudgetSpecArgs(max_unavailable=1, selector=self._selector),
                opts=self.child_opts,
            )
        self.register_outputs({"serviceAccount": name_of(account.metadata)})

    def endpoint(self, port: str) -> Endpoint:
        """A published port of the Service, by its name."""
        found = {candidate.name: candidate for candidate in self._ports}[port]
        return Endpoint(service=self._name, pods=self.pods, port=found.number, protocol=found.protocol)

    @property
    def network_peer(self) -> NetworkPeer:
        """The pods and everything that they may open connections to."""
        peer = network_peer(self._name, self.args, self._identity, self.args.external_egress)
        return replace(peer, external_ingress=self.args.external_ingress)

    @property
    def _selector(self) -> LabelSelectorArgs:
        return LabelSelectorArgs(match_labels=labels(self.args))

    def _metadata(self, name: str, **annotations: str) -> ObjectMetaArgs:
        args = self.args
        return ObjectMetaArgs(
            name=name,
            namespace=args.namespace.metadata_name,
            labels=managed_labels(args),
            annotations={f"pulumi.com/{key}": value for key, value in annotations.items()} or None,
        )

    def _started(self, **options: Any) -> pulumi.ResourceOptions:
        """Options of what starts pods: after what they wait for."""
        resources = [
            *(resource for access in self.args.access for resource in access.depends_on),
            *self._identity.depends_on,
        ]
        return pulumi.ResourceOptions(parent=self, depends_on=list(dict.fromkeys(resources)), **options)

    def _service(self, name: str, *, headless: bool) -> None:
        ports = self._ports if not headless else [p for c in self.args.containers for p in c.ports]
        # its pods are awaited by what runs them
        metadata = self._metadata(name, skipAwait="true")
        if not headless and self.args.annotations:
            metadata.annotations = {"pulumi.com/skipAwait": "true", **self.args.annotations}
        kubernetes.core.v1.Service(
            name,
            metadata=metadata,
            spec=core.ServiceSpecArgs(
                type="ClusterIP",
                cluster_ip="None" if headless else None,
                publish_not_ready_addresses=True if headless else None,
                selector=labels(self.args),
                ports=[_service_port(port) for port in ports],
            ),
            opts=self.child_opts,
        )

    def _deployment(self, account: pulumi.Input[str]) -> None:
        args = self.args
        claims = {volume.name: self._claim(volume) for volume in args.volumes}
        strategy = (
            apps.DeploymentStrategyArgs(type="Recreate")
            if self.args.kind == "recreate"
            else apps.DeploymentStrategyArgs(
                type="RollingUpdate", rolling_update=apps.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0)
            )
        )
        kubernetes.apps.v1.Deployment(
            self._name,
            # a replica count that was set by hand is set back instead of being a conflict
            metadata=self._metadata(self._name, patchForce="true"),
            spec=apps.DeploymentSpecArgs(
                # whoever scales it says how many
                replicas=None if args.scale.maximum else args.scale.replicas,
                revision_history_limit=3,
                strategy=strategy,
                selector=self._selector,
                template=template(args, account, claims, self._identity),
            ),
            opts=self._started(),
        )

    def _autoscaler(self) -> None:
        scale = self.args.scale
        kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
            self._name,
            metadata=self._metadata(self._name),
            spec=autoscaling.HorizontalPodAutoscalerSpecArgs(
                min_replicas=scale.replicas,
                max_replicas=scale.maximum,
                scale_target_ref=autoscaling.CrossVersionObjectReferenceArgs(
                    api_version="apps/v1", kind="Deployment", name=self._name
                ),
                metrics=[
                    autoscaling.MetricSpecArgs(
                        type="Resource",
                        resource=autoscaling.ResourceMetricSourceArgs(
                            name="cpu",
                            target=autoscaling.MetricTargetArgs(
                                type="Utilization", average_utilization=scale.cpu_percent
                            ),
                        ),
                    )
                ],
                behavior=autoscaling.HorizontalPodAutoscalerBehaviorArgs(
                    # every pod that goes ends its clients' WebSockets, so pods go slowly
                    scale_down=autoscaling.HPAScalingRulesArgs(
                        stabilization_window_seconds=600,
                        policies=[autoscaling.HPAScalingPolicyArgs(type="Pods", value=1, period_seconds=120)],
                    )
                ),
            ),
            opts=self.child_opts,
        )

    def _claim(self, volume: Volume) -> pulumi.Output[str]:
        claim = kubernetes.core.v1.PersistentVolumeClaim(
            volume.name,
            metadata=ObjectMetaArgs(
                name=volume.name,
                namespace=self.args.namespace.metadata_name,
                labels=managed_labels(self.args),
                # A class that binds at the first pod leaves the claim pending until the Deployment exists.
                annotations={"pulumi.com/skipAwait": "true"},
            ),
            spec=self._claim_spec(volume),
            opts=pulumi.ResourceOptions(parent=self, protect=True),
        )
        return name_of(claim.metadata)

    def _claim_spec(self, volume: Volume) -> core.PersistentVolumeClaimSpecArgs:
        return core.PersistentVolumeClaimSpecArgs(
            access_modes=["ReadWriteOnce"],
            storage_class_name=self.args.namespace.args.storage_class,
            resources=core.VolumeResourceRequirementsArgs(requests={"storage": volume.size}),
        )

    def _stateful_set(self, account: pulumi.Input[str]) -> None:
        args = self.args
        kubernetes.apps.v1.StatefulSet(
            self._name,
            metadata=self._metadata(self._name, patchForce="true"),
            spec=apps.StatefulSetSpecArgs(
                replicas=args.scale.replicas,
                revision_history_limit=3,
                service_name=self.args.headless_service or self._name,
                pod_management_policy="Parallel",
                persistent_volume_claim_retention_policy=apps.StatefulSetPersistentVolumeClaimRetentionPolicyArgs(
                    when_deleted="Retain", when_scaled="Retain"
                ),
                selector=self._selector,
                template=template(args, account, {}, self._identity),
                volume_claim_templates=[
                    core.PersistentVolumeClaimArgs(
                        metadata=ObjectMetaArgs(name=volume.name, labels=labels(args)), spec=self._claim_spec(volume)
                    )
                    for volume in args.volumes
                ],
            ),
            # a claim template cannot change, and replacing the set would stop all pods and grow no claim
            opts=self._started(ignore_changes=["spec.volumeClaimTemplates"]),
        )


def _service_port(port: Port) -> core.ServicePortArgs:
    return core.ServicePortArgs(name=port.name, port=port.number, target_port=port.name, protocol=port.protocol)
