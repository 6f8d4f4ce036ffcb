"""`invite`, `invitations`, `revoke`: the Secret behind them, with a stand-in for kubectl and the cluster."""

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli import numbers
from config.schema import invitations as schema
from config.schema.invitations import SECRET
from errors import FlatlineError
from tests.lab.served import Handler, serving
from tests.unit.cli.checkout import Checkout, calls
from tests.unit.cli.conftest import Clusters
from tests.unit.cli.test_json import as_documented

NUMBER = "+12025550123"
DAY = 86400

KUBECTL = """
import fcntl
from pathlib import Path

words, place = sys.argv[1:], Path(sys.argv[0]).with_name("cluster.json")
record(arguments=words)
with open(place.with_suffix(".lock"), "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    cluster = json.loads(place.read_text())
    if "port-forward" in words:
        if not cluster["port"]:
            sys.exit("Error from server (NotFound): pods \\"registration-0\\" not found")
        print(f"Forwarding from 127.0.0.1:{cluster['port']} -> 8081", flush=True)
        fcntl.flock(lock, fcntl.LOCK_UN)
        import time
        time.sleep(60)
    elif "namespaces" in words:
        labels = {"app.kubernetes.io/part-of": "flatline", "flatline.org/stack": cluster["stack"]}
        print(json.dumps({"items": [{"metadata": {"name": "flatline", "labels": labels}}] if cluster["stack"] else []}))
    elif "secrets" in words:
        print(json.dumps({"items": [cluster["secret"]] if cluster["secret"] else []}))
    elif "get" in words:
        print(json.dumps({"items": []}))
    else:
        given = json.load(sys.stdin)
        if "create" in words:
            if cluster["secret"]:
                sys.exit("Error from server (AlreadyExists): error when creating \\"STDIN\\"")
            given["metadata"]["resourceVersion"] = "1"
            cluster["secret"] = given
        else:
            assert words[words.index("--patch-file") + 1] == "/dev/stdin"
            metadata = cluster["secret"]["metadata"]
            if given["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
                sys.exit("Error from server (Conflict): the object has been modified")
            metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
            data = {**cluster["secret"]["data"], **given["data"]}
            cluster["secret"]["data"] = {name: value for name, value in data.items() if value is not None}
        place.write_text(json.dumps(cluster))
"""


@dataclass
class Cluster:
    """A checkout whose stack dev is on a cluster, and what the program on it says of invitations."""

    checkout: Checkout
    said: list[dict[str, Any]] = field(default_factory=list)

    @property
    def place(self) -> Path:
        return self.checkout.programs / "cluster.json"

    def change(self, **parts: Any) -> None:
        self.place.write_text(json.dumps({**json.loads(self.place.read_text()), **parts}))

    def secret(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.place.read_text())["secret"]
        return found

    def entries(self) -> dict[str, dict[str, Any]]:
        return {name: json.loads(base64.b64decode(value)) for name, value in self.secret()["data"].items()}

    def put(self, **entries: str) -> None:
        """Sets the Secret's entries, by digits with a leading `n`."""
        data = {name[1:]: base64.b64encode(value.encode()).decode() for name, value in entries.items()}
        self.change(secret={"metadata": {"name": SECRET, "resourceVersion": "1"}, "data": data})

    def invite(self, *words: str) -> tuple[str, ...]:
        """The number and the codes that a run prints."""
        said = self.checkout.succeed("invite", *words, "--context", "mine")
        assert re.fullmatch(r"number: \+\d+\n(code: \d{6}\n){1,2}", said), said
        return tuple(line.partition(": ")[2] for line in said.splitlines())


@pytest.fixture
def cluster(checkout: Checkout, clusters: Clusters) -> Iterator[Cluster]:
    checkout.program("kubectl", KUBECTL)
    made = Cluster(checkout)

    class Answers(Handler):
        def answer(self) -> None:
            said = json.dumps({"version": 1, "invitations": made.said}).encode()
            self.reply(200 if self.path == "/invitations" else 404, said)

    with serving(Answers) as port:
        made.place.write_text(json.dumps({"stack": "flatline.dev", "secret": None, "port": port}))
        yield made


def entry(expires: float, *, again: bool = False, codes: int = 1) -> str:
    return schema.written(("000000",) * codes, expires=int(expires), again=again)


def told(number: str, state: str, wrong: int = 0, since: int | None = None) -> dict[str, Any]:
    return {"number": number, "state": state, "wrong": wrong, "since": since, "expires": 0, "again": False, "codes": 1}


