"""Items as JSON and back, their normal form, and checksums."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from migration import items
from migration.records import InvalidRecordError, Record, Tally, canonical
from tests.unit.migration.records import PLAIN, TEXTS, numbers, plain_items, sorted_sets, text_item


def tally(records: list[Record]) -> Tally:
    total = Tally()
    for record in records:
        total.add(record)
    return total


@given(plain_items)
def test_an_item_comes_back_as_it_was(item: dict[str, Any]) -> None:
    record = items.record(PLAIN, item)
    again = items.parsed(PLAIN, json.loads(record.text))
    assert again.body == item
    assert (again.text, again.digest, again.key) == (record.text, record.digest, record.key)
    assert "\n" not in record.text


@given(st.lists(plain_items, max_size=8), st.randoms())
def test_a_checksum_does_not_depend_on_order(several: list[dict[str, Any]], random: Any) -> None:
    records = [items.record(PLAIN, item) for item in several]
    shuffled = random.sample(records, len(records))
    assert tally(shuffled).checksum == tally(records).checksum
    assert tally(shuffled) == tally(records)


@given(plain_items, plain_items)
def test_items_that_differ_have_other_checksums(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = sorted_sets(one) == sorted_sets(other)
    assert (items.record(PLAIN, one).digest == items.record(PLAIN, other).digest) is same


@given(plain_items, st.data())
def test_any_changed_byte_of_a_line_is_noticed(item: dict[str, Any], data: Any) -> None:
    record = items.record(PLAIN, item)
    line = bytearray(record.text.encode())
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    try:
        document = json.loads(line)
        assume(document != json.loads(record.text))  # another spelling of the same JSON
        changed = items.parsed(PLAIN, document)
    except ValueError:
        return
    assume(sorted_sets(changed.body) != sorted_sets(item))  # another spelling of the same number
    assert changed.digest != record.digest


@given(numbers, numbers)
def test_numbers_have_one_normal_form_each(one: str, other: str) -> None:
    assert (items.normal_number(one) == items.normal_number(other)) is (Decimal(one) == Decimal(other))
    assert Decimal(items.normal_number(one)) == Decimal(one)


@pytest.mark.parametrize(
    ("number", "normal"),
    [
        ("0", "0"),
        ("-0.00", "0"),
        ("100", "1E2"),
        ("1E+2", "1E2"),
        ("0.0120", "12E-3"),
        ("-7", "-7E0"),
        ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678E0"),
    ],
)
def test_normal_numbers(number: str, normal: str) -> None:
    assert items.normal_number(number) == normal


def test_the_order_of_a_set_and_the_spelling_of_a_number_are_no_difference() -> None:
    one = items.record(TEXTS, text_item("k", a={"BS": [b"2", b"1"]}, n={"N": "1E2"}, s={"NS": ["2", "10"]}))
    other = items.record(TEXTS, text_item("k", a={"BS": [b"1", b"2"]}, n={"N": "100"}, s={"NS": ["1E1", "2"]}))
    assert one.digest == other.digest
    assert one.text != other.text, "the archive keeps the spelling that was read"


def test_a_list_has_an_order() -> None:
    one = items.record(TEXTS, text_item("k", a={"L": [{"S": "1"}, {"S": "2"}]}))
    other = items.record(TEXTS, text_item("k", a={"L": [{"S": "2"}, {"S": "1"}]}))
    assert one.digest != other.digest


def test_two_equal_records_do_not_cancel_each_other() -> None:
    record = items.record(TEXTS, text_item("k"))
    assert len({tally([record] * number).checksum for number in range(4)}) == 4


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"Item": []},
        {"Item": {}},
        {"Item": {"P": {"S": "k"}}, "more": 1},
        {"Item": {"P": {"B": "aw=="}}},
        {"Item": {"P": {"S": "k", "N": "1"}}},
        {"Item": {"P": {"S": 1}}},
        {"Item": {"P": {"S": "k"}, "a": {"B": "not base64!"}}},
        {"Item": {"P": {"S": "k"}, "a": {"N": "one"}}},
        {"Item": {"P": {"S": "k"}, "a": {"N": "NaN"}}},
        {"Item": {"P": {"S": "k"}, "a": {"N": "1E999999999"}}},
        {"Item": {"P": {"S": "k"}, "a": {"BOOL": 1}}},
        {"Item": {"P": {"S": "k"}, "a": {"X": "1"}}},
        {"Item": {"P": {"S": "k"}, "a": {"SS": [1]}}},
        {"Item": {"P": {"S": "k"}, "a": {"M": {"b": "c"}}}},
    ],
)
def test_what_is_no_item_is_refused_without_content(document: Any) -> None:
    with pytest.raises(InvalidRecordError) as refused:
        items.parsed(TEXTS, document)
    assert "not base64" not in str(refused.value)


def test_time_to_live() -> None:
    def expired(value: dict[str, Any], now: float) -> bool:
        return items.record(TEXTS, text_item("k", E=value)).expired(now)

    year = 365 * 86400
    assert expired({"N": "1000"}, 1001)
    assert not expired({"N": "1000"}, 1000)
    assert not expired({"N": "1000"}, 1000 + 5 * year), "DynamoDB keeps what seems to be a mistake"
    assert not expired({"S": "1000"}, 2000)
    assert not items.record(PLAIN, {"U": {"B": b"u"}, "D": {"N": "1"}, "E": {"N": "1"}}).expired(2)


def test_records_show_no_content() -> None:
    shown = repr(items.record(TEXTS, text_item("planted", a={"B": b"planted"})))
    assert "planted" not in shown
    assert canonical({"ü": 1, "a": 2}) == '{"a":2,"ü":1}'
