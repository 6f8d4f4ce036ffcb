"""The program of the CronJob against real stores: its archive is that of `./flatline backup`, and is restored by it.

Its plan and its key pairs are those that are rendered, but for the addresses of the test's servers.
"""

import base64
import json
import random
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.versitygw import OWNERS, ROOT
from config.loading import load
from migration import sealing
from migration.archive import Archive
from migration.records import KINDS
from render import passphrase, stack_file
from tests.graph.backed_up import NETWORK, PASSPHRASE, settings, with_backup
from tests.graph.stack import Stack
from tests.integration import test_migration
from tests.integration.test_migration import BUCKETS, SECRET, Place, same
from tests.lab.node import NODE
from tests.lab.process import wait_until
from tests.unit.cli.checkout import Checkout, calls, kubeconfig
from tests.unit.cli.test_backup_schedule import KUBECTL

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).parents[2] / "programs" / "backup" / "archive.mjs"
places, source, target, archive = (getattr(test_migration, name) for name in ("places", "source", "target", "archive"))
DOCUMENTS = {"configuration": "config: {}\n", "images": "{}"}
INVITATION = {"491700000001": '{"planted": "ü"}'}
FILES = {"journal": b"x" * 600_000, "spent/one": b"y", "held.lock": b""}


@pytest.fixture(scope="module")
def rendered() -> Stack:
    return with_backup(keep="daily=2", attachments=True)


