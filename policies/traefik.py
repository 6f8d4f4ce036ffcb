"""Parses the match rules of Traefik, so that policy rules can find out which requests a route takes.

https://doc.traefik.io/traefik/routing/routers/#rule: matchers, `!`, `&&` (which binds tighter than `||`), and brackets.
"""

import re
from dataclasses import dataclass
from itertools import product
from typing import Final

_TOKEN: Final = re.compile(r"""\s*(\|\||&&|!|\(|\)|[A-Za-z]+\((?:[^`"()]|`[^`]*`|"(?:[^"\\]|\\.)*")*\))""")
_QUOTED: Final = re.compile(r'`([^`]*)`|"((?:[^"\\]|\\.)*)"')
_MOST: Final = 512
"""The most alternatives of a rule that is still readable; more are an error."""


@dataclass(frozen=True)
class Matcher:
    """A condition of a rule, such as `Method(`GET`)`, or its negation."""

    name: str
    values: tuple[str, ...]
    negated: bool = False


Clause = tuple[Matcher, ...]
"""Conditions that must all be true."""


def clauses_of(match: str) -> list[Clause] | None:
    """The alternatives of a rule; a request must satisfy one of them. None for a rule that cannot be parsed."""
    try:
        return _Parser(match).clauses()
    except ValueError:
        return None


class _Parser:
    def __init__(self, match: str) -> None:
        self._tokens: list[str] = []
        place = 0
        while match[place:].strip():
            token = _TOKEN.match(match, place)
            if token is None:
                raise ValueError
            self._tokens.append(token.group(1))
            place = token.end()

    def clauses(self) -> list[Clause]:
        clauses = self._either(negated=False)
        if self._tokens:
            raise ValueError
        return clauses

    def _either(self, *, negated: bool) -> list[Clause]:
        parts = [self._both(negated=negated)]
        while self._take("||"):
            parts.append(self._both(negated=negated))
        return _all(parts) if negated else _any(parts)

    def _both(self, *, negated: bool) -> list[Clause]:
        parts = [self._one(negated=negated)]
        while self._take("&&"):
            parts.append(self._one(negated=negated))
        return _any(parts) if negated else _all(parts)

    def _one(self, *, negated: bool) -> list[Clause]:
        if self._take("!"):
            return self._one(negated=not negated)
        if self._take("("):
            inner = self._either(negated=negated)
            if not self._take(")"):
                raise ValueError
            return inner
        if not self._tokens or not self._tokens[0][0].isalpha():
            raise ValueError
        name, _, rest = self._tokens.pop(0).partition("(")
        values = tuple(plain or quoted for plain, quoted in _QUOTED.findall(rest))
        if not values:
            raise ValueError
        return [(Matcher(name, values, negated),)]

    def _take(self, token: str) -> bool:
        if self._tokens[:1] == [token]:
            del self._tokens[0]
            return True
        return False


def _any(parts: list[list[Clause]]) -> list[Clause]:
    return _limited([clause for part in parts for clause in part])


def _all(parts: list[list[Clause]]) -> list[Clause]:
    size = 1
    for part in parts:
        size *= len(part)
    if size > _MOST:
        raise ValueError
    return _limited([tuple(matcher for clause in choice for matcher in clause) for choice in product(*parts)])


def _limited(clauses: list[Clause]) -> list[Clause]:
    if len(clauses) > _MOST:
        raise ValueError
    return clauses


HOST: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+", re.IGNORECASE)


def hosts(clause: Clause) -> set[str]:
    """The host names that a clause is limited to; empty if it takes any host or a pattern of hosts."""
    named = {value for m in clause if m.name == "Host" and not m.negated for value in m.values}
    return named if all(HOST.fullmatch(name) for name in named) else set()


def methods(clause: Clause) -> tuple[set[str], bool]:
    """Methods of a clause: (those it takes, True), or (those it excludes, False)."""
    only = [{value.upper() for value in m.values} for m in clause if m.name == "Method" and not m.negated]
    never = {value.upper() for m in clause if m.name == "Method" and m.negated for value in m.values}
    if only:
        return set.intersection(*only) - never, True
    return never, False


def overlap(one: Clause, other: Clause) -> bool:
    """True if both clauses take a common method."""
    (first, first_only), (second, second_only) = methods(one), methods(other)
    if first_only and second_only:
        return bool(first & second)
    if first_only or second_only:
        return bool(first - second if first_only else second - first)
    return True


_WIDE: Final = re.compile(r"\[\^|\[\]|(?<!\\)\.|\\[SWDsCXpP]|\*|\+|\{\d*,\}|\(\?[^:]")


def is_narrow(pattern: str, *, anchored: bool = True) -> bool:
    """True if a regular expression matches only strings of limited length with a fixed beginning.

    Unlimited repetition, `.`, negated sets, and alternatives outside of brackets make it wide. `anchored` requires `^`
    and `$`, for programs that search for the pattern anywhere in a string.
    """
    if anchored and not (pattern.startswith("^") and pattern.endswith("$")):
        return False
    plain = re.sub(r"\[(?!\^)(?:\\.|[^\]\\])+\]", "c", pattern.removeprefix("^").removesuffix("$"))
    if _WIDE.search(plain):
        return False
    depth = 0
    for index, character in enumerate(plain):
        escaped = index > 0 and plain[index - 1] == "\\"
        if character == "(" and not escaped:
            depth += 1
        elif character == ")" and not escaped:
            depth -= 1
        elif character == "|" and depth == 0 and not escaped:
            return False
    return bool(re.match(r"/?(?:\(\?:)?[A-Za-z0-9_-]{3,}", plain))


def is_scoped(clause: Clause) -> bool:
    """True if a clause is limited to paths that it names."""
    return any(not matcher.negated and _names_paths(matcher) for matcher in clause)


def _names_paths(matcher: Matcher) -> bool:
    if matcher.name == "Path":
        return True
    if matcher.name == "PathPrefix":
        return all(value.strip("/") for value in matcher.values)
    return matcher.name == "PathRegexp" and all(is_narrow(value) for value in matcher.values)
