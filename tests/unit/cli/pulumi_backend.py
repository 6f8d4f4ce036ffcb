"""A stand-in for the Pulumi CLI that keeps what is imported, encrypted as the engine does, and deploys nothing.

`FAKE_PULUMI_FAILS` names the command that fails (`stack import`, `preview`, `up`, ...), `FAKE_PULUMI_KILLS` one after
which the process that called it is killed; with `FAKE_PULUMI_FAILS_IN` only in backends whose address holds that text.
`FAKE_PULUMI_REPLACES` names a resource that a preview would replace, `FAKE_PULUMI_CHANGES` one whose value an update
changes. With `FAKE_PULUMI_EMPTY_CLUSTER` a refresh finds no object.
`FAKE_PULUMI_OUTPUTS` is what the stack's outputs are, as JSON.
"""

from pathlib import Path

from tests.unit.cli.checkout import Checkout

VERSION = "3.272.0"

BODY = """
from pathlib import Path

sys.path.insert(0, ROOT)

words = [word for word in sys.argv[1:] if word != "--non-interactive"]
verb = " ".join(words[:2]) if words[0] == "stack" else words[0]
environ = os.environ
backend = environ.get("PULUMI_BACKEND_URL", "")
record(verb=verb, backend=backend, own=backend.endswith("/state/pulumi"), folder=os.getcwd())
if verb == environ.get("FAKE_PULUMI_FAILS") and environ.get("FAKE_PULUMI_FAILS_IN", "") in backend:
    print("Diagnostics: it was not to be")
    sys.exit("error: it was not to be")
stacks = Path(backend.removeprefix("file://"), ".pulumi", "stacks", "flatline")
name = words[words.index("--stack") + 1] if "--stack" in words else words[2] if len(words) > 2 else None
SIGNATURE = "4dabf18193072939515e22adb298388d"


def latest():
    path = stacks / f"{name}.json"
    return json.loads(path.read_text())["checkpoint"]["latest"] if path.exists() else None


def save(deployment):
    stacks.mkdir(parents=True, exist_ok=True)
    (stacks / f"{name}.json").write_text(json.dumps({"checkpoint": {"latest": deployment}}))


def the_passphrase():
    file = environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    return environ.get("PULUMI_CONFIG_PASSPHRASE") or Path(file).read_text().strip()


def crypter(deployment):
    from render import passphrase

    return passphrase.unlock(the_passphrase(), deployment["secrets_providers"]["state"]["salt"])


def changed(value, how):
    # every secret in a value, in another form
    if isinstance(value, dict):
        if SIGNATURE in value:
            return {SIGNATURE: value[SIGNATURE], **how(value)}
        return {key: changed(item, how) for key, item in value.items()}
    return [changed(item, how) for item in value] if isinstance(value, list) else value


def shown(deployment):
    if not deployment.get("resources"):
        return deployment
    key = crypter(deployment)
    return changed(deployment, lambda secret: {"plaintext": key.decrypt(secret["ciphertext"])})


if verb == "version":
    print("v" + VERSION)
elif verb == "stack select":
    if latest() is None:
        sys.exit(f"error: no stack named '{name}' found")
elif verb == "stack init":
    save({"resources": []})
    file = Path(f"Pulumi.{name}.yaml")
    if "encryptionsalt" not in file.read_text():
        from render import passphrase

        file.write_text(file.read_text() + f"encryptionsalt: {passphrase.new_salt(the_passphrase())[0]}\\n")
elif verb == "stack ls":
    rows = [(path.stem, json.loads(path.read_text())["checkpoint"]["latest"]) for path in stacks.glob("*.json")]
    print(json.dumps([{"name": each, "current": False, "resourceCount": len(now["resources"])} for each, now in rows]))
elif verb == "stack import":
    deployment = json.loads(Path(words[words.index("--file") + 1]).read_text())["deployment"]
    shown(deployment)
    save(deployment)
elif verb == "stack export":
    print(json.dumps({"version": 3, "deployment": shown(latest()) if "--show-secrets" in words else latest()}))
elif verb == "stack output":
    print(environ.get("FAKE_PULUMI_OUTPUTS", "{}"))
elif verb == "stack history":
    moment = "2026-01-01T00:00:00.000Z"
    print(json.dumps([{"kind": "update", "startTime": moment, "endTime": moment, "message": "", "environment": {},
                       "config": {}, "result": "succeeded", "version": 1, "resourceChanges": {"create": 3}}]))
elif verb == "refresh":
    deployment = latest()
    if environ.get("FAKE_PULUMI_EMPTY_CLUSTER"):
        kept = [each for each in deployment["resources"] if not each["type"].startswith("kubernetes:")]
        deployment["resources"] = kept
        save(deployment)
    print("refreshed")
elif verb == "preview":
    import grpc
    from google.protobuf.wrappers_pb2 import StringValue  # of the form of pulumirpc.EventRequest

    events = [{"resourcePreEvent": {"metadata": {
        "op": "replace" if each["urn"].endswith("::" + environ.get("FAKE_PULUMI_REPLACES", "(none)")) else "same",
        "urn": each["urn"], "type": each["type"], "provider": ""}}} for each in latest()["resources"]]
    events.append({"summaryEvent": {"maybeCorrupt": False, "durationSeconds": 1, "resourceChanges": {"same": 1},
                                    "PolicyPacks": {}}})
    sent = [StringValue(value=json.dumps({**each, "sequence": i, "timestamp": 0}))
            for i, each in enumerate(events)]
    with grpc.insecure_channel(words[words.index("--event-log") + 1].removeprefix("tcp://")) as channel:
        channel.stream_unary("/pulumirpc.Events/StreamEvents", StringValue.SerializeToString)(iter(sent))
    print("the preview")
elif verb == "up":
    deployment = latest()
    for each in deployment["resources"]:
        if each["urn"].endswith("::" + environ.get("FAKE_PULUMI_CHANGES", "(none)")):
            key = crypter(deployment)
            each["outputs"] = changed(each["outputs"], lambda secret: {"ciphertext": key.encrypt('"another"')})
    save(deployment)
    print("the update")
else:
    sys.exit(f"unexpected call: {words}")
if verb == environ.get("FAKE_PULUMI_KILLS") and environ.get("FAKE_PULUMI_FAILS_IN", "") in backend:
    os.kill(os.getppid(), 9)
"""


def put(checkout: Checkout, version: str = VERSION) -> Path:
    """Puts it on the PATH; the file of its calls."""
    return checkout.program("pulumi", f"VERSION = {version!r}\nROOT = {str(checkout.root)!r}\n" + BODY)
