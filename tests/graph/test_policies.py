"""The policy pack over our own stacks: nothing is found, and each of many single edits is found by the right rule."""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any, Final

import pytest

from config.loading import load as settings_of
from policies import secret_text
from policies.check import check, from_recording
from policies.config import Config, load
from policies.model import Resource
from policies.report import Report
from policies.rule import Level
from policies.rules import BY_NAME, secrets
from tests.graph.backed_up import with_backup
from tests.graph.stack import Stack, configuration, recorded
from tests.graph.stack import load as load_stack
from tests.unit.policies.cases import ABSENT, Edit, Edits, gone, on
from tests.unit.policies.good import check_edit, put

SECONDS: Final = 2.0


@cache
def config_of(stack: str) -> Config:
    return load(stack, profile=settings_of(configuration(stack)).target.kind)


def with_calls(stack: str, **changed: object) -> dict[str, str]:
    """A stack with everything for calls."""
    turn = {"address": "198.51.100.7", **changed}
    calls = {"turn": turn, "groups": {"addresses": ["8.8.8.8"]}}
    return {**configuration(stack), "flatline:calls": json.dumps(calls)}


@cache
def resources_of(stack: str) -> tuple[Resource, ...]:
    return tuple(from_recording(load_stack(stack).recording))


def test_our_stacks_pass(stack: Stack) -> None:
    report = check(from_recording(stack.recording), config_of(stack.recording.stack))
    # a template's images have no digests, and its configuration says why
    told = {"prod": {"pod-image-version"}}.get(stack.recording.stack, set())
    assert {found.rule.name for found in report.findings if found.level is Level.ADVISORY} == told
    mandatory = [found for found in report.findings if found.level is Level.MANDATORY]
    assert [(found.rule.name, found.where, found.message) for found in mandatory] == []
    assert report.problems == ()
    assert report.undecided == ()
    assert report.exit_code == 0
    assert report.rules == len(BY_NAME)


def test_every_exemption_of_a_kind_is_needed_by_one_of_our_stacks() -> None:
    """Those of a kind may match nothing in a stack, so this tells of what is left over."""
    development = {**configuration("dev"), "flatline:registration": '{"kind": "development"}'}
    relays = [
        (name, from_recording(recorded(with_calls(name, network="host"), stack=name))) for name in ("dev", "prod")
    ]
    stacks = {name: resources_of(name) for name in ("dev", "prod")}
    others = [("dev", from_recording(each)) for each in (recorded(development), with_backup().recording)]
    used, all_of_them = set(), set()
    for name, resources in (*stacks.items(), *others, *relays):
        config = config_of(name)
        report = check(resources, config)
        assert report.exit_code == 0
        used |= {found.exemption for found in report.exempted}
        all_of_them |= set(config.exemptions)
    assert used == all_of_them


def test_a_stack_of_another_name_and_namespace_passes_as_ours_does() -> None:
    """As `stack new` makes it."""
    stack = Stack(recorded({**configuration("dev"), "flatline:namespace": "flatline-home"}, stack="home"))
    report = check(from_recording(stack.recording), load("home", profile="local"))
    assert [(found.rule.name, found.where) for found in report.findings] == []
    assert report.problems == ()


def test_a_copy_of_our_cloud_stack_lacks_digests_alone() -> None:
    report = check(resources_of("prod"), load("mine", profile="cloud"))
    assert {found.rule.name for found in report.findings} == {"pod-image-version"}
    assert report.problems == ()


def test_what_is_exempted_is_what_was_agreed() -> None:
    report = check(resources_of("dev"), config_of("dev"))
    rules = Counter((found.rule.name, found.resource.namespace) for found in report.exempted if found.resource)
    whisper = [o for o in load_stack("dev").pods() if o.labels["app.kubernetes.io/name"].startswith("whisper")]
    assert rules == {
        ("namespace-pod-security", ""): 1,
        ("pod-non-root", "flatline-emulators"): 2,
        ("pod-read-only-root", "flatline-emulators"): 2,
        ("pod-image-version", "flatline"): len(whisper) + 1,
    }


def test_the_check_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "in_file", secret_text.in_file)  # and nothing is remembered
    resources, config = load_stack("dev").recording, config_of("dev")
    best = min(_seconds(lambda: check(from_recording(resources), config)) for _ in range(3))
    assert best < SECONDS


