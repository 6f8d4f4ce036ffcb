"""programs/seed/localstack.py against an API that is slow, late and forgetful on purpose.

What DynamoDB and S3 themselves make of its requests is in tests/integration/test_localstack_seed.py.
"""

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.lab.process import free_ports
from tests.lab.served import Handler, serving

PROGRAM = Path(__file__).parents[2] / "programs" / "seed" / "localstack.py"
KEYS = [{"AttributeName": "K", "KeyType": "HASH"}]
TABLE: dict[str, Any] = {
    "TableName": "T",
    "AttributeDefinitions": [{"AttributeName": "K", "AttributeType": "S"}],
    "KeySchema": KEYS,
}
INDEX: dict[str, Any] = {
    "IndexName": "by_r",
    "KeySchema": [{"AttributeName": "R", "KeyType": "HASH"}],
    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["X", "Y"]},
}
GROWN: dict[str, Any] = {
    **TABLE,
    "AttributeDefinitions": [*TABLE["AttributeDefinitions"], {"AttributeName": "R", "AttributeType": "B"}],
    "GlobalSecondaryIndexes": [INDEX],
}
OBJECT = {"bucket": "b", "key": "k", "text": "v", "contentType": "text/plain"}

Answer = tuple[int, dict[str, Any]]


class Aws:
    """A DynamoDB and S3 of which every request is noted, and whose next answers can be replaced."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.faults: dict[str, list[Callable[[], Answer] | Answer]] = {}
        self.tables: dict[str, dict[str, Any]] = {}
        self.ttl: dict[str, tuple[str, str]] = {}
        self.store: dict[str, tuple[str, bytes]] = {}
        self.polls_until_active = 0
        self.rows: list[dict[str, Any]] = []
        self.url = ""

    def handler(self) -> type[Handler]:
        aws = self

        class Answers(Handler):
            def answer(self) -> None:
                body = self.taken()
                scope = self.headers["Authorization"].split("Credential=")[1].split(",")[0].split("/")
                assert scope[2:] == ["eu-west-1", scope[3], "aws4_request"]
                target = self.headers.get("X-Amz-Target", "")
                assert scope[3] == ("dynamodb" if target else "s3")
                if target:
                    status, answer = aws.dynamodb(target.removeprefix("DynamoDB_20120810."), json.loads(body))
                    kind, content = "application/x-amz-json-1.0", json.dumps(answer).encode()
                else:
                    given = self.headers.get("Content-Type", "")
                    status, kind, content = aws.s3(self.command, self.path, given, body)
                self.reply(status, content, Content_Type=kind)

        return Answers

    def dynamodb(self, operation: str, request: dict[str, Any]) -> Answer:
        name = request.get("TableName", "")
        self.calls.append(f"{operation} {name}".strip())
        self.requests.append((operation, request))
        if self.faults.get(operation):
            fault = self.faults[operation].pop(0)
            return fault() if callable(fault) else fault
        if operation == "ListTables":
            return self._page(request.get("ExclusiveStartTableName", ""))
        if operation != "CreateTable" and name not in self.tables:
            return 400, {"__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", "message": "gone"}
        answer: Answer = getattr(self, f"_{operation}")(name, request)
        return answer

    def _page(self, start: str) -> Answer:
        left = [name for name in sorted(self.tables) if name > start]
        more = {"LastEvaluatedTableName": left[0]} if len(left) > 1 else {}
        return 200, {"TableNames": left[:1], **more}

    def _CreateTable(self, name: str, request: dict[str, Any]) -> Answer:  # noqa: N802
        if name in self.tables:
            return 400, {"__type": "x#ResourceInUseException", "message": "exists"}
        self.tables[name] = {**request, "polls": self.polls_until_active}
        return 200, {}

    def _Scan(self, name: str, request: dict[str, Any]) -> Answer:  # noqa: N802
        start = request.get("ExclusiveStartKey", {}).get("at", 0)
        more = {"LastEvaluatedKey": {"at": start + 1}} if start + 1 < len(self.rows) else {}
        return 200, {"Items": self.rows[start : start + 1], **more}

    def _DeleteItem(self, name: str, request: dict[str, Any]) -> Answer:  # noqa: N802
        (found,) = (row for row in self.rows if {key: row.get(key) for key in ("U", "D")} == request["Key"])
        if found["ID"] != request["ExpressionAttributeValues"][":id"]:
            return 400, {"__type": "x#ConditionalCheckFailedException", "message": "another page"}
        self.rows.remove(found)
        return 200, {}

    def _DescribeTable(self, name: str, request: dict[str, Any]) -> Answer:  # noqa: N802
        table = self.tables[name]
        table["polls"] -= 1
        status = "ACTIVE" if table["polls"] < 0 else "CREATING"
        return 200, {"Table": {**table, "TableStatus": status}}

    def _UpdateTable(self, name: str, request: dict[str, Any]) -> Answer:  # noqa: N802
        table = self.tables[name]
        created = [each["Create"] for each in request["GlobalSecondaryIndexUpdates"]]
        assert len(created) == 1
        table["GlobalSecondaryIndexes"] = [*table.get("GlobalSecondaryIndexes", []), *created]
        table["AttributeDefinitions"] = request["AttributeDefinitions"]
        table["polls"] = self.polls_until_active
        return 200, {}

    def _DescribeTimeToLive(self, name: str, request: dict[str, Any]) -> Answer:  # noqa: N802
        status, attribute = self.ttl.get(name, ("DISABLED", ""))
        if status == "DISABLING":
            self.ttl[name] = ("DISABLED", "")
        described = {"TimeToLiveStatus": status, **({"AttributeName": attribute} if attribute else {})}
        return 200, {"TimeToLiveDescription": described}

    def _UpdateTimeToLive(self, name: str, request: dict[str, Any]) -> Answer:  # noqa: N802
        wanted = request["TimeToLiveSpecification"]
        enabled = self.ttl.get(name, ("DISABLED", ""))[0] == "ENABLED"
        if enabled == wanted["Enabled"] or self.ttl.get(name, ("", ""))[0] == "DISABLING":
            return 400, {"__type": "x#ValidationException", "message": "TimeToLive is already as asked"}
        self.ttl[name] = ("ENABLED" if wanted["Enabled"] else "DISABLING", wanted["AttributeName"])
        return 200, {}

    def s3(self, method: str, path: str, kind: str, body: bytes) -> tuple[int, str, bytes]:
        self.calls.append(f"{method} {path}")
        if self.faults.get(method):
            fault = self.faults[method].pop(0)
            status, answer = fault() if callable(fault) else fault
            return status, "application/xml", answer["xml"].encode()
        if method == "PUT":
            self.store[path] = (kind, body)
        bucket, _, query = path.partition("?")
        if query and bucket in self.store:
            return 200, "application/xml", self._list(urllib.parse.parse_qs(query))
        if path not in self.store:
            return 404, "application/xml", b"<Error><Code>NoSuchKey</Code></Error>"
        return 200, *self.store[path]

    def _list(self, query: dict[str, list[str]]) -> bytes:
        """One object of a listing, in the order of the keys."""
        (prefix,) = query.get("prefix", [""])
        keys = sorted(path[3:] for path in self.store if path.startswith(f"/p/{prefix}"))
        at = int(query.get("continuation-token", ["0"])[0])
        size = len(self.store[f"/p/{keys[at]}"][1]) if keys else 0
        found = f"<Contents><Key>{keys[at]}</Key><Size>{size}</Size></Contents>" if keys else ""
        more = f"<NextContinuationToken>{at + 1}</NextContinuationToken>" if at + 1 < len(keys) else ""
        truncated = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        return f'<ListBucketResult xmlns="{space}">{truncated}{more}{found}</ListBucketResult>'.encode()


@pytest.fixture
def aws() -> Iterator[Aws]:
    aws = Aws()
    with serving(aws.handler()) as port:
        aws.url = f"http://127.0.0.1:{port}"
        yield aws


def _seed(**changes: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"tables": [], "ttl": {}, "buckets": [], "objects": [], "pages": None}
    return {**empty, "region": "eu-west-1", "deadlineSeconds": 20, "endpoint": "http://127.0.0.1:1", **changes}


def _run(tmp_path: Path, text: str | None) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "seed.json"
    if text is not None:
        file.write_text(text)
    return subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**os.environ, "FLATLINE_SEED_FILE": str(file)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _succeeds(tmp_path: Path, aws: Aws, **changes: Any) -> list[str]:
    done = _run(tmp_path, json.dumps(_seed(endpoint=aws.url, **changes)))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return _told(done.stdout)


def _told(output: str) -> list[str]:
    lines = [json.loads(line) for line in output.splitlines()]
    assert {line["event"] for line in lines} == {"seed"}
    return [line["message"] for line in lines]


def _fails(tmp_path: Path, text: str | None) -> str:
    done = _run(tmp_path, text)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("localstack-seed: failed: ")
    return done.stderr.removeprefix("localstack-seed: failed: ").strip()


def test_everything_is_created_once(aws: Aws, tmp_path: Path) -> None:
    plan = {"tables": [GROWN], "ttl": {"T": "E"}, "buckets": ["b"], "objects": [OBJECT]}

    assert _succeeds(tmp_path, aws, **plan) == [
        "created table T",
        "changed TTL of table T: disabled -> E",
        "created bucket b",
        "created object /b/k",
        "1 tables, 1 buckets, 1 objects: 3 created, 1 changed",
    ]
    assert ("CreateTable", GROWN) in aws.requests
    assert aws.ttl == {"T": ("ENABLED", "E")}
    location = b"<LocationConstraint>eu-west-1</LocationConstraint>"
    assert location in aws.store["/b"][1]
    assert aws.store["/b/k"] == ("text/plain", b"v")

    aws.calls.clear()
    assert _succeeds(tmp_path, aws, **plan) == ["1 tables, 1 buckets, 1 objects: 0 created, 0 changed"]
    changing = ("Create", "Update", "PUT", "DELETE", "Delete")
    assert not [call for call in aws.calls if call.startswith(changing)]


def test_tables_and_indexes_are_waited_for(aws: Aws, tmp_path: Path) -> None:
    aws.polls_until_active = 3
    _succeeds(tmp_path, aws, tables=[TABLE], ttl={"T": "E"})
    first_ttl = aws.calls.index("DescribeTimeToLive T")
    assert aws.calls[:first_ttl].count("DescribeTable T") >= 4

    aws.calls.clear()
    lines = _succeeds(tmp_path, aws, tables=[GROWN], ttl={"T": "E"})
    assert lines == [
        "created index by_r of table T",
        "1 tables, 0 buckets, 0 objects: 1 created, 0 changed",
    ]
    after = aws.calls[aws.calls.index("UpdateTable T") :]
    assert after.count("DescribeTable T") >= 4
    updates = [request for operation, request in aws.requests if operation == "UpdateTable"]
    assert updates == [
        {
            "TableName": "T",
            "AttributeDefinitions": GROWN["AttributeDefinitions"],
            "GlobalSecondaryIndexUpdates": [{"Create": INDEX}],
        }
    ]


# ---- rows whose page is lost ----------------------------------------------------------------------------------

PAGES = {"table": "T", "bucket": "p", "deadlineSeconds": 0.5}


def row(account: int, page: int, **more: Any) -> dict[str, Any]:
    """A row of pre-keys, as DynamoDB's JSON has it."""
    u, i = (base64.b64encode(number.to_bytes(16, "big")).decode() for number in (account, page))
    return {"U": {"B": u}, "D": {"N": "1"}, "ID": {"B": i}, "N": {"N": "2"}, "F": {"N": "1"}, **more}


