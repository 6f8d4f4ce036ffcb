"""checkov itself over the rendered local stack: nothing fails but what scan.yaml names."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from policies import scan
from render import manifests
from tests.graph.stack import load
from tests.graph.test_calls import with_calls
from tests.lab.checkov import require
from tests.lab.fetch import skip_if_missing

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with skip_if_missing():
        require()
    folder = tmp_path_factory.mktemp("rendered") / "dev"
    manifests.write(load("dev").recording, folder, redact=True)
    return folder


def test_no_check_fails_but_the_named_ones(rendered: Path) -> None:
    report = scan.scan(rendered, scan.load_skips(profile="local"))
    assert [(failed.check, failed.resource) for failed in report.failed] == []
    assert report.unused == ()
    assert report.exit_code == 0
    assert report.passed > 1500
    emulators = Counter(f.check for f in report.skipped if f.skip and f.skip.resource != "*")
    assert emulators == {"CKV_K8S_22": 1, "CKV_K8S_23": 1, "CKV_K8S_40": 1}
    assert {f.check for f in report.skipped} - set(emulators) == {"CKV_K8S_11", "CKV_K8S_15", "CKV_K8S_43"}


@pytest.mark.parametrize(
    ("target", "combination", "profile"),
    [("dev", "both", "local"), ("dev", "turn on the node", "local"), ("prod", "both", "cloud")],
)
def test_servers_for_calls_need_what_their_entries_say(
    target: str, combination: str, profile: str, tmp_path: Path
) -> None:
    with skip_if_missing():
        require()
    manifests.write(with_calls(target, combination).recording, tmp_path / "rendered", redact=True)
    report = scan.scan(tmp_path / "rendered", scan.load_skips(profile=profile))
    assert [(failed.check, failed.resource) for failed in report.failed] == []
    assert report.unused == ()
    found = {(each.check, each.resource) for each in report.skipped if each.skip and each.skip.option}
    assert (
        found
        == {
            "both": {
                ("CKV_K8S_25", "Deployment.flatline-turn.turn"),
                ("CKV_K8S_25", "Deployment.flatline.calling-backend"),
            },
            "turn on the node": {(f"CKV_K8S_{each}", "Deployment.flatline-turn.turn") for each in (19, 25)},
        }[combination]
    )


def test_a_mistake_is_found(rendered: Path) -> None:
    (file,) = rendered.glob("*deployment.apps_flatline_whisper.yaml")
    good = file.read_text()
    document = yaml.safe_load(good)
    document["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privileged"] = True
    file.write_text(yaml.safe_dump(document))
    try:
        report = scan.scan(rendered, scan.load_skips(profile="local"))
    finally:
        file.write_text(good)
    assert [(failed.check, failed.resource) for failed in report.failed] == [
        ("CKV_K8S_16", "Deployment.flatline.whisper")
    ]
    assert report.exit_code == 1
