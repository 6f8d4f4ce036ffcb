"""Traefik's objects obey Traefik's own definitions, and the public routes are exactly the intended ones."""

import re
from functools import cache
from typing import Any

import jsonschema
import pytest

from tests.graph.stack import Object, Stack, load
from tests.lab.traefik_crds import crds


@cache
def schemas() -> dict[str, Any]:
    """The schema of each kind, strict: a field that it does not name is refused, where the API server drops it."""
    found = {}
    for definition in crds():
        (version,) = definition["spec"]["versions"]
        found[definition["spec"]["names"]["kind"]] = strict(version["schema"]["openAPIV3Schema"])
    return found


def strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed["additionalProperties"] = False
    return closed


def validate(found: Object) -> None:
    schema = schemas()[found["kind"]]
    metadata = {**schema["properties"], "metadata": {"type": "object"}}
    jsonschema.validate(found, {**schema, "properties": metadata}, jsonschema.Draft202012Validator)


def traefik(stack: Stack) -> list[Object]:
    return [found for found in stack.objects if found["apiVersion"].startswith("traefik.io/")]


def test_every_object_is_valid(stack: Stack) -> None:
    assert len(traefik(stack)) > 10
    for found in traefik(stack):
        validate(found)


@pytest.mark.parametrize("kind", ["IngressRoute", "Middleware", "TLSOption"])
def test_an_unknown_field_is_found(stack: Stack, kind: str) -> None:
    found = next(o for o in traefik(stack) if o["kind"] == kind)
    with pytest.raises(jsonschema.ValidationError, match="minVerion"):
        validate({**found, "spec": {**found["spec"], "minVerion": "VersionTLS12"}})


def rules(stack: Stack) -> dict[str, Object]:
    return {o["metadata"]["name"]: o["spec"] for o in stack.of("IngressRoute")}


def test_every_route_but_the_redirect_is_tls_with_our_options(stack: Stack) -> None:
    for name, spec in rules(stack).items():
        if name == "redirect":
            assert spec["entryPoints"] == ["web"]
            assert spec["routes"][0]["middlewares"] == [{"name": "https"}]
        else:
            assert spec["entryPoints"] == ["websecure"]
            assert spec["tls"]["options"] == {"name": "tls", "namespace": "flatline"}
            assert "headers" in [middleware["name"] for middleware in spec["routes"][0]["middlewares"]]


def middlewares(stack: Stack) -> dict[str, Object]:
    return {o["metadata"]["name"]: o["spec"] for o in stack.of("Middleware")}


PUBLIC_MATCHES = {"redirect": "redirectScheme"}
"""Routes that lead to no pod, and what answers there."""


def test_every_public_route_first_limits_what_a_client_has_under_way_then_its_rate(stack: Stack) -> None:
    specs = middlewares(stack)
    for name, spec in rules(stack).items():
        for route in spec["routes"]:
            kinds = [next(iter(specs[each["name"]])) for each in route["middlewares"]]
            if any(service.get("kind") == "TraefikService" for service in route["services"]):
                assert kinds == [PUBLIC_MATCHES[name]]
            else:
                assert kinds[:2] == ["inFlightReq", "rateLimit"], name
                assert kinds.count("inFlightReq") == kinds.count("rateLimit") == 1


def test_a_request_waits_where_a_service_has_one_pod_at_a_time(stack: Stack) -> None:
    """Between two pods of a Deployment that is recreated, Traefik has nothing to send a request to: 503."""
    specs, transports = middlewares(stack), {o["metadata"]["name"]: o["spec"] for o in stack.of("ServersTransport")}
    recreated = {
        found["metadata"]["name"] for found in stack.of("Deployment") if found["spec"]["strategy"]["type"] == "Recreate"
    }
    for name, spec in rules(stack).items():
        for route in spec["routes"]:
            (service,) = route["services"]
            last = next(iter(specs[route["middlewares"][-1]["name"]]))
            waits = (service.get("nativeLB", False), last == "retry")
            assert waits == (service["name"] in recreated,) * 2, name
            if any(waits):
                assert transports[service["serversTransport"]] == {
                    "forwardingTimeouts": {"dialTimeout": "2s"},
                    "maxIdleConnsPerHost": -1,
                }


