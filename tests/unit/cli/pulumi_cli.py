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


def an_object(kind, name, api="v1", namespace="flatline", protect=False, **content):
    # a resource of the state, as the Kubernetes provider keeps it, with what the API server answered
    where = {"namespace": namespace} if kind != "Namespace" else {}
    metadata = {"name": name, "labels": {"app.kubernetes.io/part-of": "flatline"}, **where}
    applied = {"apiVersion": api, "kind": kind, "metadata": metadata, **content}
    token = f"kubernetes:{api if '/' in api else 'core/' + api}:{kind}"
    answered = {**applied, "metadata": {**metadata, "uid": f"first {name}"}, "__fieldManager": f"pulumi-{name}"}
    return {"urn": f"urn:pulumi:dev::flatline::{token}::{name}", "custom": True, "type": token, "protect": protect,
            "id": "/".join([*where.values(), name]), "inputs": applied, "outputs": answered}


SIGNATURE = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
NAMES = [environ.get("FAKE_NAMESPACE", "flatline"), environ.get("FAKE_NAMESPACE", "flatline") + "-emulators"]
RESOURCES = [
    *(an_object("Namespace", each, protect=True) for each in NAMES),
    an_object("PersistentVolumeClaim", "attachments", protect=True,
              spec={"resources": {"requests": {"storage": "20Gi"}}}),
    {"urn": "urn:pulumi:dev::flatline::random:index/randomPassword:RandomPassword::turn-1", "custom": True,
     "type": "random:index/randomPassword:RandomPassword", "id": "none", "protect": True,
     "inputs": {"length": 40, "special": False},
     "outputs": {"result": SIGNATURE | {"plaintext": json.dumps("a" * 40)}}},
    an_object("Deployment", "whisper", "apps/v1", spec={"replicas": 1, "template": {"spec": {"containers": [
        {"name": "whisper", "image": "whisper:1"}]}}}),
    an_object("Secret", "keys-1a2b3c4d", data={"key": SIGNATURE | {"plaintext": json.dumps("c2VjcmV0")}}),
    an_object("ConfigMap", "config-5e6f7a8b", data={"domain": "flatline.internal"}),
]
# as of an earlier release
OUTPUTS = {"urls": {"whisper": "https://whisper.flatline.internal"}, "lostOnRestart": ["pictures"], "hidden": "s3cret"}
OUTPUTS |= json.loads(environ.get("FAKE_OUTPUTS", "{}"))


NOTHING = '''Updating (dev):

@ Updating....
    pulumi:pulumi:Stack flatline-dev running
    pulumi:pulumi:Stack flatline-dev
Resources:
    8 unchanged

Duration: 1s
'''


def save(name, resources, pending=()):
    stacks.mkdir(parents=True, exist_ok=True)
    latest = {"resources": resources, "pending_operations": list(pending)}
    (stacks / f"{name}.json").write_text(json.dumps({"checkpoint": {"latest": latest}}))


def locks(name):
    return Path(backend.removeprefix("file://"), ".pulumi", "locks", "organization", "flatline", name)


def there(name):
    path = stacks / f"{name}.json"
    return json.loads(path.read_text())["checkpoint"]["latest"]["resources"] if path.exists() else None


def secrets_as(value, form):
    # every secret in a value, encrypted or shown
    if isinstance(value, dict):
        if SIGNATURE.items() <= value.items():
            text = value.get("plaintext") or bytes.fromhex(value["ciphertext"]).decode()
            return SIGNATURE | {form: text if form == "plaintext" else text.encode().hex()}
        return {key: secrets_as(item, form) for key, item in value.items()}
    return [secrets_as(item, form) for item in value] if isinstance(value, list) else value


def create(resources):
    # as an update does: makes in the cluster what the state does not have, and believes the state for the rest
    cluster = Path(sys.argv[0]).with_name("cluster.json")
    if cluster.exists():
        known = {each["urn"] for each in there(name) or ()}
        objects = json.loads(cluster.read_text())
        objects += [{key: value for key, value in each["outputs"].items() if key != "__fieldManager"}
                    for each in resources if "kind" in each["inputs"] and each["urn"] not in known]
        cluster.write_text(json.dumps(objects).replace(json.dumps(SIGNATURE | {"plaintext": json.dumps("c2VjcmV0")}),
                                                       json.dumps("c2VjcmV0")))


