"""For each rule: an edit of a good stack that it must find, and what happens when the property is left out."""

import base64
from dataclasses import dataclass
from typing import Any, Final, Literal

from tests.unit.policies.good import GRANT, TLS_ONLY, Path, document

ABSENT: Final = object()
"""As a value: the field is taken away."""

RANDOM = base64.b64encode(bytes(range(7, 251, 6))).decode()
HEX = bytes((i * 37 + 11) % 256 for i in range(32)).hex()


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One field of one resource (`resource` is its name in the stack) set to a value; an empty path removes it all."""

    resource: str
    path: Path
    value: Any = ABSENT
    stack: Literal["cluster", "cloud"] = "cluster"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`bad` must be found by exactly this rule, and each of `more`. `absent` as well, unless `safe` says why the
    platform's own default is a good one."""

    bad: Edit
    absent: Edit
    safe: str = ""
    more: tuple[Edit, ...] = ()


P: Path = ("properties",)
SPEC: Path = (*P, "spec")
POD: Path = (*SPEC, "template", "spec")
C: Path = (*POD, "containers", 0)
SECURITY: Path = (*C, "securityContext")
POD_SECURITY: Path = (*POD, "securityContext")


def web(path: Path, value: Any = ABSENT) -> Edit:
    return Edit(resource="web", path=path, value=value)


def each(path: Path, value: Any = ABSENT) -> tuple[Edit, ...]:
    """The same edit for init and ephemeral containers; `path` is one of a container."""
    tail = path[len(C) :]
    return tuple(web((*POD, name, 0, *tail), value) for name in ("initContainers", "ephemeralContainers"))


def on(resource: str, path: Path, value: Any = ABSENT, *, cloud: bool = False) -> Edit:
    return Edit(resource=resource, path=path, value=value, stack="cloud" if cloud else "cluster")


def aws(resource: str, path: Path, value: Any = ABSENT) -> Edit:
    return on(resource, path, value, cloud=True)


def contained(path: Path, value: Any, *, safe: str = "", absent: Path = ()) -> Case:
    """A case about a field of a container, for all three lists of them."""
    gone = absent or path
    if safe:
        return Case(bad=web(path, value), absent=web(gone), safe=safe, more=each(path, value))
    return Case(bad=web(path, value), absent=web(gone), more=(*each(path, value), *each(gone)))


SELINUX: Path = (*POD_SECURITY, "seLinuxOptions")
SAFE = "Kubernetes' default"