def test_every_limit_is_by_client_address_and_an_ipv6_client_is_its_network(stack: Stack) -> None:
    limits = [
        spec[kind]
        for spec in middlewares(stack).values()
        for kind in ("inFlightReq", "rateLimit", "inFlightConn")
        if kind in spec
    ]
    assert len(limits) == 3
    for limit in limits:
        assert limit["sourceCriterion"] == {"ipStrategy": {"ipv6Subnet": 64}}


def test_only_websockets_have_the_limit_of_what_stays_open() -> None:
    """A slow request holds a thread of Whisper's, a WebSocket that waits does not."""
    loose = {
        name: spec["routes"][0]["match"]
        for name, spec in rules(load("dev")).items()
        if {"name": "in-flight-web-sockets"} in spec["routes"][0]["middlewares"]
    }
    assert list(loose) == ["whisper-websocket"]
    assert "HeaderRegexp(`Upgrade`" in loose["whisper-websocket"]
    specs = middlewares(load("dev"))
    assert specs["in-flight"]["inFlightReq"]["amount"] == 64
    assert specs["in-flight-web-sockets"]["inFlightReq"]["amount"] == 1000


def test_the_redirect_covers_every_host(stack: Stack) -> None:
    match = rules(stack)["redirect"]["routes"][0]["match"]
    hosts = set(re.findall(r"Host\(`([^`]+)`\)", match))
    routed = {
        host
        for name, spec in rules(stack).items()
        if name != "redirect"
        for host in re.findall(r"Host\(`([^`]+)`\)", spec["routes"][0]["match"])
    }
    urls = stack.recording.outputs["urls"].values()
    assert hosts == routed == {url.removeprefix("https://") for url in urls}
    assert {host.partition(".")[0] for host in hosts} == {"whisper", "storage", "cdn0", "cdn3"}


def test_headers_by_which_a_client_could_forge_its_address_are_removed(stack: Stack) -> None:
    (headers,) = (o for o in stack.of("Middleware") if o["metadata"]["name"] == "headers")
    removed = headers["spec"]["headers"]["customRequestHeaders"]
    assert removed["Forwarded"] == ""


READABLE = [
    "/profiles/AAAAAAAAAAAAAAAAAAAAAA==",
    "/profiles/AAAAAAAAAAAAAAAAAAAAA_",
    "/stickers/0123456789abcdef0123456789abcdef/manifest.proto",
    "/stickers/0123456789abcdef0123456789abcdef/full/200",
    "/groups/" + "A" * 43 + "/AAAAAAAAAAAAAAAAAAAAAA==",
]
HIDDEN = [
    "/",
    "/whisper-service-cdn/profiles/AAAAAAAAAAAAAAAAAAAAAA==",
    "/profiles/",
    "/profiles/../x",
    "/profiles/AAAAAAAAAAAAAAAAAAAAAA==/x",
    "/_localstack/health",
    "/stickers/0123456789ABCDEF0123456789ABCDEF/manifest.proto",
    "/stickers/0123456789abcdef0123456789abcdef/full/1000",
    "/groups/x",
]


@pytest.mark.parametrize(("path", "readable"), [(p, True) for p in READABLE] + [(p, False) for p in HIDDEN])
def test_reads_of_the_public_bucket_are_narrow(path: str, readable: bool) -> None:
    """Traefik's regular expressions are RE2; these use only what Python's mean alike."""
    match = rules(load("dev"))["cdn0-read"]["routes"][0]["match"]
    (pattern,) = re.findall(r"PathRegexp\(`([^`]+)`\)", match)
    assert bool(re.search(pattern, path)) is readable


def test_uploads_to_the_public_bucket_are_forms_to_its_root(stack: Stack) -> None:
    match = rules(stack)["cdn0-upload"]["routes"][0]["match"]
    assert "Method(`POST`) && Path(`/`)" in match
    assert "^multipart/form-data" in match
    for name in ("cdn0-read", "cdn0-upload"):
        spec = rules(stack)[name]["routes"][0]
        assert "!HeaderRegexp(`Upgrade`" in spec["match"]
        assert [m["name"] for m in spec["middlewares"]][3:] == ["no-query", "cdn0-gate-prefix"]
