"""`backup` and `restore`: which stores, services that stop and start, the stack's file and state, passphrases."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cli import archives, pausing
from cli.failure import Interrupted
from cli.port_forward import PortForward
from cli.stacks import Stack
from cli.terminal import Terminal
from errors import FlatlineError
from migration import sealing
from migration.archive import HEADER, MANIFEST, Writer
from tests.lab.process import wait_until
from tests.unit.cli.checkout import Checkout, calls, kubeconfig

PASSPHRASE = "planted passphrase"
WRITERS = ("whisper", "whisper-persister", "storage", "cdn0-gate")
JOB = "whisper-remove-expired-accounts"
STORE: dict[str, Any] = {
    "spec": {
        "template": {
            "spec": {
                "volumes": [
                    {"name": "objects", "persistentVolumeClaim": {"claimName": "objects"}},
                    {"name": "object-store-accounts", "secret": {"secretName": "accounts-1"}},
                ]
            }
        }
    }
}


# Keeps objects in a file, changes and answers for them as a cluster does, and forwards until it is ended.
KUBECTL = """
import pathlib, time
words = sys.argv[1:]
record(words=words)
path = pathlib.Path(os.environ["CLUSTER"])
cluster = json.loads(path.read_text())
if "deployment.apps" in words:
    print(os.environ["STORE"])
elif "accounts-1" in words:
    print(json.dumps({"data": {"root-secret": "cGxhbnRlZC1rZXk="}}))
elif "patch" in words:
    name = words[words.index("patch") + 1].partition("/")[2]
    if name == os.environ.get("STUCK") and cluster["stopped"]:
        sys.exit("error: the server has gone")
    cluster["objects"][name]["spec"] |= json.loads(sys.stdin.read())["spec"]
    cluster["stopped"] = True
    path.write_text(json.dumps(cluster))
elif "exec" in words:
    queues = cluster["queues"].pop(0)
    path.write_text(json.dumps(cluster))
    print(queues)
elif "deployments.apps,cronjobs.batch" in words:
    print(json.dumps({"items": list(cluster["objects"].values())}))
elif "pods" in words and "component=redis" in " ".join(words):
    print(json.dumps({"items": [{"metadata": {"name": "redis-0"}}]}))
elif "get" in words:
    print(json.dumps({"items": []}))
elif "port-forward" in words:
    if os.environ.get("REFUSED"):
        sys.exit("error: services \\"localstack\\" not found")
    local, _, port = words[-1].partition(":")
    print(f"Forwarding from 127.0.0.1:{local or 45678} -> {port}", flush=True)
    record(pid=os.getpid())
    time.sleep(600)
