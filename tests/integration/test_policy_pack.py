"""The policy pack inside of its own environment, by the engine's protocol, and inside of the engine where it is."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import analyzer_pb2

from policies.check import from_recording
from policies.model import Resource
from policies.rules import RULES
from tests.graph.stack import ROOT, load
from tests.integration.engine import PASSPHRASE
from tests.lab.engine import engine_environment
from tests.lab.fetch import skip_if_missing
from tests.lab.policy_pack import Pack, environment

pytestmark = pytest.mark.integration

MANDATORY, ADVISORY, DISABLED = analyzer_pb2.MANDATORY, analyzer_pb2.ADVISORY, analyzer_pb2.DISABLED
UNKNOWN_BOOLEAN = "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7"
"""What the engine sends for a boolean that is not known yet (pulumi/pulumi, sdk/go/common/resource/plugin/rpc.go)."""
PLANTED = "Zk93vRr1pXw8sLq2Tn5YbHc7Md4Fg6Jx"


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    with skip_if_missing():
        environment()
    with Pack(tmp_path_factory.mktemp("pack")) as running:
        yield running


@pytest.fixture(scope="module")
def resources() -> list[Resource]:
    return from_recording(load("dev").recording)


def deployment(resources: list[Resource], name: str) -> Resource:
    return next(r for r in resources if (r.kind, r.name) == ("Deployment", name))


def with_pod(resource: Resource, **fields: Any) -> Resource:
    """The workload with fields of its pod set."""
    properties = json.loads(json.dumps(resource.properties))
    properties["spec"]["template"]["spec"].update(fields)
    return replace(resource, properties=properties)


def test_every_rule_is_a_policy_with_its_level_and_words(pack: Pack) -> None:
    told = {policy.name: policy for policy in pack.info().policies}
    assert set(told) == {*(rule.name for rule in RULES), "exempted", "pack-configuration"}
    for rule in RULES:
        policy = told[rule.name]
        assert policy.description == rule.description
        assert policy.remediation_steps == rule.remedy
        assert list(policy.tags) == list(rule.frameworks)
        assert policy.enforcementLevel == (MANDATORY if rule.level == "mandatory" else ADVISORY)
        assert set(policy.configSchema.properties.fields) == set(rule.settings)


def test_our_stack_passes(pack: Pack, resources: list[Resource]) -> None:
    for resource in resources:
        assert list(pack.analyze(resource)) == [], resource.urn
    diagnostics = pack.analyze_stack(resources)
    assert {(found.policyName, found.enforcementLevel) for found in diagnostics} == {("exempted", ADVISORY)}
    assert all("Reason: " in found.message for found in diagnostics)


def test_a_violation_is_told_with_its_remedy(pack: Pack, resources: list[Resource]) -> None:
    (found,) = pack.analyze(with_pod(deployment(resources, "whisper"), hostNetwork=True))
    assert (found.policyName, found.enforcementLevel) == ("pod-host-namespaces", MANDATORY)
    assert "Deployment/flatline/whisper: pod: hostNetwork is set" in found.message


def test_a_violation_of_the_whole_stack_names_the_resource(pack: Pack, resources: list[Resource]) -> None:
    left = [r for r in resources if r.kind != "PodDisruptionBudget"]
    (found,) = (d for d in pack.analyze_stack(left) if d.policyName != "exempted")
    assert found.policyName == "disruption-budget"
    assert found.urn == next(r.urn for r in resources if r.kind == "StatefulSet")


def test_protection_is_seen(pack: Pack, resources: list[Resource]) -> None:
    claim = next(r for r in resources if r.kind == "PersistentVolumeClaim")
    assert pack.analyze(claim) == []
    (found,) = pack.analyze(replace(claim, protect=False))
    assert found.policyName == "volume-protected"


def test_what_is_not_known_yet_is_told_and_stops_nothing(pack: Pack, resources: list[Resource]) -> None:
    (found,) = pack.analyze(with_pod(deployment(resources, "whisper"), hostNetwork=UNKNOWN_BOOLEAN))
    assert (found.policyName, found.enforcementLevel) == ("pod-host-namespaces", ADVISORY)
    assert "spec.template.spec.hostNetwork can't be known during preview" in found.message


def test_a_planted_secret_is_found_and_not_told(pack: Pack, resources: list[Resource]) -> None:
    config_map = next(r for r in resources if r.kind == "ConfigMap")
    data = {**config_map.properties["data"], "more.yaml": f"key: {PLANTED}"}
    marked = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": data}
    for value in (data, marked):  # in plain, and as the engine marks what is secret
        planted = replace(config_map, properties={**config_map.properties, "data": value})
        found = pack.analyze(planted)
        assert {d.policyName for d in found} == {"config-map-secret-values"}
        assert all(PLANTED not in str(d) for d in found)


def test_the_engine_may_configure(tmp_path: Path, pack: Pack, resources: list[Resource]) -> None:
    bad = with_pod(deployment(resources, "whisper"), hostNetwork=True)
    password = next(r for r in resources if r.kind == "RandomPassword")
    with Pack(tmp_path) as own:
        own.configure("pod-host-namespaces", ADVISORY)
        assert [d.enforcementLevel for d in own.analyze(bad)] == [ADVISORY]
        own.configure("pod-host-namespaces", DISABLED)
        assert own.analyze(bad) == []
        own.configure("random-entropy", MANDATORY, bits=512)
        assert [d.policyName for d in own.analyze(password)] == ["random-entropy"]
    assert [d.enforcementLevel for d in pack.analyze(bad)] == [MANDATORY]


def test_a_cloud_stack_has_the_rules_of_the_cloud(tmp_path: Path, pack: Pack, resources: list[Resource]) -> None:
    with Pack(tmp_path, stack="prod", target='{"kind":"cloud"}') as cloud:
        moved = [replace(r, urn=r.urn.replace(":dev::", ":prod::")) for r in resources]
        told = {d.policyName for d in cloud.analyze(deployment(moved, "cdn3"))}
        assert told == {"pod-image-version"}
        assert "emulator-in-cloud" in {d.policyName for d in cloud.analyze_stack(moved)}


PROGRAM = """\
import pulumi
import pulumi_random

