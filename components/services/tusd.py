"""tusd: the server of uploads by the tus protocol."""

from components.kubernetes.pod import Container, Port, ProbeAction, Probes, Resources
from components.services.cdn3_store import Store

HOOK_PORT = 8081
"""The port of CDN3's hook, in the same pod."""
BASE_PATH = "/attachments/"
STOP_SECONDS = 2
"""A pod that ends keeps the next one waiting, and with it all clients, so it does not stay for what can be resumed:
an upload goes on where tusd stopped, a download with a range."""

WITHOUT_LOCKS = """\
for each in {0}/*.lock {0}/*.stop; do
  [ ! -f "$each" ] || rm "$each"
done
"""
"""Deletes the lock files of the tusd before. Such a file holds the number of the process that has the lock. In a
container that is always 1, so a tusd that was killed leaves locks that the next one takes for its own, and answers 500
for these uploads for 10 to 20 minutes. No other tusd uses the folder, and the names of uploads have no dot."""

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


def tusd(store: Store, port: Port, *, max_size: int) -> Container:
    """The container of tusd, which the hook and the programs beside it serve. `max_size` in bytes."""
    listening = ProbeAction(port=port.name)
    return Container(
        name="tusd",
        image="tusd",
        command=("sh", "-c", (WITHOUT_LOCKS.format(store.locks) if store.locks else "") + WITHOUT_REQUESTS, LOG_PIPE),
        args=(
            "--host=",
            f"--port={port.number}",
            f"--base-path={BASE_PATH}",
            *store.tusd,
            f"--max-size={max_size}",
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
        volume_mounts=store.mounts,
        empty_dirs={**store.empty_dirs, LOG_PIPE.rpartition("/")[0]: "1Mi"},
        probes=Probes.all(listening),
        resources=Resources(cpu="50m", memory="48Mi", memory_limit="256Mi"),
        pre_stop_sleep_seconds=STOP_SECONDS,
    )
