"""Two small installations in which no rule finds anything: one on a cluster with an emulator, one with cloud services.

Each resource is plain data under a name of its own, so that a case can change one field of it.
"""

import json
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final

from policies.check import check
from policies.config import Config, Exemption
from policies.model import Resource
from policies.report import Report
from policies.rule import ResourceRule, StackRule
from policies.rules import RULES

ABSENT: Final = object()
"""As a value: the field is taken away."""

Plain = dict[str, Any]
Path = tuple[str | int, ...]

DNS = {"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"}


def labels(name: str) -> Plain:
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/instance": "shop",
        "app.kubernetes.io/component": name,
        "app.kubernetes.io/part-of": "shop",
    }


def obj(api: str, kind: str, name: str, namespace: str = "shop", **fields: Any) -> Plain:
    metadata: Plain = {"name": name, "labels": labels(name)}
    if namespace:
        metadata["namespace"] = namespace
    version = api.removeprefix("core/")
    properties = {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
    return {"type": f"kubernetes:{api}:{kind}", "name": name, "properties": properties}


def container(name: str, **fields: Any) -> Plain:
    return {
        "name": name,
        "image": "docker.io/library/redis:8.10.2-trixie",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "procMount": "Default",
            "readOnlyRootFilesystem": True,
            "runAsUser": 10001,
        },
        **fields,
    }


RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}


TLS = {
    "minVersion": "VersionTLS12",
    "cipherSuites": ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
    "sniStrict": True,
}
GATE = [
    "--read=pictures/[a-z]{8}",
    "--upload=pictures:1000:pictures/[a-z]{8}",
    "--s3-endpoint=http://cloud.shop-emulators.svc:4566",
]


def server(name: str, port: int, **fields: Any) -> Plain:
    probe = {"httpGet": {"path": "/health", "port": "http"}}
    return container(
        name,
        args=["--data", "/data", "--password-file", "/etc/shop/password", *GATE],
        env=[{"name": "REDIS_PASSWORD_FILE", "value": "/etc/shop/password"}, {"name": "PLACE", "value": "shop"}],
        ports=[{"name": "http", "containerPort": port, "protocol": "TCP"}],
        readinessProbe=probe,
        livenessProbe=deepcopy(probe),
        lifecycle={"preStop": {"httpGet": {"path": "/stop", "port": "http"}}},
        resources=RESOURCES,
        **fields,
    )


def template(name: str, *containers: Plain, volumes: Iterable[Plain] = ()) -> Plain:
    return {
        "metadata": {"labels": labels(name), "annotations": {}},
        "spec": {
            "automountServiceAccountToken": False,
            "serviceAccountName": name,
            "hostNetwork": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [container("wait", resources=RESOURCES)],
            "containers": list(containers),
            "ephemeralContainers": [container("look")],
            "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
        },
    }


def deployment(name: str, *containers: Plain, namespace: str = "shop", volumes: Iterable[Plain] = ()) -> Plain:
    return obj(
        "apps/v1",
        "Deployment",
        name,
        namespace,
        spec={
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels(name)},
            "template": template(name, *containers, volumes=volumes),
        },
    )


def service(name: str, port: int, namespace: str = "shop") -> Plain:
    ports = [{"name": "http", "port": port, "targetPort": "http", "protocol": "TCP"}]
    return obj(
        "core/v1",
        "Service",
        name,
        namespace,
        spec={"type": "ClusterIP", "selector": labels(name), "ports": ports},
    )


def peer(place: Plain, pods: Plain) -> Plain:
    return {"namespaceSelector": {"matchLabels": place}, "podSelector": {"matchLabels": pods}}


def inside(namespace: str, name: str) -> Plain:
    return peer({"kubernetes.io/metadata.name": namespace}, labels(name))