def page_path(account: int, page: int) -> str:
    return f"/p/{uuid.UUID(int=account)}/1/{uuid.UUID(int=page)}"


WHOLE = b"x" * (8 + 2 * 1641)


@pytest.fixture
def keys(tmp_path: Path) -> str:
    file = tmp_path / "keys"
    file.write_text("[default]\naws_access_key_id = id\naws_secret_access_key = planted-secret\n")
    return str(file)


def _seeded(tmp_path: Path, aws: Aws, **pages: Any) -> list[str]:
    lines = _succeeds(tmp_path, aws, tables=[TABLE], pages={**PAGES, "endpoint": aws.url, **pages})
    assert "planted-secret" not in " ".join(lines)
    return [line for line in lines if "row" in line]


def test_rows_whose_page_is_lost_are_removed(aws: Aws, tmp_path: Path, keys: str) -> None:
    kept = [row(1, 11), row(2, 12, F={"N": "9"}), {"U": {"B": "AAAA"}, "D": {"N": "1"}}, {"U": {"S": "x"}}]
    lost = [row(3, 13), row(4, 14), row(5, 15)]
    aws.store = {"/p": ("", b""), page_path(1, 11): ("", WHOLE), page_path(2, 12): ("", b"of another format")}
    aws.store |= {page_path(3, 99): ("", WHOLE), page_path(4, 14): ("", WHOLE[:-1])}
    aws.rows = [*lost, *kept]

    lines = _seeded(tmp_path, aws, credentialsFile=keys)
    assert lines == ["removed 3 rows of table T, whose pages are lost: clients upload new keys"]
    assert aws.rows == kept
    assert _seeded(tmp_path, aws, credentialsFile=keys) == []
    assert aws.rows == kept