"""


@pytest.fixture
def cluster(checkout: Checkout) -> Checkout:
    """A checkout and a cluster that is named, where every service runs."""
    checkout.program("kubectl", KUBECTL)
    (checkout.home / "kubeconfig").write_text(kubeconfig({"mine": "https://127.0.0.1:9"}, current="other"))
    path = checkout.home / "cluster.json"
    checkout.variables.update(CLUSTER=str(path), STORE=json.dumps(STORE), PULUMI_CONFIG_PASSPHRASE=PASSPHRASE)
    objects: dict[str, Any] = {
        name: {"kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": 2}} for name in WRITERS
    }
    objects[JOB] = {"kind": "CronJob", "metadata": {"name": JOB}, "spec": {}}
    path.write_text(json.dumps({"objects": objects, "queues": ["3", "0"], "stopped": False}))
    return checkout


def specs(cluster: Checkout) -> dict[str, Any]:
    found = json.loads((cluster.home / "cluster.json").read_text())["objects"]
    return {name: each["spec"] for name, each in found.items()}


def kubectl_calls(cluster: Checkout) -> list[list[str]]:
    return [call["words"] for call in calls(cluster.programs / "kubectl.calls") if "words" in call]


def archive(folder: Path, stack: str = "dev", **documents: str) -> str:
    """An archive without records, and how it is named on the command line."""
    with Writer(folder, sealing.identity(PASSPHRASE).recipient, stack) as writer:
        writer.finish(live=False, documents=documents)
    return str(folder)


# --- stores -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing tells where the stores of stack dev are"),
        (["--dynamodb", "http://127.0.0.1:1"], "--dynamodb and --bigtable go together"),
        (["--bigtable", "127.0.0.1:1"], "--dynamodb and --bigtable go together"),
        (["--context", "mine", "--dynamodb", "http://127.0.0.1:1"], "exclude each other"),
        (["--context", "typo"], "there is no context typo"),
        (["--dynamodb", "http://127.0.0.1:1", "--bigtable", "127.0.0.1:1", "--pause"], "--pause stops services"),
        (["--context", "mine", "--to", "s3:///prefix"], "names no bucket"),
        (["--dynamodb", "http://127.0.0.1:1", "--bigtable", "127.0.0.1:1", "--attachments"], "no cluster is named"),
        (["--context", "mine", "--drill", "--keep", "daily=7"], "--drill writes no archive"),
        (["--drill"], "a drill needs one"),
        (["--context", "mine", "--drill"], "backups has no archive of stack dev"),
    ],
)
def test_the_stores_are_named_by_a_cluster_or_by_addresses(cluster: Checkout, words: list[str], said: str) -> None:
    assert said in cluster.fail("backup", "--to", "backups", *words)
    assert not any("patch" in words for words in kubectl_calls(cluster))
    assert not (cluster.root / "backups").exists()


def test_a_cluster_is_reached_by_port_forwards_that_end_with_the_command(cluster: Checkout) -> None:
    said = cluster.fail("backup", "--to", "backups", "--context", "mine")
    assert "table" in said, "what answers on the port is no store"
    forwards = [words for words in kubectl_calls(cluster) if "port-forward" in words]
    assert {(words[words.index("--namespace") + 1], words[-2], words[-1]) for words in forwards} == {
        ("flatline-emulators", "service/localstack", ":4566"),
        ("flatline", "service/object-store", ":7070"),
        ("flatline", "service/cbtemulator", ":9000"),
    }
    assert all(words[:2] == ["--context", "mine"] for words in kubectl_calls(cluster))
    asked = [words for words in kubectl_calls(cluster) if "accounts-1" in words]
    assert len(asked) == 1, "the key pair of the store's operator is that of the cluster"
    assert "planted-key" not in said + json.dumps(kubectl_calls(cluster))
    for call in calls(cluster.programs / "kubectl.calls"):
        if "pid" in call:
            with pytest.raises(ProcessLookupError):
                os.kill(call["pid"], 0)


def test_a_store_of_another_form(cluster: Checkout) -> None:
    nothing = json.dumps({"spec": {"template": {"spec": {"volumes": []}}}})
    said = cluster.fail("backup", "--to", "backups", "--context", "mine", STORE=nothing)
    assert "the deployment object-store has no volume object-store-accounts" in said


def test_a_port_forward_that_ends_is_made_again_on_the_same_port(
    cluster: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(cluster.programs))
    monkeypatch.setenv("CLUSTER", cluster.variables["CLUSTER"])
    monkeypatch.setattr("cli.port_forward.PAUSE_SECONDS", 0.01)
    log = cluster.programs / "kubectl.calls"

    def pids() -> list[int]:
        return [call["pid"] for call in calls(log) if "pid" in call]

    with PortForward("mine", "space", "localstack", 4566) as forward:
        assert forward.address == "127.0.0.1:45678"
        wait_until(lambda: len(pids()) == 1, 10, "kubectl")
        os.kill(pids()[0], signal.SIGKILL)
        wait_until(lambda: len(pids()) == 2, 10, "kubectl again")
        assert forward.address == "127.0.0.1:45678"
    assert [call["words"][-1] for call in calls(log) if "words" in call] == [":4566", "45678:4566"]
    wait_until(lambda: not Path(f"/proc/{pids()[1]}").exists(), 10, "its end")


def test_without_kubectl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(FlatlineError, match="kubectl is not on the PATH"),
        PortForward("mine", "space", "localstack", 1),
    ):
        pass


# --- services ---------------------------------------------------------------------------------------------


def test_nothing_is_restored_while_services_run(cluster: Checkout) -> None:
    place = archive(cluster.root / "backup")
    said = cluster.fail("restore", "--from", place, "--context", "mine")
    assert "not stopped, and may write while data is restored: whisper, whisper-persister, storage, cdn0-gate" in said
    assert JOB in said
    assert not any({"patch", "port-forward"} & set(words) for words in kubectl_calls(cluster))


def test_a_pause_stops_in_order_waits_for_messages_and_starts_again_whatever_fails(cluster: Checkout) -> None:
    before = specs(cluster)
    said = cluster.fail("backup", "--to", "backups", "--pause", "--context", "mine", REFUSED="1")
    assert "kubectl cannot forward a port to the service" in said
    assert list((cluster.root / "backups").iterdir()) == []
    words = [each for each in kubectl_calls(cluster) if {"patch", "exec", "port-forward"} & set(each)]
    done = [
        "queues" if "exec" in each else each[each.index("patch") + 1] for each in words if "port-forward" not in each
    ]
    stopped = ["deployment.apps/whisper", "deployment.apps/storage", "deployment.apps/cdn0-gate"]
    persister = "deployment.apps/whisper-persister"
    assert done[:7] == [f"cronjob.batch/{JOB}", *stopped, "queues", "queues", persister]
    assert specs(cluster) == {**before, JOB: {"suspend": False}}


def test_a_service_that_was_stopped_before_a_pause_stays_stopped(cluster: Checkout) -> None:
    """Also where its pods have not ended yet."""
    path = cluster.home / "cluster.json"
    state = json.loads(path.read_text())
    state["objects"]["storage"] |= {"spec": {"replicas": 0}, "status": {"replicas": 1}}
    path.write_text(json.dumps(state))
    cluster.fail("backup", "--to", "backups", "--pause", "--context", "mine", REFUSED="1")
    assert {name: each.get("replicas") for name, each in specs(cluster).items() if name in WRITERS} == {
        **dict.fromkeys(WRITERS, 2),
        "storage": 0,
    }


def test_a_service_that_cannot_be_started_again_is_told(cluster: Checkout) -> None:
    words = ("backup", "--to", "backups", "--pause", "--context", "mine")
    said = cluster.fail(*words, REFUSED="1", STUCK="whisper")
    assert "could not change deployment.apps/whisper" in said
    assert specs(cluster)["storage"] == {"replicas": 2}


def test_a_signal_waits_until_everything_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """While services start after a failure. kubectl gets a terminal's signal as well, so it is asked once more."""
    names = ("whisper", "storage")
    running = [{"kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": 2}} for name in names]
    done: list[tuple[str, int]] = []

    def merge(_context: str, _namespace: str, what: str, change: dict[str, Any]) -> None:
        done.append((what, change["spec"]["replicas"]))
        if len(done) == 3:
            signal.raise_signal(signal.SIGTERM)
            raise FlatlineError("kubectl was interrupted")

    def interrupted(number: int, _frame: object) -> None:
        raise Interrupted(number)

    monkeypatch.setattr(
        pausing.kubectl, "read", lambda *words: {"items": running if "deployments.apps" in words[2] else []}
    )
    monkeypatch.setattr(pausing.kubectl, "merge", merge)
    loaded: Any = SimpleNamespace(settings=SimpleNamespace(namespace="space"), in_cloud=False)
    before = signal.signal(signal.SIGTERM, interrupted)
    try:
        with pytest.raises(Interrupted), pausing.paused("mine", loaded, Terminal()):
            raise FlatlineError("the disk is full")
    finally:
        signal.signal(signal.SIGTERM, before)
    whisper, storage = ("deployment.apps/whisper", 2), ("deployment.apps/storage", 2)
    assert done[2:] == [whisper, whisper, storage]