def policy(name: str, namespace: str = "shop", *, ingress: Iterable[Plain], egress: Iterable[Plain]) -> Plain:
    return obj(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        namespace,
        spec={
            "podSelector": {"matchLabels": labels(name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": list(ingress),
            "egress": list(egress),
        },
    )


def opening(direction: str, port: int, *peers: Plain, protocol: str = "TCP") -> Plain:
    return {direction: list(peers), "ports": [{"port": port, "protocol": protocol}]}


def namespace(name: str) -> Plain:
    found = obj("core/v1", "Namespace", name, "")
    found["properties"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "restricted"
    return found


def default_deny(name: str) -> Plain:
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return obj("networking.k8s.io/v1", "NetworkPolicy", f"{name}-default-deny", name, spec=spec)


def account(name: str, namespace: str = "shop") -> Plain:
    return obj("core/v1", "ServiceAccount", name, namespace)


def middleware(name: str, **spec: Any) -> Plain:
    return obj("traefik.io/v1alpha1", "Middleware", name, spec=spec)


def claim(name: str) -> Plain:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {**obj("core/v1", "PersistentVolumeClaim", name, spec=spec), "protect": True}


def route(name: str, rule: Plain, *, points: list[str], tls: Plain | None) -> Plain:
    spec: Plain = {"entryPoints": points, "routes": [{"kind": "Rule", "match": "Host(`web.shop.test`)", **rule}]}
    return obj("traefik.io/v1alpha1", "IngressRoute", name, spec=spec if tls is None else {**spec, "tls": tls})


def custom(type_: str, name: str, protect: bool | None = None, /, **properties: Any) -> Plain:
    return {"type": type_, "name": name, "properties": properties, "protect": protect}


PROXY = peer({"kubernetes.io/metadata.name": "kube-system"}, {"app.kubernetes.io/name": "traefik"})
CACHE_VOLUMES = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]

FORGED = ("Forwarded", "X-Proxied-Https", "Proxy-Ssl-Id", "Proxy-Auth-Cert")
HEADERS = {"contentTypeNosniff": True, "customRequestHeaders": dict.fromkeys(FORGED, ""), "stsSeconds": 31536000}
UPLOADS = {
    **server("tusd", 8080),
    "image": "docker.io/tusproject/tusd:2.9.1",
    "args": [
        "--hooks-http=http://127.0.0.1:8081/hooks",
        "--hooks-enabled-events=pre-create",
        "--max-size=1000",
        "--disable-termination",
        "--disable-concatenation",
        "--disable-download",
        "--disable-cors",
        "--behind-proxy",
        "--expose-metrics=false",
    ],
}
UPLOADS_HOOK = {**server("hook", 8082), "args": ["--listen", "127.0.0.1:8081"]}

CLUSTER: dict[str, Plain] = {
    "namespace": namespace("shop"),
    "emulators": namespace("shop-emulators"),
    "deny": default_deny("shop"),
    "emulators-deny": default_deny("shop-emulators"),
    "web": deployment(
        "web",
        server(
            "web", 8080, volumeMounts=[{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}]
        ),
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    ),
    **{f"{name}-account": account(name) for name in ("web", "cache", "task", "uploads")},
    "cloud-account": account("cloud", "shop-emulators"),
    "web-service": service("web", 8080),
    "web-policy": policy(
        "web",
        ingress=[opening("from", 8080, PROXY)],
        egress=[
            opening("to", 53, peer(*DNS), protocol="UDP"),
            opening("to", 8080, inside("shop", "cache")),
            opening("to", 4566, inside("shop-emulators", "cloud")),
        ],
    ),
    "data": claim("data"),
    "cache": obj(
        "apps/v1",
        "StatefulSet",
        "cache",
        spec={
            "replicas": 3,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "template": template("cache", server("cache", 8080, volumeMounts=[{"name": "data", "mountPath": "/data"}])),
            "volumeClaimTemplates": CACHE_VOLUMES,
        },
    ),
    "cache-service": service("cache", 8080),
    "cache-policy": policy(
        "cache",
        ingress=[opening("from", 8080, inside("shop", "web")), opening("from", 8080, inside("shop", "task"))],
        egress=[],
    ),
    "cache-budget": obj(
        "policy/v1",
        "PodDisruptionBudget",
        "cache",
        spec={"maxUnavailable": 1, "selector": {"matchLabels": labels("cache")}},
    ),
    "cloud": deployment("cloud", server("cloud", 4566), namespace="shop-emulators"),
    "cloud-service": service("cloud", 4566, "shop-emulators"),
    "cloud-policy": policy(
        "cloud", "shop-emulators", ingress=[opening("from", 4566, inside("shop", "web"))], egress=[]
    ),
    "task": obj(
        "batch/v1",
        "CronJob",
        "task",
        spec={"jobTemplate": {"spec": {"template": template("task", container("task", resources=RESOURCES))}}},
    ),
    "task-policy": policy("task", ingress=[], egress=[opening("to", 8080, inside("shop", "cache"))]),
    "files": obj("core/v1", "ConfigMap", "files", data={"shop.json": '{"passwordFile": "/etc/shop/password"}\n'}),
    "route": route(
        "web",
        {
            "match": "Host(`web.shop.test`) && Method(`GET`) && Path(`/shop`)",
            "middlewares": [{"name": "limits"}, {"name": "headers"}],
            "services": [{"name": "web", "port": 8080}],
        },
        points=["websecure"],
        tls={"secretName": "certificate", "options": {"name": "tls", "namespace": "shop"}},
    ),
    "redirect": route(
        "redirect",
        {"middlewares": [{"name": "https"}], "services": [{"kind": "TraefikService", "name": "noop@internal"}]},
        points=["web"],
        tls=None,
    ),
    "https": middleware("https", redirectScheme={"scheme": "https"}),
    "limits": middleware("limits", chain={"middlewares": [{"name": "rate"}, {"name": "in-flight"}]}),
    "rate": middleware("rate", rateLimit={"average": 100, "period": "1s", "burst": 200}),
    "in-flight": middleware("in-flight", inFlightReq={"amount": 64}),
    "headers": middleware("headers", headers=HEADERS),
    "certificate": obj("core/v1", "Secret", "certificate", type="kubernetes.io/tls"),
    "tls": obj("traefik.io/v1alpha1", "TLSOption", "tls", spec=TLS),
    "redis": obj(
        "core/v1", "ConfigMap", "redis", data={"redis.conf": "cluster-enabled yes\nmaxmemory-policy noeviction\n"}
    ),
    "uploads": deployment("uploads", UPLOADS, UPLOADS_HOOK),
    "uploads-policy": policy("uploads", ingress=[], egress=[]),
    "role": obj(
        "rbac.authorization.k8s.io/v1",
        "Role",
        "reader",
        rules=[{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}],
    ),
    "binding": obj(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "reader",
        roleRef={"kind": "Role", "name": "reader"},
        subjects=[{"kind": "ServiceAccount", "name": "task", "namespace": "shop"}],
    ),
    "key": custom("tls:index/privateKey:PrivateKey", "leaf", algorithm="ECDSA", ecdsaCurve="P256"),
    "rsa": custom("tls:index/privateKey:PrivateKey", "rsa", algorithm="RSA", rsaBits=2048),
    "authority": custom(
        "tls:index/selfSignedCert:SelfSignedCert",
        "authority",
        True,
        isCaCertificate=True,
        maxPathLength=0,
        setSubjectKeyId=True,
        validityPeriodHours=87600,
        allowedUses=["cert_signing", "crl_signing"],
    ),
    "request": custom("tls:index/certRequest:CertRequest", "leaf", dnsNames=["*.shop.test"]),
    "leaf": custom(
        "tls:index/locallySignedCert:LocallySignedCert",
        "leaf",
        isCaCertificate=False,
        validityPeriodHours=9528,
        allowedUses=["digital_signature", "server_auth"],
    ),
    "password": custom("random:index/randomPassword:RandomPassword", "password", True, length=43, special=False),
}
CLUSTER["cloud"]["properties"]["spec"]["template"]["spec"]["containers"][0]["image"] = (
    "docker.io/localstack/localstack:4.14.0"
)

BUCKET_URN = "urn:test::aws:s3/bucket:Bucket::config"


def about_bucket(kind: str, **properties: Any) -> Plain:
    token = f"aws:s3/{kind[0].lower()}{kind[1:]}:{kind}"
    return {**custom(token, "config", bucket="shop-config", **properties), "dependencies": {"bucket": [BUCKET_URN]}}


def document(*statements: Plain) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


TLS_ONLY: Plain = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": ["arn:aws:s3:::shop-config", "arn:aws:s3:::shop-config/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}
GRANT: Plain = {
    "Effect": "Allow",
    "Action": ["dynamodb:GetItem", "dynamodb:Query"],
    "Resource": [
        "arn:aws:dynamodb:eu-west-1:123456789012:table/accounts",
        "arn:aws:dynamodb:eu-west-1:123456789012:table/accounts/index/*",
    ],
}
TLS_12: Plain = {**TLS_ONLY, "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}}}
TRUST: Plain = {
    "Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"},
    "Action": ["sts:AssumeRole", "sts:TagSession"],
    "Condition": {
        "StringEquals": {
            "aws:RequestTag/eks-cluster-name": "shop",
            "aws:RequestTag/kubernetes-namespace": "shop",
            "aws:RequestTag/kubernetes-service-account": "web",
            "aws:SourceAccount": "123456789012",
        }
    },
}
TAGS = {"project": "shop", "stack": "prod"}

CLOUD: dict[str, Plain] = {
    "namespace": namespace("shop"),
    "deny": default_deny("shop"),
    "web": deployment("web", server("web", 8080)),
    "web-account": account("web"),
    "web-policy": policy("web", ingress=[], egress=[]),
    "provider": {
        **custom("pulumi:providers:aws", "aws", allowedAccountIds='["123456789012"]'),
        "urn": "urn:provider:aws",
    },
    "role": {
        **custom("aws:iam/role:Role", "web", assumeRolePolicy=document(TRUST), tags=TAGS),
        "urn": "urn:test::aws:iam/role:Role::web",
    },
    "association": {
        **custom(
            "aws:eks/podIdentityAssociation:PodIdentityAssociation", "web", namespace="shop", serviceAccount="web"
        ),
        "dependencies": {"roleArn": ["urn:test::aws:iam/role:Role::web"]},
    },
    "opening": custom(
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        "redis",
        ipProtocol="tcp",
        fromPort=6379,
        toPort=6379,
        cidrIpv4="10.20.0.0/16",
    ),
    "parameters": custom(
        "aws:elasticache/parameterGroup:ParameterGroup",
        "redis",
        name="shop-redis",
        parameters=[
            {"name": "cluster-enabled", "value": "yes"},
            {"name": "maxmemory-policy", "value": "noeviction"},
        ],
    ),
    "member": custom(
        "gcp:bigtable/instanceIamMember:InstanceIamMember",
        "groups",
        role="roles/bigtable.user",
        member="principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/shop/subject/"
        "system:serviceaccount:shop:web",
    ),
    "table": custom(
        "aws:dynamodb/table:Table",
        "accounts",
        True,
        name="accounts",
        billingMode="PAY_PER_REQUEST",
        pointInTimeRecovery={"enabled": True, "recoveryPeriodInDays": 35},
        deletionProtectionEnabled=True,
        serverSideEncryption={"enabled": True, "kmsKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/1"},
        tags=TAGS,
    ),
    "bucket": {
        **custom("aws:s3/bucket:Bucket", "config", True, bucket="shop-config", tags=TAGS),
        "urn": BUCKET_URN,
    },
    "bucket-access": about_bucket(
        "BucketPublicAccessBlock",
        blockPublicAcls=True,
        blockPublicPolicy=True,
        ignorePublicAcls=True,
        restrictPublicBuckets=True,
    ),
    "bucket-policy": about_bucket("BucketPolicy", policy=document(TLS_ONLY, TLS_12)),
    "bucket-encryption": about_bucket(
        "BucketServerSideEncryptionConfiguration",
        rules=[{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}],
    ),
    "bucket-versioning": about_bucket("BucketVersioning", versioningConfiguration={"status": "Enabled"}),
    "bucket-lifecycle": about_bucket(
        "BucketLifecycleConfiguration",
        rules=[{"status": "Enabled", "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}}],
    ),
    "bucket-ownership": about_bucket("BucketOwnershipControls", rule={"objectOwnership": "BucketOwnerEnforced"}),
    "grant": custom("aws:iam/rolePolicy:RolePolicy", "whisper", role="whisper", policy=document(GRANT)),
    "access-key": custom("aws:iam/accessKey:AccessKey", "uploads", user="uploads", createDate="2026-01-01T00:00:00Z"),
    "kms": custom("aws:kms/key:Key", "main", True, enableKeyRotation=True, deletionWindowInDays=30, tags=TAGS),
    "redis": custom(
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "redis",
        True,
        automaticFailoverEnabled=True,
        multiAzEnabled=True,
        replicasPerNodeGroup=1,
        snapshotRetentionLimit=7,
        parameterGroupName="shop-redis",
        transitEncryptionEnabled=True,
        transitEncryptionMode="required",
        atRestEncryptionEnabled=True,
        authToken="Zk93vRr1pXw8sLq2Tn5YbHc7Md4Fg6Jx",
        tags=TAGS,
    ),
    "instance": custom("gcp:bigtable/instance:Instance", "groups", True, deletionProtection=True, forceDestroy=False),
    "groups": custom(
        "gcp:bigtable/table:Table",
        "groups",
        True,
        deletionProtection="PROTECTED",
        automatedBackupPolicy={"retentionPeriod": "168h0m0s", "frequency": "24h0m0s"},
    ),
}

STACKS = {"cluster": CLUSTER, "cloud": CLOUD}

SETTINGS: dict[str, dict[str, Any]] = {
    "pod-image-registry": {"registries": ["docker.io/library", "docker.io/localstack", "docker.io/tusproject"]},
    "rbac-unneeded": {"objects": ["Role/shop/reader", "RoleBinding/shop/reader"]},
    "iam-access-keys": {"users": {"uploads": 90}, "today": "2026-02-01"},
}


def config(*exemptions: Exemption, **rules: dict[str, Any]) -> Config:
    """The settings under which nothing is found."""
    return Config(profile="test", rules={**SETTINGS, **rules}, exemptions=exemptions)


def resource(plain: Plain) -> Resource:
    """Plain data as a resource."""
    urn = f"urn:test:{plain['properties'].get('metadata', {}).get('namespace', '')}:{plain['type']}::{plain['name']}"
    properties: Plain = {"urn": urn, **plain}
    return Resource(**properties)


def resources(stack: dict[str, Plain]) -> list[Resource]:
    """A whole stack as resources."""
    return [resource(plain) for plain in stack.values()]


def check_edit(before: Iterable[Resource], after: Sequence[Resource], config: Config) -> Report:
    """What a check finds in a stack that passed before an edit. Exemptions that match nothing are not reported.

    A rule for single resources says of those that did not change what it said before, so it only gets the others.
    """
    known = {each.urn: each for each in before}
    new = [each for each in after if known.get(each.urn) != each]
    whole = check(after, config, [rule for rule in RULES if isinstance(rule, StackRule)])
    parts = check(new, config, [rule for rule in RULES if isinstance(rule, ResourceRule)])
    findings, undecided = (*whole.findings, *parts.findings), (*whole.undecided, *parts.undecided)
    return replace(whole, findings=findings, undecided=undecided, problems=())


def place(holder: Any, path: Path, value: Any) -> None:
    """Sets the field at a path, or takes it away."""
    *steps, last = path
    for step in steps:
        holder = holder.setdefault(step, {}) if isinstance(holder, dict) else holder[step]
    if value is ABSENT:
        del holder[last]
    elif isinstance(holder, list) and last == len(holder):
        holder.append(value)
    else:
        holder[last] = value


def put(holder: Any, path: Path, value: Any) -> Any:
    """A copy with another value at a path."""
    copy = deepcopy(holder)
    place(copy, path, value)
    return copy


def changed(stack: dict[str, Plain], name: str, path: Path, value: Any) -> dict[str, Plain]:
    """The stack with one field of one resource set."""
    return {**stack, name: put(stack[name], path, value)}


def without(stack: dict[str, Plain], name: str, path: Path) -> dict[str, Plain]:
    """The stack without one field of one resource, which must have it, or without the resource (empty path)."""
    rest = {key: plain for key, plain in stack.items() if key != name or path}
    return changed(rest, name, path, ABSENT) if path else rest
