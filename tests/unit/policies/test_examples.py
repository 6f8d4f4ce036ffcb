"""Whole resources that are added to a good example, where one changed field cannot show what a rule knows."""

import json
from typing import Any

import pytest

from policies.check import check
from policies.config import Config
from tests.unit.policies.good import (
    CLOUD,
    CLUSTER,
    GRANT,
    STACKS,
    TAGS,
    TRUST,
    Plain,
    changed,
    config,
    custom,
    document,
    inside,
    obj,
    opening,
    resources,
    without,
)

CONTAINER = ("properties", "spec", "template", "spec", "containers", 0)


def found(stack: dict[str, Plain], *more: Plain, given: Config | None = None) -> set[str]:
    added = {f"more-{index}": plain for index, plain in enumerate(more)}
    return {finding.rule.name for finding in check(resources({**stack, **added}), given or config()).findings}


def ingress(service: str, *, host: str | None = "web.shop.test", port: Any = None, **spec: Any) -> Plain:
    backend = {"service": {"name": service, "port": port or {"number": 8080}}}
    rule = {"http": {"paths": [{"path": "/", "backend": backend}]}}
    rules = [rule if host is None else {"host": host, **rule}]
    made = obj("networking.k8s.io/v1", "Ingress", "web", spec={"rules": rules, "tls": [{"hosts": []}], **spec})
    made["properties"]["metadata"]["annotations"] = {
        "traefik.ingress.kubernetes.io/router.middlewares": "shop-rate@kubernetescrd, shop-headers@kubernetescrd"
    }
    return made


def test_a_plain_ingress_needs_a_limit() -> None:
    bare = ingress("web")
    del bare["properties"]["metadata"]["annotations"]
    assert found(CLUSTER, bare) == {"ingress-limits"}


@pytest.mark.parametrize(
    ("more", "rules"),
    [
        (ingress("web"), set()),
        (ingress("web", tls=[]), {"ingress-tls"}),
        (ingress("web", host="other.test"), {"tls-names"}),
        (ingress("web", host=None), {"tls-names", "ingress-hosts"}),
        (ingress("web", port={"name": "admin"}), {"ingress-admin", "ingress-backends"}),
        (
            ingress("web", defaultBackend={"service": {"name": "cache", "port": {"name": "metrics"}}}),
            {"ingress-admin", "ingress-backends"},
        ),
    ],
)
def test_plain_ingresses_are_routes_as_well(more: Plain, rules: set[str]) -> None:
    assert found(CLUSTER, more) == rules


def policy(name: str, selector: Plain, *egress: Plain) -> Plain:
    spec = {"podSelector": selector, "policyTypes": ["Egress" if egress else "Ingress"], "egress": list(egress)}
    return obj("networking.k8s.io/v1", "NetworkPolicy", name, spec=spec)


NOBODY_S_ROUTE = {"routes": [{"services": [{"name": "gone"}]}]}
SELF = {"dnsNames": ["*.shop.test"], "allowedUses": ["server_auth"]}
MORE: dict[str, tuple[Plain, set[str]]] = {
    "a route to a service of nobody leads to no emulator": (
        obj("traefik.io/v1alpha1", "IngressRouteTCP", "x", spec=NOBODY_S_ROUTE),
        {"ingress-tls", "ingress-kinds"},
    ),
    "a policy for every pod is wide": (
        policy("all", {}, opening("to", 8080, inside("shop", "cache"))),
        {"network-wide"},
    ),
    "a policy for nobody is an orphan": (policy("none", {"matchLabels": {"a": "b"}}), {"network-orphan"}),
    "lists hide what is in them": (obj("core/v1", "ConfigMapList", "all", items=[{"data": {}}]), {"object-opaque"}),
    "a binary file that is no base64 is read as text": (
        obj("core/v1", "ConfigMap", "more", binaryData={"a.conf": "requirepass horse!"}),
        {"config-map-secret-values"},
    ),
    "a server that signs its own certificate is no authority": (
        custom("tls:index/selfSignedCert:SelfSignedCert", "self", **SELF),
        {"tls-authority"},
    ),
    "Ed25519 is a good key": (custom("tls:index/privateKey:PrivateKey", "ed", algorithm="ED25519"), set()),
    "the same URN twice is found": (CLUSTER["key"], {"object-unique"}),
}


