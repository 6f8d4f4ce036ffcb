"""Writes YAML for manifests: sorted keys, multi-line text as block scalars, no aliases, no folded lines.

The text is easy to review, and a function of the value alone. A text that YAML 1.1 or 1.2 could read as another type
is quoted, because kubectl and kustomize read booleans of YAML 1.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

# Text that every version of YAML reads as text: a letter or slash first, then nothing that ends a scalar.
_PLAIN: Final = re.compile(r"[A-Za-z/](?:[A-Za-z0-9_./@+=%-]|:(?=[A-Za-z0-9/])|[ ,](?=[A-Za-z0-9]))*")
_RESERVED: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_BLOCK: Final = re.compile("[\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*")
_NOT_PRINTABLE: Final = re.compile("[\x7f-\x9f\ufeff\ufffe\uffff\u2028\u2029\ud800-\udfff]")


def dump(value: Mapping[str, Any]) -> str:
    """Writes ``value`` (JSON's types, with text as keys) as one YAML document with a final newline."""
    return "\n".join(_lines(value, 0)) + "\n"


def _lines(value: Any, depth: int) -> list[str]:
    pad = "  " * depth
    lines: list[str] = []
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            item = value[key]
            # The items of a list have the indentation of their key, as kubectl prints them.
            lines += _under(f"{pad}{_inline(key)}:", item, depth, depth if isinstance(item, list) else depth + 1)
    elif isinstance(value, list) and value:
        for item in value:
            lines += _item(item, depth)
    else:
        lines.append(pad + _inline(value))
    return lines


def _item(item: Any, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(item, (Mapping, list)) and item:
        nested = _lines(item, depth + 1)
        nested[0] = f"{pad}- {nested[0][len(pad) + 2 :]}"
        return nested
    return _under(f"{pad}-", item, depth, depth + 1)


def _under(head: str, value: Any, depth: int, below: int) -> list[str]:
    if isinstance(value, (Mapping, list)) and value:
        return [head, *_lines(value, below)]
    if isinstance(value, str) and _fits_a_block(value):
        return _block(head, value, depth + 1)
    return [f"{head} {_inline(value)}"]


def _fits_a_block(text: str) -> bool:
    return "\n" in text and text.strip() != "" and _BLOCK.fullmatch(text) is not None


def _block(head: str, text: str, depth: int) -> list[str]:
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    chomping = "-" if ends == 0 else "" if ends == 1 else "+"
    # Without the indicator, a parser would read leading spaces of the first line as indentation.
    indicator = "2" if text[0] in " \n\t" else ""
    pad = "  " * depth
    content = [pad + line if line else "" for line in body.split("\n")]
    return [f"{head} |{indicator}{chomping}", *content, *[""] * (ends - 1)]


def _inline(value: Any) -> str:
    if isinstance(value, str):
        return _scalar(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, list):
        return "[]"
    if value is None or isinstance(value, bool | int | float):
        text = json.dumps(value, allow_nan=False)
        # YAML 1.1 reads 1e+21 as text: its floats have a point.
        return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text
    raise TypeError(f"cannot write a {type(value).__name__} as YAML")


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return _NOT_PRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))