CASES: dict[str, Case] = {
    # --- Pod Security Standards
    "pod-host-process": Case(
        bad=web((*POD_SECURITY, "windowsOptions"), {"hostProcess": True}),
        absent=web((*SECURITY, "windowsOptions"), {}),
        safe=f"{SAFE} is false",
        more=(web((*SECURITY, "windowsOptions"), {"hostProcess": True}),),
    ),
    "pod-host-namespaces": Case(
        bad=web((*POD, "hostNetwork"), True),
        absent=web((*POD, "hostNetwork")),
        safe=f"{SAFE} is false",
        more=(web((*POD, "hostPID"), True), web((*POD, "hostIPC"), True)),
    ),
    "pod-privileged": contained((*SECURITY, "privileged"), True, safe=f"{SAFE} is false"),
    "pod-capabilities-added": contained(
        (*SECURITY, "capabilities", "add"),
        ["SYS_ADMIN"],
        safe="none are added",
        absent=(*SECURITY, "procMount"),
    ),
    "pod-host-path": Case(
        bad=web((*POD, "volumes", 0), {"name": "tmp", "hostPath": {"path": "/"}}),
        absent=web((*POD, "volumes", 0, "emptyDir")),
        safe="a volume without a source is scratch space",
    ),
    "pod-host-ports": Case(
        bad=web((*C, "ports", 0, "hostPort"), 8080),
        absent=web((*C, "ports", 0, "protocol")),
        safe="no port of the node is taken",
        more=(web((*POD, "initContainers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}]),),
    ),
    "pod-probe-hosts": Case(
        bad=web((*C, "readinessProbe", "httpGet", "host"), "169.254.169.254"),
        absent=web((*C, "readinessProbe", "httpGet", "path")),
        safe="the pod's own address is asked",
        more=(
            web((*C, "lifecycle", "preStop", "httpGet", "host"), "169.254.169.254"),
            web((*C, "lifecycle", "postStart"), {"tcpSocket": {"host": "10.0.0.1", "port": 1}}),
        ),
    ),
    "pod-apparmor": Case(
        bad=web((*SECURITY, "appArmorProfile"), {"type": "Unconfined"}),
        absent=web((*SECURITY, "appArmorProfile"), {}),
        safe="the runtime's profile is used",
        more=(
            web((*POD_SECURITY, "appArmorProfile"), {"type": "Unconfined"}),
            web(
                (*SPEC, "template", "metadata", "annotations"),
                {"container.apparmor.security.beta.kubernetes.io/web": "unconfined"},
            ),
        ),
    ),
    "pod-selinux": Case(
        bad=web((*SELINUX, "type"), "spc_t"),
        absent=web(SELINUX, {}),
        safe="the runtime's type is used",
        more=(web((*SELINUX, "user"), "system_u"), web((*SELINUX, "role"), "sysadm_r")),
    ),
    "pod-proc-mount": contained((*SECURITY, "procMount"), "Unmasked", safe=f"{SAFE} is Default"),
    "pod-seccomp-off": Case(
        bad=web((*POD_SECURITY, "seccompProfile", "type"), "Unconfined"),
        absent=web((*SECURITY, "seccompProfile"), {}),
        safe="the pod's profile is used; without one pod-seccomp-profile tells",
        more=(web((*SECURITY, "seccompProfile"), {"type": "Unconfined"}),),
    ),
    "pod-sysctls": Case(
        bad=web((*POD_SECURITY, "sysctls"), [{"name": "kernel.msgmax", "value": "65536"}]),
        absent=web((*POD_SECURITY, "sysctls"), []),
        safe="nothing is set",
        more=(web((*POD_SECURITY, "sysctls"), [{"value": "1"}]),),
    ),
    "pod-volume-types": Case(
        bad=web((*POD, "volumes", 0), {"name": "tmp", "nfs": {"server": "nas", "path": "/"}}),
        absent=web((*POD, "volumes", 0, "emptyDir")),
        safe="a volume without a source is scratch space",
    ),
    "pod-privilege-escalation": contained((*SECURITY, "allowPrivilegeEscalation"), True),
    "pod-non-root": Case(
        bad=web((*POD_SECURITY, "runAsNonRoot"), False),
        absent=web((*POD_SECURITY, "runAsNonRoot")),
        more=(web((*SECURITY, "runAsNonRoot"), False), *each((*SECURITY, "runAsNonRoot"), False)),
    ),
    "pod-root-user": Case(
        bad=web((*POD_SECURITY, "runAsUser"), 0),
        absent=web((*POD_SECURITY, "runAsUser")),
        safe="runAsNonRoot keeps an image from running as root",
        more=(web((*SECURITY, "runAsUser"), 0), *each((*SECURITY, "runAsUser"), 0)),
    ),
    "pod-seccomp-profile": Case(
        bad=web((*POD_SECURITY, "seccompProfile"), {}), absent=web((*POD_SECURITY, "seccompProfile"))
    ),
    "pod-capabilities-dropped": contained((*SECURITY, "capabilities", "drop"), ["NET_RAW"]),
    # --- pods
    "pod-read-only-root": contained((*SECURITY, "readOnlyRootFilesystem"), False),
    "pod-image-version": Case(
        bad=web((*C, "image"), "docker.io/library/redis:latest"),
        absent=web((*C, "image"), "docker.io/library/redis"),
        more=(*each((*C, "image"), "docker.io/library/redis:8"), web((*C, "image"), "redis@sha256:0123")),
    ),
    "pod-image-registry": Case(
        bad=web((*C, "image"), "registry.test/redis:8.10.2"),
        absent=web((*C, "image"), "redis:8.10.2"),
        safe="without a registry the runtime takes docker.io/library",
        more=(*each((*C, "image"), "docker.io/library-of-others/redis:8.10.2"),),
    ),
    "pod-resources": Case(
        bad=web((*C, "resources", "requests", "cpu"), "0"),
        absent=web((*C, "resources", "limits", "memory")),
        more=(
            web((*C, "resources")),
            web((*C, "resources", "requests", "memory")),
            web((*POD, "initContainers", 0, "resources")),
        ),
    ),
    "pod-probes": Case(
        bad=web((*C, "livenessProbe"), {}),
        absent=web((*C, "livenessProbe")),
        more=(web((*C, "readinessProbe")), web((*POD, "initContainers", 0, "restartPolicy"), "Always")),
    ),
    "pod-probe-ports": Case(
        bad=web((*C, "livenessProbe", "httpGet", "port"), "https"),
        absent=web((*C, "livenessProbe", "httpGet", "port")),
        more=(
            web((*C, "startupProbe"), {"tcpSocket": {"port": 9999}}),
            web((*C, "startupProbe"), {"grpc": {"port": 9999}}),
        ),
    ),
    "pod-service-account-token": Case(
        bad=web((*POD, "automountServiceAccountToken"), True),
        absent=web((*POD, "automountServiceAccountToken")),
        more=(
            web(
                (*POD, "volumes", 0),
                {"name": "tmp", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ),
        ),
    ),
    "pod-labels": Case(
        bad=web((*P, "metadata", "labels", "app.kubernetes.io/part-of"), ""),
        absent=web((*P, "metadata", "labels", "app.kubernetes.io/part-of")),
        more=(web((*P, "metadata", "labels")),),
    ),
    "pod-secret-environment": Case(
        bad=web((*C, "env", 0), {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
        absent=web((*C, "env")),
        safe="nothing is in the environment",
        more=(web((*C, "envFrom"), [{"secretRef": {"name": "s"}}]),),
    ),
    # --- secrets
    "pod-secret-values": Case(
        bad=web((*C, "env", 0), {"name": "REDIS_PASSWORD", "value": "correct horse"}),
        absent=web((*C, "env", 0, "value")),
        safe="a variable without a value has no secret",
        more=(
            web((*C, "env", 1, "value"), RANDOM),
            web((*C, "env", 1, "value"), HEX),
            web((*C, "env", 1, "value"), "redis://:horse@redis:6379"),
            web((*C, "args"), ["--authentication-key", "correcthorse"]),
            web((*C, "args"), ["--password=horse"]),
            web((*C, "args"), ["-Dstore.password=horse"]),
            web((*C, "command"), ["run", HEX]),
            *each((*C, "env"), [{"name": "apiKey", "value": "horse"}]),
        ),
    ),
    "config-map-secret-values": Case(
        bad=on("files", (*P, "data", "shop.json"), '{"database": {"password": "correct horse"}}'),
        absent=on("files", (*P, "data")),
        safe="a ConfigMap without files has no secret",
        more=(
            on("files", (*P, "data", "shop.yaml"), f"key: {RANDOM}\n"),
            on("files", (*P, "data", "shop.yaml"), f"key: {HEX}\n"),
            on("files", (*P, "data", "shop.conf"), "port 6379\nrequirepass horse\n"),
            on("files", (*P, "data", "shop.mjs"), "const password = 'correcthorse'\n"),
            on("files", (*P, "data", "key.pem"), "-----BEGIN EC PRIVATE KEY-----\n"),
            on("files", (*P, "data", "password"), "horse"),
            on("files", (*P, "binaryData"), {"shop.yaml": base64.b64encode(b"token: horse\n").decode()}),
        ),
    ),
    # --- objects and namespaces
    "object-namespace": Case(
        bad=on("files", (*P, "metadata", "namespace"), "default"), absent=on("files", (*P, "metadata", "namespace"))
    ),
    "object-unique": Case(
        bad=on("data", (), {}),
        absent=on("files", (*P, "metadata", "name")),
        safe="Pulumi makes a name that nothing else has",
    ),
    "object-opaque": Case(
        bad=on("files", ("type",), "kubernetes:helm.cattle.io/v1:HelmChartConfig"),
        absent=on("task", (*SPEC, "jobTemplate", "spec", "template", "spec", "containers")),
        more=(
            on("files", ("type",), "kubernetes:helm.sh/v3:Release"),
            on("files", ("type",), "kubernetes:core/v1:ConfigMapPatch"),
            on("binding", ("type",), "kubernetes:argoproj.io/v1alpha1:Application"),
        ),
    ),
    "namespace-pod-security": Case(
        bad=on("namespace", (*P, "metadata", "labels", "pod-security.kubernetes.io/enforce"), "privileged"),
        absent=on("namespace", (*P, "metadata", "labels", "pod-security.kubernetes.io/enforce")),
        more=(on("namespace", ()),),
    ),
    # --- network
    "network-default-deny": Case(
        bad=on("deny", (*SPEC, "podSelector"), {"matchLabels": {"app.kubernetes.io/part-of": "shop"}}),
        absent=on("deny", ()),
        more=(on("emulators-deny", ()),),
    ),
    "network-pod-policy": Case(
        bad=on("task-policy", (*SPEC, "policyTypes"), ["Ingress"]),
        absent=on("task-policy", ()),
        more=(on("cache-policy", (*SPEC, "policyTypes")),),
    ),
    "network-orphan": Case(
        bad=on(
            "web-policy",
            (*SPEC, "egress", 1, "to", 0, "podSelector", "matchLabels", "app.kubernetes.io/name"),
            "cash",
        ),
        absent=on("cache-policy", (*SPEC, "ingress", 0, "from", 0, "namespaceSelector")),
        safe="a peer without a namespace is in the policy's own",
        more=(on("cache-policy", (*SPEC, "ingress", 0, "from", 0, "podSelector", "matchLabels", "x"), "y"),),
    ),
    "network-wide": Case(
        bad=on("web-policy", (*SPEC, "egress", 1, "to", 0), {"ipBlock": {"cidr": "0.0.0.0/0"}}),
        absent=on("web-policy", (*SPEC, "egress", 1, "ports")),
        more=(
            on("web-policy", (*SPEC, "egress", 1, "to")),
            on("web-policy", (*SPEC, "egress", 1, "to", 0, "podSelector")),
            on("web-policy", (*SPEC, "egress", 1, "to", 0, "namespaceSelector"), {}),
            on("web-policy", (*SPEC, "egress", 1, "to", 0), {"ipBlock": {"cidr": "2000::/3"}}),
            on("web-policy", (*SPEC, "egress", 1, "to", 0), {"ipBlock": {}, "podSelector": {}}),
            on("web-policy", (*SPEC, "egress", 1, "to", 0), {"ipBlock": {"cidr": "everywhere"}}),
        ),
    ),
    # --- services and availability
    "service-selector": Case(
        bad=on("web-service", (*SPEC, "selector", "app.kubernetes.io/name"), "wed"),
        absent=on("web-service", (*SPEC, "selector")),
        more=(on("web-service", (*SPEC, "type"), "ExternalName"),),
    ),
    "service-target-port": Case(
        bad=on("web-service", (*SPEC, "ports", 0, "targetPort"), "https"),
        absent=on("cloud-service", (*SPEC, "ports", 0, "targetPort")),
        safe="the number of the Service's port is meant",
        more=(
            on("web-service", (*SPEC, "ports", 0, "protocol"), "UDP"),
            on("web-service", (*SPEC, "ports", 1), {"name": "other", "port": 9090}),
        ),
    ),
    "service-exposed": Case(
        bad=on("web-service", (*SPEC, "type"), "LoadBalancer"),
        absent=on("web-service", (*SPEC, "type")),
        safe=f"{SAFE} is ClusterIP",
        more=(
            on("web-service", (*SPEC, "type"), "NodePort"),
            on("web-service", (*SPEC, "externalIPs"), ["203.0.113.1"]),
        ),
    ),
    "disruption-budget": Case(
        bad=on("cache-budget", (*SPEC, "selector", "matchLabels", "app.kubernetes.io/name"), "cash"),
        absent=on("cache-budget", ()),
        more=(
            on("cache-budget", (*SPEC, "maxUnavailable"), 0),
            on("cache-budget", (*SPEC, "maxUnavailable")),
            on("cache-budget", (*SPEC, "selector")),
        ),
    ),
    # --- volumes
    "volume-protected": Case(
        bad=on("data", ("protect",), False),
        absent=on("data", ("protect",)),
        more=(
            on("cache", (*SPEC, "persistentVolumeClaimRetentionPolicy", "whenDeleted"), "Delete"),
            on("cache", (*SPEC, "persistentVolumeClaimRetentionPolicy", "whenScaled"), "Delete"),
        ),
    ),
    "volume-mounted": Case(
        bad=on("cache", (*SPEC, "volumeClaimTemplates", 0, "metadata", "name"), "store"),
        absent=on("cache", (*C, "volumeMounts")),
        more=(web((*C, "volumeMounts")), web((*POD, "volumes", 1, "persistentVolumeClaim", "claimName"), "dada")),
    ),
    "volume-one-writer": Case(
        bad=web((*SPEC, "strategy", "type"), "RollingUpdate"),
        absent=web((*SPEC, "strategy")),
    ),
    # --- rights in the cluster
    "rbac-wildcards": Case(
        bad=on("role", (*P, "rules", 0, "verbs"), ["*"]),
        absent=on("role", (*P, "rules")),
        safe="a role without rules allows nothing",
        more=(
            on("role", (*P, "rules", 0, "resources"), ["*"]),
            on("role", (*P, "rules", 0, "apiGroups"), ["*"]),
            on("role", (*P, "aggregationRule"), {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}),
        ),
    ),
    "rbac-broad-bindings": Case(
        bad=on("binding", (*P, "roleRef", "name"), "cluster-admin"),
        absent=on("binding", (*P, "roleRef")),
        more=(
            on("binding", (*P, "subjects", 0), {"kind": "Group", "name": "system:authenticated"}),
            on("binding", (*P, "subjects", 0), {"kind": "Group", "name": "system:serviceaccounts:shop"}),
        ),
    ),
    # --- public edge
    "ingress-tls": Case(
        bad=on("https", (*SPEC, "redirectScheme", "scheme"), "http"),
        absent=on("route", (*SPEC, "tls")),
        more=(
            on("route", (*SPEC, "tls", "secretName")),
            on("route", (*SPEC, "entryPoints")),
            on("route", (*SPEC, "entryPoints"), ["web", "websecure"]),
            on("redirect", (*SPEC, "routes", 0, "middlewares")),
            on("redirect", (*SPEC, "routes", 0, "services"), [{"name": "web", "port": 8080}]),
            on("https", ()),
        ),
    ),
    "ingress-tls-version": Case(
        bad=on("tls", (*SPEC, "minVersion"), "VersionTLS11"),
        absent=on("tls", (*SPEC, "minVersion")),
        more=(on("route", (*SPEC, "tls", "options")), on("tls", ())),
    ),
    "ingress-admin": Case(
        bad=on("route", (*SPEC, "routes", 0, "services", 0), {"kind": "TraefikService", "name": "api@internal"}),
        absent=on("web-service", (*SPEC, "ports", 0, "name")),
        safe="the name of the pods' port is looked at as well",
        more=(on("web-service", (*SPEC, "ports", 0, "name"), "admin"),),
    ),
    # --- emulators
    "emulator-exposed": Case(
        bad=on(
            "route",
            (*SPEC, "routes", 0, "services", 0),
            {"name": "cloud", "namespace": "shop-emulators", "port": 4566},
        ),
        absent=on("route", (*SPEC, "routes", 0, "services", 0, "name")),
        safe="a route without a service leads to nowhere",
        more=(
            on(
                "cloud-policy",
                (*SPEC, "ingress", 0, "from", 0, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name"),
                "kube-system",
            ),
        ),
    ),
    "emulator-in-cloud": Case(
        bad=aws("web", (*C, "image"), "docker.io/localstack/localstack:4.14.0"),
        absent=aws("table", (*P, "name")),
        safe="the type of a resource says that it is the cloud's",
    ),
    # --- DynamoDB
    "dynamodb-backup": Case(
        bad=aws("table", (*P, "pointInTimeRecovery", "enabled"), False),
        absent=aws("table", (*P, "pointInTimeRecovery")),
        more=(aws("table", (*P, "pointInTimeRecovery", "recoveryPeriodInDays"), 1),),
    ),
    "dynamodb-deletion-protection": Case(
        bad=aws("table", (*P, "deletionProtectionEnabled"), False),
        absent=aws("table", (*P, "deletionProtectionEnabled")),
    ),
    "dynamodb-encryption": Case(
        bad=aws("table", (*P, "serverSideEncryption", "enabled"), False),
        absent=aws("table", (*P, "serverSideEncryption")),
    ),
    "dynamodb-capacity": Case(
        bad=aws("table", (*P, "billingMode"), "PROVISIONED"), absent=aws("table", (*P, "billingMode"))
    ),
    # --- S3
    "s3-public-access": Case(
        bad=aws("bucket-access", (*P, "blockPublicPolicy"), False),
        absent=aws("bucket-access", (*P, "ignorePublicAcls")),
        more=(aws("bucket-access", ()),),
    ),
    "s3-tls-only": Case(
        bad=aws("bucket-policy", (*P, "policy"), document({**TLS_ONLY, "Effect": "Allow"})),
        absent=aws("bucket-policy", (*P, "policy")),
        more=(
            aws("bucket-policy", ()),
            aws("bucket-policy", (*P, "policy"), document({**TLS_ONLY, "Resource": "arn:aws:s3:::shop-config/*"})),
            aws("bucket-policy", (*P, "policy"), document({**TLS_ONLY, "Condition": {}})),
        ),
    ),
    "s3-encryption": Case(
        bad=aws("bucket-encryption", (*P, "rules"), []),
        absent=aws("bucket-encryption", ()),
    ),
    "s3-versioning": Case(
        bad=aws("bucket-versioning", (*P, "versioningConfiguration", "status"), "Suspended"),
        absent=aws("bucket-versioning", ()),
    ),
    "s3-lifecycle": Case(
        bad=aws("bucket-lifecycle", (*P, "rules", 0, "status"), "Disabled"),
        absent=aws("bucket-lifecycle", (*P, "rules", 0, "abortIncompleteMultipartUpload")),
        more=(aws("bucket-lifecycle", ()), aws("bucket-lifecycle", (*P, "rules", 0, "filter"), {"prefix": "a/"})),
    ),
    "s3-ownership": Case(
        bad=aws("bucket-ownership", (*P, "rule", "objectOwnership"), "ObjectWriter"),
        absent=aws("bucket-ownership", (*P, "rule")),
        more=(aws("bucket-ownership", ()),),
    ),
    # --- IAM
    "iam-wildcards": Case(
        bad=aws("grant", (*P, "policy"), document({**GRANT, "Action": "dynamodb:*"})),
        absent=aws("grant", (*P, "policy")),
        more=(
            aws("grant", (*P, "policy"), document({**GRANT, "Resource": "*"})),
            aws("grant", (*P, "policy"), document({**GRANT, "Resource": "arn:aws:dynamodb:::table/*"})),
            aws(
                "grant", (*P, "policy"), document({"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:a:b:::c"})
            ),
            aws("grant", (*P, "policy"), document({"Effect": "Allow", "Action": "s3:GetObject"})),
            aws("grant", (*P, "policy"), document({"Effect": "Allow", "Resource": "arn:aws:s3:::a/*"})),
            aws("grant", (*P, "policy"), "no JSON"),
        ),
    ),
    "iam-access-keys": Case(
        bad=aws("access-key", (*P, "user"), "somebody"),
        absent=aws("access-key", (*P, "createDate")),
        safe="a key that is being made has no date yet",
        more=(
            aws("access-key", (*P, "createDate"), "2025-01-01T00:00:00Z"),
            aws("access-key", (*P, "createDate"), "long ago"),
        ),
    ),
    # --- keys, caches and tags of AWS
    "kms-rotation": Case(
        bad=aws("kms", (*P, "enableKeyRotation"), False), absent=aws("kms", (*P, "enableKeyRotation"))
    ),
    "elasticache-transit": Case(
        bad=aws("redis", (*P, "transitEncryptionEnabled"), False),
        absent=aws("redis", (*P, "transitEncryptionEnabled")),
        more=(aws("redis", (*P, "transitEncryptionMode"), "preferred"),),
    ),
    "elasticache-rest": Case(
        bad=aws("redis", (*P, "atRestEncryptionEnabled"), False),
        absent=aws("redis", (*P, "atRestEncryptionEnabled")),
    ),
    "elasticache-authentication": Case(
        bad=aws("redis", (*P, "authToken"), ""),
        absent=aws("redis", (*P, "authToken")),
        more=(aws("redis", ("type",), "aws:elasticache/serverlessCache:ServerlessCache"),),
    ),
    "aws-tags": Case(bad=aws("kms", (*P, "tags"), {"project": "shop"}), absent=aws("kms", (*P, "tags"))),
    # --- Bigtable
    "bigtable-deletion-protection": Case(
        bad=aws("groups", (*P, "deletionProtection"), "UNPROTECTED"),
        absent=aws("groups", (*P, "deletionProtection")),
        more=(
            aws("instance", (*P, "deletionProtection"), False),
            aws("instance", (*P, "deletionProtection")),
            aws("instance", (*P, "forceDestroy"), True),
        ),
    ),
    "bigtable-backup": Case(
        bad=aws("groups", (*P, "automatedBackupPolicy", "retentionPeriod"), "0"),
        absent=aws("groups", (*P, "automatedBackupPolicy")),
    ),
    # --- certificates
    "tls-key": Case(
        bad=on("key", (*P, "ecdsaCurve"), "P224"),
        absent=on("key", (*P, "ecdsaCurve")),
        more=(
            on("rsa", (*P, "rsaBits"), 1024),
            on("key", (*P, "algorithm"), "DSA"),
            on("key", (*P, "algorithm")),
        ),
    ),
    "tls-authority": Case(
        bad=on("authority", (*P, "maxPathLength"), 3),
        absent=on("authority", (*P, "maxPathLength")),
        more=(
            on("authority", (*P, "isCaCertificate")),
            on("authority", (*P, "allowedUses")),
            on("authority", (*P, "allowedUses"), ["cert_signing", "server_auth"]),
            on("authority", (*P, "setSubjectKeyId")),
            on("authority", (*P, "validityPeriodHours")),
            on("authority", (*P, "validityPeriodHours"), 24 * 365 * 30),
        ),
    ),
    "tls-leaf": Case(
        bad=on("leaf", (*P, "validityPeriodHours"), 87600),
        absent=on("leaf", (*P, "validityPeriodHours")),
        more=(on("leaf", (*P, "allowedUses")), on("leaf", (*P, "allowedUses"), ["any_extended", "server_auth"])),
    ),
    "tls-names": Case(
        bad=on("request", (*P, "dnsNames"), ["*.other.test"]),
        absent=on("request", (*P, "dnsNames")),
        more=(
            on("route", (*SPEC, "routes", 0, "match"), "Host(`web.shop.test`, `a.b.shop.test`)"),
            on("route", (*SPEC, "routes", 0, "match"), "PathPrefix(`/`)"),
        ),
    ),
    # --- random secrets
    "random-entropy": Case(
        bad=on("password", (*P, "length"), 42),
        absent=on("password", (*P, "length")),
        more=(on("password", (*P, "upper"), False),),
    ),
    "random-protected": Case(
        bad=on("password", ("protect",), False),
        absent=on("password", ("protect",)),
        more=(on("authority", ("protect",), False),),
    ),
}
