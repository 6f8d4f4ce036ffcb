"""The real servers as fixtures. Where one can't be had, the tests that use it are skipped with what is missing."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.deployed import NAMESPACES, deploy, rendered
from tests.lab.fetch import skip_if_missing
from tests.lab.kubernetes import Kubernetes
from tests.lab.kubernetes_client import Changes
from tests.lab.namespace import require_private_namespace
from tests.lab.otel import Collector
from tests.lab.traefik import Traefik
from tests.lab.traefik_crds import crds

POD_BLOCKS_PER_WORKER = 16


@pytest.fixture(scope="session")
def worker_number() -> int:
    """0, 1, ... of the parallel test process; 0 when there is only one."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory, worker_number: int) -> Iterator[Kubernetes]:
    """One cluster for the tests of this process, with Traefik's definitions as in k3s. Clean up your namespaces."""
    with _cluster(tmp_path_factory.mktemp("kubernetes"), 1 + POD_BLOCKS_PER_WORKER * worker_number) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def empty_kubernetes(kubernetes: Kubernetes) -> Kubernetes:
    """The same cluster, without what another file has left of a stack: fields of its objects may have another owner."""
    kubernetes.delete_namespaces(*NAMESPACES)
    return kubernetes


@pytest.fixture(scope="module")
def deployed_stack(
    tmp_path_factory: pytest.TempPathFactory, worker_number: int
) -> Iterator[tuple[Kubernetes, Path, Changes]]:
    """A new cluster with stack dev on it, ready; where that is rendered, and what applying it changed."""
    folder = tmp_path_factory.mktemp("deployed")
    with _cluster(folder / "kubernetes", 4 + POD_BLOCKS_PER_WORKER * worker_number) as cluster:
        manifests, _ = rendered(folder / "dev")
        yield cluster, manifests, deploy(cluster, manifests)


@pytest.fixture
def own_kubernetes(tmp_path: Path, worker_number: int) -> Iterator[Kubernetes]:
    """A new cluster for one test alone: quicker than waiting for namespaces to go."""
    with _cluster(tmp_path / "kubernetes", 8 + POD_BLOCKS_PER_WORKER * worker_number) as cluster:
        yield cluster


@contextmanager
def _cluster(folder: Path, pod_block: int) -> Iterator[Kubernetes]:
    with skip_if_missing():
        definitions = crds()
        cluster = Kubernetes(folder, first_pod_address=f"10.244.{pod_block}.1")
    with cluster:
        cluster.apply(definitions)
        yield cluster


@pytest.fixture(scope="session")
def ingress_address(worker_number: int) -> str:
    """Where `traefik` listens: an address of the internet, as seen from inside the private network namespace."""
    require_private_namespace()
    return f"203.0.113.{10 + worker_number}"


@pytest.fixture(scope="session")
def traefik(
    tmp_path_factory: pytest.TempPathFactory, kubernetes: Kubernetes, ingress_address: str
) -> Iterator[Traefik]:
    """Traefik on ports 80 and 443 of `ingress_address`, with the routes of `kubernetes`."""
    with skip_if_missing():
        proxy = Traefik(tmp_path_factory.mktemp("traefik"), kubernetes.kubeconfig, ingress_address)
    with proxy:
        yield proxy


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    """Starts a collector: `collector(configuration)`; it ends with the test. Arguments as of `Collector`."""
    with ExitStack() as running:

        def start(configuration: Any, **options: Any) -> Collector:
            with skip_if_missing():
                made = Collector(tmp_path / "collector", configuration, **options)
            return running.enter_context(made)

        yield start
