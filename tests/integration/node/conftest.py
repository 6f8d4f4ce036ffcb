"""One node with one stack on it, for all files of this folder: they run one after the other, in one process."""

from collections.abc import Iterator

import pytest

from tests.integration.engine import Engine, previous_release
from tests.integration.node.installation import Deployed, upgrade
from tests.lab.fetch import skip_if_missing
from tests.lab.kubernetes_node import KubernetesNode


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesNode]:
    """A node; whoever does not ask for `deployed` as well, and is the first, finds no stack on it."""
    with skip_if_missing():
        made = KubernetesNode(tmp_path_factory.mktemp("node"))
    with made:
        yield made


@pytest.fixture(scope="package")
def engine(tmp_path_factory: pytest.TempPathFactory, node: KubernetesNode) -> Iterator[Engine]:
    with skip_if_missing():
        made = Engine(tmp_path_factory.mktemp("engine"), node)
    with made:
        yield made


@pytest.fixture(scope="package")
def deployed(node: KubernetesNode, engine: Engine) -> Deployed:
    """The node with stack dev, rendered as files and applied by the commands that `up` has printed.

    First by the previous release, where the clone has it, then by the files as they are.
    """
    previous = previous_release()
    if previous:
        engine.check_out(previous)
    engine.typed(engine.flatline("up", "--engine", "none"))
    found = Deployed(node, engine)
    found.wait_served(found.outside())
    if previous:
        found.upgraded = upgrade(found)
    return found
