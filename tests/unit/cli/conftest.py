import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from render import passphrase
from tests.unit.cli.checkout import ITERATIONS, Checkout, at_home, kubeconfig


@pytest.fixture(autouse=True)
def _iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are derived here as in the checkouts."""
    monkeypatch.setattr(passphrase, "ITERATIONS", ITERATIONS)


@pytest.fixture
def checkout_folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder for a checkout, at its best the one of `at_home`."""
    with at_home(tmp_path / "checkout") as folder:
        yield folder


@pytest.fixture
def checkout(checkout_folder: Path) -> Checkout:
    """A fresh checkout with the small program."""
    return Checkout.make(checkout_folder)


@pytest.fixture(scope="session")
def _brought_up(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = Checkout.make(tmp_path_factory.mktemp("small"))
    made.succeed("up")
    return made


@pytest.fixture
def brought_up(_brought_up: Checkout, checkout_folder: Path) -> Checkout:
    """A checkout with the small program, whose stack dev has been rendered once."""
    return _brought_up.copy(checkout_folder)


@pytest.fixture(scope="session")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    made = Checkout.make(tmp_path_factory.mktemp("whole"), small=False)
    return made, made.succeed("up")


@pytest.fixture
def whole(_whole: tuple[Checkout, str], checkout_folder: Path) -> Checkout:
    """A checkout of Flatline itself, whose stack dev has been rendered once."""
    return _whole[0].copy(checkout_folder)


@pytest.fixture
def first_summary(_whole: tuple[Checkout, str]) -> tuple[Checkout, str]:
    """The same checkout, not to be changed, and what its first `up` said."""
    return _whole


@dataclass
class ApiServer:
    """A server that answers as an API server answers a stranger, and remembers what was asked."""

    url: str
    requests: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def api_servers() -> Iterator[tuple[ApiServer, ApiServer]]:
    """Two clusters: one to name, and one that nobody names."""
    with served() as one, served() as other:
        yield one, other


@contextmanager
def served() -> Iterator[ApiServer]:
    """One cluster's API server, while the context lasts."""
    requests: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.path, self.headers.get("Authorization")))
            self.send_response(401)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield ApiServer(f"http://127.0.0.1:{server.server_address[1]}", requests)
        server.shutdown()


@dataclass(frozen=True)
class Clusters:
    """A kubeconfig with the contexts `mine` and `other`, of which `other` is the current one."""

    mine: ApiServer
    other: ApiServer
    text: str


@pytest.fixture
def clusters(api_servers: tuple[ApiServer, ApiServer]) -> Clusters:
    mine, other = api_servers
    return Clusters(mine, other, kubeconfig({"mine": mine.url, "other": other.url}, current="other"))
