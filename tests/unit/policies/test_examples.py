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


def test_a_route_to_a_service_of_nobody_leads_to_no_emulator() -> None:
    more = obj("traefik.io/v1alpha1", "IngressRouteTCP", "x", spec={"routes": [{"services": [{"name": "gone"}]}]})
    assert found(CLUSTER, more) == {"ingress-tls", "ingress-kinds"}


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


def test_a_policy_for_every_pod_is_wide() -> None:
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [opening("to", 8080, inside("shop", "cache"))]}
    assert found(CLUSTER, obj("networking.k8s.io/v1", "NetworkPolicy", "all", spec=spec)) == {"network-wide"}


def test_a_policy_for_nobody_is_an_orphan() -> None:
    spec = {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Ingress"]}
    assert found(CLUSTER, obj("networking.k8s.io/v1", "NetworkPolicy", "none", spec=spec)) == {"network-orphan"}


def test_a_narrow_network_is_a_peer() -> None:
    narrow = opening("to", 443, {"ipBlock": {"cidr": "203.0.113.0/24"}})
    assert found(changed(CLUSTER, "task-policy", ("properties", "spec", "egress", 1), narrow)) == set()
    outside = opening("from", 4566, {"ipBlock": {"cidr": "8.8.8.0/24"}})
    assert found(changed(CLUSTER, "cloud-policy", ("properties", "spec", "ingress", 1), outside)) == {
        "emulator-exposed"
    }


def test_lists_hide_what_is_in_them() -> None:
    assert found(CLUSTER, obj("core/v1", "ConfigMapList", "all", items=[{"data": {}}])) == {"object-opaque"}


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


def test_a_binary_file_that_is_no_base64_is_read_as_text() -> None:
    more = obj("core/v1", "ConfigMap", "more", binaryData={"a.conf": "requirepass horse!"})
    assert found(CLUSTER, more) == {"config-map-secret-values"}


def test_default_capabilities_are_more_than_restricted_allows() -> None:
    for name, rules in {"CHOWN": {"pod-capabilities-dropped"}, "NET_BIND_SERVICE": set()}.items():
        path = (*CONTAINER, "securityContext", "capabilities", "add")
        assert found(changed(CLUSTER, "web", path, [name])) == rules


def test_a_server_that_signs_its_own_certificate_is_no_authority() -> None:
    more = custom(
        "tls:index/selfSignedCert:SelfSignedCert", "self", dnsNames=["*.shop.test"], allowedUses=["server_auth"]
    )
    assert found(CLUSTER, more) == {"tls-authority"}


def test_ed25519_is_a_good_key() -> None:
    assert found(CLUSTER, custom("tls:index/privateKey:PrivateKey", "ed", algorithm="ED25519")) == set()


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
    tags = {"project": "shop", "stack": "prod"}
    role, trust = "aws:iam/role:Role", document(TRUST)
    inline = custom(
        role, "r", assumeRolePolicy=trust, inlinePolicies=[{"policy": document({**GRANT, "Action": "*"})}], tags=tags
    )
    managed = custom(
        role, "r", assumeRolePolicy=trust, managedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"], tags=tags
    )
    attached = custom(
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "a",
        policyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess",
    )
    narrow = custom(
        role,
        "r",
        assumeRolePolicy=trust,
        inlinePolicies=[{"policy": document(GRANT, {"Effect": "Deny", "Action": "*"})}],
        tags=tags,
    )
    for more in (inline, managed, attached):
        assert found(CLOUD, more) == {"iam-wildcards"}
    assert found(CLOUD, narrow) == set()


@pytest.mark.parametrize("limit", [0, -1])
def test_a_key_without_a_real_age_is_found(limit: int) -> None:
    settings = {"users": {"uploads": limit}, "today": "2026-02-01"}
    assert found(CLOUD, given=config(**{"iam-access-keys": settings})) == {"iam-access-keys"}


def test_a_key_counts_to_today() -> None:
    old = changed(CLOUD, "access-key", ("properties", "createDate"), "2001-01-01T00:00:00Z")
    assert found(old, given=config(**{"iam-access-keys": {"users": {"uploads": 90}}})) == {"iam-access-keys"}


def test_the_same_urn_twice_is_found() -> None:
    assert found(CLUSTER, {**CLUSTER["key"]}) == {"object-unique"}


def test_the_good_examples_are_of_both_kinds() -> None:
    assert {plain["type"].split(":")[0] for stack in STACKS.values() for plain in stack.values()} == {
        "kubernetes",
        "tls",
        "random",
        "aws",
        "gcp",
        "pulumi",
    }
