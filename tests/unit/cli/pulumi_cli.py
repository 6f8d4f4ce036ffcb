"""A stand-in for the Pulumi CLI: keeps a stack as the engine's file backend does, and records what it was told."""

from pathlib import Path

from tests.unit.cli.checkout import Checkout

VERSION = "3.272.0"

BODY = """
import time
from pathlib import Path

words = [word for word in sys.argv[1:] if word != "--non-interactive"]
name = words[words.index("--stack") + 1] if "--stack" in words else None
environ = os.environ
record(
    arguments=words,
    kubeconfig=Path(environ["KUBECONFIG"]).read_text() if Path(environ.get("KUBECONFIG", "")).is_file() else None,
    backend=environ.get("PULUMI_BACKEND_URL"),
    passphrase=environ.get("PULUMI_CONFIG_PASSPHRASE"),
    passphrase_file=environ.get("PULUMI_CONFIG_PASSPHRASE_FILE"),
    output_as_text=environ.get("PULUMI_ERROR_OUTPUT_STRING"),
)
backend = environ.get("PULUMI_BACKEND_URL", "file://" + environ["HOME"])
stacks = Path(backend.removeprefix("file://"), ".pulumi", "stacks", "flatline")
RESOURCES = [
    {"type": "kubernetes:core/v1:Namespace", "id": "flatline", "protect": True},
    {"type": "kubernetes:core/v1:PersistentVolumeClaim", "id": "flatline/attachments", "protect": True},
    {"type": "random:index/randomPassword:RandomPassword", "id": "none", "protect": True},
    {"type": "kubernetes:apps/v1:Deployment", "id": "flatline/whisper"},
]
OUTPUTS = {"urls": {"whisper": "https://whisper.flatline.internal"}, "lostOnRestart": ["pictures"], "hidden": "s3cret"}


def save(name, resources):
    stacks.mkdir(parents=True, exist_ok=True)
    (stacks / f"{name}.json").write_text(json.dumps({"checkpoint": {"latest": {"resources": resources}}}))


def there(name):
    path = stacks / f"{name}.json"
    return json.loads(path.read_text())["checkpoint"]["latest"]["resources"] if path.exists() else None


if words == ["version"]:
    print("v" + VERSION)
elif words[:2] == ["stack", "select"]:
    if there(name) is None:
        sys.exit(f"error: no stack named '{name}' found")
elif words[:2] == ["stack", "init"]:
    save(words[2], [])
elif words[:2] == ["stack", "ls"]:
    names = [path.stem for path in stacks.glob("*.json")]
    print(json.dumps([{"name": each, "current": False, "resourceCount": len(there(each))} for each in names]))
elif words[:2] == ["stack", "output"]:
    shown = OUTPUTS if "--show-secrets" in words else {**OUTPUTS, "hidden": "[secret]"}
    print(json.dumps(shown))
elif words[:2] == ["stack", "history"]:
    moment = "2026-01-01T00:00:00.000Z"
    print(json.dumps([{"kind": "update", "startTime": moment, "endTime": moment, "message": "", "environment": {},
                       "config": {}, "result": "succeeded", "version": 1, "resourceChanges": {"create": 3}}]))
elif words[:2] == ["stack", "export"]:
    print(json.dumps({"version": 3, "deployment": {"resources": there(name)}}))
elif words[:2] == ["stack", "rm"]:
    (stacks / f"{words[-1]}.json").unlink()
elif words[:2] == ["state", "unprotect"]:
    save(name, [{**each, "protect": False} for each in there(name)])
elif words[0] == "preview":
    import grpc
    from pulumi.runtime.proto import events_pb2, events_pb2_grpc

    summary = {"summaryEvent": {"maybeCorrupt": False, "durationSeconds": 1, "resourceChanges": {"create": 4},
                                "PolicyPacks": {}}, "sequence": 1, "timestamp": 0}
    with grpc.insecure_channel(words[words.index("--event-log") + 1].removeprefix("tcp://")) as channel:
        events_pb2_grpc.EventsStub(channel).StreamEvents(iter([events_pb2.EventRequest(event=json.dumps(summary))]))
    print("+ 4 to create")
elif words[0] == "up":
    while "FAKE_PULUMI_WAITS_FOR" in environ and not Path(environ["FAKE_PULUMI_WAITS_FOR"]).exists():
        time.sleep(0.1)
    if environ.get("FAKE_PULUMI_FAILS"):
        print("Diagnostics: the cluster said no")
        sys.exit(255)
    save(name, RESOURCES)
    print("+ 4 created")
elif words[0] == "destroy":
    save(name, [each for each in there(name) if each.get("protect")] if "--exclude-protected" in words else [])
    print("- destroyed")
else:
    sys.exit(f"unexpected call: {words}")
"""


def put(checkout: Checkout, version: str = VERSION) -> Path:
    """Puts it on the PATH; the file of its calls."""
    return checkout.program("pulumi", f"VERSION = {version!r}\n" + BODY)
