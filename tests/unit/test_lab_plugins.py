"""The stand-ins of Pulumi's random and tls providers answer as the real ones: what replaces, what is secret."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, struct_pb2
from pulumi.runtime.proto import provider_pb2

from render import random_provider, tls_provider
from tests.lab.plugins import protocol
from tests.lab.plugins.provider import Provider

Values = Mapping[str, Any]
TYPES = {**random_provider.TYPES, **tls_provider.TYPES}
PROVIDER = Provider("random", TYPES)
PASSWORD = "random:index/randomPassword:RandomPassword"
KEY, REQUEST = "tls:index/privateKey:PrivateKey", "tls:index/certRequest:CertRequest"
SELF_SIGNED, SIGNED = "tls:index/selfSignedCert:SelfSignedCert", "tls:index/locallySignedCert:LocallySignedCert"
SOME, NONE = provider_pb2.DiffResponse.DIFF_SOME, provider_pb2.DiffResponse.DIFF_NONE
PERIOD = {"validityPeriodHours": 48, "allowedUses": ["digital_signature"]}


class RefusedError(Exception):
    """What gRPC raises for a call that is refused."""


class Context:
    """Of a call that does not come from the network."""

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise RefusedError(f"{code.name}: {details}")


def struct(properties: Values) -> Any:
    made = struct_pb2.Struct()
    made.update(properties)
    return made


def urn(kind: str) -> str:
    return f"urn:pulumi:dev::flatline::flatline:components:Secrets${kind}::name"


def create(kind: str, inputs: Values, *, preview: bool = False) -> dict[str, Any]:
    """The properties of a new resource, secrets marked."""
    request = provider_pb2.CreateRequest(urn=urn(kind), properties=struct(inputs), preview=preview)
    return dict(json_format.MessageToDict(PROVIDER.Create(request, Context()).properties))


def diff(kind: str, old: Values, new: Values, state: Values | None = None) -> Any:
    request = provider_pb2.DiffRequest(
        urn=urn(kind), old_inputs=struct(old), news=struct(new), olds=struct(state or old)
    )
    return PROVIDER.Diff(request, Context())


@pytest.fixture(scope="module")
def inputs() -> dict[str, dict[str, Any]]:
    """Enough to make one of each type."""
    algorithm = {"algorithm": "ECDSA", "ecdsaCurve": "P256"}
    key = protocol.plain(create(KEY, algorithm)["privateKeyPem"])
    subject = {"privateKeyPem": key, "subject": {"commonName": "example.org"}}
    authority = create(SELF_SIGNED, {**subject, **PERIOD})["certPem"]
    request = create(REQUEST, subject)["certRequestPem"]
    return {
        "random:index/randomId:RandomId": {"byteLength": 8},
        PASSWORD: {"length": 12},
        KEY: algorithm,
        REQUEST: subject,
        SELF_SIGNED: {**subject, **PERIOD},
        SIGNED: {"certRequestPem": request, "caCertPem": authority, "caPrivateKeyPem": key, **PERIOD},
    }


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_a_preview_leaves_open_exactly_what_the_update_makes_up(kind: str, inputs: dict[str, Any]) -> None:
    previewed, first, second = (create(kind, inputs[kind], preview=each) for each in (True, False, False))
    unknown = {name for name, value in previewed.items() if value == protocol.UNKNOWN}
    assert unknown == TYPES[kind].outputs
    assert unknown <= first.keys()
    assert previewed.keys() - unknown == inputs[kind].keys()
    made_up = {name for name in first if protocol.plain(first[name]) != protocol.plain(second[name])}
    assert made_up <= unknown


def test_what_the_schema_declares_secret_is_marked(inputs: dict[str, Any]) -> None:
    assert create(PASSWORD, {"length": 12})["result"] != protocol.plain(create(PASSWORD, {"length": 12})["result"])
    made = create(KEY, inputs[KEY])
    marked = {name for name in made if made[name] != protocol.plain(made[name])}
    assert marked == {"privateKeyPem", "privateKeyPemPkcs8"}


def test_an_input_that_is_secret_stays_so(inputs: dict[str, Any]) -> None:
    key = protocol.secret(inputs[SELF_SIGNED]["privateKeyPem"])
    assert create(SELF_SIGNED, {**inputs[SELF_SIGNED], "privateKeyPem": key})["privateKeyPem"] == key


def test_equal_inputs_change_nothing_and_others_replace() -> None:
    same = diff(PASSWORD, {"length": 12}, {"length": 12})
    assert (same.changes, list(same.diffs), list(same.replaces)) == (NONE, [], [])
    for new in ({"length": 13}, {"length": 12, "keepers": {"epoch": "2"}}, {}, {"length": protocol.UNKNOWN}):
        changed = diff(PASSWORD, {"length": 12}, new)
        assert (changed.changes, list(changed.replaces)) == (SOME, list(changed.diffs)), new
        assert set(changed.detailedDiff) == set(changed.diffs) != set()


def test_a_certificate_that_has_ended_is_replaced_once_a_refresh_sees_it(inputs: dict[str, Any]) -> None:
    old = inputs[SELF_SIGNED]
    state = create(SELF_SIGNED, old)
    assert diff(SELF_SIGNED, old, old, state).changes == NONE
    state["validityEndTime"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    read = PROVIDER.Read(
        provider_pb2.ReadRequest(urn=urn(SELF_SIGNED), properties=struct(state), inputs=struct(old)), Context()
    )
    refreshed = json_format.MessageToDict(read.properties)
    assert refreshed == {**state, "readyForRenewal": True}
    assert list(diff(SELF_SIGNED, old, old, refreshed).replaces) == ["readyForRenewal"]


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(RefusedError, match="length is 0"):
        create(PASSWORD, {"length": 0})
    unknown = provider_pb2.CheckRequest(urn=urn("random:index/randomPet:RandomPet"))
    assert "makes no random:index/randomPet:RandomPet" in PROVIDER.Check(unknown, Context()).failures[0].reason
    with pytest.raises(RefusedError, match="UNIMPLEMENTED"):
        PROVIDER.Read(provider_pb2.ReadRequest(id="secret", urn=urn(PASSWORD)), Context())