@pytest.mark.parametrize(("more", "rules"), MORE.values(), ids=MORE)
def test_one_more_resource(more: Plain, rules: set[str]) -> None:
    assert found(CLUSTER, more) == rules


def test_an_option_named_default_is_everybodys() -> None:
    stack = without(CLUSTER, "route", ("properties", "spec", "tls", "options"))
    assert found(stack) == {"ingress-tls-version"}
    option = obj(
        "traefik.io/v1alpha1",
        "TLSOption",
        "default",
        "kube-system",
        spec={"minVersion": "VersionTLS13", "sniStrict": True},
    )
    assert found(stack, option) == set()


def test_without_certificates_of_its_own_a_stack_has_no_names_to_compare() -> None:
    stack = without(CLUSTER, "request", ())
    match = "Host(`web.other.test`) && Method(`GET`) && Path(`/shop`)"
    assert found(changed(stack, "route", ("properties", "spec", "routes", 0, "match"), match)) == set()


def test_a_narrow_network_is_a_peer() -> None:
    narrow = opening("to", 443, {"ipBlock": {"cidr": "203.0.113.0/24"}})
    assert found(changed(CLUSTER, "task-policy", ("properties", "spec", "egress", 1), narrow)) == set()
    outside = opening("from", 4566, {"ipBlock": {"cidr": "8.8.8.0/24"}})
    assert found(changed(CLUSTER, "cloud-policy", ("properties", "spec", "ingress", 1), outside)) == {
        "emulator-exposed"
    }


def test_named_services_may_be_opened() -> None:
    stack = changed(CLUSTER, "web-service", ("properties", "spec", "type"), "LoadBalancer")
    assert found(stack) == {"service-exposed"}
    assert found(stack, given=config(**{"service-exposed": {"services": ["shop/web"]}})) == set()


def test_a_token_may_be_for_a_named_audience() -> None:
    def with_token(**projection: str) -> dict[str, Plain]:
        volume = {"name": "tmp", "projected": {"sources": [{"serviceAccountToken": {"path": "token", **projection}}]}}
        return changed(CLUSTER, "web", (*CONTAINER[:-2], "volumes", 0), volume)

    given = config(**{"pod-service-account-token": {"audiences": ["sts.example.org"]}})
    assert found(with_token(audience="sts.example.org"), given=given) == set()
    assert found(with_token(audience="api.example.org"), given=given) == {"pod-service-account-token"}
    assert found(with_token(), given=given) == {"pod-service-account-token"}
    assert found(with_token(audience="sts.example.org")) == {"pod-service-account-token"}


def test_replicas_share_no_volume() -> None:
    budget = obj(
        "policy/v1",
        "PodDisruptionBudget",
        "web",
        spec={"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": "web"}}},
    )
    stack = changed(CLUSTER, "web", ("properties", "spec", "replicas"), 2)
    assert found(stack, budget) == {"volume-one-writer"}
    shared = changed(stack, "data", ("properties", "spec", "accessModes"), ["ReadWriteMany"])
    assert found(shared, budget) == set()


@pytest.mark.parametrize("name", ["helm.sh/resource-policy", "argocd.argoproj.io/sync-options"])
def test_other_tools_keep_volumes_by_annotations(name: str) -> None:
    stack = changed(CLUSTER, "data", ("protect",), None)
    value = "keep" if name.startswith("helm") else "Prune=true, Delete=false"
    assert found(stack) == {"volume-protected"}
    assert found(changed(stack, "data", ("properties", "metadata", "annotations"), {name: value})) == set()


def test_digests() -> None:
    exact = f"redis:8@sha256:{'0' * 64}"
    demanded = config(**{"pod-image-version": {"digest": True}})
    with_digests = json.loads(json.dumps(CLOUD).replace("redis:8.10.2-trixie", exact))
    assert found(CLOUD) == set()
    assert found(CLOUD, given=demanded) == {"pod-image-version"}
    assert found(with_digests, given=demanded) == set()


def test_default_capabilities_are_more_than_restricted_allows() -> None:
    for name, rules in {"CHOWN": {"pod-capabilities-dropped"}, "NET_BIND_SERVICE": set()}.items():
        path = (*CONTAINER, "securityContext", "capabilities", "add")
        assert found(changed(CLUSTER, "web", path, [name])) == rules


