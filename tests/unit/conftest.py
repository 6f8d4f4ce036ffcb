"""What tests of several files share: stand-ins for AWS, and a Node.js for the modules of programs."""

import urllib.request
from collections.abc import Iterator

import pytest

from tests.programs.cdn0_s3 import PrivateS3, private_s3
from tests.programs.modules import Modules, loaded
from tests.programs.store import POD, SITE_OF_CDN3


@pytest.fixture(scope="session")
def _moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer  # it takes a second

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(_moto: str) -> str:
    """The address of an AWS that has nothing yet."""
    request = urllib.request.Request(f"{_moto}/moto-api/reset", method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    return _moto


@pytest.fixture(scope="module")
def bucket() -> Iterator[PrivateS3]:
    """Of CDN3's uploads, which their pod may read."""
    with private_s3(SITE_OF_CDN3, POD) as s3:
        yield s3


@pytest.fixture
def s3(bucket: PrivateS3) -> PrivateS3:
    """The same, as at the start."""
    bucket.reset()
    return bucket


@pytest.fixture(scope="module")
def modules(request: pytest.FixtureRequest) -> Iterator[Modules]:
    """The functions that DRIVER of the test's file defines."""
    with loaded(request.module.DRIVER) as modules:
        yield modules
