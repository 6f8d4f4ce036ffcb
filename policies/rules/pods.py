"""Contents of pods: exact images from allowed registries, resources, probes, labels, and no API token."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from policies.model import at, items, mapping, objects, text
from policies.pods import PROBES, SERVERS, Container, Pod, container_rule, pod_rule
from policies.rule import Level, Settings, Violation, strings, switch


@container_rule(
    remedy="Set securityContext.readOnlyRootFilesystem to true, and mount an emptyDir where the program writes.",
    frameworks=("CKV_K8S_22", "NSA/CISA: Immutable container file systems"),
)
def pod_read_only_root(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """No container can write to its root file system."""
    if container.security.get("readOnlyRootFilesystem") is not True:
        yield "securityContext.readOnlyRootFilesystem is not true"


@dataclass(frozen=True)
class Image:
    """An image reference. `repository` includes the registry; `tag` and `digest` may be empty."""

    repository: str
    tag: str
    digest: str


def image_of(reference: str) -> Image:
    """Parses an image reference like the container runtime: `redis:8.10.2` is `docker.io/library/redis` and a tag.

    The rules are those of distribution/reference, normalize.go.
    """
    name, _, digest = reference.partition("@")
    head, slash, last = name.rpartition("/")
    path, _, tag = last.partition(":")
    repository = head + slash + path
    first = repository.partition("/")[0]
    if repository and "/" not in repository:
        repository = f"docker.io/library/{repository}"
    elif repository and "." not in first and ":" not in first and first != "localhost":
        repository = f"docker.io/{repository}"
    return Image(repository, tag, digest)


EXACT_TAG = re.compile(r"v?\d+\.\d+\.\d+([.+_-][\w.+-]*)?")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@container_rule(
    remedy="Add a digest (@sha256:...) to the image, or a tag with a full version that its publisher never moves.",
    frameworks=("CKV_K8S_14", "CKV_K8S_43", "NSA/CISA: Container image scanning"),
    settings={"digest": switch("require a digest; a version tag is not enough")},
)
def pod_image_version(pod: Pod, container: Container, settings: Settings) -> Iterator[Violation]:
    """Each image has an exact version, so that a restart runs the same program as before."""
    reference = text(container.spec.get("image"))
    image = image_of(reference)
    if DIGEST.fullmatch(image.digest):
        return
    if settings["digest"]:
        yield Violation("image has no digest", subject=reference)
    elif not EXACT_TAG.fullmatch(image.tag):
        yield Violation("image has neither a digest nor a full version", subject=reference)


@container_rule(
    remedy="Use an image from an allowed registry, or add the registry to the setting `registries`.",
    frameworks=("NSA/CISA: Secure container images",),
    settings={"registries": strings("allowed registries, organisations or repositories: `docker.io/library`")},
)
def pod_image_registry(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """Images come only from allowed registries and repositories."""
    repository = image_of(text(container.spec.get("image"))).repository
    allowed = settings["registries"]
    if not any(repository == entry or repository.startswith(entry.rstrip("/") + "/") for entry in allowed):
        yield "image comes from a registry or repository that is not allowed"


@container_rule(
    remedy="Set resources.requests.cpu, resources.requests.memory and resources.limits.memory.",
    frameworks=("CKV_K8S_10", "CKV_K8S_12", "CKV_K8S_13", "NSA/CISA: Resource policies"),
)
def pod_resources(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """Each container requests CPU and memory, and has a memory limit."""
    if container.list == "ephemeralContainers":
        return  # the API server forbids resources there
    resources = mapping(container.spec.get("resources"))
    for part, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        if mapping(resources.get(part)).get(name) in (None, "", 0, "0"):
            yield f"resources.{part}.{name} is missing"


@container_rule(remedy="Add a readinessProbe and a livenessProbe.", frameworks=("CKV_K8S_8", "CKV_K8S_9"))
def pod_probes(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """Each server has a readiness and a liveness probe."""
    if pod.owner.kind in SERVERS and container.is_long_running:
        for name in ("readinessProbe", "livenessProbe"):
            if not mapping(container.spec.get(name)):
                yield f"{name} is missing"


@container_rule(remedy="Use a port of the same container, or declare the port in the container.")
def pod_probe_ports(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """Each probe uses a port that its container declares."""
    ports = objects(container.spec.get("ports"))
    known = {port.get("name") for port in ports} | {port.get("containerPort") for port in ports}
    for name in PROBES:
        probe = mapping(container.spec.get(name))
        for action in ("httpGet", "tcpSocket", "grpc"):
            port = at(probe, action, "port")
            if probe.get(action) is not None and (port is None or port not in known):
                yield f"{name}.{action}.port is not a port of the container"


@pod_rule(
    remedy="Set automountServiceAccountToken to false in the pod; give a projected token its recipient as audience.",
    frameworks=("CKV_K8S_38", "NSA/CISA: Protecting Pod service account tokens"),
    settings={"audiences": strings("patterns of allowed audiences of projected tokens", ())},
)
def pod_service_account_token(pod: Pod, settings: Settings) -> Iterator[str]:
    """No pod has a token for the API server."""
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "pod: automountServiceAccountToken is not false"
    for volume in pod.volumes():
        for source in objects(mapping(volume.get("projected")).get("sources")):
            projection = source.get("serviceAccountToken")
            if projection is not None and not _is_allowed(text(mapping(projection).get("audience")), settings):
                yield f"volume {text(volume.get('name'))}: has a service account token for the API server"


def _is_allowed(audience: str, settings: Settings) -> bool:
    """True if a token has an allowed audience. The API server rejects tokens with another audience than its own."""
    return any(fnmatchcase(audience, pattern) for pattern in settings["audiences"])


PREFIX = "app.kubernetes.io/"


@pod_rule(
    remedy="Add the label to metadata.labels of the workload and of its pod template.",
    frameworks=("Kubernetes: Recommended Labels",),
    settings={
        "labels": strings(
            "required labels", tuple(PREFIX + name for name in ("name", "instance", "component", "part-of"))
        )
    },
)
def pod_labels(pod: Pod, settings: Settings) -> Iterator[str]:
    """Workloads and their pods carry the recommended labels."""
    places = {"object": mapping(pod.owner.metadata.get("labels")), "pod": pod.labels}
    for where, labels in places.items():
        for name in settings["labels"]:
            if not text(labels.get(name)):
                yield f"{where}: the label {name} is missing"


@container_rule(
    remedy="Mount the Secret as a file and pass the program its path.",
    frameworks=("CKV_K8S_35", "NSA/CISA: Secrets"),
    level=Level.ADVISORY,
)
def pod_secret_environment(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """Containers get Secrets as files, because child processes and crash reports inherit the environment."""
    for variable in objects(container.spec.get("env")):
        if mapping(variable.get("valueFrom")).get("secretKeyRef") is not None:
            yield f"environment variable {text(variable.get('name'))}: has its value from a Secret"
    for source in items(container.spec.get("envFrom")):
        if mapping(source).get("secretRef") is not None:
            yield "envFrom: takes all values of a Secret"