@pytest.fixture
def plan(rendered: Stack, source: Place, target: Place, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The rendered plan, with the stores of `source` and a bucket on the other object store."""
    target.store.client().create_bucket(Bucket="archives")
    text = rendered.file("backup", "/etc/flatline/backup/plan.json")
    (pod,) = (each for each in rendered.pods() if each.name == rendered.pod("backup").name)
    for each in pod.files["backup"]:
        if each.path.startswith("/etc/flatline/backup/keys/"):
            name = each.path.rpartition("/")[2]
            path = tmp_path / name
            path.write_text(each.text)
            text = text.replace(f'"{each.path}"', json.dumps(str(path)))
    key = target.store.secret(ROOT)
    (tmp_path / "place").write_text(f"[default]\naws_access_key_id = {ROOT}\naws_secret_access_key = {key}\n")
    found: dict[str, Any] = json.loads(text)
    found["dynamodb"]["endpoint"] = source.localstack.url
    found["bigtable"]["emulator"] = source.emulator.address
    for store in found["objects"]:
        store["endpoint"] = source.store.url
    found["to"] |= {"endpoint": target.store.url, "region": target.region}
    contents: dict[str, Mapping[str, bytes]] = {
        "documents": {name: body.encode() for name, body in DOCUMENTS.items()},
        "invitations": {name: body.encode() for name, body in INVITATION.items()},
        "registration": FILES,
        "attachments": {},
    }
    for name, content in contents.items():
        (tmp_path / name / "..data").mkdir(parents=True)
        for inner, body in content.items():
            (tmp_path / name / inner).parent.mkdir(exist_ok=True)
            (tmp_path / name / inner).write_bytes(body)
    found["documents"] = str(tmp_path / "documents")
    found["secrets"] = [{"name": each["name"], "folder": str(tmp_path / each["name"])} for each in found["secrets"]]
    found["files"] = [{"name": each["name"], "folder": str(tmp_path / each["name"])} for each in found["files"]]
    found["reader"] = str(PROGRAM.with_name("files.mjs"))
    yield found
    for key in keys(target):
        target.store.client().delete_object(Bucket="archives", Key=key)
    target.store.client().delete_bucket(Bucket="archives")


def keys(place: Place) -> list[str]:
    return [each["Key"] for each in place.store.client().list_objects_v2(Bucket="archives").get("Contents", ())]


def run(plan: Mapping[str, Any], folder: Path, status: int = 0) -> list[dict[str, Any]]:
    """Its log. No content is in it."""
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    done = subprocess.run([NODE, PROGRAM, "--plan", path], capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr == ""
    assert SECRET.decode() not in done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def copied(place: Place, name: str, folder: Path) -> Archive:
    for key in keys(place):
        if key.startswith(f"flatline/{name}/"):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(place.store.client().get_object(Bucket="archives", Key=key)["Body"].read())
    return Archive(folder / "flatline" / name, lambda salt: sealing.identity(PASSPHRASE, salt))


def lines(archive: Archive, file: str) -> list[bytes]:
    with archive._open(file) as content:
        return sorted(content)


def test_it_is_the_archive_of_the_command_and_is_restored(
    plan: dict[str, Any], archive: Path, source: Place, target: Place, tmp_path: Path
) -> None:
    log = run(plan, tmp_path)
    (name,) = {key.split("/")[1] for key in keys(target)}
    assert re.fullmatch(r"dev-\d{8}T\d{6}Z", name)
    assert log[-1]["archive"] == name
    own = copied(target, name, tmp_path / "copy")
    own.check()
    other = Archive(archive, lambda salt: sealing.identity(PASSPHRASE, salt))
    compared = 0
    for kind in KINDS:
        for part in other.manifest.parts[kind].values():
            mine = own.manifest.parts[kind][Path(part.file).name.partition(".")[0]]
            assert (mine.count, mine.checksum, mine.schema) == (part.count, part.checksum, part.schema), part.file
            assert lines(own, mine.file) == lines(other, part.file), part.file
            compared += part.count
    assert compared > 2500
    assert own.manifest.live
    assert own.manifest.documents.items() >= DOCUMENTS.items()
    assert {**own.manifest.parts["secrets"]}["invitations"].count == 1
    assert lines(own, "secrets/invitations.jsonl.gz.sealed") == [
        '{"Entry":{"key":"491700000001","value":"{\\"planted\\": \\"ü\\"}"}}\n'.encode()
    ]
    assert {**own.manifest.parts["files"]}["registration"].count == 4, "three pieces of one file and one of another"
    where = {"AWS_ENDPOINT_URL_S3": target.store.url}
    said = target.run("restore", "--from", f"s3://archives/flatline/{name}", variables=where)
    assert "checksums are those of the archive" in said
    same(source, target)


def test_older_archives_go_once_the_new_one_is_whole(plan: dict[str, Any], target: Place, tmp_path: Path) -> None:
    names = [f"dev-2020010{day}T000000Z" for day in (1, 2, 3)]
    for name in (*names, "other-20200101T000000Z"):
        for file in ("header.json", "manifest.json.sealed"):
            target.store.client().put_object(Bucket="archives", Key=f"flatline/{name}/{file}", Body=b"x")
    plan["dynamodb"]["tables"] = plan["dynamodb"]["tables"][:1]
    run(plan, tmp_path)
    left = sorted({key.split("/")[1] for key in keys(target)})
    assert left[0] == names[-1], "that of another day stays"
    assert left[2] == "other-20200101T000000Z"
    assert len(left) == 3


@pytest.mark.parametrize("broken", ["table", "bucket", "place", "pieces"])
def test_a_run_that_fails_says_why_and_leaves_nothing(
    plan: dict[str, Any], target: Place, tmp_path: Path, broken: str
) -> None:
    kept = "flatline/dev-20200101T000000Z/manifest.json.sealed"
    target.store.client().put_object(Bucket="archives", Key=kept, Body=b"x")
    if broken == "table":
        plan["dynamodb"]["tables"][3]["name"] = "Missing"
        said = "reading table Missing: status 400 ResourceNotFoundException"
    elif broken == "bucket":
        plan["objects"][1]["bucket"] = BUCKETS["cdn0"]
        said = f"listing bucket {BUCKETS['cdn0']}: status 404 NoSuchBucket"
    elif broken == "place":
        plan["to"]["bucket"] = "nobodys"
        said = "listing bucket nobodys: status 404 NoSuchBucket"
    else:
        plan["files"][0]["folder"] = str(tmp_path / "nowhere")
        said = f"reading {tmp_path / 'nowhere'}: files.mjs ended with 1"
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    done = subprocess.run([NODE, PROGRAM, "--plan", path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    failed = next(json.loads(line) for line in done.stdout.splitlines() if '"failed"' in line)
    assert failed["reason"] == said
    assert keys(target) == [kept]


def alone(plan: dict[str, Any], *, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The plan with nothing to read but some files."""
    (volume, *_) = plan["files"]
    for path, content in files.items():
        (Path(volume["folder"]) / path).write_bytes(content)
    return plan | {
        "dynamodb": plan["dynamodb"] | {"tables": []},
        "bigtable": plan["bigtable"] | {"tables": []},
        "objects": [],
        "secrets": [],
        "files": [volume],
    }


def uploads(place: Place) -> list[Any]:
    found: list[Any] = place.store.client().list_multipart_uploads(Bucket="archives").get("Uploads", [])
    return found


def test_the_passphrase_alone_brings_an_installation_back(
    plan: dict[str, Any], source: Place, target: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with this repository, whose file of the stack is another one."""
    monkeypatch.setattr(passphrase, "ITERATIONS", 10)  # as in the checkouts
    first, second = (Checkout.make(tmp_path / name) for name in ("first", "second"))
    for each in (first, second):
        each.variables["PULUMI_CONFIG_PASSPHRASE"] = PASSPHRASE
    (first.root / "bucket-key").write_text((tmp_path / "place").read_text())
    first.program("kubectl", KUBECTL)
    (first.home / "kubeconfig").write_text(kubeconfig({"mine": "https://127.0.0.1:9"}))
    block = settings()
    words = ("--to", block["to"], "--schedule", block["schedule"], "--network", NETWORK)
    first.succeed("backup", *words, "--endpoint", block["endpoint"], "--credentials", "bucket-key")
    first.succeed("up", "--engine", "none")
    first.succeed("backup", "--documents", "--context", "mine")
    (secret,) = (each["applied"] for each in calls(first.programs / "kubectl.calls") if "applied" in each)
    for path in Path(plan["documents"]).iterdir():
        if path.is_file():
            path.unlink()
    for name, value in secret["data"].items():
        (Path(plan["documents"]) / name).write_bytes(base64.b64decode(value))
    backup = load(stack_file.read(first.file(), lambda: PASSPHRASE).config).backup
    assert backup is not None
    plan["recipient"] = backup.recipient
    archived = run(plan, tmp_path)[-1]
    assert archived["documents"] == ["configuration", "images", "pins", "release", "state"]
    from_there = ["restore", "--from", f"s3://archives/flatline/{archived['archive']}", *target.options()]
    variables = {**target.keys(), "AWS_ENDPOINT_URL_S3": target.store.url}
    said = test_migration.run(*from_there, root=second.root, variables=variables, status=1)
    assert "Pulumi.dev.yaml is not that of the archive" in said
    assert not second.state().exists()
    second.file().unlink()
    said = test_migration.run(*from_there, root=second.root, variables=variables)
    assert second.file().read_bytes() == first.file().read_bytes()
    assert second.state().read_bytes() == first.state().read_bytes()
    second.succeed("up", "--engine", "none")
    assert second.succeed("pins", "--json") == first.succeed("pins", "--json")
    said = test_migration.run(*from_there, root=second.root, variables=variables)
    assert "checksums are those of the archive" in said
    same(source, target)


def test_a_file_of_several_parts_is_whole(plan: dict[str, Any], target: Place, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(33 << 20)
    name = run(alone(plan, files={"large": content}), tmp_path)[-1]["archive"]
    own = copied(target, name, tmp_path / "copy")
    own.check()
    part = own.manifest.parts["files"]["registration"]
    assert part.bytes > 2 * (16 << 20), "three parts"
    pieces = [json.loads(line)["File"] for line in lines(own, part.file)]
    found = {each["offset"]: base64.b64decode(each["data"]) for each in pieces if each["path"] == "large"}
    assert b"".join(found[offset] for offset in sorted(found)) == content
    assert uploads(target) == []


def test_a_run_that_is_ended_leaves_nothing(plan: dict[str, Any], target: Place, tmp_path: Path) -> None:
    """It is ended while it waits for the reader of a volume, between two parts of an upload."""
    reader = tmp_path / "reader.mjs"
    reader.write_text(
        "import { randomBytes } from 'node:crypto';"
        "for (let each = 0; each < 80; each += 1) {"
        "  const data = randomBytes(1 << 18).toString('base64');"
        "  console.log(JSON.stringify({ path: 'large', modified: 0, size: 1, offset: each << 18, data }));"
        "}"
        "const parent = process.ppid; setInterval(() => { if (process.ppid !== parent) process.exit(0); }, 100);"
    )
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(alone(plan, files={}) | {"reader": str(reader)}))
    with subprocess.Popen([NODE, PROGRAM, "--plan", path], stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: bool(uploads(target)) or process.poll() is not None, 120, "the first part")
        assert len(keys(target)) == 1, "the header"
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert (
        json.loads(said.splitlines()[-1]).items() >= {"event": "failed", "archive": "none", "reason": "SIGTERM"}.items()
    )
    assert (keys(target), uploads(target)) == ([], [])


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_key_pair_without_the_right_to_delete_is_enough(
    plan: dict[str, Any], target: Place, tmp_path: Path, ends: str
) -> None:
    account = OWNERS["pre-keys"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": [account]},
                "Action": ["s3:ListBucket", "s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": ["arn:aws:s3:::archives", "arn:aws:s3:::archives/*"],
            }
        ],
    }
    target.store.client().put_bucket_policy(Bucket="archives", Policy=json.dumps(policy))
    (tmp_path / "place").write_text(
        f"[default]\naws_access_key_id = {account}\naws_secret_access_key = {target.store.secret(account)}\n"
    )
    (store, *_) = plan["objects"]
    plan = alone(plan, files={"large": random.Random(1).randbytes(18 << 20)})
    if ends == "badly":
        plan["objects"] = [store | {"bucket": "nobodys"}]
    log = run(plan, tmp_path, status=int(ends == "badly"))
    name = log[-1]["archive"]
    if ends == "well":
        copied(target, name, tmp_path / "copy").check()
    else:
        assert log[-1]["event"] == "left"
        assert "AccessDenied" in log[-1]["reason"]
        assert f"flatline/{name}/manifest.json.sealed" not in keys(target)