if words[0] in {"up", "destroy", "refresh", "state"} and (
    any(locks(name).glob("*.json")) or environ.get("FAKE_LOCKED")
):
    sys.exit("error: the stack is currently locked by 1 lock(s)")


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
    print(json.dumps(shown if there(name) else {}))
elif words[:2] == ["stack", "history"]:
    moment = "2026-01-01T00:00:00.000Z"
    print(json.dumps([{"kind": "update", "startTime": moment, "endTime": moment, "message": "", "environment": {},
                       "config": {}, "result": "succeeded", "version": 1, "resourceChanges": {"create": 3}}]))
elif words[:2] == ["stack", "export"]:
    latest = json.loads((stacks / f"{name}.json").read_text())["checkpoint"]["latest"]
    if latest["resources"]:
        outputs = {**OUTPUTS, "hidden": SIGNATURE | {"plaintext": json.dumps(OUTPUTS["hidden"])}}
        latest["resources"].insert(0, {"urn": "urn:pulumi:dev::flatline::pulumi:pulumi:Stack::flatline-dev",
                                       "type": "pulumi:pulumi:Stack", "custom": False, "outputs": outputs})
    deployment = secrets_as(latest, "plaintext" if "--show-secrets" in words else "ciphertext")
    print(json.dumps({"version": 3, "deployment": deployment}))
elif words[:2] == ["stack", "import"]:
    deployment = json.loads(Path(words[words.index("--file") + 1]).read_text())["deployment"]
    record(imported=deployment)
    save(name, deployment["resources"])
elif words[:2] == ["cancel", "--yes"]:
    for each in locks(name).glob("*.json"):
        each.unlink()
elif words[0] == "refresh":
    print("~ refreshed")
elif words[:2] == ["stack", "rm"]:
    (stacks / f"{words[-1]}.json").unlink()
elif words[:2] == ["state", "unprotect"]:
    save(name, [{**each, "protect": False} for each in there(name)])
elif words[0] == "preview":
    import grpc
    from google.protobuf.wrappers_pb2 import StringValue  # of the form of pulumirpc.EventRequest

    summary = {"summaryEvent": {"maybeCorrupt": False, "durationSeconds": 1, "resourceChanges": {"create": 4},
                                "PolicyPacks": {}}, "sequence": 1, "timestamp": 0}
    with grpc.insecure_channel(words[words.index("--event-log") + 1].removeprefix("tcp://")) as channel:
        send = channel.stream_unary("/pulumirpc.Events/StreamEvents", StringValue.SerializeToString)
        send(iter([StringValue(value=json.dumps(summary))]))
    print("+ 4 to create")
elif words[0] == "up" and environ.get("FAKE_PULUMI_WAITS"):
    import signal, socket, subprocess, time

    # As the engine does: a lock, a plugin in a group of its own; the first signal ends all of it in order.
    lock = locks(name) / "0123.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lock.write_text(json.dumps({"pid": os.getpid(), "username": "me", "hostname": socket.gethostname(),
                                "timestamp": moment}))
    plugin = subprocess.Popen(["/bin/sleep", "300"], process_group=0)

    def stop(number, frame):
        os.write(1, b"cancelling\\n")  # a signal may come while the main program prints
        if environ["FAKE_PULUMI_WAITS"] != "for ever":
            plugin.terminate()
            lock.unlink()
            sys.exit("error: update canceled")

    signal.signal(signal.SIGINT, stop)
    print(f"waiting {os.getpid()} {plugin.pid}", flush=True)
    while True:
        time.sleep(60)
elif words[0] == "up":
    while "FAKE_PULUMI_WAITS_FOR" in environ and not Path(environ["FAKE_PULUMI_WAITS_FOR"]).exists():
        time.sleep(0.1)
    if environ.get("FAKE_PULUMI_FAILS"):
        print("Diagnostics: the cluster said no")
        sys.exit(255)
    unchanged = there(name) == RESOURCES
    create(RESOURCES)
    save(name, RESOURCES)
    print(NOTHING if unchanged else "+ 4 created")
elif words[0] == "destroy":
    save(name, [each for each in there(name) if each.get("protect")] if "--exclude-protected" in words else [])
    print("- destroyed")
else:
    sys.exit(f"unexpected call: {words}")
"""


def put(checkout: Checkout, version: str = VERSION) -> Path:
    """Puts it on the PATH; the file of its calls."""
    return checkout.program("pulumi", f"VERSION = {version!r}\n" + BODY)
