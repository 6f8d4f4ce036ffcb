"""The public edge: Traefik's routes, made from what components offer. It knows no service by name.

Traefik itself is the cluster's (k3s brings one). Its own configuration is left alone.
"""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.base import Component
from components.capabilities import NetworkPeer, Pods, Route, Tls
from components.kubernetes.namespace import WorkloadNamespace

API = "traefik.io/v1alpha1"

FORGEABLE = ("Forwarded", "Proxy-Auth-Cert", "Proxy-Ssl-Id", "X-Proxied-Https")
"""Headers that say who a client is or how it came. Whisper's HTTP server believes some of them, and Traefik
overwrites only X-Forwarded-* and X-Real-Ip, so these are taken away."""


PER_CLIENT = {"sourceCriterion": {"ipStrategy": {"ipv6Subnet": 64}}}
"""By the address that the connection comes from. A home has a /64 network of IPv6 addresses, and may use all of them.

Traefik knows `ipv6Subnet` from 3.2 on. Definitions of an earlier one do not have it, and `kubectl apply` refuses it."""

IN_FLIGHT, WEB_SOCKETS = "in-flight", "in-flight-web-sockets"
"""Traefik counts for each route apart."""


@dataclass(frozen=True, kw_only=True)
class IngressArgs:
    """`proxy` are Traefik's pods; the entry points' names are those of its static configuration.

    For each client address, `average` and `burst` limit requests a second; `requests` and `web_sockets` limit what is
    under way at once on a route.
    """

    namespace: WorkloadNamespace
    domain: str
    tls: Tls
    routes: tuple[Route, ...]
    proxy: Pods
    plain_entry_point: str
    tls_entry_point: str
    average: int
    burst: int
    requests: int
    web_sockets: int
    depends_on: tuple[pulumi.Resource, ...]
    """Resources that define Traefik's kinds of objects, if they are part of the stack."""


class Ingress(Component):
    """IngressRoutes by host, with TLS 1.2 or later, a redirect from http, and limits for each client address."""

    TYPE = "flatline:ingress:Ingress"

    def __init__(self, name: str, args: IngressArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._args = args
        self._object("TLSOption", "tls", {"minVersion": "VersionTLS12", "sniStrict": True, "cipherSuites": CIPHERS})
        self._object("Middleware", IN_FLIGHT, {"inFlightReq": {"amount": args.requests, **PER_CLIENT}})
        if any(route.web_sockets for route in args.routes):
            self._object("Middleware", WEB_SOCKETS, {"inFlightReq": {"amount": args.web_sockets, **PER_CLIENT}})
        rate = {"average": args.average, "burst": args.burst, **PER_CLIENT}
        self._object("Middleware", "rate-limit", {"rateLimit": rate})
        self._object("Middleware", "headers", {"headers": HEADERS})
        self._object("Middleware", "https", {"redirectScheme": {"scheme": "https", "permanent": True}})
        self._object("Middleware", "no-query", {"redirectRegex": NO_QUERY})
        if any(route.one_pod for route in args.routes):
            self._object("Middleware", WAIT, {"retry": RETRY})
            self._object("ServersTransport", WAIT, TRANSPORT)
        prefixes = {route.endpoint.service: route.prefix for route in args.routes if route.prefix is not None}
        for service, prefix in prefixes.items():
            self._object("Middleware", f"{service}-prefix", {"addPrefix": {"prefix": prefix}})
        for route in args.routes:
            self._route(route)
        self._redirect()
        self.external_peer = NetworkPeer(
            name="ingress",
            pods=args.proxy,
            egress=tuple(dict.fromkeys(route.endpoint for route in args.routes)),
        )
        self.register_outputs({"hosts": sorted({route.host_name(args.domain) for route in args.routes})})

    def _object(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        kubernetes.apiextensions.CustomResource(
            f"{kind.lower()}-{name}",
            api_version=API,
            kind=kind,
            metadata=ObjectMetaArgs(
                name=name,
                namespace=self._args.namespace.metadata_name,
                labels={"app.kubernetes.io/part-of": "flatline"},
            ),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self._args.depends_on)),
        )

    def _host(self, route: Route) -> str:
        return f"Host(`{route.host_name(self._args.domain)}`)"

    def _route(self, route: Route) -> None:
        # The limits come first: what they refuse costs nothing else.
        middlewares = [WEB_SOCKETS if route.web_sockets else IN_FLIGHT, "rate-limit", "headers"]
        if route.no_query:
            middlewares.append("no-query")
        if route.prefix is not None:
            middlewares.append(f"{route.endpoint.service}-prefix")
        service: dict[str, Any] = {"name": route.endpoint.service, "port": route.endpoint.port}
        if route.one_pod:
            middlewares.append(WAIT)
            # Without a ready pod, Traefik's own balancer answers 503 at once; a connection to the Service is refused.
            service |= {"nativeLB": True, "serversTransport": WAIT}
        rule = self._host(route) + (f" && {route.match}" if route.match else "")
        self._object(
            "IngressRoute",
            route.name,
            {
                "entryPoints": [self._args.tls_entry_point],
                "routes": [
                    {
                        "kind": "Rule",
                        "syntax": SYNTAX,
                        "match": rule,
                        "middlewares": [{"name": name} for name in middlewares],
                        "services": [service],
                    }
                ],
                "tls": {
                    "secretName": self._args.tls.secret_name,
                    "options": {"name": "tls", "namespace": self._args.namespace.name},
                },
            },
        )

    def _redirect(self) -> None:
        hosts = " || ".join(dict.fromkeys(self._host(route) for route in self._args.routes))
        self._object(
            "IngressRoute",
            "redirect",
            {
                "entryPoints": [self._args.plain_entry_point],
                "routes": [
                    {
                        "kind": "Rule",
                        "syntax": SYNTAX,
                        "match": hosts,
                        "middlewares": [{"name": "https"}],
                        "services": [{"kind": "TraefikService", "name": "noop@internal"}],
                    }
                ],
            },
        )


SYNTAX = "v3"
"""Of the rules, whatever the cluster's Traefik takes for the default: `core.defaultRuleSyntax`, v2 on upgraded ones."""

CIPHERS = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
]
"""For TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has no others."""

HEADERS = {
    "customRequestHeaders": dict.fromkeys(FORGEABLE, ""),
    "stsSeconds": 31_536_000,
    "contentTypeNosniff": True,
}
WAIT = "wait-for-pod"
RETRY = {"attempts": 30, "initialInterval": "600ms"}
TRANSPORT = {"forwardingTimeouts": {"dialTimeout": "2s"}, "maxIdleConnsPerHost": -1}
"""Connects again for about 25 s, also where the address of the pod that has gone is silent. Traefik's pauses grow from
the first to twice that. It sends no request twice: what has reached a pod is not tried again. So each request has a
connection of its own (-1): one that is kept leads to the pod that ends, and is closed while a request is sent."""

NO_QUERY = {"regex": r"^(https?://[^?]+)\?.*$", "replacement": "${1}", "permanent": False}
