"""Public reports of other people's servers, tried on this program: each file of tests/reports/ gives what it should."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from config.loading import SettingsError, load
from config.settings import Settings
from policies import config, manifests
from policies.check import check_manifests
from render.stack_file import StackFileError, read

REPORTS = Path(__file__).parents[1] / "reports"
ROOT = REPORTS.parents[1]

DYNAMIC = {
    "captcha-action-unknown.yaml": r"captcha\.scoreFloorByAction.*signup",
    "duration-P1DT.yaml": r"limits\.attachmentCreate\.permitRegenerationDuration.*P1D",
    "platform-lower-case.yaml": r"remoteDeprecation\.minimumVersions.*ANDROID",
    "uuid-malformed.yaml": r"experiments\.x\.uuidSelector\.uuids\.0",
    "version-two-parts.yaml": r"remoteDeprecation\.minimumVersions.*ANDROID",
}
"""What is refused: by which key, and with a word of the form to write."""
STACK = {
    "dotted-key.yaml": r"flatline:target",
    "kubernetes-context.yaml": r"kubernetes:context.*flatline:target",
    "redis-memory.yaml": r"memory",
}
READ = {"anchor-redefined.yaml", "prometheus.yaml"}
MANIFESTS = {
    "bad-date.yaml": set[str](),
    "equals-list.yaml": set[str](),
    "json-emoji.json": {"object-namespace"},
    "pod-list.yaml": {"pod-host-namespaces", "pod-privileged"},
    "tcp-services.yaml": set[str](),
}
"""Read as kubectl reads them, with at least these findings."""


def test_every_report_is_tried() -> None:
    files = {path.name for path in REPORTS.glob("*/*")}
    assert files == {*DYNAMIC, *STACK, *READ, *MANIFESTS}


@pytest.mark.parametrize("name", DYNAMIC)
def test_a_dynamic_configuration_that_whisper_refuses_is_refused_by_key(name: str) -> None:
    value = yaml.safe_load((REPORTS / "dynamic" / name).read_text())
    with pytest.raises(SettingsError) as refused:
        load({"flatline:whisper": json.dumps({"dynamicConfig": value})})
    assert re.search(DYNAMIC[name], str(refused.value), re.S), refused.value


def settings_of(folder: Path, name: str) -> Settings:
    """Those of a stack's file in a project like ours."""
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    place = folder / "Pulumi.mine.yaml"
    shutil.copy(REPORTS / "stack" / name, place)
    return load(read(place, lambda: "").config)


@pytest.mark.parametrize("name", STACK)
def test_a_stack_file_is_refused_with_the_key_to_write(tmp_path: Path, name: str) -> None:
    with pytest.raises((SettingsError, StackFileError)) as refused:
        settings_of(tmp_path, name)
    assert re.search(STACK[name], str(refused.value), re.S), refused.value


def test_an_anchor_may_be_used_twice(tmp_path: Path) -> None:
    scaling = settings_of(tmp_path, "anchor-redefined.yaml").scaling
    assert {name: scale.replicas for name, scale in scaling.items()} == {"whisper": 2, "storage": 3, "cdn0": 3}


def test_prometheus_may_be_an_exporter(tmp_path: Path) -> None:
    assert "prometheus" in settings_of(tmp_path, "prometheus.yaml").telemetry.exporters


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_read_as_kubectl_reads_it(name: str) -> None:
    report = check_manifests(manifests.read(REPORTS / "manifests" / name), config.load(profile="manifests"))
    assert (report.resources, report.unread) == (1, ())
    assert MANIFESTS[name] <= {found.rule.name for found in report.findings}
