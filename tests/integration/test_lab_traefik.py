"""Traefik in the lab routes from the internet's side to backends on the pods' own addresses."""

import json
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPSConnection
from typing import Any

import pytest

from tests.lab.echo import Echo
from tests.lab.kubernetes import Kubernetes
from tests.lab.traefik import Traefik

pytestmark = pytest.mark.integration

PORT = 8080
CLIENT = "203.0.113.200"


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> Iterator[str]:
    name = f"lab-{uuid.uuid4().hex[:8]}"
    kubernetes.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    yield name
    kubernetes.delete_namespaces(name, wait=False)


def _stack(host: str) -> list[dict[str, Any]]:
    container = {"name": "main", "image": "registry.test/main:1", "ports": [{"name": "http", "containerPort": PORT}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"app": "web"}}
    route = {
        "kind": "Rule",
        "match": f"Host(`{host}`)",
        "services": [{"name": "web", "port": "http"}],
        "middlewares": [{"name": "prefix"}],
    }
    return [
        _object("apps/v1", "Deployment", {"replicas": 2, "selector": selector, "template": template}),
        _object(
            "v1", "Service", {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
        ),
        _object("traefik.io/v1alpha1", "Middleware", {"addPrefix": {"prefix": "/bucket"}}, name="prefix"),
        _object("traefik.io/v1alpha1", "IngressRoute", {"entryPoints": ["websecure"], "routes": [route]}),
    ]


def _object(version: str, kind: str, spec: dict[str, Any], name: str = "web") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _get(address: str, host: str, path: str) -> tuple[int, dict[str, Any]]:
    """The answer to a client at CLIENT, which trusts any certificate (Traefik's default one here)."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection(address, timeout=60, context=trusting, source_address=(CLIENT, 0))
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if answer.status == 200 else {}
    finally:
        connection.close()


def test_a_route_reaches_every_pods_backend(
    kubernetes: Kubernetes, traefik: Traefik, ingress_address: str, namespace: str
) -> None:
    host = f"{namespace}.test"
    kubernetes.apply(_stack(host), namespace=namespace)
    kubernetes.wait_ready(30, namespace)
    addresses = kubernetes.pod_ips(namespace, {"app": "web"})
    with ExitStack() as backends:
        for address in addresses:
            backends.enter_context(Echo(address, PORT))
        traefik.wait_hosts(host)
        traefik.wait_backends(*(f"{address}:{PORT}" for address in addresses))

        answers = [_get(ingress_address, host, "/hello?x=1") for _ in range(4)]

    assert [status for status, _ in answers] == [200] * 4
    assert {answer["backend"] for _, answer in answers} == {f"{address}:{PORT}" for address in addresses}
    assert {answer["path"] for _, answer in answers} == {"/bucket/hello?x=1"}
    headers = dict(answers[0][1]["headers"])
    assert headers["X-Forwarded-For"] == CLIENT
    assert headers["X-Forwarded-Proto"] == "https"


def test_an_unknown_host_is_not_found(traefik: Traefik, ingress_address: str) -> None:
    assert _get(ingress_address, "nobody.test", "/")[0] == 404


def test_a_route_to_a_missing_service_is_reported(kubernetes: Kubernetes, traefik: Traefik, namespace: str) -> None:
    *_, route = _stack(f"{namespace}.test")
    route["spec"]["routes"][0]["middlewares"] = []
    kubernetes.apply([route], namespace=namespace)
    with pytest.raises(TimeoutError, match=f"kubernetes service not found: {namespace}/web"):
        traefik.wait_hosts(f"{namespace}.test", seconds=3)


def test_nothing_outside_can_be_reached(ingress_address: str) -> None:
    with pytest.raises(urllib.error.URLError, match="unreachable"):
        urllib.request.urlopen("http://192.0.2.1/", timeout=5)