# --- archives ---------------------------------------------------------------------------------------------


def test_a_stack_that_is_gone_gets_its_file_and_its_state_back(checkout: Checkout) -> None:
    checkout.succeed("up", "--engine", "none")
    file, state, pins = checkout.file().read_text(), checkout.state().read_text(), checkout.succeed("pins", "--json")
    passphrase = next(checkout.home.rglob("*.passphrase"))
    folder = checkout.root / "backups" / "dev-20260101T000000Z"
    with Writer(folder, sealing.identity(passphrase.read_text().strip()).recipient, "dev") as writer:
        writer.finish(live=False, documents={"configuration": file, "state": state})
    checkout.state().unlink()
    checkout.file().write_text(file + "# of a fresh clone\n")
    said = checkout.fail("restore", "--from", str(folder), "--context", "mine")
    assert "Pulumi.dev.yaml is not that of the archive, and the stack has no secrets here; nothing was written" in said
    assert not checkout.state().exists()
    checkout.file().unlink()
    said = checkout.succeed("restore", "--from", str(folder), "--context", "mine")
    assert checkout.file().read_text() == file
    assert checkout.state().read_text() == state
    assert "./flatline up --context mine" in said
    assert "--pause" in said
    checkout.succeed("up", "--engine", "none")
    assert checkout.succeed("pins", "--json") == pins
    before = checkout.state().read_bytes()
    assert "nothing tells where the stores" in checkout.fail("restore", "--from", str(folder))
    assert checkout.state().read_bytes() == before, "what is there stays"


