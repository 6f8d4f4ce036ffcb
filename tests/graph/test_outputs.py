"""What a stack exports, and its page in Pulumi Cloud, which is made of that."""

import re
from typing import Any

from config.version import VERSION
from tests.graph.stack import ROOT, Stack

PAGE = (ROOT / "Pulumi.README.md").read_text()
NAMED = re.findall(r"\$\{outputs\.([^}]+)\}", PAGE)


def test_a_stack_says_its_version(stack: Stack) -> None:
    assert stack.recording.outputs["version"] == VERSION


def test_every_output_that_the_page_names_exists_and_is_no_secret(stack: Stack) -> None:
    assert len(NAMED) == PAGE.count("${") > 10
    for path in NAMED:
        value: Any = stack.recording.outputs
        for part in path.split("."):
            assert part in value, f"Pulumi.README.md names the output {path}"
            value = value[part]
        assert isinstance(value, str), f"Pulumi.README.md shows the output {path}, which is more than a text"
        assert path.partition(".")[0] not in stack.recording.secret_outputs


def test_the_page_has_every_address(stack: Stack) -> None:
    """But for that of an option, which it could not show in stacks without it."""
    assert {f"urls.{name}" for name in stack.recording.outputs["urls"]} - {"urls.sfu"} <= set(NAMED)


def test_components_offer_what_others_use_and_no_secret(stack: Stack) -> None:
    offered = {
        resource.name: resource for resource in stack.recording.resources if resource.type.startswith("flatline:")
    }
    namespace = stack.pod("whisper").namespace
    assert offered["whisper"].outputs["address"] == f"whisper.{namespace}.svc:8080"
    assert offered["ingress"].outputs["hosts"] == sorted(
        url.removeprefix("https://") for url in stack.recording.outputs["urls"].values()
    )
    assert {name for name, resource in offered.items() if resource.secret_output_paths} == set()
