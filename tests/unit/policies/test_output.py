"""The three forms of a report."""

import json
from dataclasses import replace
from typing import Any

from policies import output
from policies.check import check
from policies.config import Config, Exemption
from policies.report import Report
from policies.rules import BY_NAME, RULES
from tests.unit.policies.cases import CASES, Edit
from tests.unit.policies.good import CLUSTER, changed, config, obj, resources

POD = ("properties", "spec", "template", "spec")
KNOWN = {**CLUSTER, "known": obj("core/v1", "Secret", "known")}
STACK = changed(
    changed(KNOWN, "web", (*POD, "hostNetwork"), True),
    "web",
    (*POD, "containers", 0, "env"),
    [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "known", "key": "k"}}}],
)
EXEMPTION = Exemption(rule="pod-read-only-root", resource="Deployment/shop/web", reason="it writes")


def report(*, extra: tuple[Exemption, ...] = ()) -> Report:
    stack = changed(STACK, "web", (*POD, "containers", 0, "securityContext", "readOnlyRootFilesystem"), False)
    given: Config = config(EXEMPTION, *extra)
    return check(resources(stack), given)


def shown(found: Report) -> str:
    return "".join(f"{' ' * line.indent}{line.text}\n" for line in output.lines(found))


def test_a_finding_has_rule_resource_problem_and_remedy() -> None:
    text = shown(report())
    rule = BY_NAME["pod-host-namespaces"]
    finding = (
        "mandatory: pod-host-namespaces\n"
        "  Deployment/shop/web: pod: hostNetwork is set\n"
        f"  Remedy: {rule.remedy}\n"
        "advisory: "
    )
    assert text.startswith(finding)
    assert "exempted: pod-read-only-root: it writes\n  Deployment/shop/web\n" in text
    assert text.splitlines()[-1] == f"{len(STACK)} resources, {len(RULES)} rules: 1 mandatory, 1 advisory, 1 exempted"


def test_names_in_square_brackets_are_no_markup() -> None:
    path = ("properties", "metadata", "name")
    text = shown(check(resources(changed(STACK, "web", path, "[red]web")), config()))
    assert "[red]web" in text


def test_problems_of_the_configuration_are_told_and_fail() -> None:
    unused = Exemption(rule="pod-sysctls", resource="Nothing/*", reason="none")
    found = report(extra=(unused,))
    assert "exemption pod-sysctls: Nothing/* matches nothing: remove it" in shown(found)
    assert found.exit_code == 1


def test_a_rule_made_weaker_is_told_with_its_reason() -> None:
    found = check(resources(CLUSTER), config(**{"pod-sysctls": {"level": "disabled", "reason": "no kernel here"}}))
    assert "pod-sysctls is disabled: no kernel here" in shown(found)
    assert output.as_document(found)["weakened"] == {"pod-sysctls": "disabled: no kernel here"}


def test_json_has_everything() -> None:
    document = output.as_document(report())
    assert (document["mandatory"], document["advisory"], len(document["exempted"])) == (1, 1, 1)
    first = document["findings"][0]
    assert first["rule"] == "pod-host-namespaces"
    assert first["level"] == "mandatory"
    assert first["resource"] == "Deployment/shop/web"
    assert first["problem"] == "pod: hostNetwork is set"
    assert first["remedy"] == BY_NAME["pod-host-namespaces"].remedy
    assert "CKV_K8S_19" in first["frameworks"]
    assert document["exempted"][0]["reason"] == "it writes"


def sarif(found: Report) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(output.as_sarif(found, program="Pulumi.dev.yaml"))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    found_run: dict[str, Any] = run
    return found_run


def test_sarif_describes_every_rule() -> None:
    rules = sarif(report())["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.name for rule in RULES]
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in rules)


def test_sarif_results_point_to_their_rule_and_place() -> None:
    run = sarif(report())
    levels = {result["ruleId"]: result["level"] for result in run["results"]}
    assert levels == {
        "pod-host-namespaces": "error",
        "pod-secret-environment": "warning",
        "pod-read-only-root": "error",
    }
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        (location,) = result["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"] == "Pulumi.dev.yaml"
        assert location["logicalLocations"][0]["fullyQualifiedName"] == "Deployment/shop/web"
    suppressed = [result for result in run["results"] if "suppressions" in result]
    assert [result["ruleId"] for result in suppressed] == ["pod-read-only-root"]
    assert suppressed[0]["suppressions"] == [{"kind": "external", "justification": "it writes"}]


def test_sarif_fingerprints_tell_findings_apart_and_stay() -> None:
    def prints(found: Report) -> list[str]:
        return [result["partialFingerprints"]["finding/v1"] for result in sarif(found)["results"]]

    assert len(set(prints(report()))) == 3
    assert prints(report()) == prints(report())


def test_a_file_and_a_line_are_given_where_they_are_known() -> None:
    edit: Edit = CASES["pod-host-namespaces"].bad
    stack = changed(CLUSTER, edit.resource, edit.path, edit.value)
    stack["web"]["source"] = ("apps/web.yaml", 12)
    found = check(resources(stack), config())
    place = sarif(found)["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "apps/web.yaml"}, "region": {"startLine": 12}}
    assert "apps/web.yaml:12" in shown(found)


def test_what_was_not_read_is_an_error_and_what_holds_no_objects_is_not() -> None:
    plain = replace(report(), findings=(), passed_over=tuple(f"values-{number}.yaml, line 1" for number in range(7)))
    assert plain.exit_code == 0
    assert "values-4.yaml, line 1; and 2 more" in " ".join(shown(plain).split())
    unread = replace(plain, unread=("a.yaml, line 2: is not valid YAML",))
    assert unread.exit_code == 1
    assert "not read: a.yaml, line 2: is not valid YAML" in shown(unread)
    document = output.as_document(unread)
    assert document["unread"] == ["a.yaml, line 2: is not valid YAML"]
    assert len(document["passedOver"]) == 7
    (invocation,) = sarif(unread)["invocations"]
    assert invocation["executionSuccessful"] is False
    assert [each["message"]["text"] for each in invocation["toolExecutionNotifications"]] == list(unread.unread)


def test_thousands_of_findings_are_shown_in_part_and_are_all_in_json() -> None:
    found = report()
    many = replace(found, findings=found.findings * 1000)
    assert shown(many).count("hostNetwork is set") == 20
    assert "--json has all of them" in shown(many)
    assert len(output.as_document(many)["findings"]) == len(many.findings)
    assert "--json" not in shown(found)
