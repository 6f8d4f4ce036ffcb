"""The contexts of kubeconfig, and the one that somebody named.

Reads the files as client-go does (the first definition of a name wins, paths are relative to their file). No command
looks at `current-context`: a cluster is used because it was named, not because it was used last.
"""

import base64
import binascii
import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from errors import FlatlineError

PATIENCE_SECONDS = 5.0
K3S_KUBECONFIG = Path("/etc/rancher/k3s/k3s.yaml")

_SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_PATHS = {
    "clusters": ("certificate-authority",),
    "users": ("client-certificate", "client-key", "tokenFile"),
}


@dataclass(frozen=True)
class Cluster:
    """A context by name, with what kubeconfig says about its cluster and its user."""

    context: str
    server: str
    definition: Mapping[str, Any] = field(repr=False)

    def kubeconfig(self) -> str:
        """A kubeconfig with this context alone, as current one. Holds credentials."""
        return yaml.safe_dump(self.definition, sort_keys=True)

    def problem(self) -> str | None:
        """Why the API server does not answer, None if it does.

        Asks for /version without any credential: any answer of the right server will do.
        """
        cluster = self.definition["clusters"][0]["cluster"]
        request = urllib.request.Request(self.server.rstrip("/") + "/version")
        try:
            handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=_tls(cluster))]
            proxy = cluster.get("proxy-url")
            if proxy:
                handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
            with urllib.request.build_opener(*handlers).open(request, timeout=PATIENCE_SECONDS):
                return None
        except urllib.error.HTTPError as answer:
            answer.close()
            return None
        except urllib.error.URLError as problem:
            return _reason(problem.reason)
        except (OSError, http.client.HTTPException, ValueError) as problem:
            return _reason(problem)


def _reason(problem: object) -> str:
    """The cause of a problem, in the system's words if it has any."""
    words = problem.strerror if isinstance(problem, OSError) else None
    return words or str(problem) or type(problem).__name__


def files() -> list[Path]:
    """Where kubeconfig is looked for: KUBECONFIG's files, or ~/.kube/config."""
    listed = os.environ.get("KUBECONFIG")
    if listed:
        return [Path(each).expanduser() for each in listed.split(os.pathsep) if each]
    return [Path.home() / ".kube" / "config"]


def contexts() -> list[str]:
    """The names of the contexts that there are, sorted. Raises FlatlineError for a file that cannot be read."""
    return sorted(_merged()["contexts"])


def current() -> str | None:
    """The current context, which plain `pulumi` uses by default. Raises FlatlineError for a broken kubeconfig."""
    named = (_content(path).get("current-context") for path in files())
    return next((str(name) for name in named if name), None)


def check_answers(cluster: Cluster) -> None:
    """Raises FlatlineError if a cluster does not answer."""
    problem = cluster.problem()
    if problem:
        raise FlatlineError(
            f"cluster {cluster.context} ({cluster.server}) does not answer: {problem}", "Nothing was changed."
        )


def cluster(context: str) -> Cluster | None:
    """The cluster of a context, None if there is no such context. Raises FlatlineError for a broken kubeconfig."""
    everything = _merged()
    if context not in everything["contexts"]:
        return None
    chosen = everything["contexts"][context]
    parts: dict[str, list[dict[str, Any]]] = {"contexts": [{"name": context, "context": chosen}]}
    for section, key in (("clusters", "cluster"), ("users", "user")):
        name = chosen.get(key)
        content = everything[section].get(str(name))
        if content is None and (section == "clusters" or name):
            raise FlatlineError(f"kubeconfig: context {context} names the {key} {name}, which is not there")
        if content is not None:
            parts[section] = [{"name": name, key: content}]
    server = parts["clusters"][0]["cluster"].get("server")
    if not isinstance(server, str) or urlsplit(server).scheme not in {"https", "http"}:
        raise FlatlineError(f"kubeconfig: the cluster of context {context} has no server of the form https://host:port")
    definition = {"apiVersion": "v1", "kind": "Config", "current-context": context, **parts}
    return Cluster(context, server, definition)


def where() -> str:
    """The files, for a message."""
    return ", ".join(str(path) for path in files())


def _merged() -> dict[str, dict[str, dict[str, Any]]]:
    merged: dict[str, dict[str, dict[str, Any]]] = {section: {} for section in _SECTIONS}
    for path in files():
        content = _content(path)
        for section, key in _SECTIONS.items():
            for entry in content.get(section) or ():
                if not isinstance(entry, dict) or not isinstance(entry.get(key) or {}, dict) or "name" not in entry:
                    raise FlatlineError(f"kubeconfig {path}: {section} has an entry without a name or a {key}")
                body = _with_absolute_paths(entry.get(key) or {}, _PATHS.get(section, ()), path.parent)
                merged[section].setdefault(str(entry["name"]), body)
    return merged


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not text"
        raise FlatlineError(f"kubeconfig {path} cannot be read: {reason}") from None
    except yaml.YAMLError:
        raise FlatlineError(f"kubeconfig {path} is no YAML") from None
    if content is not None and not isinstance(content, dict):
        raise FlatlineError(f"kubeconfig {path} is no mapping")
    return content or {}


def _with_absolute_paths(body: dict[str, Any], keys: tuple[str, ...], folder: Path) -> dict[str, Any]:
    return {key: str((folder / value).absolute()) if key in keys and value else value for key, value in body.items()}


def _tls(cluster: Mapping[str, Any]) -> ssl.SSLContext:
    """How the cluster's certificate is checked."""
    data = cluster.get("certificate-authority-data")
    context = ssl.create_default_context(cafile=None if data else cluster.get("certificate-authority") or None)
    if data:
        try:
            context.load_verify_locations(cadata=base64.b64decode(data).decode())
        except (binascii.Error, UnicodeDecodeError) as problem:
            raise ValueError(f"certificate-authority-data is no PEM text in base64 ({problem})") from None
    name = cluster.get("tls-server-name")
    if cluster.get("insecure-skip-tls-verify") or name:
        # urllib cannot check another name than the URL's; nothing is sent, so an answer is all there is to learn.
        context.check_hostname = False
    if cluster.get("insecure-skip-tls-verify"):
        context.verify_mode = ssl.CERT_NONE
    return context
