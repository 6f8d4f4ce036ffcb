"""The 18 checks of the Pod Security Standards' profile `restricted`: twelve of `baseline` and six of its own.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ (Kubernetes 1.34). If two checks of the standard
cover one field, each reports only its own part, so that a mistake has one finding: the `baseline` check reports values
that no profile allows, the `restricted` check reports values that only `restricted` forbids.
"""

from collections.abc import Iterator

from policies.model import Properties, items, mapping, objects, text
from policies.pods import Container, Pod, each_container, each_pod
from policies.rule import ResourceRule, Settings


def _security_contexts(pod: Pod) -> Iterator[tuple[str, Properties]]:
    """Yields (where, security context) for the pod and for each of its containers."""
    yield "pod", pod.security
    for container in pod.containers():
        yield container.where, container.security


# --- baseline


def _host_process(pod: Pod, settings: Settings) -> Iterator[str]:
    for where, security in _security_contexts(pod):
        if mapping(security.get("windowsOptions")).get("hostProcess") not in (None, False):
            yield f"{where}: securityContext.windowsOptions.hostProcess is set"


HOST_PROCESS = ResourceRule(
    name="pod-host-process",
    description="No Windows container runs as a process of its node.",
    frameworks=("PSS baseline: HostProcess", "NSA/CISA: Pod security"),
    remedy="Remove securityContext.windowsOptions.hostProcess.",
    check=each_pod(_host_process),
)


def _host_namespaces(pod: Pod, settings: Settings) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name) not in (None, False):
            yield f"pod: {name} is set"


HOST_NAMESPACES = ResourceRule(
    name="pod-host-namespaces",
    description="No pod shares the network, process or IPC namespace of its node.",
    frameworks=("PSS baseline: Host Namespaces", "CKV_K8S_17", "CKV_K8S_18", "CKV_K8S_19", "NSA/CISA: Pod security"),
    remedy="Remove hostNetwork, hostPID and hostIPC; publish ports by a Service.",
    check=each_pod(_host_namespaces),
)


