"""CDN3: attachments, uploaded over tus to tusd behind a hook that verifies credentials, and swept when old.

Downloads are served by a program of our own, because tusd serves one reader of an upload at a time.
"""

from dataclasses import dataclass

import pulumi

from components.base import Component
from components.capabilities import Access, Route, Uploads, UploadsInBucket, VolumeMount
from components.kubernetes.mounted_files import MountedFiles, program_files, secret_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources, Scale
from components.kubernetes.workload import Workload, WorkloadArgs, WorkloadKind
from components.programs import CDN3_DOWNLOAD, CDN3_EXPIRY, CDN3_HOOK, CDN3_RESUME, Program
from components.secrets import Secrets
from components.services.cdn3_store import store_of
from components.services.tusd import BASE_PATH, HOOK_PORT, STOP_SECONDS, tusd

PORT, HOOK_HEALTH_PORT, EXPIRY_HEALTH_PORT = 8080, 8082, 8083
DOWNLOAD_PORT, DOWNLOAD_HEALTH_PORT = 8084, 8085
TUSD_PORT, RESUME_HEALTH_PORT = 8079, 8086
KEY_FILE = "/etc/flatline/attachments.key"
SWEEP_SECONDS = 600
LOCK_SECONDS = 600
"""tusd ends a request that moves no byte after two minutes at most; a lock of this age is a crash's."""

DRAIN_SECONDS = 5
"""Time that downloads get when their pod ends; see `STOP_SECONDS` of tusd."""

KEY = "[A-Za-z0-9_-]{20}"
DOWNLOADS = f"Method(`GET`) && PathRegexp(`^{BASE_PATH}{KEY}$`)"
UPLOADS = (
    f"(Path(`{BASE_PATH.rstrip('/')}`) || PathPrefix(`{BASE_PATH}`)) "
    "&& !Method(`GET`) && !HeaderRegexp(`Upload-Concat`, `.*`)"
)
"""tusd offers no concatenation; such requests end at the edge, too."""


@dataclass(frozen=True, kw_only=True)
class Cdn3Args:
    """Sizes in bytes, ages in seconds; `uploads` is where they are kept."""

    namespace: WorkloadNamespace
    secrets: Secrets
    uploads: Uploads
    scale: Scale
    max_size: int
    credential_max_age: int
    completed_max_age: int
    incomplete_max_age: int