pulumi_random.RandomPassword("password", length={length}, opts=pulumi.ResourceOptions(protect=True))
"""
CONFIG = "profiles: {local: {}}\n"


class Preview:
    """`pulumi preview` with a copy of the pack over a small program, in folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.program, self.pack = folder / "program", folder / "policies"
        self.program.mkdir()
        shutil.copytree(ROOT / "policies", self.pack, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
        (self.pack / ".venv").symlink_to(environment())
        (self.program / ".venv").symlink_to(sys.prefix)
        settings = "name: flatline\nruntime: {name: python, options: {toolchain: pip, virtualenv: .venv}}\n"
        (self.program / "Pulumi.yaml").write_text(settings)
        self._environment = {**engine_environment(folder), "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE}
        self._run("stack", "init", "dev")

    def __call__(self, *, length: int, config: str = CONFIG) -> tuple[int, str]:
        """The exit status and everything that is printed."""
        (self.program / "__main__.py").write_text(PROGRAM.format(length=length))
        (self.pack / "config.yaml").write_text(config)
        return self._run("preview", "--stack", "dev", "--policy-pack", str(self.pack))

    def _run(self, *arguments: str) -> tuple[int, str]:
        command = ["pulumi", *arguments, "--non-interactive", "--color", "never"]
        done = subprocess.run(
            command, cwd=self.program, env=self._environment, capture_output=True, text=True, timeout=300, check=False
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def preview(tmp_path: Path) -> Preview:
    with skip_if_missing():
        return Preview(tmp_path)


def test_in_the_engine_a_mandatory_violation_blocks_and_an_advisory_does_not(preview: Preview) -> None:
    status, text = preview(length=43)
    assert (status, "random-entropy" in text) == (0, False), text
    status, text = preview(length=8)
    assert status == 1, text
    assert "[mandatory]  random-entropy" in text
    assert "RandomPassword/password: its length" in text
    weaker = "rules: {random-entropy: {level: advisory, reason: a test}}\n" + CONFIG
    status, text = preview(length=8, config=weaker)
    assert status == 0, text
    assert "[advisory]  random-entropy" in text


def test_in_the_engine_an_exemption_is_listed(preview: Preview) -> None:
    exemption = "{rule: random-entropy, resource: RandomPassword/password, reason: a short one is enough here}"
    status, text = preview(length=8, config=f"profiles: {{local: {{exemptions: [{exemption}]}}}}\n")
    assert status == 0, text
    assert "[advisory]  exempted" in text
    assert "Reason: a short one is enough here" in text


def test_in_the_engine_an_exemption_of_a_stack_that_covers_nothing_stops(preview: Preview) -> None:
    exemption = "{rule: random-entropy, resource: Nothing/*, reason: a test}"
    status, text = preview(length=43, config=f"{CONFIG}stacks: {{dev: {{exemptions: [{exemption}]}}}}\n")
    assert status == 1, text
    assert "[mandatory]  pack-configuration" in text
    assert "random-entropy: Nothing/* matches nothing" in text
