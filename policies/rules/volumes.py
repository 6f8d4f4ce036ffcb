"""Volumes with data are protected against deletion, are mounted, and have one writer."""

from collections.abc import Iterator

from policies.model import Properties, Resource, Stack, at, items, mapping, number, objects, text
from policies.pods import Pod, pod_of, pods_of
from policies.rule import Settings, Violation, resource_rule, stack_rule


@resource_rule(
    remedy="Set protect or retain_on_delete on the claim; leave whenDeleted and whenScaled of StatefulSets at Retain.",
    frameworks=("Well-Architected REL09",),
)
def volume_protected(resource: Resource, settings: Settings) -> Iterator[str]:
    """Deleting the stack, or one of its objects, does not delete data."""
    if not resource.is_object:
        return
    if resource.kind == "PersistentVolumeClaim" and not (
        resource.protect or resource.retain_on_delete or _is_kept_by_annotation(resource)
    ):
        yield "is neither protected nor retained: deleting the stack deletes the data"
    if resource.kind == "StatefulSet":
        policy = mapping(at(resource.spec, "persistentVolumeClaimRetentionPolicy"))
        for name in ("whenDeleted", "whenScaled"):
            if policy.get(name) not in (None, "Retain"):  # Retain is Kubernetes' default
                yield f"persistentVolumeClaimRetentionPolicy.{name} deletes the data"


def _is_kept_by_annotation(claim: Resource) -> bool:
    annotations = mapping(claim.metadata.get("annotations"))
    options = text(annotations.get("argocd.argoproj.io/sync-options")).replace(" ", "").split(",")
    return annotations.get("helm.sh/resource-policy") == "keep" or "Delete=false" in options


def claims_of(pod: Pod) -> dict[str, Properties]:
    """The sources of a pod's volumes that are claims, by the name of the volume."""
    return {
        text(volume.get("name")): mapping(volume.get("persistentVolumeClaim"))
        for volume in pod.volumes()
        if volume.get("persistentVolumeClaim") is not None
    }


def _mounts(pod: Pod) -> set[str]:
    return {
        text(entry.get("name"))
        for container in pod.containers()
        for field in ("volumeMounts", "volumeDevices")
        for entry in objects(container.spec.get(field))
    }


@stack_rule(remedy="Add a volumeMount at the path of the program's data, or remove the claim.")
def volume_mounted(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """A container mounts each claimed volume."""
    used = {
        (pod.namespace, text(source.get("claimName")))
        for pod in pods_of(stack)
        for name, source in claims_of(pod).items()
        if name in _mounts(pod)
    }
    for claim in stack.of("PersistentVolumeClaim"):
        if (claim.namespace, claim.object_name) not in used:
            yield Violation("no container mounts the claim, so its data is stored elsewhere", claim)
    for owner in stack.of("StatefulSet"):
        pod = pod_of(owner)
        for template in objects(at(owner.spec, "volumeClaimTemplates")):
            name = text(at(template, "metadata", "name"))
            if pod is not None and name not in _mounts(pod):
                yield Violation(f"no container mounts its volume {name}", owner)


@stack_rule(remedy="Set spec.strategy.type to Recreate and replicas to 1, or use a StatefulSet.")
def volume_one_writer(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Only one pod at a time writes to a volume, also during an upgrade."""
    for owner in stack.of("Deployment"):
        pod = pod_of(owner)
        sources = claims_of(pod) if pod else {}
        if not any(_is_exclusive(stack, owner, source) for source in sources.values()):
            continue
        if at(owner.spec, "strategy", "type") != "Recreate":
            yield Violation("spec.strategy.type is not Recreate: two pods share a volume during an upgrade", owner)
        if (number(at(owner.spec, "replicas")) or 0) > 1:
            yield Violation("several replicas share one volume", owner)


def _is_exclusive(stack: Stack, owner: Resource, source: Properties) -> bool:
    claim = stack.get("PersistentVolumeClaim", owner.namespace, text(source.get("claimName")))
    modes = items(at(claim.spec, "accessModes")) if claim else []
    return source.get("readOnly") is not True and "ReadWriteMany" not in modes