def test_a_row_that_names_another_page_by_now_stays(aws: Aws, tmp_path: Path, keys: str) -> None:
    aws.store, aws.rows = {"/p": ("", b"")}, [row(1, 11)]
    replaced = row(1, 12)

    def replace() -> Answer:
        aws.rows[:] = [replaced]
        return aws._DeleteItem("T", {"Key": {k: replaced[k] for k in "UD"}, "ExpressionAttributeValues": {":id": 0}})

    aws.faults = {"DeleteItem": [replace]}
    assert _seeded(tmp_path, aws, credentialsFile=keys) == []
    assert aws.rows == [replaced]


def gets(*answers: Any) -> Callable[[Aws], dict[str, Any]]:
    """These are what S3 answers to the next GETs: a status and its text, or a function."""
    faults = [answer if callable(answer) else (answer[0], {"xml": answer[1]}) for answer in answers]
    return lambda aws: aws.faults.update(GET=faults.copy()) or {}


def empty() -> Answer:
    return 200, {"xml": Aws()._list({}).decode()}


REFUSAL = "<Error><Code>SignatureDoesNotMatch</Code></Error>"
NOT_SURE: dict[str, tuple[Callable[[Aws], dict[str, Any]], str]] = {
    "nobody answers": (lambda _: {"endpoint": "http://127.0.0.1:1"}, "refused"),
    "it fails": (gets(*[(503, "")] * 99), "503"),
    "it refuses": (gets((403, REFUSAL)), "SignatureDoesNotMatch"),
    "the bucket is gone": (lambda aws: aws.store.pop("/p") and {}, "NoSuchKey"),
    "it is no S3": (gets((200, "<html>")), "no list of objects"),
    "it fails at the second look": (gets(empty, *[(500, "")] * 99), "500"),
    "there are no keys": (lambda _: {"credentialsFile": "/nowhere"}, "/nowhere: No such file"),
}


