"""IAM's decisions: an evaluator of policy documents, after
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html.

moto 5.2.5 does not look at conditions (other than `sts:ExternalId`), takes `*` for the resource of every service but
S3, IAM and STS, and applies a bucket policy's Deny whatever its conditions say.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """An action on a resource (an ARN), with the context of the request, by `principal` (type, who) if that counts."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)
    principal: tuple[str, str] | None = None

    def by(self, service: str) -> "Request":
        """The same, asked by a service of AWS's on behalf of the caller."""
        return replace(self, context={**self.context, "kms:ViaService": service})


def allowed(request: Request, identity: Iterable[Document], resource: Iterable[Document] = ()) -> bool:
    """Whether the policies of an identity allow a request, and no policy of the resource denies it.

    A resource's policies allow nothing by themselves here.
    """
    own, theirs = list(identity), list(resource)
    return _effect(request, own, "Allow") and not _effect(request, [*own, *theirs], "Deny")


def trusts(document: Document, request: Request) -> bool:
    """Whether a role's trust policy lets `request.principal` do the action."""
    return _effect(request, [document], "Allow") and not _effect(request, [document], "Deny")


def _effect(request: Request, documents: Iterable[Document], effect: str) -> bool:
    return any(
        statement.document["Effect"] == effect and _applies(request, statement)
        for document in documents
        for statement in _statements(document)
    )


_ELEMENTS: Final = {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}


@dataclass(frozen=True)
class _Statement:
    """A statement with the pattern of its actions in lower case, and of its resources if it names any."""

    document: Document
    actions: re.Pattern[str]
    resources: re.Pattern[str] | None


_LOOKED_AT: Final[dict[int, tuple[Document, list[_Statement]]]] = {}
"""Documents without surprises, by identity. They are kept, so that no other one gets the same."""


def _statements(document: Document) -> list[_Statement]:
    if id(document) not in _LOOKED_AT:
        _refuse_unknown(document)
        _LOOKED_AT[id(document)] = (
            document,
            [
                _Statement(
                    each,
                    _expression(*(action.lower() for action in _listed(each["Action"]))),
                    _expression(*_listed(each["Resource"])) if "Resource" in each else None,
                )
                for each in document["Statement"]
            ],
        )
    return _LOOKED_AT[id(document)][1]


def _refuse_unknown(document: Document) -> None:
    if document.keys() != {"Version", "Statement"} or document["Version"] != "2012-10-17":
        raise ValueError("a policy has a Version, 2012-10-17, and statements")
    for statement in document["Statement"]:
        if not {"Effect", "Action"} <= statement.keys() <= _ELEMENTS:
            raise ValueError(f"a statement has elements that the evaluator does not know: {sorted(statement)}")
        if "${" in json.dumps(statement):
            raise ValueError("the evaluator does not know policy variables")


def _applies(request: Request, statement: _Statement) -> bool:
    document = statement.document
    return (
        statement.actions.fullmatch(request.action.lower()) is not None
        and (statement.resources is None or statement.resources.fullmatch(request.resource) is not None)
        and ("Principal" not in document or _concerns(document["Principal"], request.principal))
        and all(_holds(name, pairs, request.context) for name, pairs in document.get("Condition", {}).items())
    )


def _concerns(principal: str | Mapping[str, str | list[str]], who: tuple[str, str] | None) -> bool:
    if principal == "*":
        return True
    if isinstance(principal, str):
        raise ValueError("a principal is * or an object")
    return who is not None and who[1] in _listed(principal.get(who[0], []))


_OPERATORS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "StringEquals": lambda wanted, found: wanted == found,
    "StringLike": lambda wanted, found: _like(wanted, found),
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
    "NumericLessThan": lambda wanted, found: float(found) < float(wanted),
}


def _holds(operator: str, pairs: Mapping[str, str | list[str]], context: Mapping[str, str]) -> bool:
    """All keys of an operator hold; a key that the request has not does not."""
    if operator not in _OPERATORS:
        raise ValueError(f"the evaluator does not know the operator {operator}")
    found = {key.lower(): value for key, value in context.items()}
    return all(
        key.lower() in found and any(_OPERATORS[operator](each, found[key.lower()]) for each in _listed(wanted))
        for key, wanted in pairs.items()
    )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _like(pattern: str, text: str) -> bool:
    return _expression(pattern).fullmatch(text) is not None


@cache
def _expression(*patterns: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    written = ("".join(parts.get(character, re.escape(character)) for character in pattern) for pattern in patterns)
    return re.compile("|".join(written), re.DOTALL)
