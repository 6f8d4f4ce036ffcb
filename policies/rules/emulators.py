"""Emulators of cloud services, which do not authenticate clients: they are not exposed, and not used in the cloud."""

from collections.abc import Iterator

from policies.model import Resource, Stack, text
from policies.pods import Pod, pods_of
from policies.rule import Settings, Violation, stack_rule, strings, switch
from policies.rules.ingress import ROUTES, backends, service_of
from policies.rules.network import directions_of, peer_pods, peers_of, pods_under, rules_of
from policies.rules.pods import image_of
from policies.rules.services import pods_behind

IMAGES = {
    "images": strings(
        "parts of the repository names of emulators",
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


@stack_rule(
    remedy="Route to a gate that checks each request, and allow only the gate to reach the emulator.",
    frameworks=("CWE-306",),
    settings=IMAGES,
)
def emulator_exposed(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Only pods of the stack reach an emulator: neither a route nor a network policy exposes it."""
    emulators = emulators_of(stack, settings)
    for route in stack.of(*ROUTES, "Ingress"):
        for where, backend in backends(route):
            service = service_of(stack, route, backend)
            if service and any(pod in emulators for pod in pods_behind(stack, service)):
                yield Violation(f"{where}: routes to an emulator", route)
    for policy in stack.of("NetworkPolicy"):
        if any(pod in emulators for pod in pods_under(stack, policy)):
            for message in _external_peers(stack, policy):
                yield Violation(message, policy)


def _external_peers(stack: Stack, policy: Resource) -> Iterator[str]:
    """Reports ingress of an emulator's policy from peers that are not pods of the stack, such as the proxy."""
    if "Ingress" not in directions_of(policy):
        return
    for where, direction, rule in rules_of(policy):
        for peer in peers_of(rule, direction) if direction == "Ingress" else ():
            if not any(peer_pods(stack, policy, peer)):
                yield f"{where}: allows a peer that is not a pod of the stack to reach an emulator"


@stack_rule(
    remedy="Remove the emulator; use the cloud's service.",
    settings={**IMAGES, "forbidden": switch("forbid emulators even if the stack has no cloud resources")},
)
def emulator_in_cloud(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """A cloud installation runs no emulator."""
    is_cloud = any(resource.type.startswith(("aws:", "aws-native:", "gcp:", "google-native:")) for resource in stack)
    if settings["forbidden"] or is_cloud:
        for pod in emulators_of(stack, settings):
            yield Violation("runs an emulator in a cloud installation", pod.owner)
