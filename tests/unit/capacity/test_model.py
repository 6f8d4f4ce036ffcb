"""What each part is asked for: by hand where that can be done, else by how it grows."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity import bigtable, dynamodb, objects
from capacity.cluster import ClusterDemand, Pods, nodes
from capacity.dynamodb import ACCOUNT_SCANS, ITEM_OVERHEAD, IndexDemand, ModelError, TableDemand, Use
from capacity.estimate import Estimate
from capacity.installation import Installation
from capacity.limits import CLEAN_UP_SECONDS
from capacity.traffic import Traffic
from capacity.workload import GIB, KIB, MIB, Workload
from components.services import whisper
from config.schema.bigtable import TABLES as BIGTABLE
from config.schema.dynamodb import TABLES, Index, Key, Table
from config.services.whisper import MESSAGE_RETENTION_DAYS
from config.settings import Settings
from config.workloads import Cdn, Redis
from tests.unit.capacity.samples import HABITS, INSTALLATION, MESSAGES, RANGE, USERS, estimate, with_users


def numbers(of: Estimate) -> Iterator[tuple[str, float]]:
    """Everything that an estimate asks for, by name."""
    for table in of.tables:
        several: list[TableDemand | IndexDemand] = [table, *table.indexes]
        for each in several:
            yield f"{table.name}.{each.name}.items", each.items
            yield f"{table.name}.{each.name}.bytes", each.bytes
            for load in fields(each.throughput):
                yield f"{table.name}.{each.name}.{load.name}", getattr(each.throughput, load.name)
    for entry in fields(of.redis):
        yield f"redis.{entry.name}", getattr(of.redis, entry.name)
    for rows in of.bigtable.tables:
        for name in ("rows", "bytes", "reads_mean", "reads_peak", "writes_mean", "writes_peak"):
            yield f"{rows.name}.{name}", getattr(rows, name)
    yield "bigtable.nodes", of.bigtable.nodes
    for prefix in of.prefixes:
        for name in ("objects", "bytes", "puts_mean", "puts_peak", "gets_mean", "gets_peak"):
            yield f"{prefix.name}.{name}", getattr(prefix, name)
    for entry in fields(of.transfer):
        yield f"transfer.{entry.name}", getattr(of.transfer, entry.name)
    for pods in of.cluster.pods:
        yield f"{pods.service}.replicas", pods.replicas
        yield f"{pods.service}.most", pods.most
    yield "nodes", of.cluster.nodes


def none_falls(before: Estimate, after: Estimate) -> None:
    later = dict(numbers(after))
    fallen = {name: (value, later[name]) for name, value in numbers(before) if later[name] < value * (1 - 1e-9)}
    assert fallen == {}


# --- the schema -------------------------------------------------------------------------------------------


def demand(tables: dict[str, Table]) -> tuple[dynamodb.TableDemand, ...]:
    workload = Workload(users=10, messages_per_day=1)
    return dynamodb.demand(workload, Traffic.of(workload), INSTALLATION, 1, tables)


def test_every_table_of_the_schema_is_in_the_model() -> None:
    assert [table.name for table in estimate().tables] == [table.name for table in TABLES.values()]
    assert [(t.name, i.name) for t in estimate().tables for i in t.indexes] == [
        (t.name, i.name) for t in TABLES.values() for i in t.indexes
    ]
    assert {table.name for table in estimate().bigtable.tables} == {table.name for table in BIGTABLE.values()}


def test_a_new_table_needs_an_item_size() -> None:
    new = Table(name="New", hash=Key("K", "S"), operations=("GetItem",))
    with pytest.raises(ModelError, match=r"new.tableName has no model: add one to capacity/dynamodb.py"):
        demand({**TABLES, "new.tableName": new})


def test_a_table_that_went_away_must_leave_the_model() -> None:
    fewer = {key: table for key, table in TABLES.items() if key != "backups.tableName"}
    with pytest.raises(ModelError, match=r"backups.tableName has a model but is not in the schema"):
        demand(fewer)


def test_a_new_index_must_be_in_the_model() -> None:
    profiles = TABLES["profiles.tableName"]
    index = Index(name="v_to_u", hash=Key("V", "S"))
    with pytest.raises(ModelError, match=r"Profiles has the indexes \['v_to_u'\], but its model has \[\]"):
        demand({**TABLES, "profiles.tableName": replace(profiles, indexes=(index,))})


def test_the_model_uses_operations_that_the_schema_grants() -> None:
    keys = TABLES["ecKeys.tableName"]
    with pytest.raises(ModelError, match=r"Keys: the model uses DeleteItem, which the schema does not grant"):
        demand({**TABLES, "ecKeys.tableName": replace(keys, operations=("PutItem", "Query"))})


def test_a_new_bigtable_table_must_be_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigtable, "TABLES", {**BIGTABLE, "new": next(iter(BIGTABLE.values())).__class__("new", "n")})
    with pytest.raises(ModelError, match=r"see capacity/bigtable\.py"):
        estimate()


def test_as_many_clean_ups_read_the_accounts_as_run() -> None:
    running = [each.command for each in whisper.CLEAN_UPS if not each.suspended and not each.lists_pre_keys]
    assert len(running) == ACCOUNT_SCANS


def test_a_clean_up_has_as_long_as_its_job() -> None:
    tree = ast.parse(inspect.getsource(whisper))
    deadlines = {
        ast.unparse(node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "deadline"
    }
    assert deadlines == {"4 * 3600"}
    assert CLEAN_UP_SECONDS == 4 * 3600


# --- by hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "units"),
    [
        (Use(operation="PutItem", times=1, bytes=1, why=""), 1),
        (Use(operation="PutItem", times=1, bytes=1024, why=""), 1),
        (Use(operation="PutItem", times=1, bytes=1025, why=""), 2),
        (Use(operation="DeleteItem", times=1, bytes=1025, why="", transaction=True), 4),
        (Use(operation="GetItem", times=1, bytes=4096, why="", consistent=True), 1),
        (Use(operation="GetItem", times=1, bytes=4097, why="", consistent=True), 2),
        (Use(operation="GetItem", times=1, bytes=4097, why=""), 1),
        (Use(operation="Query", times=1, bytes=0, why=""), 0.5),
        (Use(operation="Query", times=1, bytes=0, why="", consistent=True), 1),
        (Use(operation="Scan", times=1, bytes=1_048_576, why=""), 128),
    ],
)
def test_request_units_are_those_of_the_developer_guide(use: Use, units: float) -> None:
    assert use.units == units


def test_messages_by_hand() -> None:
    """One persisted message a second: a put and a delete, each in the table and in its local index."""
    found = estimate(
        86_400, 1, devices=1, group_messages=0, receipts=0, typing=0, offline=1, abandoned=0, peak=2, offline_days=0.5
    ).table("Messages")
    assert found.throughput.writes_mean == pytest.approx(4)
    assert found.throughput.writes_peak == pytest.approx(8)
    assert found.items == pytest.approx(43_200)
    assert found.bytes == pytest.approx(43_200 * (850 + 105 + 100))


def test_messages_that_nobody_fetches_stay_until_they_expire() -> None:
    found = estimate(86_400, 1, devices=1, group_messages=0, receipts=0, offline=1, abandoned=1).table("Messages")
    assert found.items == pytest.approx(86_400 * MESSAGE_RETENTION_DAYS)
    assert found.throughput.writes_mean == pytest.approx(2), "time-to-live deletes for nothing"


def test_a_larger_envelope_takes_two_units_in_the_table_and_one_in_the_index() -> None:
    habits = {"devices": 1, "group_messages": 0, "receipts": 0, "typing": 0, "offline": 1, "abandoned": 1}
    found = estimate(86_400, 1, envelope_bytes=1000, **habits).table("Messages")
    assert found.throughput.writes_mean == pytest.approx(3)


def test_one_time_keys_by_hand() -> None:
    found = estimate(1000, 0, devices=1).table("Keys")
    assert found.items == 1000 * 2 * 100
    assert found.bytes == 200_000 * (70 + ITEM_OVERHEAD)


def test_accounts_are_scanned_twice_a_day() -> None:
    (scan,) = (use for use in estimate(1000, 0).table("Accounts").uses if use.operation == "Scan")
    assert scan.times == 2
    assert scan.bytes == pytest.approx(1000 * (900 + 600 * 1.2))


def test_a_scan_asks_for_no_more_than_its_pages_bring() -> None:
    assert estimate(10**8, 0).table("Accounts").throughput.reads_peak < 20_000
    assert estimate(10**8, 0, scan_mib=100).table("Accounts").throughput.reads_peak > 12_800


def test_attachments_by_hand() -> None:
    found = estimate(1000, 10, attachments=0.1, attachment_kib=1024)
    uploads = found.prefixes[0]
    assert uploads.objects == 1000 * INSTALLATION.attachment_days
    assert uploads.bytes == 1000 * INSTALLATION.attachment_days * MIB
    assert uploads.puts_mean == pytest.approx(1000 * objects.UPLOAD_PUTS / 86_400)


def test_a_page_of_pre_keys_is_a_header_and_a_hundred_keys() -> None:
    assert objects.PAGE_BYTES == 8 + 100 * (8 + 1569 + 64)


def test_messages_wait_in_redis_for_the_delay_and_a_round() -> None:
    assert estimate().redis.wait_seconds == pytest.approx(60 + 16_384 / 160)


def test_the_settings_count() -> None:
    settings_ = Settings(cdn=Cdn(retentionDays=90), redis=Redis(masters=7, memory="1Gi"))
    found = Installation.of(settings_)
    assert (found.attachment_days, found.masters, found.redis_memory) == (90, 7, GIB)
    workload = Workload(users=1000, messages_per_day=10)
    longer = Estimate.of(workload, found).prefixes[0].bytes
    assert longer == 2 * Estimate.of(workload, INSTALLATION).prefixes[0].bytes


def test_a_group_by_hand() -> None:
    found = {table.name: table for table in estimate(100, 0, groups=3, group_size=10, group_updates=1).bigtable.tables}
    assert found["groups"].rows == 30
    assert found["groups"].row_bytes == 450 + 10 * 180
    assert found["group-logs"].rows == 30 * 365


@pytest.mark.parametrize(
    ("cores", "mib", "count", "expected"),
    [(7.5, 1, 10, 10), (0.001, 28_500, 10, 10), (0.001, 1, 581, 11), (0.001, 1, 1, 3)],
)
def test_nodes_have_room_for_cores_memory_and_addresses(cores: float, mib: int, count: int, expected: int) -> None:
    pods = Pods(service="any", replicas=1, most=count, cores=cores, mib=mib, why="")
    assert nodes((pods,)) == expected


def test_a_service_has_two_pods_at_least() -> None:
    alone = {"whisper-persister", "registration"}
    for pods in estimate(1, 0).cluster.pods:
        assert (pods.replicas, pods.most) == ((1, 1) if pods.service in alone else (2, 2))


def test_pods_by_hand() -> None:
    cluster: ClusterDemand = estimate(100_000, 0, devices=1, active=1, connected=1, api_requests=0).cluster
    found: Pods = cluster.of("whisper")
    assert found.most == 13, "100,000 WebSockets, 8,000 in each"


# --- growth -----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(users=USERS, more=st.integers(1, 10**9), messages=MESSAGES, habits=HABITS)
def test_nothing_falls_when_users_are_added(users: int, more: int, messages: float, habits: dict[str, float]) -> None:
    before = estimate(users, messages, **habits)
    none_falls(before, with_users(before, users + more))


@settings(max_examples=30, deadline=None)
@given(users=USERS, messages=st.floats(0, 5000), more=st.floats(0, 5000), habits=HABITS)
def test_nothing_falls_when_they_write_more(users: int, messages: float, more: float, habits: dict[str, float]) -> None:
    none_falls(estimate(users, messages, **habits), estimate(users, messages + more, **habits))


CONSTANT = {"ClientReleases", "DeletedAccountsLock", "RemoteConfig"}


@settings(max_examples=25, deadline=None)
@given(users=st.integers(1, 10**8), times=st.integers(2, 50), messages=MESSAGES, habits=HABITS)
def test_data_is_linear_in_users(users: int, times: int, messages: float, habits: dict[str, float]) -> None:
    one = estimate(users, messages, **habits)
    many = with_users(one, users * times)
    for before, after in zip(one.tables, many.tables, strict=True):
        if before.name not in CONSTANT:
            assert after.stored_bytes == pytest.approx(before.stored_bytes * times), before.name
        assert after.throughput.writes_mean == pytest.approx(before.throughput.writes_mean * times), before.name
    assert many.redis.bytes == pytest.approx(one.redis.bytes * times)
    assert many.bigtable.bytes == pytest.approx(one.bigtable.bytes * times)
    for small, large in zip(one.prefixes, many.prefixes, strict=True):
        if small.bucket != "dynamic-config":
            assert large.bytes == pytest.approx(small.bytes * times)
            assert large.gets_mean == pytest.approx(small.gets_mean * times)
    assert many.transfer.from_aws == pytest.approx(one.transfer.from_aws * times)


@settings(max_examples=25, deadline=None)
@given(users=st.integers(1, 10**8), messages=MESSAGES, peak=st.floats(1, 20), habits=HABITS)
def test_the_peak_is_never_below_the_mean(users: int, messages: float, peak: float, habits: dict[str, float]) -> None:
    found = estimate(users, messages, **{**habits, "peak": peak})
    for table in found.tables:
        for each in (table.throughput, *(index.throughput for index in table.indexes)):
            assert each.reads_peak >= each.reads_mean
            assert each.writes_peak >= each.writes_mean
            assert each.writes_peak == pytest.approx(each.writes_mean * peak)


@pytest.mark.parametrize("users", RANGE)
def test_it_works_from_a_thousand_to_a_hundred_million(users: int) -> None:
    found = estimate(users, 50)
    assert all(value >= 0 for _, value in numbers(found))
    assert found.table("Messages").throughput.writes_peak == pytest.approx(users * 0.02665, rel=0.001)
    assert found.prefixes[0].bytes == pytest.approx(users * 50 * 0.05 * 45 * 500 * KIB)
