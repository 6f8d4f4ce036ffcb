"""The configuration is read strictly, and ours says what it should."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from policies.config import Config, ConfigError, load, parse
from policies.rule import Level
from policies.rules import BY_NAME

PRIVILEGED = BY_NAME["pod-privileged"]


def problems(document: Any, stack: str = "") -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse(document, stack, profile="p")
    return raised.value.problems


def read(common: Any = None, *, stacks: Any = None, stack: str = "", **part: Any) -> Config:
    return parse({"rules": common, "profiles": {"p": part}, "stacks": stacks}, stack, profile="p")


def test_without_anything_said_rules_are_as_they_define_themselves() -> None:
    config = read()
    assert config.level(PRIVILEGED) is Level.MANDATORY
    assert config.settings(BY_NAME["random-entropy"]) == {"bits": 256}


def test_a_stack_goes_before_its_profile_and_that_before_all() -> None:
    rules = {"random-entropy": {"bits": 1}, "tls-leaf": {"days": 1}, "tls-key": {"rsaBits": 1}}
    config = read(
        rules,
        stack="s",
        stacks={"s": {"rules": {"random-entropy": {"bits": 3}}}},
        rules={"random-entropy": {"bits": 2}, "tls-leaf": {"days": 2}},
    )
    assert config.settings(BY_NAME["random-entropy"])["bits"] == 3
    assert config.settings(BY_NAME["tls-leaf"])["days"] == 2
    assert config.settings(BY_NAME["tls-key"])["rsaBits"] == 1


def test_a_stack_may_say_its_profile() -> None:
    document = {"profiles": {"p": {}, "q": {}}, "stacks": {"s": {"profile": "q"}}}
    assert parse(document, "s", profile="p").profile == "q"
    assert parse(document, "t", profile="p").profile == "p"


def test_lists_of_patterns_are_as_many_exemptions() -> None:
    entry = {"rule": "pod-image-version", "resource": ["a", "b"], "subject": ["c", "d"], "reason": "r"}
    found = read(exemptions=[entry]).exemptions
    assert [(e.resource, e.subject) for e in found] == [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")]


def of_p(**part: Any) -> dict[str, Any]:
    return {"profiles": {"p": part}}


INCOMPLETE: list[tuple[dict[str, Any], str]] = [
    ({"resource": "*", "reason": "r"}, "rule"),
    ({"rule": "no-such-rule", "resource": "*", "reason": "r"}, "rule"),
    ({"rule": "pod-privileged", "reason": "r"}, "resource"),
    ({"rule": "pod-privileged", "resource": [], "reason": "r"}, "resource"),
    ({"rule": "pod-privileged", "resource": "*"}, "reason"),
    ({"rule": "pod-privileged", "resource": "*", "subject": "", "reason": "r"}, "subject"),
    ({"rule": "pod-privileged", "resource": "*", "reason": "r", "until": "2030"}, "until"),
]


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], "the file: must be a mapping"),
        ({"profiles": {"p": {}}, "rule": {}}, "the file.rule"),
        (of_p(exempt=[]), "profiles.p.exempt"),
        (of_p(exemptions={}), "profiles.p.exemptions"),
        (of_p(rules={"pod-priviledged": {}}), "profiles.p.rules.pod-priviledged"),
        (of_p(rules={"tls-leaf": {"hours": 1}}), "profiles.p.rules.tls-leaf.hours"),
        (of_p(rules={"tls-leaf": {"days": "1"}}), "profiles.p.rules.tls-leaf.days"),
        (of_p(rules={"tls-leaf": {"days": True}}), "profiles.p.rules.tls-leaf.days"),
        (of_p(rules={"tls-leaf": {"level": "maybe"}}), "profiles.p.rules.tls-leaf.level"),
        (of_p(rules={"tls-leaf": {"level": "advisory"}}), "profiles.p.rules.tls-leaf.reason"),
        (
            of_p() | {"rules": {"pod-image-registry": {"registries": [1]}}},
            "rules.pod-image-registry.registries: must be an array of string",
        ),
        (
            of_p() | {"rules": {"iam-access-keys": {"users": {"a": "b"}}}},
            "rules.iam-access-keys.users: must be an object of integer",
        ),
        (of_p() | {"stacks": {"s": {"profile": "q"}}}, "stacks.s.profile"),
        ({"profiles": {}}, "profiles"),
        *((of_p(exemptions=[entry]), f"profiles.p.exemptions[0].{where}") for entry, where in INCOMPLETE),
    ],
)
def test_each_mistake_is_told_with_its_place(document: Any, where: str) -> None:
    (problem,) = problems(document)
    assert problem.startswith(where)


def test_all_mistakes_are_told_at_once() -> None:
    assert len(problems(of_p(exemptions=[{}, {}]) | {"stack": {}})) == 7


def test_a_file_that_is_no_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("rules:\n  a: [secret\nb: }")
    with pytest.raises(ConfigError, match=r"^config\.yaml, line 3: cannot be read$"):
        load("dev", profile="local", path=file)


def test_ours_exempts_only_what_was_agreed() -> None:
    local = load("another", profile="local")
    assert Counter(e.rule for e in local.exemptions) == {
        "config-map-secret-values": 1,
        "namespace-pod-security": 2,
        "network-wide": 1,
        "pod-host-namespaces": 1,
        "pod-image-version": 4,
        "pod-name-resolution": 1,
        "pod-non-root": 1,
        "pod-read-only-root": 1,
    }
    turn = [e for e in local.exemptions if "-turn" in e.resource or e.rule == "pod-name-resolution"]
    moving = [e for e in local.exemptions if e.rule == "pod-image-version"]
    backup = [e for e in local.exemptions if e.resource == "ConfigMap/*/backup-plan-*"]
    others = [e for e in local.exemptions if e not in (*moving, *turn, *backup)]
    assert all("-emulators" in e.resource for e in others)
    assert [e.subject for e in others if e.rule == "namespace-pod-security"] == ["baseline"]
    assert {e.subject for e in moving} == {
        "ghcr.io/mollyim/flatline-calling-service-*:main",
        *(f"ghcr.io/mollyim/flatline-{name}-service:main" for name in ("whisper", "storage", "registration")),
    }
    cloud = load("another", profile="cloud")
    assert {(e.rule, e.resource) for e in cloud.exemptions} == {
        ("s3-ownership", "Bucket/bucket-cdn0"),
        ("random-entropy", "RandomId/bucket-names"),
        ("object-opaque", "Release/traefik"),
        ("service-selector", "Service/*/edge"),
        *((e.rule, e.resource) for e in turn),
    }
    assert load("dev", profile="local") == local, "what holds for a stack holds for every one of its kind"
    assert load("prod", profile="cloud").exemptions == cloud.exemptions
    assert load(profile="manifests").exemptions == ()


def test_ours_weakens_no_rule() -> None:
    for profile in ("local", "cloud", "manifests"):
        config = load("dev", profile=profile)
        assert all(config.level(rule) is rule.level for rule in BY_NAME.values())


def test_ours_demands_digests_and_no_emulators_in_the_cloud() -> None:
    config = load("prod", profile="cloud")
    assert config.settings(BY_NAME["pod-image-version"])["digest"] is True
    assert config.settings(BY_NAME["emulator-in-cloud"])["forbidden"] is True
    assert config.settings(BY_NAME["pod-secret-values"])["placeholders"] == []