def _privileged(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    if container.security.get("privileged") not in (None, False):
        yield "securityContext.privileged is set"


PRIVILEGED = ResourceRule(
    name="pod-privileged",
    description="No container is privileged.",
    frameworks=("PSS baseline: Privileged Containers", "CKV_K8S_16", "NSA/CISA: Pod security"),
    remedy="Set securityContext.privileged to false.",
    check=each_container(_privileged),
)

DEFAULT_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
"""The capabilities that `baseline` allows a container to add, which are the defaults of container runtimes."""


def _added(container: Container) -> list[str]:
    return [text(name) for name in items(mapping(container.security.get("capabilities")).get("add"))]


def _capabilities_added(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    if any(name not in DEFAULT_CAPABILITIES for name in _added(container)):
        yield "securityContext.capabilities.add has a capability that runtimes do not grant by default"


CAPABILITIES_ADDED = ResourceRule(
    name="pod-capabilities-added",
    description="No container adds a capability that runtimes do not grant by default.",
    frameworks=("PSS baseline: Capabilities", "CKV_K8S_25", "CKV_K8S_39", "NSA/CISA: Pod security"),
    remedy="Remove it from securityContext.capabilities.add.",
    check=each_container(_capabilities_added),
)


def _host_path(pod: Pod, settings: Settings) -> Iterator[str]:
    for volume in pod.volumes():
        if volume.get("hostPath") is not None:
            yield f"volume {text(volume.get('name'))}: mounts a path of the node"


HOST_PATH = ResourceRule(
    name="pod-host-path",
    description="No volume mounts a path of the node.",
    frameworks=("PSS baseline: HostPath Volumes", "CKV_K8S_27", "NSA/CISA: Pod security"),
    remedy="Use a persistent volume claim or an emptyDir.",
    check=each_pod(_host_path),
)


def _host_ports(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    for port in objects(container.spec.get("ports")):
        if port.get("hostPort") not in (None, 0):
            yield f"port {text(port.get('name')) or 'without a name'}: hostPort is set"


HOST_PORTS = ResourceRule(
    name="pod-host-ports",
    description="No container uses a port of its node.",
    frameworks=("PSS baseline: Host Ports", "CKV_K8S_26", "NSA/CISA: Pod security"),
    remedy="Remove hostPort; publish the port by a Service.",
    check=each_container(_host_ports),
)

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def _handlers(container: Container) -> Iterator[tuple[str, Properties]]:
    for name in PROBES:
        yield name, mapping(container.spec.get(name))
    lifecycle = mapping(container.spec.get("lifecycle"))
    for name in ("postStart", "preStop"):
        yield f"lifecycle.{name}", mapping(lifecycle.get(name))


def _probe_hosts(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    for name, handler in _handlers(container):
        for action in ("httpGet", "tcpSocket"):
            if mapping(handler.get(action)).get("host") not in (None, ""):
                yield f"{name}.{action}.host is set"


PROBE_HOSTS = ResourceRule(
    name="pod-probe-hosts",
    description="Probes and lifecycle hooks connect to the pod itself, not to another host.",
    frameworks=("PSS baseline: Host Probes / Lifecycle Hooks",),
    remedy="Remove host from the probe or hook.",
    check=each_container(_probe_hosts),
)

APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def _app_armor(pod: Pod, settings: Settings) -> Iterator[str]:
    for where, security in _security_contexts(pod):
        if mapping(security.get("appArmorProfile")).get("type") not in (None, "RuntimeDefault", "Localhost"):
            yield f"{where}: securityContext.appArmorProfile.type is neither RuntimeDefault nor Localhost"
    for name, value in mapping(pod.metadata.get("annotations")).items():
        if (
            name.startswith(APPARMOR)
            and value not in ("", "runtime/default")
            and not text(value).startswith("localhost/")
        ):
            yield f"annotation {name}: is neither runtime/default nor localhost/..."


APP_ARMOR = ResourceRule(
    name="pod-apparmor",
    description="No container disables the AppArmor profile of its runtime.",
    frameworks=("PSS baseline: AppArmor", "NSA/CISA: Pod security"),
    remedy="Remove the profile, or set its type to RuntimeDefault.",
    check=each_pod(_app_armor),
)

SELINUX_TYPES = (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")


def _selinux(pod: Pod, settings: Settings) -> Iterator[str]:
    for where, security in _security_contexts(pod):
        options = mapping(security.get("seLinuxOptions"))
        if options.get("type") not in SELINUX_TYPES:
            yield f"{where}: securityContext.seLinuxOptions.type is not a container type"
        for name in ("user", "role"):
            if options.get(name) not in (None, ""):
                yield f"{where}: securityContext.seLinuxOptions.{name} is set"


SELINUX = ResourceRule(
    name="pod-selinux",
    description="Each container has an SELinux type for containers.",
    frameworks=("PSS baseline: SELinux", "NSA/CISA: Pod security"),
    remedy="Remove seLinuxOptions.",
    check=each_pod(_selinux),
)


def _proc_mount(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    if container.security.get("procMount") not in (None, "Default"):
        yield "securityContext.procMount is not Default"


PROC_MOUNT = ResourceRule(
    name="pod-proc-mount",
    description="The runtime masks /proc of each container.",
    frameworks=("PSS baseline: /proc Mount Type",),
    remedy="Remove securityContext.procMount.",
    check=each_container(_proc_mount),
)

SECCOMP = ("RuntimeDefault", "Localhost")


def _profile(security: Properties) -> str:
    return text(mapping(security.get("seccompProfile")).get("type"))


def _seccomp_off(pod: Pod, settings: Settings) -> Iterator[str]:
    for where, security in _security_contexts(pod):
        if _profile(security) not in ("", *SECCOMP):
            yield f"{where}: securityContext.seccompProfile.type disables the filter"


SECCOMP_OFF = ResourceRule(
    name="pod-seccomp-off",
    description="No container disables the seccomp filter.",
    frameworks=("PSS baseline: Seccomp", "NSA/CISA: Pod security"),
    remedy="Set securityContext.seccompProfile.type to RuntimeDefault.",
    check=each_pod(_seccomp_off),
)

SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_syncookies",
    }
)


def _sysctls(pod: Pod, settings: Settings) -> Iterator[str]:
    for sysctl in objects(pod.security.get("sysctls")):
        if text(sysctl.get("name")) not in SAFE_SYSCTLS:
            yield f"sysctl {text(sysctl.get('name')) or 'without a name'}: affects more than the pod"


SYSCTLS = ResourceRule(
    name="pod-sysctls",
    description="A pod sets no kernel parameter that affects other pods or the node.",
    frameworks=("PSS baseline: Sysctls", "NSA/CISA: Pod security"),
    remedy="Remove it from securityContext.sysctls, or set it on the node.",
    check=each_pod(_sysctls),
)

# --- restricted

VOLUME_TYPES = frozenset(
    # The standard also allows `csi`, whose driver a pod calls directly, with attributes that no rule checks.
    {
        "configMap",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "hostPath",  # pod-host-path reports it
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)


def _volume_types(pod: Pod, settings: Settings) -> Iterator[str]:
    for volume in pod.volumes():
        kinds = {key for key in volume if key != "name" and volume.get(key) is not None}
        if not kinds <= VOLUME_TYPES:
            yield f"volume {text(volume.get('name'))}: has a type that is not allowed"


VOLUMES = ResourceRule(
    name="pod-volume-types",
    description="Volumes are persistent volume claims, emptyDirs, or files of ConfigMaps and Secrets.",
    frameworks=("PSS restricted: Volume Types", "NSA/CISA: Pod security"),
    remedy="Use a persistent volume claim, with a StorageClass for other kinds of storage.",
    check=each_pod(_volume_types),
)


def _escalation(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    if container.security.get("allowPrivilegeEscalation") is not False:
        yield "securityContext.allowPrivilegeEscalation is not false"


PRIVILEGE_ESCALATION = ResourceRule(
    name="pod-privilege-escalation",
    description="No process gains more privileges than its parent.",
    frameworks=("PSS restricted: Privilege Escalation", "CKV_K8S_20", "NSA/CISA: Pod security"),
    remedy="Set securityContext.allowPrivilegeEscalation to false.",
    check=each_container(_escalation),
)


def _non_root(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    non_root = container.security.get("runAsNonRoot")
    if (pod.security.get("runAsNonRoot") if non_root is None else non_root) is not True:
        yield "runAsNonRoot is not true, neither in its securityContext nor in the pod's"


NON_ROOT = ResourceRule(
    name="pod-non-root",
    description="Each container requires a user other than root; the kubelet does not start it otherwise.",
    frameworks=("PSS restricted: Running as Non-root", "CKV_K8S_23", "NSA/CISA: Non-root containers"),
    remedy="Set securityContext.runAsNonRoot to true, and runAsUser if the image has no user.",
    check=each_container(_non_root),
)


def _root_user(pod: Pod, settings: Settings) -> Iterator[str]:
    for where, security in _security_contexts(pod):
        for name in ("runAsUser", "runAsGroup", "fsGroup"):
            if security.get(name) == 0:
                yield f"{where}: securityContext.{name} is root"
        if 0 in items(security.get("supplementalGroups")):
            yield f"{where}: securityContext.supplementalGroups includes root"


ROOT_USER = ResourceRule(
    name="pod-root-user",
    description="No container is set to user 0 or group 0.",
    frameworks=("PSS restricted: Running as Non-root user", "CKV_K8S_40", "NSA/CISA: Non-root containers"),
    remedy="Set securityContext.runAsUser, runAsGroup and fsGroup to numbers above 10000.",
    check=each_pod(_root_user),
)


def _seccomp(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    if not _profile(container.security) and not _profile(pod.security):
        yield "has no seccompProfile, neither in its securityContext nor in the pod's"


SECCOMP_PROFILE = ResourceRule(
    name="pod-seccomp-profile",
    description="Each container has a seccomp profile.",
    frameworks=("PSS restricted: Seccomp", "CKV_K8S_31", "NSA/CISA: Pod security"),
    remedy="Set securityContext.seccompProfile.type to RuntimeDefault.",
    check=each_container(_seccomp),
)


def _capabilities_dropped(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    if "ALL" not in items(mapping(container.security.get("capabilities")).get("drop")):
        yield "securityContext.capabilities.drop does not include ALL"
    if any(name in DEFAULT_CAPABILITIES - {"NET_BIND_SERVICE"} for name in _added(container)):
        yield "securityContext.capabilities.add has more than NET_BIND_SERVICE"


CAPABILITIES_DROPPED = ResourceRule(
    name="pod-capabilities-dropped",
    description="Each container drops all capabilities, and adds at most NET_BIND_SERVICE.",
    frameworks=("PSS restricted: Capabilities", "CKV_K8S_28", "CKV_K8S_37", "NSA/CISA: Pod security"),
    remedy="Set securityContext.capabilities to {drop: [ALL]}.",
    check=each_container(_capabilities_dropped),
)

RULES = (
    HOST_PROCESS,
    HOST_NAMESPACES,
    PRIVILEGED,
    CAPABILITIES_ADDED,
    HOST_PATH,
    HOST_PORTS,
    PROBE_HOSTS,
    APP_ARMOR,
    SELINUX,
    PROC_MOUNT,
    SECCOMP_OFF,
    SYSCTLS,
    VOLUMES,
    PRIVILEGE_ESCALATION,
    NON_ROOT,
    ROOT_USER,
    SECCOMP_PROFILE,
    CAPABILITIES_DROPPED,
)
