"""What tests of several files share: stand-ins for AWS, registration, and a Node.js for the modules of programs."""

import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.programs.cdn0_s3 import PrivateS3, private_s3
from tests.programs.modules import Modules, loaded
from tests.programs.registration import Service, number, running
from tests.programs.store import POD, SITE_OF_CDN3

if TYPE_CHECKING:
    from tests.programs.registration_contract import Client


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
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("registration")) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator["Client"]:
    from tests.programs.registration_contract import Client  # gRPC takes a while

    with Client(service.port) as client:
        yield client


@pytest.fixture
def key() -> str:
    """A client key of this test alone."""
    return f"client of {number()}"


@pytest.fixture(scope="module")
def modules(request: pytest.FixtureRequest) -> Iterator[Modules]:
    """The functions that DRIVER of the test's file defines."""
    with loaded(request.module.DRIVER) as modules:
        yield modules