def _seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def _privileged_debugger(properties: Any) -> list[Any]:
    container = deepcopy(properties["spec"]["template"]["spec"]["initContainers"][0])
    container["securityContext"]["privileged"] = True
    return [container]


DIGEST = "ghcr.io/mollyim/flatline-storage-service:"
SECRET = base64.b64encode(bytes(range(3, 250, 7))).decode()

EDITS: dict[str, Edits] = {
    "pod-host-process": on("Deployment/cdn3", "security windowsOptions", {"hostProcess": True}),
    "pod-host-namespaces": (
        *on("Deployment/cdn3", "pod hostNetwork", True),
        *on("StatefulSet/redis", "pod hostPID", True),
    ),
    "pod-privileged": (
        *on("Deployment/whisper", "security privileged", True),
        *on("Deployment/whisper", "pod initContainers 0 securityContext privileged", True),
        *on("Deployment/whisper", "pod ephemeralContainers", _privileged_debugger),
    ),
    "pod-capabilities-added": on("Deployment/cdn0-gate", "security capabilities add", ["SYS_PTRACE"]),
    "pod-capabilities-dropped": on("Deployment/cdn0-gate", "security capabilities"),
    "pod-host-path": on("Deployment/whisper", "pod volumes 0", {"name": "flatline-wait", "hostPath": {"path": "/"}}),
    "pod-host-ports": on("Deployment/storage", "container ports 0 hostPort", 10080),
    "pod-probe-hosts": on("Deployment/storage", "container livenessProbe httpGet host", "10.0.0.1"),
    "pod-apparmor": on("Deployment/storage", "pod securityContext appArmorProfile", {"type": "Unconfined"}),
    "pod-selinux": on("Deployment/storage", "pod securityContext seLinuxOptions", {"type": "spc_t"}),
    "pod-proc-mount": on("Deployment/storage", "security procMount", "Unmasked"),
    "pod-seccomp-off": on("Deployment/storage", "pod securityContext seccompProfile type", "Unconfined"),
    "pod-seccomp-profile": on("Deployment/storage", "pod securityContext seccompProfile"),
    "pod-sysctls": on("StatefulSet/redis", "pod securityContext sysctls", [{"name": "vm.overcommit_memory"}]),
    "pod-volume-types": on("Deployment/cdn3", "pod volumes 0", {"name": "attachments", "nfs": {"server": "nas"}}),
    "pod-privilege-escalation": on("StatefulSet/registration", "security allowPrivilegeEscalation"),
    "pod-non-root": on("StatefulSet/registration", "pod securityContext runAsNonRoot"),
    "pod-root-user": on("StatefulSet/registration", "pod securityContext runAsUser", 0),
    "pod-read-only-root": on("Deployment/redis-membership", "security readOnlyRootFilesystem"),
    "pod-image-version": (
        *on("StatefulSet/redis", "container image", "docker.io/library/redis:8"),
        *on("Deployment/storage", "container image", f"{DIGEST}latest"),
    ),
    "pod-image-registry": on("StatefulSet/redis", "container image", "docker.io/somebody/redis:8.10.2"),
    "pod-resources": (
        *on("Deployment/whisper", "container resources limits memory"),
        *on("Deployment/whisper", "pod initContainers 0 resources requests"),
    ),
    "pod-probes": on("Deployment/cdn0-gate", "container readinessProbe"),
    "pod-probe-ports": on("Deployment/whisper", "container livenessProbe httpGet port", "addmin"),
    "pod-service-account-token": (
        *on("Deployment/cdn3", "pod automountServiceAccountToken"),
        *on(
            "CronJob/whisper-notify-idle-devices",
            "spec jobTemplate spec template spec automountServiceAccountToken",
            True,
        ),
    ),
    "pod-labels": on("Deployment/whisper", "metadata labels app.kubernetes.io/component"),
    "pod-secret-values": (
        *on("StatefulSet/redis", "container env 2", {"name": "REDIS_PASSWORD", "value": "horse"}),
        *on("StatefulSet/redis", "container env 1 value", SECRET),
        *on("Deployment/whisper", "pod initContainers 0 args 0", "--redis-password=horse"),
    ),
    "pod-secret-environment": on("Deployment/cdn3", "container envFrom", [{"secretRef": {"name": "cdn3-key"}}]),
    "config-map-secret-values": (
        *on("ConfigMap/cdn0-gate", "data key.json", f'{{"a": "{SECRET}"}}'),
        *on("ConfigMap/redis-programs", "data more.conf", f"a {bytes(range(9, 41)).hex()}", "requirepass horse\n"),
        *on("ConfigMap/cdn3-hook", "data k", "-----BEGIN PRIVATE KEY-----"),
    ),
    "object-namespace": on("Middleware/middleware-headers", "metadata namespace", "default"),
    "object-unique": on("ServiceAccount/cdn3", "metadata name", "whisper"),
    "object-opaque": on("Middleware/middleware-headers", "type", "kubernetes:helm.cattle.io/v1:HelmChart"),
    "namespace-pod-security": on(
        "Namespace/flatline", "metadata labels pod-security.kubernetes.io/enforce", ABSENT, "baseline"
    ),
    "network-default-deny": (
        *gone("NetworkPolicy/flatline-default-deny"),
        *on("NetworkPolicy/flatline-emulators-default-deny", "spec policyTypes", ["Ingress"]),
    ),
    "network-pod-policy": (
        *gone("NetworkPolicy/whisper-persister"),
        *on("NetworkPolicy/cdn3", "spec policyTypes", ["Ingress"]),
    ),
    "network-wide": (
        *on("NetworkPolicy/whisper", "spec egress 1 to 0", {"ipBlock": {"cidr": "0.0.0.0/0"}}),
        *on("NetworkPolicy/whisper", "spec egress 1 ports"),
        *on("NetworkPolicy/storage", "spec ingress 0 from 0 podSelector"),
        *on("NetworkPolicy/storage", "spec ingress 0 from 0 namespaceSelector", {}),
    ),
    "network-orphan": on(
        "NetworkPolicy/redis", "spec ingress 0 from 0 podSelector matchLabels app.kubernetes.io/name", "reddis"
    ),
    "service-selector": (
        *on("Service/cdn0-gate", "spec selector app.kubernetes.io/name", "gate"),
        *on("Service/otel-collector", "spec selector"),
    ),
    "service-target-port": (
        *on("Service/whisper", "spec ports 0 targetPort", "https"),
        *on("Service/otel-collector", "spec ports 0 protocol", "SCTP"),
    ),
    "service-exposed": (
        *on("Service/localstack", "spec type", "NodePort"),
        *on("Service/whisper", "spec type", "LoadBalancer"),
    ),
    "disruption-budget": (*gone("PodDisruptionBudget/redis"), *on("Deployment/whisper", "spec replicas", 2)),
    "volume-protected": (
        *on("PersistentVolumeClaim/groups", "protect", False),
        *on("StatefulSet/redis", "spec persistentVolumeClaimRetentionPolicy whenDeleted", "Delete"),
    ),
    "volume-mounted": on("StatefulSet/redis", "spec volumeClaimTemplates 0 metadata name", "store"),
    "volume-one-writer": on("Deployment/localstack", "spec strategy"),
    "ingress-tls": (
        *on("IngressRoute/ingressroute-whisper", "spec tls"),
        *on("IngressRoute/ingressroute-storage", "spec entryPoints", ["web", "websecure"]),
        *on("Middleware/middleware-https", "spec redirectScheme scheme", "http"),
        *on("IngressRoute/ingressroute-redirect", "spec routes 0 services", [{"name": "whisper", "port": 8080}]),
    ),
    "ingress-tls-version": (
        *on("TLSOption/tlsoption-tls", "spec minVersion", "VersionTLS11"),
        *on("IngressRoute/ingressroute-storage", "spec tls options"),
    ),
    "ingress-admin": (
        *on("IngressRoute/ingressroute-whisper", "spec routes 0 services 0 port", 8081),
        *on(
            "IngressRoute/ingressroute-storage",
            "spec routes 0 services 0",
            {"kind": "TraefikService", "name": "api@internal"},
        ),
    ),
    "emulator-exposed": (
        *on(
            "IngressRoute/ingressroute-cdn0-upload",
            "spec routes 0 services 0",
            {"name": "object-store", "namespace": "flatline", "port": 7070},
        ),
        *on(
            "NetworkPolicy/object-store",
            "spec ingress 0 from 0 namespaceSelector matchLabels kubernetes.io/metadata.name",
            "kube-system",
        ),
    ),
    "tls-names": (
        *on("IngressRoute/ingressroute-whisper", "spec routes 0 match", "Host(`chat.example.org`)"),
        *on("CertRequest/leaf-1", "dnsNames", ["*.example.org"]),
    ),
    "tls-key": (*on("PrivateKey/leaf-1", "ecdsaCurve", "P224"), *on("PrivateKey/fcm", "rsaBits", 1024)),
    "tls-authority": (
        *on("SelfSignedCert/authority-1", "maxPathLength"),
        *on("SelfSignedCert/authority-1", "allowedUses", ["cert_signing", "server_auth"]),
    ),
    "tls-leaf": (
        *on("LocallySignedCert/leaf-1", "validityPeriodHours", 87600),
        *on("LocallySignedCert/leaf-1", "allowedUses", ["client_auth"]),
    ),
    "random-entropy": (*on("RandomPassword/redis-1", "length", 32), *on("RandomPassword/turn-1", "length", 42)),
    "random-protected": (
        *on("RandomPassword/zk-server-1", "protect", False),
        *on("SelfSignedCert/authority-1", "protect", False),
    ),
}


