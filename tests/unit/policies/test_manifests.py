"""Objects are read from files of any shape, as kubectl reads them, and what was not read is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from policies import manifests, yaml_text
from policies.check import check_manifests
from policies.config import load
from policies.manifests import ManifestError, Manifests, read
from policies.report import Report
from policies.yaml_text import Document

SERVICE = "apiVersion: v1\nkind: Service\nmetadata:\n  name: {}\n"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: demo\ndata:\n{}\n"
POD = "metadata: {name: a, namespace: demo}\nspec: {hostNetwork: true, containers: [{name: a, image: example.org/a}]}"


def given(folder: Path, **files: str) -> Manifests:
    """What is read of files, whose names have `_` for their dots."""
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return read(folder)


CONFIG = load(profile="manifests")


def report(found: Manifests) -> Report:
    return check_manifests(found, CONFIG)


def data(folder: Path, content: str) -> Any:
    """The data of a ConfigMap, some lines of which are given."""
    found = given(folder, a_yaml=CONFIG_MAP.format("".join(f"  {line}\n" for line in content.splitlines())))
    assert found.unread == ()
    (resource,) = found.resources
    return resource.properties["data"]


def test_files_and_documents_are_read_in_order_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.yml").write_text(SERVICE.format("three"))
    (tmp_path / "a.yaml").write_text("# a comment\n" + SERVICE.format("one") + "---\n" + SERVICE.format("two"))
    (tmp_path / "c.json").write_text('{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "four"}}')
    (tmp_path / "README.md").write_text("no objects")
    found = read(tmp_path).resources
    assert [resource.name for resource in found] == ["one", "two", "three", "four"]
    assert [resource.source for resource in found] == [("a.yaml", 2), ("a.yaml", 7), ("b/two.yml", 1), ("c.json", 1)]
    assert found[0].type == "kubernetes:core/v1:Service"
    assert found[3].type == "kubernetes:apps/v1:Deployment"
    assert all(resource.protect is None for resource in found)


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a.json", "a.YAML", "a.YML", "a.Json"])
def test_endings_are_those_of_yaml_and_json_in_any_case(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(SERVICE.format("one"))
    assert [resource.name for resource in read(tmp_path).resources] == ["one"]


def test_one_file_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(SERVICE.format("one"))
    assert read(file).resources[0].source == ("all.yaml", 1)


def test_a_namespace_is_given_to_those_that_say_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        SERVICE.format("one") + "---\n" + SERVICE.format("two") + "  namespace: other\n"
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: three}\n"
    )
    assert [resource.label for resource in read(tmp_path, namespace="shop").resources] == [
        "Service/shop/one",
        "Service/other/two",
        "Namespace/three",
    ]


class TestScalars:
    """What kubectl 1.32 makes of each (`kubectl label --local -o json`)."""

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            ("=", "="),
            ("=~", "=~"),
            ('["!=", =, =~]', ["!=", "=", "=~"]),
            ("2024-13-45", "2024-13-45"),
            ("2024-01-02", "2024-01-02"),
            ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
            ("22:22", "22:22"),
            ("190:20:30.15", "190:20:30.15"),
            ("yes", True),
            ("on", True),
            ("y", True),
            ("Off", False),
            ("0777", 511),
            ("0o777", 511),
            ("0b11", 3),
            ("-0x1F", -31),
            ("08", 8),
            ("1_000", 1000),
            ("+5", 5),
            ("1e3", 1000),
            (".5", 0.5),
            ("1.10", 1.1),
            ("123456789012345678901234567890", 1.2345678901234568e29),
            ("18446744073709551615", 2**64 - 1),
            ("~", None),
            ("", None),
            ('"yes"', "yes"),
            ("'1'", "1"),
            ("!!str 12", "12"),
            ('!!int "3"', 3),
            ("!!binary aGVsbG8=", "hello"),
            ("!Ref 12", "12"),
            ("!Sub {a: 1}", {"a": 1}),
            ("!!python/object:os.system {}", {}),
            ("!!set {a, b}", {"a": None, "b": None}),
            ("! 12", "12"),
            ("9" * 5000, "9" * 5000),
            ("1e999", "1e999"),
            ('"\\x41\\u00e9\\U0001F600"', "A\u00e9\U0001f600"),
        ],
    )
    def test_of_kubectl(self, tmp_path: Path, written: str, value: object) -> None:
        found = data(tmp_path, f"a: {written}")["a"]
        assert found == value
        assert isinstance(found, type(value))

    @pytest.mark.parametrize(
        ("written", "key"),
        [("9000", "9000"), ("1.5", "1.5"), ("true", "true"), ("yes", "true"), ("~", "null"), ("null", "null")],
    )
    def test_keys_are_text(self, tmp_path: Path, written: str, key: str) -> None:
        assert data(tmp_path, f"{written}: b") == {key: "b"}

    def test_of_two_equal_keys_the_later_counts(self, tmp_path: Path) -> None:
        assert data(tmp_path, "a: 1\na: 2") == {"a": 2}

    def test_a_merge_counts_where_it_is_written(self, tmp_path: Path) -> None:
        assert data(tmp_path, "a:\n  z: own\n  <<: {z: merged, q: merged}") == {"a": {"z": "merged", "q": "merged"}}
        several = "a:\n  <<: [{z: first, q: first}, {z: second, r: second}]\n  z: own"
        assert data(tmp_path, several) == {"a": {"z": "own", "q": "first", "r": "second"}}
        assert data(tmp_path, "a:\n  <<: [{z: first}, {z: second}]") == {"a": {"z": "first"}}
        assert data(tmp_path, 'a: {"<<": {b: c}}') == {"a": {"<<": {"b": "c"}}}

    def test_an_anchor_may_be_named_twice(self, tmp_path: Path) -> None:
        assert data(tmp_path, "a: &x one\nb: *x\nc: &x [two]\nd: *x") == {
            "a": "one",
            "b": "one",
            "c": ["two"],
            "d": ["two"],
        }


class TestDocuments:
    @pytest.mark.parametrize(
        "content",
        [
            "\ufeff" + SERVICE.format("one"),
            SERVICE.format("one").replace("\n", "\r\n"),
            "# a comment\n---\n# another\n---\n" + SERVICE.format("one") + "---\n\n---\nnull\n...\n",
            "---\r\n" + SERVICE.format("one").replace("\n", "\r\n") + "---\r\n# the end\r\n",
            "%YAML 1.1\n# a comment\n---\n" + SERVICE.format("one"),
            "--- # a comment\n" + SERVICE.format("one"),
            '--- {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one"}}',
            "--- !!map\n" + SERVICE.format("one"),
            SERVICE.format("one") + "---\n\ufeff# a second file\n",
            SERVICE.format('"o\\x6ee"'),
            "apiVersion: v1\nkind: Service\nmetadata: {name: &n one, annotations: {a: *n}}",
        ],
        ids=lambda content: repr(content[:20]),
    )
    def test_forms(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "a.yaml").write_bytes(content.encode())
        found = read(tmp_path)
        assert [resource.name for resource in found.resources] == ["one"]
        assert (found.unread, found.passed_over) == ((), ())

    def test_text_of_windows(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_bytes(SERVICE.format("one").encode("utf-16"))
        assert [resource.name for resource in read(tmp_path).resources] == ["one"]

    def test_several_json_objects_with_their_lines(self, tmp_path: Path) -> None:
        one, two = ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}} for name in ("one", "two"))
        found = given(tmp_path, a_json=f"\n{json.dumps(one)}\n{json.dumps(two, indent=2)}{json.dumps(one)}\n---\n{{}}")
        assert [resource.source for resource in found.resources] == [("a.json", 2), ("a.json", 3), ("a.json", 9)]

    @pytest.mark.parametrize(
        ("escaped", "value"),
        [
            (r"\ud83d\ude00", "\U0001f600"),
            (r"\uD83D\uDE00", "\U0001f600"),
            (r"\ud83d", "\ufffd"),
            (r"\ude00x", "\ufffdx"),
            (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        ],
    )
    @pytest.mark.parametrize("before", ["", "---\n", "\ufeff", "# a comment\n---\n"])
    def test_surrogate_escapes_of_json(self, tmp_path: Path, before: str, escaped: str, value: str) -> None:
        text = f'{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"u"}},"data":{{"{escaped}":"{escaped}"}}}}'
        (resource,) = given(tmp_path, a_json=before + text).resources
        assert resource.properties["data"] == {value: value}
        report(read(tmp_path))

    def test_what_is_no_object_is_passed_over_and_named(self, tmp_path: Path) -> None:
        found = given(tmp_path, a_yaml="just text\n---\n\n---\na: 1\n---\n- 1\n---\n" + SERVICE.format("one"))
        assert [resource.name for resource in found.resources] == ["one"]
        assert found.passed_over == ("a.yaml, line 1", "a.yaml, line 5", "a.yaml, line 7")
        assert report(found).unread == ()

    @pytest.mark.parametrize(
        ("content", "missing"),
        [
            ("kind: Pod", "apiVersion"),
            ("apiVersion: v1", "kind"),
            ("apiVersion: 1\nkind: Pod", "apiVersion"),
            ("apiVersion: v1\nkind: [Pod]", "kind"),
            ("apiVersion: 1\nkind:", "apiVersion and kind"),
        ],
    )
    def test_half_an_object_is_not_passed_over(self, tmp_path: Path, content: str, missing: str) -> None:
        found = given(tmp_path, a_yaml=f"---\n{content}\n---\n{SERVICE.format('one')}")
        assert found.unread == (f"a.yaml, line 2: an object has no string as its {missing}",)
        assert report(found).exit_code == 1


class TestLists:
    def test_are_taken_apart(self, tmp_path: Path) -> None:
        items = "".join(f"- apiVersion: v1\n  kind: Secret\n  metadata: {{name: {name}}}\n" for name in "ab")
        found = given(tmp_path, a_yaml="apiVersion: v1\nkind: List\nitems:\n" + items)
        assert [(resource.name, resource.source) for resource in found.resources] == [
            ("a", ("a.yaml", 4)),
            ("b", ("a.yaml", 7)),
        ]

    @pytest.mark.parametrize(
        ("version", "kind"),
        [
            ("v1", "Pod"),
            ("v1", "ConfigMap"),
            ("apps/v1", "Deployment"),
            ("apps/v1", "StatefulSet"),
            ("batch/v1", "CronJob"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole"),
            ("traefik.io/v1alpha1", "IngressRoute"),
        ],
    )
    def test_items_take_kind_and_version_from_a_typed_list(self, tmp_path: Path, version: str, kind: str) -> None:
        items = "- metadata: {name: a}\n- kind: Other\n  metadata: {}\n"
        text = f"apiVersion: {version}\nkind: {kind}List\nitems:\n{items}"
        alone = given(tmp_path, a_yaml=f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n").resources[0]
        found = given(tmp_path, a_yaml=text).resources
        assert [(resource.type, resource.name) for resource in found] == [(alone.type, "a"), (alone.type, "")]

    def test_an_item_is_found_for_what_it_is_alone(self, tmp_path: Path) -> None:
        alone = report(given(tmp_path, a_yaml=f"apiVersion: v1\nkind: Pod\n{POD}"))
        item = "- " + POD.replace("\n", "\n  ")
        listed = report(given(tmp_path, a_yaml=f"apiVersion: v1\nkind: PodList\nitems:\n{item}\n"))
        assert {(f.rule.name, f.message) for f in listed.findings} == {(f.rule.name, f.message) for f in alone.findings}
        assert any(finding.rule.name == "pod-host-namespaces" for finding in listed.findings)

    def test_a_list_without_items_has_none(self, tmp_path: Path) -> None:
        found = given(tmp_path, a_yaml="apiVersion: v1\nkind: List\nitems:\n---\n" + SERVICE.format("one"))
        assert [resource.name for resource in found.resources] == ["one"]

    @pytest.mark.parametrize("item", ["1", "text", "[]", "~", "{metadata: {name: a}}"])
    def test_an_item_that_is_no_object_is_named(self, tmp_path: Path, item: str) -> None:
        found = given(tmp_path, a_yaml=f"apiVersion: v1\nkind: List\nitems:\n- {item}\n")
        assert len(found.unread) == 1
        assert found.unread[0].startswith("a.yaml, line ")

    def test_an_endless_list_is_a_finding(self, tmp_path: Path) -> None:
        text = SERVICE.format("one").replace("\n", ", ").removesuffix(", ").replace("metadata:,   name: one", "x: 1")
        for _ in range(20):
            text = f"apiVersion: v1, kind: List, items: [{{{text}}}]"
        found = report(given(tmp_path, a_yaml=f"{{{text}}}"))
        assert "object-opaque" in {finding.rule.name for finding in found.findings}


class TestKustomizations:
    KIND = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"

    def opaque(self, found: Manifests) -> list[tuple[str, int]]:
        findings = [each for each in report(found).findings if each.rule.name == "object-opaque"]
        return [each.resource.source for each in findings if each.resource is not None and each.resource.source]

    @pytest.mark.parametrize(("name", "head"), [("kustomization.yaml", KIND), ("Kustomization", "")])
    @pytest.mark.parametrize(
        "fields",
        [
            "patches: [{path: patch.txt}]",
            "patchesStrategicMerge: [patch.txt]",
            "patchesJson6902: [{path: patch.txt, target: {kind: Service, name: one}}]",
            "configMapGenerator: [{name: a, literals: [b=c]}]",
            "secretGenerator: [{name: a, files: [b=c]}]",
            "generators: [a]",
            "transformers: [a]",
            "components: [../a]",
            "namespace: other",
            "namePrefix: a-",
            "images: [{name: a, newTag: b}]",
            "replicas: [{name: one, count: 3}]",
            "labels: [{pairs: {a: b}}]",
            "replacements: [{path: a}]",
            "helmCharts: [{name: a, repo: https://example.org}]",
            "resources: [one.yaml, https://example.org/a.yaml]",
            "resources: ['github.com/a/b?ref=v1']",
            "resources: [../elsewhere]",
            "resources: [absent.yaml]",
            "resources: [7]",
            "bases: [../base]",
            "somethingNew: true",
        ],
    )
    def test_what_must_be_built_is_a_finding(self, tmp_path: Path, name: str, head: str, fields: str) -> None:
        (tmp_path / name).write_text(f"{head}{fields}\n")
        found = given(tmp_path, one_yaml=SERVICE.format("one"))
        assert self.opaque(found) == [(name, 1)]
        assert report(found).exit_code == 1

    @pytest.mark.parametrize("fields", ["resources: [one.yaml]", "resources: [deep, ./one.yaml]\npatches: []", "a:"])
    def test_a_plain_one_is_passed_over(self, tmp_path: Path, fields: str) -> None:
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "kustomization.yaml").write_text(f"{self.KIND}resources: [../one.yaml]\n")
        found = given(tmp_path, one_yaml=SERVICE.format("one"), kustomization_yaml=f"{self.KIND}{fields}\n")
        assert self.opaque(found) == []
        assert [resource.name for resource in found.resources] == ["one"]

    def test_patches_are_no_objects(self, tmp_path: Path) -> None:
        patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 3}\n"
        listed = f"{self.KIND}resources: [one.yaml]\npatches: [{{path: patch.yaml}}]\n"
        found = given(tmp_path, one_yaml=SERVICE.format("one"), patch_yaml=patch, kustomization_yaml=listed)
        assert [resource.kind for resource in found.resources] == ["Kustomization", "Service"]
        assert found.passed_over == ("patch.yaml, line 1: a part of a kustomization",)

    def test_an_object_in_a_file_of_that_name_is_an_object(self, tmp_path: Path) -> None:
        found = given(tmp_path, kustomization_yaml=f"apiVersion: v1\nkind: Pod\n{POD}")
        assert [resource.type for resource in found.resources] == ["kubernetes:core/v1:Pod"]

    def test_those_of_controllers_are_objects(self, tmp_path: Path) -> None:
        text = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a, namespace: b}\n"
        found = given(tmp_path, a_yaml=text)
        assert found.resources[0].label == "Kustomization/b/a"
        assert self.opaque(found) == [("a.yaml", 1)]


class TestCharts:
    @pytest.mark.parametrize("chart", ["apiVersion: v2\nname: a\nversion: 1.0.0\n", "", "name: a"])
    def test_a_chart_is_a_finding_and_its_templates_are_no_objects(self, tmp_path: Path, chart: str) -> None:
        (tmp_path / "a" / "templates" / "deep").mkdir(parents=True)
        (tmp_path / "a" / "crds").mkdir()
        (tmp_path / "a" / "templates" / "deep" / "one.yaml").write_text("{{ if }}\n" + SERVICE.format("{{ .name }}"))
        (tmp_path / "a" / "Chart.yaml").write_text(chart)
        (tmp_path / "a" / "values.yaml").write_text("a: 1")
        (tmp_path / "a" / "crds" / "one.yaml").write_text(SERVICE.format("one"))
        found = read(tmp_path)
        assert [resource.label for resource in found.resources] == ["Chart/a/Chart.yaml", "Service/one"]
        assert found.passed_over == ("a/values.yaml, line 1",)
        assert found.unread == ()
        findings = {(each.rule.name, each.message) for each in report(found).findings}
        assert ("object-opaque", "is a Helm chart: the rules do not see the result of the build") in findings

    def test_templates_alone_are_said_to_be_unread(self, tmp_path: Path) -> None:
        (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: a\n")
        (tmp_path / "templates").mkdir()
        (tmp_path / "templates" / "one.yaml").write_text("{{ if }}\n")
        found = read(tmp_path / "templates")
        assert len(found.unread) == 1
        assert found.unread[0].endswith("a template must be rendered first")


class TestUnread:
    """One line names the file and the line; everything else is read; the status is 1; nothing is repeated."""

    DEEP = "[" * 5000

    @pytest.mark.parametrize(
        ("content", "line", "problem"),
        [
            ("a: [hidden\nb: }", 2, "is not valid YAML: "),
            ("a: 'hidden", 1, "is not valid YAML: "),
            ("a: *hidden", 1, "an alias names an anchor that is not defined before it"),
            ("a: &hidden\n  b: *hidden", 2, "an alias is inside of its own anchor"),
            ("a: &hidden [1, *hidden]", 1, "an alias is inside of its own anchor"),
            ("&hidden a:\n  <<: *hidden", 2, "an alias is inside|a merge"),
            ("a: 1\n<<: hidden", 2, "a merge (<<) names something other than a mapping"),
            ("? [hidden]\n: 1", 1, "a key is a mapping or a list: write it in quotes"),
            ("? {hidden: 1}\n: 1", 1, "a key is a mapping or a list: write it in quotes"),
            ("hidden: \x01", 1, "is not valid YAML: "),
            (f"a: {DEEP}", 1, "is nested deeper than 100 levels"),
            (DEEP, 1, "is nested deeper than 100 levels"),
            ('{"a":' * 5000, 1, "is nested deeper than 100 levels"),
            (f"{DEEP}{']' * 5000}", 1, "is nested deeper than 100 levels"),
            ("- " * 5000, 1, "is nested deeper than 100 levels"),
            ("\thidden: 1", 1, "is not valid YAML: "),
        ],
    )
    def test_documents(self, tmp_path: Path, content: str, line: int, problem: str) -> None:
        text = f"{SERVICE.format('one')}---\n{content}\n---\n{SERVICE.format('two')}"
        found = given(tmp_path, a_yaml=text, b_yaml=SERVICE.format("three"))
        assert [resource.name for resource in found.resources] == ["one", "two", "three"]
        (unread,) = found.unread
        place, _, rest = unread.partition(": ")
        assert int(place.removeprefix("a.yaml, line ")) in range(line + 4, line + 7), rest
        assert any(each in unread for each in problem.split("|"))
        assert "hidden" not in unread
        assert report(found).exit_code == 1

    def test_aliases_of_aliases(self, tmp_path: Path) -> None:
        for merge in ("", "<<: "):
            lines = ["a0: &a0 {x: 1, y: 2}"]
            for level in range(1, 30):
                entry = f"*a{level - 1}"
                inner = f"{{<<: [{entry}, {entry}], p{level}: {entry}}}" if merge else f"[{entry}, {entry}]"
                lines.append(f"a{level}: &a{level} {inner}")
            found = given(tmp_path, a_yaml="\n".join(lines), b_yaml=SERVICE.format("one"))
            (unread,) = found.unread
            assert "its aliases repeat too many values" in unread

    def test_an_alias_of_much_text_counts_for_what_it_is(self, tmp_path: Path) -> None:
        text = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 5000)}]\n"
        assert "its aliases repeat too many values" in given(tmp_path, a_yaml=text).unread[0]

    def test_anchors_that_people_use_are_no_bomb(self, tmp_path: Path) -> None:
        block = "\n".join(f"    key{number}: value {number}" for number in range(50))
        uses = "\n".join(f"  use{number}: {{<<: *block, own: {number}}}" for number in range(60))
        found = given(tmp_path, a_yaml=CONFIG_MAP.format(f"  block: &block\n{block}\n{uses}"))
        assert found.unread == ()
        assert len(found.resources[0].properties["data"]["use59"]) == 51

    def test_a_file_of_rubbish_has_a_few_lines(self, tmp_path: Path) -> None:
        found = given(tmp_path, a_yaml="%\n---\n" * 500, b_yaml=SERVICE.format("one"))
        assert len(found.unread) == 11
        assert found.unread[-1].endswith("more documents cannot be read")

    def test_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(manifests, "LARGEST", 1024**2)
        (tmp_path / "a.yaml").write_bytes(b"\xff\xff\xff hidden")
        (tmp_path / "b.yaml").write_text("#" * (1024**2 + 1))
        (tmp_path / "c.yaml").symlink_to(tmp_path / "absent")
        (tmp_path / "d.yaml").mkdir()
        (tmp_path / "e").symlink_to(tmp_path)
        (tmp_path / "f\n.yaml").write_text("hidden: [")
        (tmp_path / "g.yaml").write_text(SERVICE.format("one"))
        found = read(tmp_path)
        assert [resource.name for resource in found.resources] == ["one"]
        assert found.unread[:3] == (
            "a.yaml: is not UTF-8 text",
            "b.yaml: is larger than 1 MiB: split it",
            "c.yaml: cannot be read: No such file or directory",
        )
        assert found.unread[3].startswith("f\\n.yaml, line 2: is not valid YAML: ")
        assert found.passed_over == ("e: a link to a folder",)

    def test_an_unreadable_file_alone_is_a_report(self, tmp_path: Path) -> None:
        found = given(tmp_path, a_yaml="a: [")
        assert report(found).exit_code == 1
        assert report(found).resources == 0

    def test_a_folder_without_objects(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="there are no Kubernetes objects"):
            given(tmp_path, a_yaml="a: 1\n")

    def test_a_missing_path(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="nowhere: cannot be read: No such file"):
            read(tmp_path / "nowhere")


def test_text_is_read_once_for_each_document() -> None:
    """A document behind a broken one is not lost, nor read twice."""
    found = list(yaml_text.documents("a: 1\n---\nb: [\n---\nc: 3\n"))
    assert [each.value for each in found if isinstance(each, Document)] == [{"a": 1}, {"c": 3}]
    assert len(found) == 3


def test_the_same_rules_run(tmp_path: Path) -> None:
    found = report(given(tmp_path, a_yaml=SERVICE.format("one") + "spec: {type: NodePort}\n"))
    assert {finding.rule.name for finding in found.findings} == {
        "object-namespace",
        "service-exposed",
        "service-selector",
    }
    assert found.exit_code == 1