@pytest.mark.parametrize("case", NOT_SURE)
def test_where_it_is_not_sure_no_row_is_removed(aws: Aws, tmp_path: Path, keys: str, case: str) -> None:
    spoil, words = NOT_SURE[case]
    aws.store, aws.rows = {"/p": ("", b"")}, [row(1, 11)]
    (line,) = _seeded(tmp_path, aws, **{"credentialsFile": keys, **spoil(aws)})
    assert line.startswith("the pages of table T were not looked at, and no row was removed: ")
    assert words in line
    assert aws.rows == [row(1, 11)]


def test_ttl_moves_by_way_of_disabled(aws: Aws, tmp_path: Path) -> None:
    _succeeds(tmp_path, aws, tables=[TABLE], ttl={"T": "old"})
    lines = _succeeds(tmp_path, aws, tables=[TABLE], ttl={"T": "new"})

    assert lines[0] == "changed TTL of table T: old -> new"
    assert aws.ttl == {"T": ("ENABLED", "new")}


def test_a_lost_answer_to_a_creation_is_no_failure(aws: Aws, tmp_path: Path) -> None:
    def lost() -> Answer:
        aws.tables["T"] = {**TABLE, "polls": 0}
        return 500, {"__type": "InternalFailure", "message": "lost"}

    aws.faults = {"CreateTable": [lost]}

    assert _succeeds(tmp_path, aws, tables=[TABLE])[0] == "created table T"


def test_passing_errors_are_repeated(aws: Aws, tmp_path: Path) -> None:
    aws.faults = {
        "CreateTable": [(400, {"__type": "x#LimitExceededException", "message": "too many"})],
        "DescribeTable": [(503, {}), (502, {})],
        "PUT": [(500, {"xml": "<Error><Code>InternalError</Code></Error>"})],
    }

    lines = _succeeds(tmp_path, aws, tables=[TABLE], buckets=["b"])

    assert lines[-1] == "1 tables, 1 buckets, 0 objects: 2 created, 0 changed"
    assert aws.calls.count("CreateTable T") == 2


