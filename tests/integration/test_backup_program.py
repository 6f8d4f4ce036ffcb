"""The program of the CronJob against real stores: its archive is that of `./flatline backup`, and is restored by it.

Its plan and its key pairs are those that are rendered, but for the addresses of the test's servers.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.versitygw import ROOT
from migration import sealing
from migration.archive import Archive
from migration.records import KINDS
from tests.graph.backed_up import PASSPHRASE, with_backup
from tests.graph.stack import Stack
from tests.integration import test_migration
from tests.integration.test_migration import BUCKETS, SECRET, Place, same
from tests.lab.node import NODE

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
