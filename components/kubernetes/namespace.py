"""Where workloads run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.base import Component
from components.capabilities import Access, Identities, Identity, NoIdentities
from components.kubernetes.mounted_files import MountedFiles, program_files
from components.programs import WAIT
from config.images import IMAGES, ImageName

PodSecurity = Literal["restricted", "baseline", "privileged"]


@dataclass(frozen=True, kw_only=True)
class WorkloadNamespaceArgs:
    """`images` are the references that the cluster pulls; `labels` and `annotations` are the namespace's."""

    namespace: str
    pod_security: PodSecurity
    images: Mapping[ImageName, str]
    storage_class: str | None = None
    identities: Identities = field(default_factory=NoIdentities)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)


class WorkloadNamespace(Component):
    """A namespace with Pod Security enforced, and what every workload in it needs."""

    TYPE = "flatline:kubernetes:Platform"

    def __init__(self, name: str, args: WorkloadNamespaceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.args = args
        levels = {f"pod-security.kubernetes.io/{mode}": args.pod_security for mode in ("enforce", "audit", "warn")} | {
            f"pod-security.kubernetes.io/{mode}-version": "latest" for mode in ("enforce", "audit", "warn")
        }
        # Deleting a namespace deletes the volumes in it.
        self._namespace = kubernetes.core.v1.Namespace(
            name,
            metadata=ObjectMetaArgs(
                name=args.namespace,
                labels={"app.kubernetes.io/part-of": "flatline", **args.labels, **levels},
                annotations=dict(args.annotations) or None,
            ),
            opts=pulumi.ResourceOptions(parent=self, protect=True),
        )
        self._prefix = name
        self.register_outputs({"name": self.metadata_name})

    @cached_property
    def wait_program(self) -> MountedFiles:
        """The program that waits for what a pod cannot start without; there when the first pod wants it."""
        return program_files(f"{self._prefix}-wait", self.metadata_name, WAIT, opts=self.child_opts)

    @property
    def name(self) -> str:
        """The namespace's name, for host names."""
        return self.args.namespace

    @property
    def metadata_name(self) -> pulumi.Output[str]:
        """The namespace's name, known once it exists."""
        return self._namespace.metadata.apply(lambda metadata: str(metadata.name))

    def identity(self, account: str, access: tuple[Access, ...]) -> Identity:
        """How pods of a service account prove who they are to what they use."""
        return self.args.identities.of(account, self.metadata_name, access)

    def image(self, name: ImageName) -> str:
        """The reference of an image."""
        return self.args.images[name]

    def architectures(self, name: ImageName) -> tuple[str, ...]:
        """CPU architectures that an image is published for."""
        return IMAGES[name].architectures
