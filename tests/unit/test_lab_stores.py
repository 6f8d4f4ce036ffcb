"""The clients of the stores in the stand-ins."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.lab.services.stores import AWS_ATTEMPTS, Aws

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def answers(server: socket.socket, *each: bytes) -> None:
    """Takes one connection for each; an empty answer closes it."""
    for answer in each:
        with server.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(answer)


@pytest.mark.parametrize("lost", range(AWS_ATTEMPTS + 1))
def test_a_lost_connection_is_tried_as_often_as_by_aws_sdks(listening: socket.socket, lost: int) -> None:
    replies = (*[b""] * lost, ANSWER)[:AWS_ATTEMPTS]
    serving = threading.Thread(target=answers, args=(listening, *replies), daemon=True)
    serving.start()
    store = Aws(f"http://127.0.0.1:{listening.getsockname()[1]}", ("key", "secret"), "us-east-1")
    if lost < AWS_ATTEMPTS:
        assert store.s3("GET", "/bucket/key") == (200, b"{}")
    else:
        with pytest.raises(ConnectionError):
            store.s3("GET", "/bucket/key")
    serving.join()