EDGE = {"ingress-backends", "ingress-headers", "ingress-limits", "ingress-scope", "network-proxy"}
ALSO: dict[str, set[str]] = {
    "pod-secret-environment": {"pod-references"},
    "object-namespace": EDGE,
    "object-unique": {"pod-service-account"},
    "object-opaque": EDGE,
    "network-wide": {"network-metadata"},
    "network-orphan": {"network-proxy"},
    "service-selector": EDGE,
    "service-target-port": EDGE,
    "ingress-tls": EDGE,
    "ingress-admin": EDGE,
    "emulator-exposed": {*EDGE, "network-agreement"},
}
"""Rules that see another side of an edit."""


STACKS: Final = {"cluster": "dev", "cloud": "prod"}
"""What is recorded, by the example for the edits of which it is taken."""


def edited(edit: Edit) -> list[Resource]:
    """A stack's recorded graph with one edit of a resource, which is `kind/logical name`, and no component.

    A value that is a function is made from the resource's properties.
    """
    resources = list(resources_of(STACKS[edit.stack]))
    named = (i for i, r in enumerate(resources) if f"{r.kind}/{r.name}" == edit.resource)
    (index,) = (i for i in named if resources[i].provider or resources[i].type.startswith("pulumi:providers:"))
    chosen = resources.pop(index)
    if not edit.path:
        return resources
    if edit.path[0] != "properties":
        return [*resources, replace(chosen, **{str(edit.path[0]): edit.value})]
    value = edit.value(deepcopy(chosen.properties)) if callable(edit.value) else edit.value
    return [*resources, replace(chosen, properties=put(dict(chosen.properties), edit.path[1:], value))]


