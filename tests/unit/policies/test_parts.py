"""The small functions that rules are made of."""

from typing import Any

import pytest

from policies.model import Resource, Stack, at, items, mapping, number, objects, text
from policies.pods import Container, is_empty, pod_of, selects
from policies.rules.certificates import hosts_of, is_covered
from policies.rules.iam import _is_wide_arn, statements_of, strings_of
from policies.rules.network import Opening, directions_of
from policies.rules.pods import Image, image_of
from policies.rules.randomness import entropy_of
from policies.rules.services import replicas_of
from tests.unit.policies.good import CLUSTER, obj, resource


@pytest.mark.parametrize(
    ("reference", "image"),
    [
        ("redis", Image("docker.io/library/redis", "", "")),
        ("redis:8.10.2", Image("docker.io/library/redis", "8.10.2", "")),
        ("otel/collector:1.2.3", Image("docker.io/otel/collector", "1.2.3", "")),
        ("localhost/a:1", Image("localhost/a", "1", "")),
        ("registry.test:5000/a/b", Image("registry.test:5000/a/b", "", "")),
        ("registry.test:5000/a/b:1@sha256:0", Image("registry.test:5000/a/b", "1", "sha256:0")),
        ("", Image("", "", "")),
    ],
)
def test_references_of_images_are_read_as_the_runtime_does(reference: str, image: Image) -> None:
    assert image_of(reference) == image


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchLabels": {"a": "1", "c": "1"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "c", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "c", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Like"}]}, False),
    ],
)
def test_selectors_match_as_in_kubernetes(selector: dict[str, Any], matches: bool) -> None:
    assert selects(selector, {"a": "1"}) is matches
    assert is_empty(selector) is (selector == {})


@pytest.mark.parametrize(
    ("arn", "wide"),
    [
        ("*", True),
        ("", True),
        ("arn:aws:s3:::*", True),
        ("arn:aws:s3:::bucket*", True),
        ("arn:aws:s3:::bucket/*", False),
        ("arn:aws:dynamodb:eu-west-1:1:table/*", True),
        ("arn:aws:dynamodb:eu-west-1:1:table/a", False),
        ("arn:aws:dynamodb:eu-west-1:1:table/a-*", True),
        ("arn:aws:dynamodb:eu-west-1:1:table/a?", True),
        ("arn:aws:dynamodb:eu-west-1:*:table/a", True),
        ("arn:aws:dynamodb:*:1:table/a", True),
        ("arn:aws:s3:::bucket/folder/*", False),
        ("arn:aws:dynamodb:eu-west-1:1:table/a/index/*", False),
        ("arn:aws:secretsmanager:eu-west-1:1:secret:*", True),
        ("arn:aws:logs:eu-west-1:1:log-group:/a:*", False),
    ],
)
def test_wide_arns(arn: str, wide: bool) -> None:
    assert _is_wide_arn(arn) is wide


def test_policy_documents_have_one_statement_or_several() -> None:
    assert statements_of('{"Statement": {"Effect": "Allow"}}') == [{"Effect": "Allow"}]
    assert statements_of({"Statement": [{"Sid": "a"}, "b"]}) == [{"Sid": "a"}]
    assert statements_of("[1]") == []
    assert strings_of("a") == ["a"]
    assert strings_of(["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "properties", "bits"),
    [
        ("randomPassword:RandomPassword", {"length": 43, "special": False}, 43 * 5.954),
        ("randomPassword:RandomPassword", {"length": 10}, 10 * 6.375),
        ("randomPassword:RandomPassword", {"length": 10, "overrideSpecial": "!!"}, 10 * 5.977),
        ("randomString:RandomString", {"length": 10, "lower": False, "upper": False, "special": False}, 10 * 3.322),
        ("randomBytes:RandomBytes", {"length": 32}, 256),
        ("randomId:RandomId", {"byteLength": 8}, 64),
        ("randomId:RandomId", {}, 0),
    ],
)
def test_entropy(kind: str, properties: dict[str, Any], bits: float) -> None:
    found = entropy_of(Resource(urn="u", type=f"random:index/{kind}", name="n", properties=properties))
    assert found == pytest.approx(bits, rel=1e-3)


def test_hosts_of_routes() -> None:
    assert hosts_of("Host(`a.test`, `b.test`) && PathPrefix(`/x`) || Host(`c.test`)") == ["a.test", "b.test", "c.test"]
    assert hosts_of("HostSNI(`a.test`)") == ["a.test"]
    assert hosts_of("HeaderRegexp(`Host`, `x`) && !ClientIP(`10.0.0.1`)") == []


@pytest.mark.parametrize(("host", "covered"), [("a.test", True), ("b.a.test", True), ("c.b.a.test", False)])
def test_a_wildcard_is_for_one_label(host: str, covered: bool) -> None:
    assert is_covered(host, {"a.test", "*.a.test"}) is covered


def test_what_a_policy_restricts_without_saying_so() -> None:
    def policy(**spec: Any) -> Resource:
        return resource(obj("networking.k8s.io/v1", "NetworkPolicy", "a", spec=spec))

    assert directions_of(policy()) == {"Ingress"}
    assert directions_of(policy(egress=[])) == {"Ingress"}
    assert directions_of(policy(egress=[{}])) == {"Ingress", "Egress"}
    assert directions_of(policy(policyTypes=["Egress"])) == {"Egress"}


@pytest.mark.parametrize(
    ("entry", "opened"),
    [
        ({"port": 8080}, {8080}),
        ({"port": 8081, "endPort": 9000}, {8081, 8082}),
        ({"port": 1, "endPort": 65535, "protocol": "UDP"}, {1}),
        ({"port": 9000}, {9000}),
    ],
)
def test_a_range_opens_each_port_of_a_pod_in_it(entry: dict[str, Any], opened: set[int]) -> None:
    uploads = resource(CLUSTER["uploads"])
    pod = pod_of(uploads)
    assert pod
    opening = Opening(policy=uploads, where="ingress[0]", direction="Ingress", rule={"ports": [entry]}, peer=None)
    assert {port for _, port in opening.ports_of(pod)} == opened


def test_an_autoscaler_makes_replicas() -> None:
    scaler = obj(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "web",
        spec={"minReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
    )
    web = resource(CLUSTER["web"])
    assert replicas_of(Stack([web]), web) == 1
    assert replicas_of(Stack([web, resource(scaler)]), web) == 2


def test_all_lists_of_containers_are_seen() -> None:
    pod = pod_of(resource(CLUSTER["web"]))
    assert pod is not None
    assert [container.where for container in pod.containers()] == [
        "container web",
        "init container wait",
        "ephemeral container look",
    ]
    sidecar = Container(list="initContainers", name="s", spec={"restartPolicy": "Always"})
    assert sidecar.is_long_running


def test_fields_of_the_wrong_form_are_as_good_as_absent() -> None:
    assert mapping("a") == {}
    assert items({"a": 1}) == []
    assert objects([1, {"a": 1}]) == [{"a": 1}]
    assert text(1) == ""
    assert number(True) is None
    assert number("3") == 3
    assert number("three") is None
    assert at({"a": "b"}, "a", "c") is None


def test_labels_of_resources() -> None:
    assert resource(CLUSTER["namespace"]).label == "Namespace/shop"
    assert resource(CLUSTER["web"]).label == "Deployment/shop/web"
    assert resource(CLUSTER["key"]).label == "PrivateKey/leaf"
    provider = Resource(urn="u", type="pulumi:providers:kubernetes", name="k", properties={"metadata": {"name": "x"}})
    assert not provider.is_object
    assert provider.object_name == "k"