@pytest.mark.parametrize(
    ("variables", "words", "said"),
    [
        ({"PULUMI_CONFIG_PASSPHRASE": "another"}, [], "was encrypted with another passphrase"),
        ({}, ["--passphrase-file", "wrong"], "was encrypted with another passphrase"),
        ({}, ["--passphrase-file", "nowhere"], "--passphrase-file nowhere cannot be read"),
        ({}, ["--passphrase-file", "right"], "nothing tells where the stores"),
        ({"PULUMI_CONFIG_PASSPHRASE": "another"}, ["--passphrase-file", "right"], "nothing tells where the stores"),
    ],
)
def test_a_passphrase_opens_it(checkout: Checkout, variables: dict[str, str], words: list[str], said: str) -> None:
    (checkout.root / "wrong").write_text("wrong")
    (checkout.root / "right").write_text(PASSPHRASE + "\n")
    place = archive(checkout.root / "backup")
    checkout.variables.update({"PULUMI_CONFIG_PASSPHRASE": PASSPHRASE, **variables})
    found = checkout.fail("restore", "--from", place, *words)
    assert said in found
    assert PASSPHRASE not in found


def test_a_folder_of_archives_is_none(checkout: Checkout) -> None:
    for name in ("dev-1", "dev-2"):
        archive(checkout.root / "backups" / name)
    said = checkout.fail("restore", "--from", "backups", PULUMI_CONFIG_PASSPHRASE=PASSPHRASE)
    assert "backups holds 2 archives, and is none itself" in said
    assert "--from backups/dev-2" in said
    assert "is no archive" in checkout.fail("restore", "--from", "state", PULUMI_CONFIG_PASSPHRASE=PASSPHRASE)


def test_an_archive_without_the_stack_s_file_says_what_it_needs(checkout: Checkout) -> None:
    """The cluster writes such ones until it was given the file."""
    place = archive(checkout.root / "backup", release="1.0.0")
    checkout.file().unlink()
    said = checkout.fail("restore", "--from", place, PULUMI_CONFIG_PASSPHRASE=PASSPHRASE)
    assert "Pulumi.dev.yaml is not there, and the archive holds data alone" in said
    assert "Put back Pulumi.dev.yaml and state/dev.json" in said


def test_a_drill_says_where_an_archive_has_no_secrets(checkout: Checkout) -> None:
    archive(checkout.root / "backups" / "dev-20260101T030000Z", release="1.0.0")
    there = json.dumps({"items": [{"metadata": {"name": "flatline-drill"}}]})
    checkout.program("kubectl", f"print({there!r})")
    (checkout.home / "kubeconfig").write_text(kubeconfig({"mine": "https://127.0.0.1:9"}))
    words = ("backup", "--to", "backups", "--drill", "--context", "mine")
    said = checkout.fail(*words, PULUMI_CONFIG_PASSPHRASE=PASSPHRASE)
    assert "namespace flatline-drill is on context mine already" in said
    assert "the archive has no secrets of the stack" in " ".join(said.split())


