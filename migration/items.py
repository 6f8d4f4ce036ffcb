"""DynamoDB's items: as its API gives them, as its own export writes them (`{"Item": {...}}`), and their normal form.

An attribute value is `{type: value}` (API reference, AttributeValue). In JSON, binary values are base64. In the
normal form, which digests are made of, numbers have one spelling for each value and sets are sorted, because stores
spell numbers differently and keep sets in no order.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from config.schema.dynamodb import Table
from migration.records import InvalidRecordError, Record, canonical, digest, from_base64, to_base64

Item = dict[str, Any]

_LARGEST_EXPONENT = 130
"""Beyond what DynamoDB takes (up to 9.9E+125, down to 1E-130)."""


def record(table: Table, item: Item) -> Record:
    """The record of an item as boto3's client gives it."""
    return _record(table, item, {name: _to_json(value) for name, value in item.items()})


def parsed(table: Table, document: Any) -> Record:
    """The record of an item of an archive. Raises InvalidRecordError for what is no item of the table."""
    if not isinstance(document, dict) or set(document) != {"Item"} or not isinstance(document["Item"], dict):
        raise InvalidRecordError("Item")
    attributes = document["Item"]
    item = {name: _from_json(value) for name, value in attributes.items()}
    for key in filter(None, (table.hash, table.range)):
        if key.name not in item or set(item[key.name]) != {key.type}:
            raise InvalidRecordError("key")
    return _record(table, item, attributes)


def key_of(table: Table, item: Item) -> Item:
    """The key attributes of an item."""
    return {key.name: item[key.name] for key in (table.hash, table.range) if key is not None}


def key_bytes(table: Table, item: Item) -> bytes:
    """The bytes that identify an item in its table."""
    return canonical({name: _normal(_to_json(value)) for name, value in key_of(table, item).items()}).encode()


def _record(table: Table, item: Item, attributes: Mapping[str, Any]) -> Record:
    normal = canonical({"Item": {name: _normal(value) for name, value in attributes.items()}})
    return Record(
        key=key_bytes(table, item),
        text=canonical({"Item": attributes}),
        digest=digest(normal),
        body=item,
        expires=_expires(table, item),
    )


def _expires(table: Table, item: Item) -> int | None:
    value = item.get(table.ttl, {}).get("N") if table.ttl else None
    return None if value is None else int(Decimal(value))


def _to_json(value: Mapping[str, Any]) -> dict[str, Any]:
    ((kind, inner),) = value.items()
    return {kind: _TO_JSON.get(kind, lambda same: same)(inner)}


_TO_JSON: dict[str, Callable[[Any], Any]] = {
    "B": lambda data: to_base64(bytes(data)),
    "BS": lambda several: [to_base64(bytes(data)) for data in several],
    "L": lambda several: [_to_json(value) for value in several],
    "M": lambda several: {name: _to_json(value) for name, value in several.items()},
}


def _from_json(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) != 1:
        raise InvalidRecordError("attribute")
    ((kind, inner),) = value.items()
    if kind not in _FROM_JSON:
        raise InvalidRecordError("type")
    wanted, convert = _FROM_JSON[kind]
    if type(inner) is not wanted:
        raise InvalidRecordError("value")
    return {kind: convert(inner)}


def _number(text: Any) -> str:
    if not isinstance(text, str):
        raise InvalidRecordError("number")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise InvalidRecordError("number") from None
    if not number.is_finite() or (number and abs(number.adjusted()) > _LARGEST_EXPONENT):
        raise InvalidRecordError("number")
    return text


def _string(text: Any) -> str:
    if not isinstance(text, str):
        raise InvalidRecordError("string")
    return text


_FROM_JSON: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "S": (str, _string),
    "N": (str, _number),
    "B": (str, from_base64),
    "SS": (list, lambda several: [_string(text) for text in several]),
    "NS": (list, lambda several: [_number(text) for text in several]),
    "BS": (list, lambda several: [from_base64(text) for text in several]),
    "BOOL": (bool, lambda value: value),
    "NULL": (bool, lambda value: value),
    "L": (list, lambda several: [_from_json(value) for value in several]),
    "M": (dict, lambda several: {name: _from_json(value) for name, value in several.items()}),
}


def _normal(value: Mapping[str, Any]) -> dict[str, Any]:
    ((kind, inner),) = value.items()
    return {kind: _NORMAL.get(kind, lambda same: same)(inner)}


def normal_number(text: str) -> str:
    """One spelling for each value: `<sign><digits>E<exponent>`, digits without zeros at either end; `0` for zero."""
    sign, digits, exponent = Decimal(text).as_tuple()
    whole = "".join(map(str, digits)).lstrip("0")
    short = whole.rstrip("0")
    if not short:
        return "0"
    return f"{'-' if sign else ''}{short}E{int(exponent) + len(whole) - len(short)}"


_NORMAL: dict[str, Callable[[Any], Any]] = {
    "N": normal_number,
    "SS": sorted,
    "NS": lambda several: sorted(map(normal_number, several)),
    "BS": sorted,
    "L": lambda several: [_normal(value) for value in several],
    "M": lambda several: {name: _normal(value) for name, value in several.items()},
}
