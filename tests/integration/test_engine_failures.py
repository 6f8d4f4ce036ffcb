"""What goes wrong around the engine, by `./flatline`."""

from collections.abc import Iterator

import pytest

from tests.integration.engine import CONTEXT, Engine
from tests.lab.fetch import skip_if_missing
from tests.lab.kubernetes import Kubernetes

pytestmark = pytest.mark.integration

UP = ("up", "--context", CONTEXT, "--yes")


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory, own_kubernetes: Kubernetes) -> Iterator[Engine]:
    with skip_if_missing():
        made = Engine(tmp_path_factory.mktemp("engine"), own_kubernetes)
    with made:
        yield made


def test_a_wrong_passphrase_changes_nothing(engine: Engine) -> None:
    engine.flatline(*UP)
    before = engine.run("stack", "export", "--stack", "dev")
    said = engine.flatline(*UP, fails=True, PULUMI_CONFIG_PASSPHRASE="wrong")
    assert "passphrase" in said
    assert "Traceback" not in said
    assert engine.run("stack", "export", "--stack", "dev") == before
