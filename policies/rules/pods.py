"""Contents of pods: exact images from allowed registries, resources, probes, labels, and no API token."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from policies.model import Properties, Resource, items, mapping, objects, text
from policies.pods import SERVERS, Container, Pod, each_container, each_pod, pod_of
from policies.rule import Level, ResourceRule, Settings, Violation, strings, switch


def _read_only_root(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    if container.security.get("readOnlyRootFilesystem") is not True:
        yield "securityContext.readOnlyRootFilesystem is not true"


READ_ONLY_ROOT = ResourceRule(
    name="pod-read-only-root",
    description="No container can write to its root file system.",
    frameworks=("CKV_K8S_22", "NSA/CISA: Immutable container file systems"),
    remedy="Set securityContext.readOnlyRootFilesystem to true, and mount an emptyDir where the program writes.",
    check=each_container(_read_only_root),
)


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


def _image_version(resource: Resource, settings: Settings) -> Iterator[Violation]:
    pod = pod_of(resource)
    for container in pod.containers() if pod else ():
        reference = text(container.spec.get("image"))
        image = image_of(reference)
        if DIGEST.fullmatch(image.digest):
            continue
        if settings["digest"]:
            yield Violation(message=f"{container.where}: image has no digest", subject=reference)
        elif not EXACT_TAG.fullmatch(image.tag):
            yield Violation(
                message=f"{container.where}: image has neither a digest nor a full version", subject=reference
            )


IMAGE_VERSION = ResourceRule(
    name="pod-image-version",
    description="Each image has an exact version, so that a restart runs the same program as before.",
    frameworks=("CKV_K8S_14", "CKV_K8S_43", "NSA/CISA: Container image scanning"),
    remedy="Add a digest (@sha256:...) to the image, or a tag with a full version that its publisher never moves.",
    settings={"digest": switch("require a digest; a version tag is not enough")},
    check=_image_version,
)


def _image_registry(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    repository = image_of(text(container.spec.get("image"))).repository
    allowed = settings["registries"]
    if not any(repository == entry or repository.startswith(entry.rstrip("/") + "/") for entry in allowed):
        yield "image comes from a registry or repository that is not allowed"


IMAGE_REGISTRY = ResourceRule(
    name="pod-image-registry",
    description="Images come only from allowed registries and repositories.",
    frameworks=("NSA/CISA: Secure container images",),
    remedy="Use an image from an allowed registry, or add the registry to the setting `registries`.",
    settings={"registries": strings("allowed registries, organisations or repositories: `docker.io/library`")},
    check=each_container(_image_registry),
)


def _resources(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    if container.list == "ephemeralContainers":
        return  # the API server forbids resources there
    resources = mapping(container.spec.get("resources"))
    for part, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        if mapping(resources.get(part)).get(name) in (None, "", 0, "0"):
            yield f"resources.{part}.{name} is missing"


RESOURCES = ResourceRule(
    name="pod-resources",
    description="Each container requests CPU and memory, and has a memory limit.",
    frameworks=("CKV_K8S_10", "CKV_K8S_12", "CKV_K8S_13", "NSA/CISA: Resource policies"),
    remedy="Set resources.requests.cpu, resources.requests.memory and resources.limits.memory.",
    check=each_container(_resources),
)


def _probes(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    if pod.owner.kind in SERVERS and container.is_long_running:
        for name in ("readinessProbe", "livenessProbe"):
            if not mapping(container.spec.get(name)):
                yield f"{name} is missing"


PROBES = ResourceRule(
    name="pod-probes",
    description="Each server has a readiness and a liveness probe.",
    frameworks=("CKV_K8S_8", "CKV_K8S_9"),
    remedy="Add a readinessProbe and a livenessProbe.",
    check=each_container(_probes),
)


def _probe_actions(container: Container) -> Iterator[tuple[str, Properties]]:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = mapping(container.spec.get(name))
        for action in ("httpGet", "tcpSocket", "grpc"):
            if probe.get(action) is not None:
                yield f"{name}.{action}", mapping(probe.get(action))


def _probe_ports(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    ports = objects(container.spec.get("ports"))
    known = {port.get("name") for port in ports} | {port.get("containerPort") for port in ports}
    for where, action in _probe_actions(container):
        if action.get("port") is None or action.get("port") not in known:
            yield f"{where}.port is not a port of the container"


PROBE_PORTS = ResourceRule(
    name="pod-probe-ports",
    description="Each probe uses a port that its container declares.",
    remedy="Use a port of the same container, or declare the port in the container.",
    check=each_container(_probe_ports),
)


def _token(pod: Pod, settings: Settings) -> Iterator[str]:
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


TOKEN = ResourceRule(
    name="pod-service-account-token",
    description="No pod has a token for the API server.",
    frameworks=("CKV_K8S_38", "NSA/CISA: Protecting Pod service account tokens"),
    remedy="Set automountServiceAccountToken to false in the pod; give a projected token its recipient as audience.",
    settings={"audiences": strings("patterns of allowed audiences of projected tokens", ())},
    check=each_pod(_token),
)

PREFIX = "app.kubernetes.io/"


def _labels(resource: Resource, settings: Settings) -> Iterator[Violation]:
    pod = pod_of(resource)
    if pod is None:
        return
    places = {"object": mapping(resource.metadata.get("labels")), "pod": pod.labels}
    for where, labels in places.items():
        for name in settings["labels"]:
            if not text(labels.get(name)):
                yield Violation(message=f"{where}: the label {name} is missing")


LABELS = ResourceRule(
    name="pod-labels",
    description="Workloads and their pods carry the recommended labels.",
    frameworks=("Kubernetes: Recommended Labels",),
    remedy="Add the label to metadata.labels of the workload and of its pod template.",
    settings={
        "labels": strings(
            "required labels",
            tuple(PREFIX + name for name in ("name", "instance", "component", "part-of")),
        )
    },
    check=_labels,
)


def _secret_environment(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    for variable in objects(container.spec.get("env")):
        if mapping(variable.get("valueFrom")).get("secretKeyRef") is not None:
            yield f"environment variable {text(variable.get('name'))}: has its value from a Secret"
    for source in items(container.spec.get("envFrom")):
        if mapping(source).get("secretRef") is not None:
            yield "envFrom: takes all values of a Secret"


SECRET_ENVIRONMENT = ResourceRule(
    name="pod-secret-environment",
    description="Containers get Secrets as files, because child processes and crash reports inherit the environment.",
    level=Level.ADVISORY,
    frameworks=("CKV_K8S_35", "NSA/CISA: Secrets"),
    remedy="Mount the Secret as a file and pass the program its path.",
    check=each_container(_secret_environment),
)

RULES = (
    READ_ONLY_ROOT,
    IMAGE_VERSION,
    IMAGE_REGISTRY,
    RESOURCES,
    PROBES,
    PROBE_PORTS,
    TOKEN,
    LABELS,
    SECRET_ENVIRONMENT,
)