def test_older_archives_go_where_a_rule_does_not_keep_them(checkout: Checkout) -> None:
    names = [f"dev-202601{day:02}T030000Z" for day in (1, 2, 3)]
    for name in (*names, "prod-20250101T030000Z"):
        archive(checkout.root / "backups" / name)
    (checkout.root / "backups" / "dev-20240101T030000Z").mkdir()  # without a manifest: not whole, and not ours to judge
    code = (
        "from cli import archives; from config import retention; from cli.terminal import Terminal; "
        "archives.keep('backups', 'dev', retention.parse('daily=2'), Terminal(), written='dev-20260103T030000Z'); "
        "archives.keep('backups', 'dev', retention.parse('daily=1'), Terminal(), written='dev-20260102T030000Z')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=checkout.root, check=True)
    left = sorted(path.name for path in (checkout.root / "backups").iterdir())
    assert left == ["dev-20240101T030000Z", *names[1:], "prod-20250101T030000Z"]


def test_a_whole_archive_gets_to_its_bucket_whatever_fails_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that do not start again are no reason to lose the archive; one that is not whole stays away."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    loaded: Any = SimpleNamespace(stack=SimpleNamespace(name="dev"))
    recipient = sealing.identity(PASSPHRASE).recipient

    def fail(prefix: str, *, whole: bool) -> None:
        with archives.writer(f"s3://archives/{prefix}", loaded, recipient, Terminal()) as (writer, _):
            if whole:
                writer.finish(live=False, documents={})
            raise FlatlineError("services are still stopped")

    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="archives")
        for prefix, whole in (("cut-off", False), ("whole", True)):
            with pytest.raises(FlatlineError, match="still stopped"):
                fail(prefix, whole=whole)
        keys = [each["Key"] for each in s3.list_objects_v2(Bucket="archives")["Contents"]]
    assert {key.partition("/")[0] for key in keys} == {"whole"}
    assert {key.rpartition("/")[2] for key in keys} == {HEADER, MANIFEST}


def test_a_folder_that_somebody_made_in_the_bucket_is_no_file_of_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consoles and file browsers show a folder by an empty object, whose name ends in `/`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
    loaded: Any = SimpleNamespace(stack=Stack("dev"))
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="archives")
        recipient = sealing.identity(PASSPHRASE).recipient
        with archives.writer("s3://archives/home", loaded, recipient, Terminal()) as (writer, place):
            writer.finish(live=False, documents={})
        below = place.removeprefix("s3://archives/")
        for name in ("", "dynamodb/"):
            s3.put_object(Bucket="archives", Key=f"{below}/{name}", Body=b"")
        with archives.reader(place, None, loaded.stack, Terminal()) as archive:
            assert sorted(path.name for path in archive.folder.iterdir()) == sorted((HEADER, MANIFEST))


def test_other_keys_than_those_of_the_archive_are_refused(checkout: Checkout) -> None:
    checkout.succeed("up", "--engine", "none", PULUMI_CONFIG_PASSPHRASE=PASSPHRASE)
    outputs = checkout.build() / "stack-outputs.json"
    outputs.write_text(json.dumps({**json.loads(outputs.read_text()), "noisePublicKey": "own"}))
    place = archive(checkout.root / "backup", "old", pins=json.dumps({"noisePublicKey": "another"}))
    words = ("--dynamodb", "http://127.0.0.1:9", "--bigtable", "127.0.0.1:9")
    said = checkout.fail("restore", "--from", place, *words, PULUMI_CONFIG_PASSPHRASE=PASSPHRASE)
    assert "stack dev has other keys than the archive's stack old: noisePublicKey; nothing was written" in said
    assert "./flatline migrate secrets --from-stack old --to-stack dev" in said