def test_a_code_is_shown_once_and_only_its_hash_is_stored(cluster: Cluster) -> None:
    number, code = cluster.invite("+1 202-555-0123", "--valid", "2h")
    assert number == NUMBER
    stored = cluster.entries()["12025550123"]
    assert stored["scrypt"] == {"n": 16384, "r": 8, "p": 1}
    made = hashlib.scrypt(code.encode(), salt=base64.b64decode(stored["salt"]), n=16384, r=8, p=1, dklen=32)
    assert base64.b64decode(stored["hash"]) == made
    assert (stored["version"], stored["again"], stored["codes"]) == (1, False, 1)
    assert abs(stored["expires"] - time.time() - 7200) < 60
    assert re.fullmatch("[0-9a-f]{32}", stored["id"])
    assert stored.keys() == {"version", "id", "salt", "hash", "scrypt", "expires", "again", "codes"}
    labels = cluster.secret()["metadata"]["labels"]
    assert labels["flatline.org/stack"] == "flatline.dev"
    assert "app.kubernetes.io/part-of" not in labels, "by which `down` deletes"
    given = json.dumps(calls(cluster.checkout.programs / "kubectl.calls"))
    assert not [each for each in (code, "12025550123", stored["hash"], stored["id"]) if each in given]
    assert [path for path in cluster.checkout.root.rglob("state/*") if code in path.read_text()] == []


def test_two_codes_are_one_password(cluster: Cluster) -> None:
    number, first, second = cluster.invite(NUMBER, "--codes", "2", "--again")
    stored = cluster.entries()[number[1:]]
    salt = base64.b64decode(stored["salt"])
    made = hashlib.scrypt((first + second).encode(), salt=salt, n=16384, r=8, p=1, dklen=32)
    assert base64.b64decode(stored["hash"]) == made
    assert (stored["again"], stored["codes"]) == (True, 2)


def test_runs_at_the_same_time_lose_nothing(cluster: Cluster) -> None:
    """The Secret is made by one of them; each gets a number of its own."""
    with ThreadPoolExecutor(4) as several:
        made = [job.result() for job in [several.submit(cluster.invite, "--next") for _ in range(4)]]
    numbers_of = {number for number, _ in made}
    assert numbers_of == {f"+1202555010{last}" for last in range(4)}
    assert {f"+{name}" for name in cluster.entries()} == numbers_of
    given = json.dumps(calls(cluster.checkout.programs / "kubectl.calls"))
    assert not [name for name in cluster.entries() if name in given], "values go by standard input"


def test_a_valid_invitation_is_replaced_only_when_asked(cluster: Cluster) -> None:
    cluster.put(n12025550123=entry(time.time() + DAY))
    before = cluster.secret()
    said = cluster.checkout.fail("invite", NUMBER, "--context", "mine")
    assert "has an invitation already" in said
    assert "--replace" in said
    assert cluster.secret() == before
    cluster.invite(NUMBER, "--replace")
    assert cluster.secret() != before
    cluster.put(n12025550123=entry(time.time() - 1))
    cluster.invite(NUMBER)


def test_what_has_expired_goes_but_a_spare_number_is_never_given_twice(cluster: Cluster) -> None:
    now = time.time()
    cluster.put(n61491570156=entry(now - 1), n12025550100=entry(now - 1), n61491570157=entry(now + DAY))
    assert cluster.invite("--next")[0] == "+12025550101"
    assert set(cluster.entries()) == {"12025550100", "12025550101", "61491570157"}
    cluster.checkout.succeed("revoke", "+12025550101", "--context", "mine")
    assert cluster.entries()["12025550101"]["expires"] <= time.time()
    assert cluster.invite("--next")[0] == "+12025550102"


def test_all_spare_numbers_are_given_out(cluster: Cluster) -> None:
    cluster.put(**{f"n{number[1:]}": entry(0) for number in numbers.SPARE[:1]} | dict.fromkeys(_spare()[1:], "{}"))
    assert "are given out" in cluster.checkout.fail("invite", "--next", "--context", "mine")


def _spare() -> list[str]:
    return [f"n{number[1:]}" for number in numbers.SPARE]


def test_more_than_a_secret_holds_is_refused(cluster: Cluster) -> None:
    one = entry(time.time() + DAY)
    cluster.put(**{f"n61491{at:06}": one for at in range(schema.LIMIT)})
    size = sum(len(base64.b64decode(value)) for value in cluster.secret()["data"].values())
    assert size < 2**20, "what a Secret may hold"
    assert f"room for {schema.LIMIT}" in cluster.checkout.fail("invite", NUMBER, "--context", "mine")
    assert "12025550123" not in cluster.entries()


def test_revoke_ends_an_invitation_and_names_one_that_is_not_there(cluster: Cluster) -> None:
    cluster.put(n61491570156=entry(time.time() + DAY), nodd="{}")
    cluster.checkout.succeed("revoke", "+61 491 570 156", "--context", "mine")
    assert set(cluster.secret()["data"]) == {"odd"}
    assert "+61491570156 has no invitation" in cluster.checkout.fail("revoke", "+61491570156", "--context", "mine")


