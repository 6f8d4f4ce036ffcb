"""The launcher ends leftover processes only where every process is its own."""

import os

import pytest

from tests.lab import private_network
from tests.lab.private_network import network_namespace, processes_inside


def test_the_namespace_that_one_came_from_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_network, "why_not_private", lambda: "")
    with pytest.raises(RuntimeError, match="not in a private network namespace"):
        processes_inside(network_namespace())


def test_a_namespace_with_a_way_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_network, "why_not_private", lambda: "up here: eth0")
    with pytest.raises(RuntimeError, match="not in a private network namespace"):
        processes_inside("net:[1]")


def test_the_process_itself_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_network, "why_not_private", lambda: "")
    inside = processes_inside("net:[1]")
    assert os.getpid() not in inside
    assert os.getppid() in inside
