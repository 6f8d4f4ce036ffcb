"""The policy pack over our own stacks: nothing is found, and each of many single edits is found by the right rule."""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
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
from tests.unit.policies.good import check_edit

SECONDS: Final = 2.0
ABSENT: Final = object()
Path = tuple[str | int, ...]


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


@dataclass(frozen=True)
class Edit:
    """One edit of the recorded graph: a field of one resource (`kind/logical name`) set to a value, or taken away.

    A path of `protect` or `type` is the resource's own; an empty one removes the resource. A value that is a function
    is made from the resource's properties.
    """

    resource: str
    path: Path
    value: Any = ABSENT


def _privileged_debugger(properties: Any) -> list[Any]:
    container = deepcopy(properties["spec"]["template"]["spec"]["initContainers"][0])
    container["securityContext"]["privileged"] = True
    return [container]


SPEC: Path = ("spec",)
POD: Path = ("spec", "template", "spec")
C: Path = (*POD, "containers", 0)
INIT: Path = (*POD, "initContainers", 0)
TASK: Path = ("spec", "jobTemplate", "spec", "template", "spec")
SECURITY: Path = (*C, "securityContext")
LABELS: Path = ("metadata", "labels")
DIGEST = "ghcr.io/mollyim/flatline-storage-service:"
SECRET = base64.b64encode(bytes(range(3, 250, 7))).decode()