def test_what_became_of_invitations(cluster: Cluster) -> None:
    now = int(time.time())
    cluster.put(
        n12025550100=entry(now + DAY),
        n12025550101=entry(now + DAY, again=True),
        n12025550102=entry(now - 5),
        n12025550103="{}",
    )
    cluster.said[:] = [told("+12025550100", "waiting"), told("+12025550101", "locked", 50, now)]
    result = cluster.checkout.run("invitations", "--context", "mine", "--json")
    assert result.returncode == 0, result.stderr
    assert "+12025550103" in result.stderr
    found = json.loads(result.stdout)
    assert as_documented("invitations", found)
    shown = {each["number"]: (each["state"], each["wrongCodes"], each["again"]) for each in found["invitations"]}
    assert shown == {
        "+12025550100": ("waiting", 0, False),
        "+12025550101": ("locked", 50, True),
        "+12025550102": ("expired", 0, False),
    }
    said = cluster.checkout.succeed("invitations", "--context", "mine")
    assert re.search(r"^\+12025550100 .* waiting +0$", said, re.M)
    assert "./flatline invite +12025550101 --codes 2 --replace --again --stack dev --context mine" in said
    stored = [each["hash"] for each in map(json.loads, _values(cluster)) if "hash" in each]
    assert not [each for each in stored if each in said + result.stdout + result.stderr]


def _values(cluster: Cluster) -> list[str]:
    return [base64.b64decode(value).decode() for value in cluster.secret()["data"].values()]


def test_a_program_that_cannot_be_asked_is_said(cluster: Cluster) -> None:
    cluster.put(n12025550100=entry(time.time() + DAY))
    cluster.change(port=0)
    result = cluster.checkout.run("invitations", "--context", "mine", "--json")
    assert "the pod flatline/registration-0" in result.stderr
    (found,) = json.loads(result.stdout)["invitations"]
    assert found["state"] is None


@pytest.mark.parametrize("state", ["attacked", "locked"])
def test_status_names_the_command_that_lets_an_attacked_person_in(cluster: Cluster, state: str) -> None:
    cluster.put(n12025550100=entry(time.time() + DAY), n12025550101=entry(time.time() + DAY, again=True))
    cluster.said[:] = [told("+12025550100", "waiting"), told("+12025550101", state, 50, int(time.time()))]
    said = " ".join(cluster.checkout.succeed("status", "--context", "mine").split())
    assert "+12025550100" not in said
    assert "`./flatline invite +12025550101 --codes 2 --replace --again --stack dev --context mine`" in said
    found = json.loads(cluster.checkout.succeed("status", "--context", "mine", "--json"))
    assert as_documented("status", found)
    assert len(found["cluster"]["registration"]) == 1


def test_development_is_warned_of(checkout: Checkout) -> None:
    assert "can register any number" not in checkout.run("status").stderr
    checkout.configure({"registration": {"kind": "development"}})
    assert "anyone can register any number" in " ".join(checkout.run("status").stderr.split())


@pytest.mark.parametrize(
    ("settings", "changes", "context", "expected"),
    [
        ({"registration": {"kind": "development"}}, {}, "mine", "by development, which reads no invitations"),
        ({}, {"stack": ""}, "mine", "no namespace flatline on context mine"),
        ({}, {"stack": "flatline.other"}, "mine", "belongs to another stack"),
        ({}, {}, "nobody", "there is no context nobody"),
        ({}, {}, "", "no cluster is named"),
    ],
)
def test_what_stands_in_the_way_is_named_and_nothing_is_made(
    cluster: Cluster, settings: dict[str, Any], changes: dict[str, Any], context: str, expected: str
) -> None:
    cluster.checkout.configure(settings)
    cluster.change(**changes)
    where = ("--context", context) if context else ()
    assert expected in " ".join(cluster.checkout.fail("invite", NUMBER, *where).split())
    assert cluster.secret() is None


@pytest.mark.parametrize("words", [(), (NUMBER, "--next"), (NUMBER, "--codes", "3"), (NUMBER, "--valid", "31d")])
def test_typing_mistakes(checkout: Checkout, words: tuple[str, ...]) -> None:
    checkout.fail("invite", *words, status=2)


@pytest.mark.parametrize("text", ["+1 202 555 0199", "+12025550100", "+61 (0)491 570 156", "+61 491 570 157"])
def test_numbers_that_whisper_takes(text: str) -> None:
    assert re.fullmatch(r"\+[1-9]\d{7,14}", numbers.read(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025550123", "has no country code"),
        ("+999123456789", "begins with no country code"),
        ("+1202555", "too few digits"),
        ("+33612345678901", "too many digits"),
        ("+441632960001", "gives to nobody"),
        ("+15555550100", "gives to nobody"),
        ("+1202555CALL", "is no phone number"),
        ("+", "is no phone number"),
    ],
)
def test_numbers_that_whisper_refuses(text: str, expected: str) -> None:
    with pytest.raises(FlatlineError, match=re.escape(expected)):
        numbers.read(text)
