"""docs/policies.md says what the rules say."""

import importlib
import pkgutil

import pytest

from policies import rules
from policies.check import check
from policies.document import FILE, document, findings_text
from policies.rule import Rule
from policies.rules import CONCERNS, RULES
from tests.unit.policies.cases import CASES
from tests.unit.policies.good import config, resources
from tests.unit.policies.test_rules import edited


def test_the_table_of_rules_is_current() -> None:
    current = FILE.read_text()
    assert document(current) == current, "python -m policies.document"


def test_an_old_table_is_noticed() -> None:
    old = FILE.read_text().replace(RULES[0].description, "something else")
    assert document(old) != old


def test_a_file_without_a_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="no markers for the tables of rules"):
        document("# Policies\n")


def test_every_rule_is_described() -> None:
    assert sum(len(rules) for rules in CONCERNS.values()) == len(RULES)
    for rule in RULES:
        assert rule.name == rule.name.lower()
        assert rule.description.endswith(".")
        assert rule.remedy.endswith(".")
        assert all(setting.description for setting in rule.settings.values())


def test_every_rule_that_a_module_defines_is_in_the_list() -> None:
    modules = [
        importlib.import_module(f"policies.rules.{module.name}") for module in pkgutil.iter_modules(rules.__path__)
    ]
    defined = [value.name for module in modules for value in vars(module).values() if isinstance(value, Rule)]
    assert sorted(defined) == sorted(rule.name for rule in RULES)


def test_findings_are_counted_by_rule() -> None:
    text = findings_text(check(resources(edited(CASES["pod-privileged"].bad)), config()))
    assert "| `pod-privileged` | 1 | 1 | securityContext.privileged is set (`Deployment/shop/web`) |" in text
    assert text.endswith("| **all** | **1** | **1** | |\n")
