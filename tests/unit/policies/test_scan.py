"""What checkov says is judged by the list of skips. The real one runs in tests/integration/test_scan.py."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies.scan import ScanError, Skip, as_text, judge, load_skips

SKIP = Skip("CKV_K8S_22", "Deployment.*-emulators.*", "it writes")


def output(*failed: tuple[str, str], resources: int = 3, **summary: Any) -> dict[str, Any]:
    """As checkov writes it."""
    checks = [
        {"check_id": check, "check_name": f"title of {check}", "resource": resource, "file_path": f"/d/{resource}.yaml"}
        for check, resource in failed
    ]
    numbers = {"passed": 7, "parsing_errors": 0, "resource_count": resources, "checkov_version": "9"}
    return {"results": {"failed_checks": checks}, "summary": {**numbers, **summary}}


def test_a_failed_check_counts_unless_a_skip_is_for_it() -> None:
    found = output(("CKV_K8S_22", "Deployment.a-emulators.b"), ("CKV_K8S_22", "Deployment.a.b"), ("CKV_K8S_8", "x"))
    report = judge(found, 3, (SKIP,))
    assert [(f.check, f.resource, f.file) for f in report.failed] == [
        ("CKV_K8S_22", "Deployment.a.b", "Deployment.a.b.yaml"),
        ("CKV_K8S_8", "x", "x.yaml"),
    ]
    assert [(f.resource, f.skip) for f in report.skipped] == [("Deployment.a-emulators.b", SKIP)]
    assert report.exit_code == 1
    text = as_text(report)
    assert "CKV_K8S_8  x  title of CKV_K8S_8  (x.yaml)" in text
    assert "skipped 1 x CKV_K8S_22 for Deployment.*-emulators.*: it writes" in text
    assert text.endswith("checkov 9: 3 objects, 7 checks passed, 2 failed, 1 skipped with a reason\n")


def test_nothing_failed() -> None:
    report = judge(output(("CKV_K8S_22", "Deployment.a-emulators.b")), 3, (SKIP,))
    assert report.exit_code == 0


def test_a_skip_for_nothing_fails() -> None:
    report = judge(output(), 3, (SKIP,))
    assert report.unused == (SKIP,)
    assert report.exit_code == 1
    assert "the skip of CKV_K8S_22 for Deployment.*-emulators.* matches nothing: remove it" in as_text(report)


def test_a_skip_of_an_option_may_match_nothing() -> None:
    of_option = replace(SKIP, option="flatline:calls.turn")
    assert judge(output(), 3, (of_option,)).exit_code == 0
    matched = judge(output(("CKV_K8S_22", "Deployment.a-emulators.b")), 3, (of_option,))
    assert [each.skip for each in matched.skipped] == [of_option]


@pytest.mark.parametrize(
    "found",
    [output(resources=2), output(parsing_errors=1), {"passed": 0, "failed": 0, "resource_count": 0}],
)
def test_what_was_not_read_is_an_error(found: dict[str, Any]) -> None:
    with pytest.raises(ScanError, match="of 3 objects"):
        judge(found, 3, ())


@pytest.mark.parametrize(
    "text",
    [
        "skips: {}",
        "[]",
        "skips: [{check: A, resource: b}]",
        "skips: [{check: A, resource: b, reason: ''}]",
        "skips: [{check: A, resource: b, reason: c, until: d}]",
        "a: [b\nc: }",
    ],
)
def test_a_list_of_skips_is_complete(tmp_path: Path, text: str) -> None:
    (tmp_path / "scan.yaml").write_text(text)
    with pytest.raises(ScanError, match=r"scan\.yaml"):
        load_skips(tmp_path / "scan.yaml")


def test_ours_is_complete_and_names_each_check_once() -> None:
    skips = [skip for skip in load_skips(profile="local") if not skip.option]
    assert len({skip.check for skip in skips}) == len(skips) == 6
    assert {skip.resource for skip in load_skips(profile="cloud") if not skip.option} == {"*"}
    assert {skip.option for skip in load_skips(profile="cloud")} == {"", "flatline:calls.turn", "flatline:calls.groups"}
    assert {skip.check for skip in skips if skip.resource == "*"} == {"CKV_K8S_11", "CKV_K8S_15", "CKV_K8S_43"}
