"""CDN3: attachments, uploaded over tus to tusd behind a hook that verifies credentials, and swept when old.

Downloads are served by a program of our own, because tusd serves one reader of an upload at a time.
"""

from dataclasses import dataclass

import pulumi

from components.base import Component
from components.capabilities import Route, Uploads, UploadsInBucket
from components.kubernetes.mounted_files import MountedFiles, MountedFilesArgs, program_files
from components.kubernetes.namespace import WorkloadNamespace
from components.kubernetes.pod import Container, PodArgs, Port, ProbeAction, Probes, Resources, Scale
from components.kubernetes.workload import Workload, WorkloadArgs
from components.programs import CDN3_DOWNLOAD, CDN3_EXPIRY, CDN3_HOOK, CDN3_RESUME, Program
from components.secrets import Secrets
from components.services.cdn3_store import store_of

PORT, HOOK_PORT, HOOK_HEALTH_PORT, EXPIRY_HEALTH_PORT = 8080, 8081, 8082, 8083
DOWNLOAD_PORT, DOWNLOAD_HEALTH_PORT = 8084, 8085
TUSD_PORT, RESUME_HEALTH_PORT = 8079, 8086
BASE_PATH = "/attachments/"
KEY_FILE = "/etc/flatline/attachments.key"
WITHOUT_LOCKS = """\
for each in {0}/*.lock {0}/*.stop; do
  [ ! -f "$each" ] || rm "$each"
done
"""
"""Deletes the lock files of the tusd before. Such a file holds the number of the process that has the lock. In a
container that is always 1, so a tusd that was killed leaves locks that the next one takes for its own, and answers 500
for these uploads for 10 to 20 minutes. No other tusd uses the folder, and the names of uploads have no dot."""

SWEEP_SECONDS = 600
LOCK_SECONDS = 600
"""tusd ends a request that moves no byte after two minutes at most; a lock of this age is a crash's."""

STOP_SECONDS, DRAIN_SECONDS = 2, 5
"""A pod that ends keeps the next one waiting, and with it all clients, so it does not stay for what can be resumed:
an upload goes on where tusd stopped, a download with a range."""

KEY = "[A-Za-z0-9_-]{20}"
DOWNLOADS = f"Method(`GET`) && PathRegexp(`^{BASE_PATH}{KEY}$`)"
UPLOADS = (
    f"(Path(`{BASE_PATH.rstrip('/')}`) || PathPrefix(`{BASE_PATH}`)) "
    "&& !Method(`GET`) && !HeaderRegexp(`Upload-Concat`, `.*`)"
)
"""tusd offers no concatenation; such requests end at the edge, too."""