EDITS: dict[str, tuple[Edit, ...]] = {
    "pod-host-process": (Edit("Deployment/cdn3", (*SECURITY, "windowsOptions"), {"hostProcess": True}),),
    "pod-host-namespaces": (
        Edit("Deployment/cdn3", (*POD, "hostNetwork"), True),
        Edit("StatefulSet/redis", (*POD, "hostPID"), True),
    ),
    "pod-privileged": (
        Edit("Deployment/whisper", (*SECURITY, "privileged"), True),
        Edit("Deployment/whisper", (*INIT, "securityContext", "privileged"), True),
        Edit("Deployment/whisper", (*POD, "ephemeralContainers"), _privileged_debugger),
    ),
    "pod-capabilities-added": (Edit("Deployment/cdn0-gate", (*SECURITY, "capabilities", "add"), ["SYS_PTRACE"]),),
    "pod-capabilities-dropped": (Edit("Deployment/cdn0-gate", (*SECURITY, "capabilities")),),
    "pod-host-path": (
        Edit("Deployment/whisper", (*POD, "volumes", 0), {"name": "flatline-wait", "hostPath": {"path": "/"}}),
    ),
    "pod-host-ports": (Edit("Deployment/storage", (*C, "ports", 0, "hostPort"), 10080),),
    "pod-probe-hosts": (Edit("Deployment/storage", (*C, "livenessProbe", "httpGet", "host"), "10.0.0.1"),),
    "pod-apparmor": (Edit("Deployment/storage", (*POD, "securityContext", "appArmorProfile"), {"type": "Unconfined"}),),
    "pod-selinux": (Edit("Deployment/storage", (*POD, "securityContext", "seLinuxOptions"), {"type": "spc_t"}),),
    "pod-proc-mount": (Edit("Deployment/storage", (*SECURITY, "procMount"), "Unmasked"),),
    "pod-seccomp-off": (Edit("Deployment/storage", (*POD, "securityContext", "seccompProfile", "type"), "Unconfined"),),
    "pod-seccomp-profile": (Edit("Deployment/storage", (*POD, "securityContext", "seccompProfile")),),
    "pod-sysctls": (
        Edit("StatefulSet/redis", (*POD, "securityContext", "sysctls"), [{"name": "vm.overcommit_memory"}]),
    ),
    "pod-volume-types": (
        Edit("Deployment/cdn3", (*POD, "volumes", 0), {"name": "attachments", "nfs": {"server": "nas"}}),
    ),
    "pod-privilege-escalation": (Edit("StatefulSet/registration", (*SECURITY, "allowPrivilegeEscalation")),),
    "pod-non-root": (Edit("StatefulSet/registration", (*POD, "securityContext", "runAsNonRoot")),),
    "pod-root-user": (Edit("StatefulSet/registration", (*POD, "securityContext", "runAsUser"), 0),),
    "pod-read-only-root": (Edit("Deployment/redis-membership", (*SECURITY, "readOnlyRootFilesystem")),),
    "pod-image-version": (
        Edit("StatefulSet/redis", (*C, "image"), "docker.io/library/redis:8"),
        Edit("Deployment/storage", (*C, "image"), f"{DIGEST}latest"),
    ),
    "pod-image-registry": (Edit("StatefulSet/redis", (*C, "image"), "docker.io/somebody/redis:8.10.2"),),
    "pod-resources": (
        Edit("Deployment/whisper", (*C, "resources", "limits", "memory")),
        Edit("Deployment/whisper", (*INIT, "resources", "requests")),
    ),
    "pod-probes": (Edit("Deployment/cdn0-gate", (*C, "readinessProbe")),),
    "pod-probe-ports": (Edit("Deployment/whisper", (*C, "livenessProbe", "httpGet", "port"), "addmin"),),
    "pod-service-account-token": (
        Edit("Deployment/cdn3", (*POD, "automountServiceAccountToken")),
        Edit("CronJob/whisper-notify-idle-devices", (*TASK, "automountServiceAccountToken"), True),
    ),
    "pod-labels": (Edit("Deployment/whisper", (*LABELS, "app.kubernetes.io/component")),),
    "pod-secret-values": (
        Edit("StatefulSet/redis", (*C, "env", 2), {"name": "REDIS_PASSWORD", "value": "horse"}),
        Edit("StatefulSet/redis", (*C, "env", 1, "value"), SECRET),
        Edit("Deployment/whisper", (*INIT, "args", 0), "--redis-password=horse"),
    ),
    "pod-secret-environment": (Edit("Deployment/cdn3", (*C, "envFrom"), [{"secretRef": {"name": "cdn3-key"}}]),),
    "config-map-secret-values": (
        Edit("ConfigMap/cdn0-gate", ("data", "key.json"), f'{{"a": "{SECRET}"}}'),
        Edit("ConfigMap/redis-programs", ("data", "more.conf"), f"a {bytes(range(9, 41)).hex()}"),
        Edit("ConfigMap/redis-programs", ("data", "more.conf"), "requirepass horse\n"),
        Edit("ConfigMap/cdn3-hook", ("data", "k"), "-----BEGIN PRIVATE KEY-----"),
    ),
    "object-namespace": (Edit("Middleware/middleware-headers", ("metadata", "namespace"), "default"),),
    "object-unique": (Edit("ServiceAccount/cdn3", ("metadata", "name"), "whisper"),),
    "object-opaque": (Edit("Middleware/middleware-headers", ("type",), "kubernetes:helm.cattle.io/v1:HelmChart"),),
    "namespace-pod-security": (
        Edit("Namespace/flatline", (*LABELS, "pod-security.kubernetes.io/enforce")),
        Edit("Namespace/flatline", (*LABELS, "pod-security.kubernetes.io/enforce"), "baseline"),
    ),
    "network-default-deny": (
        Edit("NetworkPolicy/flatline-default-deny", ()),
        Edit("NetworkPolicy/flatline-emulators-default-deny", (*SPEC, "policyTypes"), ["Ingress"]),
    ),
    "network-pod-policy": (
        Edit("NetworkPolicy/whisper-persister", ()),
        Edit("NetworkPolicy/cdn3", (*SPEC, "policyTypes"), ["Ingress"]),
    ),
    "network-wide": (
        Edit("NetworkPolicy/whisper", (*SPEC, "egress", 1, "to", 0), {"ipBlock": {"cidr": "0.0.0.0/0"}}),
        Edit("NetworkPolicy/whisper", (*SPEC, "egress", 1, "ports")),
        Edit("NetworkPolicy/storage", (*SPEC, "ingress", 0, "from", 0, "podSelector")),
        Edit("NetworkPolicy/storage", (*SPEC, "ingress", 0, "from", 0, "namespaceSelector"), {}),
    ),
    "network-orphan": (
        Edit(
            "NetworkPolicy/redis",
            (*SPEC, "ingress", 0, "from", 0, "podSelector", "matchLabels", "app.kubernetes.io/name"),
            "reddis",
        ),
    ),
    "service-selector": (
        Edit("Service/cdn0-gate", (*SPEC, "selector", "app.kubernetes.io/name"), "gate"),
        Edit("Service/otel-collector", (*SPEC, "selector")),
    ),
    "service-target-port": (
        Edit("Service/whisper", (*SPEC, "ports", 0, "targetPort"), "https"),
        Edit("Service/otel-collector", (*SPEC, "ports", 0, "protocol"), "SCTP"),
    ),
    "service-exposed": (
        Edit("Service/localstack", (*SPEC, "type"), "NodePort"),
        Edit("Service/whisper", (*SPEC, "type"), "LoadBalancer"),
    ),
    "disruption-budget": (
        Edit("PodDisruptionBudget/redis", ()),
        Edit("Deployment/whisper", (*SPEC, "replicas"), 2),
    ),
    "volume-protected": (
        Edit("PersistentVolumeClaim/groups", ("protect",), False),
        Edit("StatefulSet/redis", (*SPEC, "persistentVolumeClaimRetentionPolicy", "whenDeleted"), "Delete"),
    ),
    "volume-mounted": (Edit("StatefulSet/redis", (*SPEC, "volumeClaimTemplates", 0, "metadata", "name"), "store"),),
    "volume-one-writer": (Edit("Deployment/localstack", (*SPEC, "strategy")),),
    "ingress-tls": (
        Edit("IngressRoute/ingressroute-whisper", (*SPEC, "tls")),
        Edit("IngressRoute/ingressroute-storage", (*SPEC, "entryPoints"), ["web", "websecure"]),
        Edit("Middleware/middleware-https", (*SPEC, "redirectScheme", "scheme"), "http"),
        Edit(
            "IngressRoute/ingressroute-redirect", (*SPEC, "routes", 0, "services"), [{"name": "whisper", "port": 8080}]
        ),
    ),
    "ingress-tls-version": (
        Edit("TLSOption/tlsoption-tls", (*SPEC, "minVersion"), "VersionTLS11"),
        Edit("IngressRoute/ingressroute-storage", (*SPEC, "tls", "options")),
    ),
    "ingress-admin": (
        Edit("IngressRoute/ingressroute-whisper", (*SPEC, "routes", 0, "services", 0, "port"), 8081),
        Edit(
            "IngressRoute/ingressroute-storage",
            (*SPEC, "routes", 0, "services", 0),
            {"kind": "TraefikService", "name": "api@internal"},
        ),
    ),
    "emulator-exposed": (
        Edit(
            "IngressRoute/ingressroute-cdn0-upload",
            (*SPEC, "routes", 0, "services", 0),
            {"name": "object-store", "namespace": "flatline", "port": 7070},
        ),
        Edit(
            "NetworkPolicy/object-store",
            (*SPEC, "ingress", 0, "from", 0, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name"),
            "kube-system",
        ),
    ),
    "tls-names": (
        Edit("IngressRoute/ingressroute-whisper", (*SPEC, "routes", 0, "match"), "Host(`chat.example.org`)"),
        Edit("CertRequest/leaf-1", ("dnsNames",), ["*.example.org"]),
    ),
    "tls-key": (
        Edit("PrivateKey/leaf-1", ("ecdsaCurve",), "P224"),
        Edit("PrivateKey/fcm", ("rsaBits",), 1024),
    ),
    "tls-authority": (
        Edit("SelfSignedCert/authority-1", ("maxPathLength",)),
        Edit("SelfSignedCert/authority-1", ("allowedUses",), ["cert_signing", "server_auth"]),
    ),
    "tls-leaf": (
        Edit("LocallySignedCert/leaf-1", ("validityPeriodHours",), 87600),
        Edit("LocallySignedCert/leaf-1", ("allowedUses",), ["client_auth"]),
    ),
    "random-entropy": (
        Edit("RandomPassword/redis-1", ("length",), 32),
        Edit("RandomPassword/turn-1", ("length",), 42),
    ),
    "random-protected": (
        Edit("RandomPassword/zk-server-1", ("protect",), False),
        Edit("SelfSignedCert/authority-1", ("protect",), False),
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


def edited(edit: Edit) -> list[Resource]:
    """The recorded graph of the local stack with one edit."""
    resources = list(resources_of("dev"))
    (index,) = (i for i, r in enumerate(resources) if f"{r.kind}/{r.name}" == edit.resource and r.provider)
    chosen = resources.pop(index)
    if edit.path == ("type",):
        return [*resources, replace(chosen, type=edit.value)]
    if edit.path == ("protect",):
        return [*resources, replace(chosen, protect=edit.value)]
    return [*resources, replace(chosen, properties=_set(chosen.properties, edit))] if edit.path else resources


def _set(properties: Any, edit: Edit) -> Any:
    copy = deepcopy(properties)
    holder: Any = copy
    for step in edit.path[:-1]:
        holder = holder.setdefault(step, {}) if isinstance(holder, dict) else holder[step]
    value = edit.value(properties) if callable(edit.value) else edit.value
    if value is ABSENT:
        del holder[edit.path[-1]]
    else:
        holder[edit.path[-1]] = value
    return copy


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
    report = found(edited(Edit("Deployment/whisper", SECURITY)))
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