class Cdn3(Component):
    """tusd, its hook and what belongs to them in one pod, because tusd's locks are in its memory.

    Downloads are in the same pod where uploads are on its volume; else they have pods of their own, which `scale` is
    about.
    """

    TYPE = "flatline:services:Cdn3"

    def __init__(self, name: str, args: Cdn3Args, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args, self._store = name, args, store_of(args.uploads)
        self._in_bucket = isinstance(args.uploads, UploadsInBucket)
        key = secret_files(
            f"{name}-key",
            args.namespace.metadata_name,
            {KEY_FILE: args.secrets.of("cdn3")["attachments.key"]},
            self.child_opts,
        )
        hook = self._hook(key)
        download = self._download()
        if self._in_bucket:
            port, others = Port(name="tusd", number=TUSD_PORT, published=False), (self._resume(), hook)
        else:
            port, others = Port(name="http", number=PORT), (hook, self._expiry(), download)
        upload = tusd(self._store, port, max_size=args.max_size)
        downloads = uploads = self._workload(name, (upload, *others), "recreate", self._store.access, Scale())
        if self._in_bucket:
            reading = self._store.reading
            downloads = self._workload(f"{name}-download", (download,), "rolling", reading, args.scale)
        self.network_peers = tuple(dict.fromkeys((uploads.network_peer, downloads.network_peer)))
        self.routes = (
            Route(name=f"{name}-upload", host="cdn3", endpoint=uploads.endpoint("http"), match=UPLOADS, one_pod=True),
            Route(
                name=f"{name}-download",
                host="cdn3",
                endpoint=downloads.endpoint("download"),
                match=DOWNLOADS,
                one_pod=not self._in_bucket,
            ),
        )
        self.register_outputs(
            {"uploads": self.routes[0].endpoint.address, "downloads": self.routes[1].endpoint.address}
        )

    def _workload(
        self, name: str, containers: tuple[Container, ...], kind: WorkloadKind, access: Access, scale: Scale
    ) -> Workload:
        return Workload(
            name,
            WorkloadArgs(
                kind=kind,
                namespace=self._args.namespace,
                name=name,
                component="cdn3",
                access=(access,),
                scale=scale,
                volumes=self._store.volumes,
                termination_grace_seconds=60,
                containers=containers,
            ),
            self.child_opts,
        )

    def _program(
        self,
        name: str,
        program: Program,
        health: Port,
        *,
        args: tuple[pulumi.Input[str], ...],
        resources: Resources,
        ports: tuple[Port, ...] = (),
        files: tuple[MountedFiles, ...] = (),
        volume_mounts: tuple[VolumeMount, ...] = (),
        pre_stop_sleep_seconds: int = 0,
    ) -> Container:
        """The container of one of our own programs, with the health server of programs/lib/server.mjs."""
        alive, ready = ProbeAction(port=health.name, path="/livez"), ProbeAction(port=health.name, path="/readyz")
        program_file = program_files(
            f"{self._name}-{name}", self._args.namespace.metadata_name, program, opts=self.child_opts
        )
        return Container(
            name=name,
            image="node",
            command=("node", program.path),
            args=args,
            ports=(*ports, health),
            files=(program_file, *files),
            volume_mounts=volume_mounts,
            probes=Probes(startup=alive, readiness=ready, liveness=alive),
            resources=resources,
            pre_stop_sleep_seconds=pre_stop_sleep_seconds,
        )

    def _hook(self, key: MountedFiles) -> Container:
        return self._program(
            "hook",
            CDN3_HOOK,
            Port(name="hook-health", number=HOOK_HEALTH_PORT, published=False),
            args=(
                "--listen",
                f"127.0.0.1:{HOOK_PORT}",
                "--health-listen",
                f":{HOOK_HEALTH_PORT}",
                *self._store.programs,
                "--secret-file",
                KEY_FILE,
                "--max-size",
                str(self._args.max_size),
                "--max-age",
                str(self._args.credential_max_age),
                *self._store.hook,
            ),
            files=(key,),
            volume_mounts=self._store.read_only,
            resources=Resources(cpu="20m", memory="48Mi", memory_limit="192Mi"),
            # tusd answers its last requests first
            pre_stop_sleep_seconds=2 * STOP_SECONDS,
        )

    def _resume(self) -> Container:
        return self._program(
            "resume",
            CDN3_RESUME,
            Port(name="resume-health", number=RESUME_HEALTH_PORT, published=False),
            args=(
                "--listen",
                f":{PORT}",
                "--health-listen",
                f":{RESUME_HEALTH_PORT}",
                "--tusd",
                f"127.0.0.1:{TUSD_PORT}",
                "--base-path",
                BASE_PATH,
                *self._store.programs,
            ),
            ports=(Port(name="http", number=PORT),),
            resources=Resources(cpu="20m", memory="48Mi", memory_limit="256Mi"),
            pre_stop_sleep_seconds=STOP_SECONDS,
        )

    def _expiry(self) -> Container:
        return self._program(
            "expiry",
            CDN3_EXPIRY,
            Port(name="expiry-health", number=EXPIRY_HEALTH_PORT, published=False),
            args=(
                *self._store.programs,
                "--interval",
                str(SWEEP_SECONDS),
                "--completed-max-age",
                str(self._args.completed_max_age),
                "--incomplete-max-age",
                str(self._args.incomplete_max_age),
                "--lock-max-age",
                str(LOCK_SECONDS),
                "--health-listen",
                f":{EXPIRY_HEALTH_PORT}",
            ),
            volume_mounts=self._store.mounts,
            resources=Resources(cpu="10m", memory="48Mi", memory_limit="192Mi"),
        )

    def _download(self) -> Container:
        return self._program(
            "download",
            CDN3_DOWNLOAD,
            Port(name="dl-health", number=DOWNLOAD_HEALTH_PORT, published=False),
            args=(
                "--listen",
                f":{DOWNLOAD_PORT}",
                "--health-listen",
                f":{DOWNLOAD_HEALTH_PORT}",
                *self._store.programs,
                "--base-path",
                BASE_PATH,
                *(() if self._in_bucket else ("--drain-seconds", str(DRAIN_SECONDS))),
            ),
            ports=(Port(name="download", number=DOWNLOAD_PORT),),
            volume_mounts=self._store.read_only,
            resources=Resources(cpu="20m", memory="48Mi", memory_limit="256Mi", busy=("50m", "96Mi")),
            pre_stop_sleep_seconds=5 if self._in_bucket else STOP_SECONDS,
        )