LOG_PIPE = "/run/flatline/log"
WITHOUT_REQUESTS = """\
[ -p "$0" ] || mkfifo "$0"
while IFS= read -r line; do
  case "$line" in
    *" level=INFO "* | *" level=DEBUG "*) ;;
    *) printf '%s\\n' "$line" | sed -E 's,([=/])[A-Za-z0-9_-]{20},\\1<key>,g' ;;
  esac
done < "$0" &
exec tusd "$@" > "$0"
"""
"""Starts tusd without its log of requests, whose lowest level has the whole key of every upload: all that a download
needs. Its warnings and errors are passed on without the key."""


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
        key = MountedFiles(
            f"{name}-key",
            MountedFilesArgs(
                namespace=args.namespace.metadata_name,
                files={KEY_FILE: args.secrets.of("cdn3")["attachments.key"]},
                secret=True,
            ),
            self.child_opts,
        )
        hook = self._hook(self._files("hook", CDN3_HOOK), key)
        download = self._download(self._files("download", CDN3_DOWNLOAD))
        if self._in_bucket:
            resume = self._resume(self._files("resume", CDN3_RESUME))
            uploads = self._workload(
                name, (self._tusd(Port(name="tusd", number=TUSD_PORT, published=False)), resume, hook)
            )
            downloads = self._downloads(f"{name}-download", download)
        else:
            expiry = self._expiry(self._files("expiry", CDN3_EXPIRY))
            uploads = self._workload(name, (self._tusd(Port(name="http", number=PORT)), hook, expiry, download))
            downloads = uploads
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

    def _workload(self, name: str, containers: tuple[Container, ...]) -> Workload:
        return Workload(
            name,
            WorkloadArgs(
                kind="recreate",
                pod=PodArgs(
                    namespace=self._args.namespace,
                    name=name,
                    component="cdn3",
                    access=(self._store.access,),
                    volumes=self._store.volumes,
                    termination_grace_seconds=60,
                    containers=containers,
                ),
            ),
            self.child_opts,
        )

    def _downloads(self, name: str, container: Container) -> Workload:
        return Workload(
            name,
            WorkloadArgs(
                pod=PodArgs(
                    namespace=self._args.namespace,
                    name=name,
                    component="cdn3",
                    access=(self._store.reading,),
                    scale=self._args.scale,
                    termination_grace_seconds=60,
                    containers=(container,),
                ),
            ),
            self.child_opts,
        )

    def _files(self, role: str, program: Program) -> MountedFiles:
        return program_files(f"{self._name}-{role}", self._args.namespace.metadata_name, program, opts=self.child_opts)

    def _tusd(self, port: Port) -> Container:
        listening = ProbeAction(port=port.name)
        locks = self._store.locks
        return Container(
            name="tusd",
            image="tusd",
            command=("sh", "-c", (WITHOUT_LOCKS.format(locks) if locks else "") + WITHOUT_REQUESTS, LOG_PIPE),
            args=(
                "--host=",
                f"--port={port.number}",
                f"--base-path={BASE_PATH}",
                *self._store.tusd,
                f"--max-size={self._args.max_size}",
                "--behind-proxy",
                "--disable-termination",
                "--disable-concatenation",
                # it locks an upload against a second reader and ends downloads after two minutes
                "--disable-download",
                "--verbose=false",
                "--expose-metrics=false",
                "--show-greeting=false",
                "--disable-cors",
                f"--hooks-http=http://127.0.0.1:{HOOK_PORT}/hooks",
                "--hooks-enabled-events=pre-create",
                "--shutdown-timeout=30s",
            ),
            ports=(port,),
            volume_mounts=self._store.mounts,
            empty_dirs={**self._store.empty_dirs, LOG_PIPE.rpartition("/")[0]: "1Mi"},
            probes=Probes(startup=listening, readiness=listening, liveness=listening),
            resources=Resources(cpu="50m", memory="48Mi", memory_limit="256Mi"),
            pre_stop_sleep_seconds=STOP_SECONDS,
        )

    def _hook(self, program: MountedFiles, key: MountedFiles) -> Container:
        alive, ready = _health("hook-health")
        return Container(
            name="hook",
            image="node",
            command=("node", CDN3_HOOK.path),
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
            ports=(Port(name="hook-health", number=HOOK_HEALTH_PORT, published=False),),
            files=(program, key),
            volume_mounts=self._store.read_only,
            probes=Probes(startup=alive, readiness=ready, liveness=alive),
            resources=Resources(cpu="20m", memory="48Mi", memory_limit="192Mi"),
            # tusd answers its last requests first
            pre_stop_sleep_seconds=2 * STOP_SECONDS,
        )

    def _resume(self, program: MountedFiles) -> Container:
        alive, ready = _health("resume-health")
        return Container(
            name="resume",
            image="node",
            command=("node", CDN3_RESUME.path),
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
            ports=(
                Port(name="http", number=PORT),
                Port(name="resume-health", number=RESUME_HEALTH_PORT, published=False),
            ),
            files=(program,),
            probes=Probes(startup=alive, readiness=ready, liveness=alive),
            resources=Resources(cpu="20m", memory="48Mi", memory_limit="256Mi"),
            pre_stop_sleep_seconds=STOP_SECONDS,
        )

    def _expiry(self, program: MountedFiles) -> Container:
        alive, ready = _health("expiry-health")
        return Container(
            name="expiry",
            image="node",
            command=("node", CDN3_EXPIRY.path),
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
            ports=(Port(name="expiry-health", number=EXPIRY_HEALTH_PORT, published=False),),
            files=(program,),
            volume_mounts=self._store.mounts,
            probes=Probes(startup=alive, readiness=ready, liveness=alive),
            resources=Resources(cpu="10m", memory="48Mi", memory_limit="192Mi"),
        )

    def _download(self, program: MountedFiles) -> Container:
        alive, ready = _health("dl-health")
        return Container(
            name="download",
            image="node",
            command=("node", CDN3_DOWNLOAD.path),
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
            ports=(
                Port(name="download", number=DOWNLOAD_PORT),
                Port(name="dl-health", number=DOWNLOAD_HEALTH_PORT, published=False),
            ),
            files=(program,),
            volume_mounts=self._store.read_only,
            probes=Probes(startup=alive, readiness=ready, liveness=alive),
            resources=Resources(cpu="20m", memory="48Mi", memory_limit="256Mi", busy=("50m", "96Mi")),
            pre_stop_sleep_seconds=5 if self._in_bucket else STOP_SECONDS,
        )


def _health(port: str) -> tuple[ProbeAction, ProbeAction]:
    """Probes for liveness and readiness of one of our own programs (programs/lib/server.mjs)."""
    return ProbeAction(port=port, path="/livez"), ProbeAction(port=port, path="/readyz")
