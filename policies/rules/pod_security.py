"""The 18 checks of the Pod Security Standards' profile `restricted`: twelve of `baseline` and six of its own.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ (Kubernetes 1.34). If two checks of the standard
cover one field, each reports only its own part, so that a mistake has one finding: the `baseline` check reports values
that no profile allows, the `restricted` check reports values that only `restricted` forbids.
"""

from collections.abc import Iterator

from policies.model import Properties, items, mapping, objects, text
from policies.pods import Container, Pod, container_rule, pod_rule
from policies.rule import Settings


def _security_contexts(pod: Pod) -> Iterator[tuple[str, Properties]]:
    """Yields (where, security context) for the pod and for each of its containers."""
    yield "pod", pod.security
    for container in pod.containers():
        yield container.where, container.security


# --- baseline


@pod_rule(
    remedy="Remove securityContext.windowsOptions.hostProcess.",
    frameworks=("PSS baseline: HostProcess", "NSA/CISA: Pod security"),
)
def pod_host_process(pod: Pod, settings: Settings) -> Iterator[str]:
    """No Windows container runs as a process of its node."""
    for where, security in _security_contexts(pod):
        if mapping(security.get("windowsOptions")).get("hostProcess") not in (None, False):
            yield f"{where}: securityContext.windowsOptions.hostProcess is set"


