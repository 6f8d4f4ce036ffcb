"""Emulators of cloud services authenticate nobody: they stay inside, and out of real installations."""

from collections.abc import Iterator

from policies.model import Resource, Stack, text
from policies.pods import Pod, pods_of
from policies.rule import Settings, StackRule, Violation, strings, switch
from policies.rules.ingress import ROUTES, backends
from policies.rules.network import directions_of, peer_pods, peers_of, pods_under, policies_of, rules_of
from policies.rules.pods import image_of
from policies.rules.services import pods_behind

IMAGES = {
    "images": strings(
        "parts of the repositories of emulators",
        (
            "localstack",
            "cbtemulator",
            "bigtable-emulator",
            "dynamodb-local",
            "cloud-sdk",
            "fake-gcs",
            "minio",
            "moto",
            "versitygw",
        ),
    )
}


def emulators_of(stack: Stack, settings: Settings) -> list[Pod]:
    """The pods that run an emulator."""
    return [
        pod
        for pod in pods_of(stack)
        if any(
            name in image_of(text(container.spec.get("image"))).repository
            for container in pod.containers()
            for name in settings["images"]
        )
    ]


def _exposed(stack: Stack, settings: Settings) -> Iterator[Violation]:
    emulators = emulators_of(stack, settings)
    for route in stack.of(*ROUTES, "Ingress"):
        for where, backend in backends(route):
            namespace = text(backend.get("namespace")) or route.namespace
            service = stack.get("Service", namespace, text(backend.get("name")))
            if service and any(pod in emulators for pod in pods_behind(stack, service)):
                yield Violation(message=f"{where}: leads to an emulator", resource=route)
    for policy in policies_of(stack):
        if any(pod in emulators for pod in pods_under(stack, policy)):
            for message in _outsiders(stack, policy):
                yield Violation(message=message, resource=policy)


def _outsiders(stack: Stack, policy: Resource) -> Iterator[str]:
    """Openings of an emulator's policy to what is no pod of the stack, the proxy above all."""
    if "Ingress" not in directions_of(policy):
        return
    for index, rule in enumerate(rules_of(policy, "Ingress")):
        for peer in peers_of(rule, "Ingress"):
            if not any(peer_pods(stack, policy, peer)):
                yield f"ingress[{index}]: opens an emulator to what is no pod of the stack"


EXPOSED = StackRule(
    name="emulator-exposed",
    description="Nothing but pods of the stack reaches an emulator: no route, and no opening for the proxy.",
    frameworks=("CWE-306",),
    remedy="Route to a gate that checks each request, and let only the gate reach the emulator.",
    settings=IMAGES,
    check=_exposed,
)


def _in_cloud(stack: Stack, settings: Settings) -> Iterator[Violation]:
    real = any(resource.type.startswith(("aws:", "aws-native:", "gcp:", "google-native:")) for resource in stack)
    if settings["forbidden"] or real:
        for pod in emulators_of(stack, settings):
            yield Violation(message="runs an emulator in an installation with real cloud services", resource=pod.owner)


IN_CLOUD = StackRule(
    name="emulator-in-cloud",
    description="An installation on real cloud services has no emulator.",
    remedy="Remove the emulator; use the cloud's service.",
    settings={**IMAGES, "forbidden": switch("no emulator, whether or not the stack has cloud resources")},
    check=_in_cloud,
)

RULES = (EXPOSED, IN_CLOUD)
