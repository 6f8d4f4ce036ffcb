"""Backups by schedule: the pod, what it may reach, and that every invariant of a stack holds with it."""

import base64
import json
from typing import Any

import pytest

from config.cron import parse
from config.loading import SettingsError, load
from migration import sealing
from tests.graph import test_hardening, test_network, test_policies, test_references, test_sizes
from tests.graph.backed_up import PASSPHRASE, SECRET_KEY, egress, recipient, settings, with_backup
from tests.graph.invariants import Invariant, invariants
from tests.graph.stack import Stack, configuration
from tests.graph.test_network import edges

READ_THE_FILE = {"test_networks_of_peers_are_those_of_the_configuration"}
"""Of invariants: those that compare a stack with its file, which has no backup."""


@pytest.fixture(scope="module")
def stack() -> Stack:
    return with_backup(keep="daily=7,monthly=6", attachments=True)


def _cases() -> list[Invariant]:
    modules = (test_hardening, test_network, test_policies, test_references, test_sizes)
    return [each for each in invariants(*modules) if each.__name__ not in READ_THE_FILE]


@pytest.mark.parametrize("invariant", _cases(), ids=lambda each: each.__name__)
def test_every_invariant_holds_with_it(stack: Stack, invariant: Invariant) -> None:
    invariant(stack)


def test_one_run_at_a_time_which_ends(stack: Stack) -> None:
    job = stack.get("CronJob", "backup")["spec"]
    assert (job["schedule"], job["timeZone"], job["concurrencyPolicy"]) == ("15 3 * * *", "Etc/UTC", "Forbid")
    assert job["startingDeadlineSeconds"] == 3600
    run = job["jobTemplate"]["spec"]
    assert (run["activeDeadlineSeconds"], run["backoffLimit"]) == (21600, 2)
    assert run["template"]["spec"]["restartPolicy"] == "Never"


def test_it_reaches_the_stores_that_it_reads_and_the_place(stack: Stack) -> None:
    found = {(name, port) for caller, name, port in edges(stack, "egress") if caller == "backup"} - {
        ("kube-system", 53)
    }
    assert found == {("localstack", 4566), ("object-store", 7070), ("cbtemulator", 9000)}


def test_claims_of_others_are_read_alone_and_beside_their_pods(stack: Stack) -> None:
    pod = stack.pod("backup")
    claims = {
        each["name"]: each["persistentVolumeClaim"]["claimName"]
        for each in pod.spec["volumes"]
        if "persistentVolumeClaim" in each
    }
    assert claims == {"registration": "state-registration-0", "attachments": "attachments"}
    (container,) = pod.spec["containers"]
    mounts = [each for each in container["volumeMounts"] if each["name"] in claims]
    assert all(each["readOnly"] for each in mounts)
    assert len(mounts) == 2
    near = pod.spec["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    names = [each["podAffinityTerm"]["labelSelector"]["matchLabels"]["app.kubernetes.io/name"] for each in near]
    assert names == ["registration", "cdn3"]


def test_no_key_that_opens_an_archive_is_in_the_cluster(stack: Stack) -> None:
    private = sealing.identity(PASSPHRASE, sealing.Recipient.parse(recipient()).salt).private.private_bytes_raw()
    whole = base64.b64encode(private).decode().rstrip("=")
    forms = {PASSPHRASE, private.hex(), whole, whole.translate({ord("+"): "-", ord("/"): "_"})}
    texts = [json.dumps(each) for each in stack.objects]
    texts += [file.text for pod in stack.pods() for files in pod.files.values() for file in files]
    assert recipient() in "".join(texts)
    assert [form for form in forms if any(form in text for text in texts)] == []


def test_the_plan_has_the_rule_and_the_bucket_s_key_is_in_a_secret(stack: Stack) -> None:
    plan = json.loads(stack.file("backup", "/etc/flatline/backup/plan.json"))
    assert plan["recipient"] == recipient()
    assert plan["keep"] == {"daily": 7, "monthly": 6}
    assert plan["stack"] == "dev"
    holders = [each["kind"] for each in stack.objects if SECRET_KEY in json.dumps(each)]
    assert holders == ["Secret"]


def test_attachments_are_a_choice() -> None:
    plan = json.loads(with_backup().file("backup", "/etc/flatline/backup/plan.json"))
    assert [each["name"] for each in plan["files"]] == ["registration"]
    assert plan["keep"] == {}


def refused(stack: str = "dev", ways: Any = None, **others: Any) -> str:
    opened = egress() if ways is None else ways
    blocks = {"flatline:backup": json.dumps(settings(**others)), "flatline:egress": json.dumps(opened)}
    with pytest.raises(SettingsError) as caught:
        load({**configuration(stack), **blocks})
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"to": "backups"}, "is no place; write s3://BUCKET"),
        ({"to": "s3://archives/../other"}, "is no place"),
        (
            {"schedule": "@daily"},
            'flatline:backup.schedule: "@daily" is no schedule of five fields; write minute, hour',
        ),
        ({"schedule": "60 3 * * *"}, "has 60 as minute; it goes from 0 to 59"),
        ({"schedule": "0 3 31 2 *"}, "names a day that no year has"),
        ({"schedule": "0 3 * * 7"}, "has 7 as weekday; it goes from 0 to 6"),
        ({"schedule": "0 5-3 * * *"}, "has 5-3 as hour, which ends before it begins"),
        ({"keep": "daily=0"}, 'flatline:backup.keep: "daily=0" is no rule; write such as daily=7'),
        (
            {"recipient": "v1:x"},
            "is no recipient; let `./flatline backup --schedule CRON --to s3://BUCKET/PREFIX` write it",
        ),
        ({"endpoint": "https://s3.example.org/path"}, "has a path; write http(s)://host[:port]"),
        ({"credentials": {"accessKeyId": "a b", "secretAccessKey": "x"}}, "is no id of an access key"),
        ({"ways": {}}, "flatline:egress.backup: opens no way to TCP port 7070 of http://203.0.113.9:7070"),
        ({"stack": "prod"}, "flatline:backup: in a cloud each store is backed up by the cloud itself"),
    ],
)
def test_a_wrong_value_gets_one_line_that_says_what_to_write(others: dict[str, Any], said: str) -> None:
    found = refused(**others)
    assert said in found
    assert SECRET_KEY not in found


def test_a_way_without_a_backup_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"egress\.backup has no pod, for there is no backup; remove it"):
        load({**configuration("dev"), "flatline:egress": json.dumps(egress())})


HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("schedule", "gap"),
    [
        ("15 3 * * *", DAY),
        ("*/20 * * * *", HOUR / 3),
        ("0 8,20 * * *", 12 * HOUR),
        ("0 6-18/6 * * mon-fri", 60 * HOUR),
        ("0 0 * * 0", 7 * DAY),
        ("0 0 1 * *", 31 * DAY),
        ("0 0 1,15 * mon", 7 * DAY),
        ("0 12 29 feb *", (4 * 365 + 1) * DAY),
    ],
)
def test_the_longest_time_between_two_runs(schedule: str, gap: float) -> None:
    assert parse(schedule).longest_gap == gap