def test_a_cluster_of_elasticache_alone_is_neither_encrypted_nor_closed() -> None:
    token = "aws:elasticache/cluster:Cluster"
    alone = {"elasticache-transit", "elasticache-rest", "elasticache-authentication"}
    assert found(CLOUD, custom(token, "cache", engine="redis")) == alone
    assert found(CLOUD, custom(token, "cache", replicationGroupId="redis")) == set()


def test_users_of_elasticache_are_as_good_as_a_password() -> None:
    stack = without(CLOUD, "redis", ("properties", "authToken"))
    assert found(changed(stack, "redis", ("properties", "userGroupIds"), ["group"])) == set()


@pytest.mark.parametrize(
    "value", [json.dumps({"tags": {"project": "shop", "stack": "prod"}}), {"tags": {"project": "a", "stack": "b"}}]
)
def test_the_provider_gives_tags(value: Any) -> None:
    stack = without(CLOUD, "kms", ("properties", "tags"))
    stack["kms"]["provider"] = "urn:provider"
    allowed = '["123456789012"]'
    provider = custom("pulumi:providers:aws", "aws", defaultTags=value, allowedAccountIds=allowed)
    provider = {**provider, "urn": "urn:provider"}
    assert found(stack) == {"aws-tags"}
    assert found(stack, provider) == set()
    assert found(stack, {**provider, "properties": {"defaultTags": "no JSON", "allowedAccountIds": allowed}}) == {
        "aws-tags"
    }


def test_an_asymmetric_key_is_not_rotated_by_aws() -> None:
    stack = without(CLOUD, "kms", ("properties", "enableKeyRotation"))
    assert found(changed(stack, "kms", ("properties", "customerMasterKeySpec"), "ECC_NIST_P256")) == set()


def test_capacity_may_be_scaled() -> None:
    stack = changed(CLOUD, "table", ("properties", "billingMode"), "PROVISIONED")
    token = "aws:appautoscaling/target:Target"
    target = custom(token, "read", serviceNamespace="dynamodb", resourceId="table/accounts")
    other = custom(token, "read", serviceNamespace="dynamodb", resourceId="table/others")
    assert found(stack, target) == set()
    assert found(stack, other) == {"dynamodb-capacity"}


def test_a_bucket_without_configuration_needs_no_versions() -> None:
    stack = json.loads(json.dumps(without(CLOUD, "bucket-versioning", ())).replace("config", "avatars"))
    assert found(stack) == set()


def test_configuration_of_another_bucket_does_not_count() -> None:
    stack = json.loads(json.dumps(CLOUD))
    stack["bucket-access"]["properties"]["bucket"] = "another"
    stack["bucket-access"]["dependencies"] = {}
    assert found(stack) == {"s3-public-access"}


def test_roles_are_read_with_what_is_in_them() -> None:
    def role(**more: Any) -> Plain:
        return custom("aws:iam/role:Role", "r", assumeRolePolicy=document(TRUST), tags=TAGS, **more)

    aws = "arn:aws:iam::aws:policy/"
    attachment = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    for more in (
        role(inlinePolicies=[{"policy": document({**GRANT, "Action": "*"})}]),
        role(managedPolicyArns=[f"{aws}AdministratorAccess"]),
        custom(attachment, "a", policyArn=f"{aws}AmazonS3FullAccess"),
    ):
        assert found(CLOUD, more) == {"iam-wildcards"}
    narrow = role(inlinePolicies=[{"policy": document(GRANT, {"Effect": "Deny", "Action": "*"})}])
    assert found(CLOUD, narrow) == set()


@pytest.mark.parametrize("limit", [0, -1])
def test_a_key_without_a_real_age_is_found(limit: int) -> None:
    settings = {"users": {"uploads": limit}, "today": "2026-02-01"}
    assert found(CLOUD, given=config(**{"iam-access-keys": settings})) == {"iam-access-keys"}


def test_a_key_counts_to_today() -> None:
    old = changed(CLOUD, "access-key", ("properties", "createDate"), "2001-01-01T00:00:00Z")
    assert found(old, given=config(**{"iam-access-keys": {"users": {"uploads": 90}}})) == {"iam-access-keys"}


def test_the_good_examples_are_of_both_kinds() -> None:
    assert {plain["type"].split(":")[0] for stack in STACKS.values() for plain in stack.values()} == {
        "kubernetes",
        "tls",
        "random",
        "aws",
        "gcp",
        "pulumi",
    }