def found(resources: list[Resource]) -> Report:
    return check_edit(resources_of("dev"), resources, config_of("dev"))


def test_a_single_edit_is_found_by_exactly_its_rule() -> None:
    for rule, edits in EDITS.items():
        for edit in edits:
            report = found(edited(edit))
            assert {each.rule.name for each in report.findings} - ALSO.get(rule, set()) == {rule}, edit
            assert report.undecided == (), edit


def test_there_are_enough_edits_and_each_changes_something() -> None:
    edits = [edit for several in EDITS.values() for edit in several]
    assert len(edits) >= 40
    before = by_urn(resources_of("dev"))
    for edit in edits:
        assert by_urn(edited(edit)) != before


def by_urn(resources: Iterable[Resource]) -> dict[str, Resource]:
    """Resources in no order: an edited one stands last."""
    return {resource.urn: resource for resource in resources}


def test_a_security_context_that_is_taken_away_is_found_by_all_that_it_said() -> None:
    report = found(edited(*on("Deployment/whisper", "security")))
    assert {finding.rule.name for finding in report.findings} == {
        "pod-privilege-escalation",
        "pod-capabilities-dropped",
        "pod-read-only-root",
    }


def test_the_same_stack_with_real_cloud_resources_may_have_no_emulators() -> None:
    table = Resource(
        urn="urn:pulumi:dev::flatline::aws:dynamodb/table:Table::a",
        type="aws:dynamodb/table:Table",
        name="a",
        properties={},
    )
    report = check([*resources_of("dev"), table], config_of("dev"))
    emulators = {f.where for f in report.findings if f.rule.name == "emulator-in-cloud"}
    assert emulators == {
        "Deployment/flatline/cbtemulator",
        "Deployment/flatline-emulators/localstack",
        "Deployment/flatline/object-store",
    }
