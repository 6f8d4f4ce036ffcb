"""Objects are read from files of any shape."""

from pathlib import Path

import pytest

from policies.check import check
from policies.config import load
from policies.manifests import ManifestError, read

SERVICE = "apiVersion: v1\nkind: Service\nmetadata:\n  name: {}\n"


def test_files_and_documents_are_read_in_order_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.yml").write_text(SERVICE.format("three"))
    (tmp_path / "a.yaml").write_text("# a comment\n" + SERVICE.format("one") + "---\n" + SERVICE.format("two"))
    (tmp_path / "c.json").write_text('{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "four"}}')
    (tmp_path / "README.md").write_text("no objects")
    found = read(tmp_path)
    assert [resource.name for resource in found] == ["one", "two", "three", "four"]
    assert [resource.source for resource in found] == [("a.yaml", 2), ("a.yaml", 7), ("b/two.yml", 1), ("c.json", 1)]
    assert found[0].type == "kubernetes:core/v1:Service"
    assert found[3].type == "kubernetes:apps/v1:Deployment"
    assert all(resource.protect is None for resource in found)


def test_lists_are_taken_apart(tmp_path: Path) -> None:
    items = "".join(f"- apiVersion: v1\n  kind: Secret\n  metadata: {{name: {name}}}\n" for name in "ab")
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: List\nitems:\n" + items)
    assert [resource.name for resource in read(tmp_path)] == ["a", "b"]


def test_what_is_no_object_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("just text\n---\n\n---\na: 1\n---\n" + SERVICE.format("one"))
    (tmp_path / "kustomization.yaml").write_text("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n")
    assert [resource.name for resource in read(tmp_path)] == ["one"]


def test_a_namespace_is_given_to_those_that_say_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        SERVICE.format("one") + "---\n" + SERVICE.format("two") + "  namespace: other\n"
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: three}\n"
    )
    assert [resource.label for resource in read(tmp_path, namespace="shop")] == [
        "Service/shop/one",
        "Service/other/two",
        "Namespace/three",
    ]


def test_one_file_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(SERVICE.format("one"))
    assert read(file)[0].source == ("all.yaml", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [hidden\nb: }", r"a\.yaml, line 2: is no YAML$"),
        ("a: 1\n", "there are no Kubernetes objects"),
        ("a: !!python/object:os.system {}\nb: hidden", "is no YAML"),
    ],
)
def test_mistakes_are_told_without_the_content(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ManifestError, match=message) as raised:
        read(tmp_path)
    assert "hidden" not in str(raised.value)


def test_a_missing_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        read(tmp_path / "nowhere")


def test_the_same_rules_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SERVICE.format("one") + "spec: {type: NodePort}\n")
    report = check(read(tmp_path), load(profile="manifests"))
    assert {finding.rule.name for finding in report.findings} == {
        "object-namespace",
        "service-exposed",
        "service-selector",
    }
    assert report.exit_code == 1