def test_an_endpoint_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    stop = threading.Event()

    def come() -> None:
        time.sleep(1)
        with serving(Aws().handler(), port):
            stop.wait()

    coming = threading.Thread(target=come)
    coming.start()
    try:
        done = _run(tmp_path, json.dumps(_seed(endpoint=f"http://127.0.0.1:{port}", buckets=["b"])))
    finally:
        stop.set()
        coming.join()
    assert done.returncode == 0, done.stderr
    assert _told(done.stdout)[-1].endswith("1 created, 0 changed")


def test_the_deadline_ends_the_wait(tmp_path: Path) -> None:
    began = time.monotonic()
    problem = _fails(tmp_path, json.dumps(_seed(buckets=["b"], deadlineSeconds=0.7)))

    assert problem.startswith("HEAD s3://b: given up after 0.7 s: http://127.0.0.1:1: ")
    assert "refused" in problem
    assert time.monotonic() - began < 5


def test_a_table_that_never_becomes_active_is_named(aws: Aws, tmp_path: Path) -> None:
    aws.polls_until_active = 10**6

    problem = _fails(tmp_path, json.dumps(_seed(endpoint=aws.url, tables=[TABLE], deadlineSeconds=0.7)))

    assert problem == "table T to become ACTIVE: given up after 0.7 s: not yet"


def test_a_refusal_is_told_at_once(aws: Aws, tmp_path: Path) -> None:
    xml = "<?xml?><Error><Code>InvalidBucketName</Code><Message>not a name</Message></Error>"
    invalid, denied = (
        {"__type": f"x#{kind}", "message": said}
        for kind, said in (("ValidationException", "bad key"), ("AccessDenied", "not you"))
    )
    refusals: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
        ("CreateTable", invalid, {"tables": [TABLE]}, "CreateTable T: ValidationException: bad key"),
        ("DescribeTable", denied, {"tables": [TABLE]}, "DescribeTable T: AccessDenied: not you"),
        ("PUT", {"xml": xml}, {"buckets": ["B"]}, "PUT s3://B: InvalidBucketName: not a name"),
    ]
    for operation, answer, seeded, told in refusals:
        aws.faults = {operation: [(400, answer)]}
        assert _fails(tmp_path, json.dumps(_seed(endpoint=aws.url, **seeded))) == told