@pod_rule(
    remedy="Remove hostNetwork, hostPID and hostIPC; publish ports by a Service.",
    frameworks=("PSS baseline: Host Namespaces", "CKV_K8S_17", "CKV_K8S_18", "CKV_K8S_19", "NSA/CISA: Pod security"),
)
def pod_host_namespaces(pod: Pod, settings: Settings) -> Iterator[str]:
    """No pod shares the network, process or IPC namespace of its node."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name) not in (None, False):
            yield f"pod: {name} is set"


@container_rule(
    remedy="Set securityContext.privileged to false.",
    frameworks=("PSS baseline: Privileged Containers", "CKV_K8S_16", "NSA/CISA: Pod security"),
)
def pod_privileged(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """No container is privileged."""
    if container.security.get("privileged") not in (None, False):
        yield "securityContext.privileged is set"


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


@container_rule(
    remedy="Remove it from securityContext.capabilities.add.",
    frameworks=("PSS baseline: Capabilities", "CKV_K8S_25", "CKV_K8S_39", "NSA/CISA: Pod security"),
)
def pod_capabilities_added(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """No container adds a capability that runtimes do not grant by default."""
    if any(name not in DEFAULT_CAPABILITIES for name in _added(container)):
        yield "securityContext.capabilities.add has a capability that runtimes do not grant by default"


@pod_rule(
    remedy="Use a persistent volume claim or an emptyDir.",
    frameworks=("PSS baseline: HostPath Volumes", "CKV_K8S_27", "NSA/CISA: Pod security"),
)
def pod_host_path(pod: Pod, settings: Settings) -> Iterator[str]:
    """No volume mounts a path of the node."""
    for volume in pod.volumes():
        if volume.get("hostPath") is not None:
            yield f"volume {text(volume.get('name'))}: mounts a path of the node"


@container_rule(
    remedy="Remove hostPort; publish the port by a Service.",
    frameworks=("PSS baseline: Host Ports", "CKV_K8S_26", "NSA/CISA: Pod security"),
)
def pod_host_ports(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """No container uses a port of its node."""
    for port in objects(container.spec.get("ports")):
        if port.get("hostPort") not in (None, 0):
            yield f"port {text(port.get('name')) or 'without a name'}: hostPort is set"


@container_rule(
    remedy="Remove host from the probe or hook.", frameworks=("PSS baseline: Host Probes / Lifecycle Hooks",)
)
def pod_probe_hosts(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """Probes and lifecycle hooks connect to the pod itself, not to another host."""
    for name, handler in container.handlers():
        for action in ("httpGet", "tcpSocket"):
            if mapping(handler.get(action)).get("host") not in (None, ""):
                yield f"{name}.{action}.host is set"


APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


@pod_rule(
    remedy="Remove the profile, or set its type to RuntimeDefault.",
    frameworks=("PSS baseline: AppArmor", "NSA/CISA: Pod security"),
)
def pod_apparmor(pod: Pod, settings: Settings) -> Iterator[str]:
    """No container disables the AppArmor profile of its runtime."""
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


SELINUX_TYPES = (None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")


@pod_rule(remedy="Remove seLinuxOptions.", frameworks=("PSS baseline: SELinux", "NSA/CISA: Pod security"))
def pod_selinux(pod: Pod, settings: Settings) -> Iterator[str]:
    """Each container has an SELinux type for containers."""
    for where, security in _security_contexts(pod):
        options = mapping(security.get("seLinuxOptions"))
        if options.get("type") not in SELINUX_TYPES:
            yield f"{where}: securityContext.seLinuxOptions.type is not a container type"
        for name in ("user", "role"):
            if options.get(name) not in (None, ""):
                yield f"{where}: securityContext.seLinuxOptions.{name} is set"


@container_rule(remedy="Remove securityContext.procMount.", frameworks=("PSS baseline: /proc Mount Type",))
def pod_proc_mount(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """The runtime masks /proc of each container."""
    if container.security.get("procMount") not in (None, "Default"):
        yield "securityContext.procMount is not Default"


SECCOMP = ("RuntimeDefault", "Localhost")


def _profile(security: Properties) -> str:
    return text(mapping(security.get("seccompProfile")).get("type"))


@pod_rule(
    remedy="Set securityContext.seccompProfile.type to RuntimeDefault.",
    frameworks=("PSS baseline: Seccomp", "NSA/CISA: Pod security"),
)
def pod_seccomp_off(pod: Pod, settings: Settings) -> Iterator[str]:
    """No container disables the seccomp filter."""
    for where, security in _security_contexts(pod):
        if _profile(security) not in ("", *SECCOMP):
            yield f"{where}: securityContext.seccompProfile.type disables the filter"


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


@pod_rule(
    remedy="Remove it from securityContext.sysctls, or set it on the node.",
    frameworks=("PSS baseline: Sysctls", "NSA/CISA: Pod security"),
)
def pod_sysctls(pod: Pod, settings: Settings) -> Iterator[str]:
    """A pod sets no kernel parameter that affects other pods or the node."""
    for sysctl in objects(pod.security.get("sysctls")):
        if text(sysctl.get("name")) not in SAFE_SYSCTLS:
            yield f"sysctl {text(sysctl.get('name')) or 'without a name'}: affects more than the pod"


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


@pod_rule(
    remedy="Use a persistent volume claim, with a StorageClass for other kinds of storage.",
    frameworks=("PSS restricted: Volume Types", "NSA/CISA: Pod security"),
)
def pod_volume_types(pod: Pod, settings: Settings) -> Iterator[str]:
    """Volumes are persistent volume claims, emptyDirs, or files of ConfigMaps and Secrets."""
    for volume in pod.volumes():
        kinds = {key for key in volume if key != "name" and volume.get(key) is not None}
        if not kinds <= VOLUME_TYPES:
            yield f"volume {text(volume.get('name'))}: has a type that is not allowed"


@container_rule(
    remedy="Set securityContext.allowPrivilegeEscalation to false.",
    frameworks=("PSS restricted: Privilege Escalation", "CKV_K8S_20", "NSA/CISA: Pod security"),
)
def pod_privilege_escalation(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """No process gains more privileges than its parent."""
    if container.security.get("allowPrivilegeEscalation") is not False:
        yield "securityContext.allowPrivilegeEscalation is not false"


@container_rule(
    remedy="Set securityContext.runAsNonRoot to true, and runAsUser if the image has no user.",
    frameworks=("PSS restricted: Running as Non-root", "CKV_K8S_23", "NSA/CISA: Non-root containers"),
)
def pod_non_root(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """Each container requires a user other than root; the kubelet does not start it otherwise."""
    non_root = container.security.get("runAsNonRoot")
    if (pod.security.get("runAsNonRoot") if non_root is None else non_root) is not True:
        yield "runAsNonRoot is not true, neither in its securityContext nor in the pod's"


@pod_rule(
    remedy="Set securityContext.runAsUser, runAsGroup and fsGroup to numbers above 10000.",
    frameworks=("PSS restricted: Running as Non-root user", "CKV_K8S_40", "NSA/CISA: Non-root containers"),
)
def pod_root_user(pod: Pod, settings: Settings) -> Iterator[str]:
    """No container is set to user 0 or group 0."""
    for where, security in _security_contexts(pod):
        for name in ("runAsUser", "runAsGroup", "fsGroup"):
            if security.get(name) == 0:
                yield f"{where}: securityContext.{name} is root"
        if 0 in items(security.get("supplementalGroups")):
            yield f"{where}: securityContext.supplementalGroups includes root"


@container_rule(
    remedy="Set securityContext.seccompProfile.type to RuntimeDefault.",
    frameworks=("PSS restricted: Seccomp", "CKV_K8S_31", "NSA/CISA: Pod security"),
)
def pod_seccomp_profile(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """Each container has a seccomp profile."""
    if not _profile(container.security) and not _profile(pod.security):
        yield "has no seccompProfile, neither in its securityContext nor in the pod's"


@container_rule(
    remedy="Set securityContext.capabilities to {drop: [ALL]}.",
    frameworks=("PSS restricted: Capabilities", "CKV_K8S_28", "CKV_K8S_37", "NSA/CISA: Pod security"),
)
def pod_capabilities_dropped(pod: Pod, container: Container, settings: Settings) -> Iterator[str]:
    """Each container drops all capabilities, and adds at most NET_BIND_SERVICE."""
    if "ALL" not in items(mapping(container.security.get("capabilities")).get("drop")):
        yield "securityContext.capabilities.drop does not include ALL"
    if any(name in DEFAULT_CAPABILITIES - {"NET_BIND_SERVICE"} for name in _added(container)):
        yield "securityContext.capabilities.add has more than NET_BIND_SERVICE"
