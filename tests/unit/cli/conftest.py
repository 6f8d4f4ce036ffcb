from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from migration import sealing
from render import passphrase
from tests.lab.served import Handler, serving
from tests.unit.cli import kubectl_cli, pulumi_cli
from tests.unit.cli.checkout import ITERATIONS, SCRYPT_N, Checkout, at_home, kubeconfig, prepared


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are derived here as in the checkouts."""
    monkeypatch.setattr(passphrase, "ITERATIONS", ITERATIONS)
    monkeypatch.setitem(sealing.SCRYPT, "n", SCRYPT_N)


@pytest.fixture
def checkout_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a checkout, at its best the one of `at_home`."""
    with at_home(tmp_path / "checkout") as folder:
        yield folder


@pytest.fixture
def checkout(checkout_folder: Path) -> Checkout:
    """A fresh checkout with the small program."""
    return Checkout.make(checkout_folder)


@pytest.fixture(scope="session")
def _brought_up(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return prepared(tmp_path_factory.mktemp("small"), lambda made: made.succeed("up"))[0]


@pytest.fixture
def brought_up(_brought_up: Checkout, checkout_folder: Path) -> Checkout:
    """A checkout with the small program, whose stack dev has been rendered once."""
    return _brought_up.copy(checkout_folder)


@pytest.fixture(scope="session")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    return prepared(tmp_path_factory.mktemp("whole"), lambda made: made.succeed("up"), small=False)


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

    class Answers(Handler):
        def answer(self) -> None:
            requests.append((self.path, self.headers.get("Authorization")))
            self.reply(401)

    with serving(Answers) as port:
        yield ApiServer(f"http://127.0.0.1:{port}", requests)


@dataclass(frozen=True)
class Clusters:
    """A kubeconfig with the contexts `mine` and `other`, of which `other` is the current one."""

    mine: ApiServer
    other: ApiServer
    text: str


@pytest.fixture
def clusters(api_servers: tuple[ApiServer, ApiServer], checkout_folder: Path) -> Clusters:
    """The test's checkout knows them."""
    mine, other = api_servers
    text = kubeconfig({"mine": mine.url, "other": other.url}, current="other")
    (checkout_folder / "home").mkdir(parents=True, exist_ok=True)
    (checkout_folder / "home" / "kubeconfig").write_text(text)
    return Clusters(mine, other, text)


@pytest.fixture
def engine(checkout: Checkout, clusters: Clusters) -> Path:
    """A cluster that answers and a CLI on the PATH: the file of its calls."""
    return pulumi_cli.put(checkout)


@pytest.fixture(scope="session")
def _deployed(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    def prepare(made: Checkout) -> None:
        with served() as server:
            (made.home / "kubeconfig").write_text(kubeconfig({"mine": server.url}))
            kubectl_cli.put(made)
            pulumi_cli.put(made)
            assert "+ 4 created" in made.succeed("up", "--context", "mine", "--yes")
            (made.home / "kubeconfig").unlink()

    return prepared(tmp_path_factory.mktemp("deployed"), prepare)[0]


@pytest.fixture
def deployed(_deployed: Checkout, checkout_folder: Path, clusters: Clusters) -> Checkout:
    """A checkout whose stack dev the engine has deployed, by a CLI that is on the PATH."""
    made = _deployed.copy(checkout_folder)
    for path in (made.programs / "kubectl", *made.programs.glob("*.calls")):
        path.unlink()
    pulumi_cli.put(made)
    return made