Y_ALONE = {**INDEX, "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["Y"]}}
RANGE = {**GROWN, "KeySchema": [*KEYS, {"AttributeName": "R", "KeyType": "RANGE"}]}
MENDED_BY_NOBODY = {
    "global index by_r: key schema is K S HASH, wanted R B HASH": ({**INDEX, "KeySchema": KEYS}, GROWN),
    "global index by_r: projects INCLUDE Y, wanted INCLUDE X Y": (Y_ALONE, GROWN),
    "key schema is K S HASH, wanted K S HASH, R B RANGE": (INDEX, RANGE),
}


@pytest.mark.parametrize("problem", MENDED_BY_NOBODY)
def test_what_cannot_be_mended_is_refused(aws: Aws, tmp_path: Path, problem: str) -> None:
    index, wanted = MENDED_BY_NOBODY[problem]
    aws.tables["T"] = {**GROWN, "GlobalSecondaryIndexes": [index], "polls": 0}

    told = _fails(tmp_path, json.dumps(_seed(endpoint=aws.url, tables=[wanted])))

    assert told == f"table T: {problem}; this cannot be changed in place and nothing is replaced"
    assert not [call for call in aws.calls if not call.startswith("Describe")]


def test_the_order_of_keys_and_definitions_is_no_difference(aws: Aws, tmp_path: Path) -> None:
    schema = [*KEYS, {"AttributeName": "R", "KeyType": "RANGE"}]
    table = {**TABLE, "AttributeDefinitions": GROWN["AttributeDefinitions"], "KeySchema": schema}
    backwards = {"KeySchema": schema[::-1], "AttributeDefinitions": GROWN["AttributeDefinitions"][::-1]}
    aws.tables["T"] = {**table, **backwards, "polls": 0}

    assert _succeeds(tmp_path, aws, tables=[table])[-1].endswith("0 created, 0 changed")


def test_surplus_is_reported_over_all_pages(aws: Aws, tmp_path: Path) -> None:
    for name in ("A", "T", "Z"):
        aws.tables[name] = {**(GROWN if name == "T" else TABLE), "TableName": name, "polls": 0}

    lines = _succeeds(tmp_path, aws, tables=[TABLE])

    assert lines == [
        "table T has the surplus index by_r: left alone",
        "table A is surplus: left alone",
        "table Z is surplus: left alone",
        "1 tables, 0 buckets, 0 objects: 0 created, 0 changed",
    ]


def test_without_tables_dynamodb_is_not_asked(aws: Aws, tmp_path: Path) -> None:
    _succeeds(tmp_path, aws, buckets=["b"])

    assert aws.calls == ["HEAD /b", "PUT /b"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "seed file: not JSON"),
        ("[]", "seed file: must hold one object"),
        (json.dumps({**_seed(), "bucket": []}), "seed file: unknown key bucket"),
        (json.dumps({k: v for k, v in _seed().items() if k != "ttl"}), "seed file: missing key ttl"),
        (json.dumps(_seed(tables={})), "seed file: tables must be of type list"),
        (json.dumps(_seed(deadlineSeconds="5")), "seed file: deadlineSeconds must be of type float"),
        (json.dumps(_seed(deadlineSeconds=True)), "seed file: deadlineSeconds must be of type float"),
        (json.dumps(_seed(endpoint="https://127.0.0.1:1")), "seed file: endpoint must be http://host:port"),
        (json.dumps(_seed(endpoint="127.0.0.1:1")), "seed file: endpoint must be http://host:port"),
        (json.dumps(_seed(tables=[{"TableName": "T"}])), "seed file: each of tables needs TableName, KeySchema"),
        (json.dumps(_seed(tables=[TABLE, TABLE])), "seed file: table T is listed twice"),
        (json.dumps(_seed(ttl={"T": "E"})), "seed file: ttl names the table T, which is not among tables"),
        (json.dumps(_seed(tables=[TABLE], ttl={"T": ""})), "seed file: ttl of table T must be the name"),
        (json.dumps(_seed(buckets=[""])), "seed file: each of buckets must be a name"),
        (json.dumps(_seed(objects=[OBJECT])), "seed file: object k: bucket b is not among buckets"),
        (json.dumps(_seed(objects=[{"bucket": "b"}])), "seed file: each of objects needs exactly the texts"),
        (json.dumps(_seed(objects=[{**OBJECT, "text": 1}])), "seed file: each of objects needs exactly the texts"),
    ],
)
def test_a_wrong_seed_file_is_told_before_anything_is_asked(tmp_path: Path, text: str, problem: str) -> None:
    assert _fails(tmp_path, text).startswith(problem)


def test_a_missing_seed_file_is_told(tmp_path: Path) -> None:
    assert _fails(tmp_path, None) == f"seed file {tmp_path}/seed.json: No such file or directory"


def _as_hook() -> str:
    """Executed as LocalStack 4.14.0 does it (localstack/runtime/init.py, PythonScriptRunner); what it printed."""
    variables = {"FLATLINE_SEED_PROGRAM": str(PROGRAM.parent)}
    with mock.patch.dict(os.environ, variables), contextlib.redirect_stdout(io.StringIO()) as output:
        exec(PROGRAM.read_bytes(), {})  # noqa: S102
    return output.getvalue()


def test_as_a_hook_it_seeds(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "seed.json"
    file.write_text(json.dumps(_seed(endpoint=aws.url, tables=[TABLE])))
    monkeypatch.setenv("FLATLINE_SEED_FILE", str(file))

    assert _told(_as_hook())[-1] == "1 tables, 0 buckets, 0 objects: 1 created, 0 changed"
    assert "T" in aws.tables


def test_as_a_hook_it_fails_with_an_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "seed.json"
    file.write_text(json.dumps(_seed(buckets=["b"], deadlineSeconds=0.1)))
    monkeypatch.setenv("FLATLINE_SEED_FILE", str(file))
    with pytest.raises(Exception, match=r"given up after 0\.1 s"):
        _as_hook()

    monkeypatch.delenv("FLATLINE_SEED_FILE")
    with pytest.raises(Exception, match="FLATLINE_SEED_FILE is not set"):
        _as_hook()
