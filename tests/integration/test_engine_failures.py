"""What goes wrong around the engine, by `./flatline`: killed, no API server, a wrong passphrase, two stacks."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.integration.engine import CONTEXT, Engine, engine_alone
from tests.lab.kubernetes import Kubernetes
from tests.lab.process import wait_until

pytestmark = pytest.mark.integration

UP = ("up", "--context", CONTEXT, "--yes")
QUICK = {"PULUMI_SKIP_CHECKPOINTS": "true"}
"""For an `up` that nothing happens to; see `Engine`."""
MOMENTS = 10
MEANS = ("Ctrl-C", "SIGTERM", "SIGKILL")
"""Ctrl-C and SIGTERM go where a terminal and a service manager send them; SIGKILL takes everything, as a power cut."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, kubernetes: Kubernetes) -> Iterator[Engine]:
    folder, others = tmp_path_factory.mktemp("engine"), ("flatline-home", "flatline-home-emulators")
    with engine_alone(folder, kubernetes, checkpoints=True, other_namespaces=others) as engine:
        yield engine


def test_an_up_that_is_killed_at_any_moment_goes_on(engine: Engine) -> None:
    """Each `up` has something to do: the first ones make the stack, each later one moves it to another domain."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    known: dict[str, dict[str, Any]] = {}
    for number in range(MOMENTS):
        means = MEANS[number % len(MEANS)]
        engine.set("flatline:domain", f"chat{number}.example.org")
        said = _killed(engine, means, after=moments.uniform(1, 12))
        assert f"{engine.checkout}/cli" not in said, f"a traceback after {means}\n{said[-4000:]}"
        made = engine.secrets()
        assert known == {urn: made.get(urn) for urn in known}, f"{means} changed or lost a secret"
        known = {urn: values for urn, values in made.items() if _lasts(urn)}
    engine.flatline(*UP, "--confirm", "dev")
    engine.run("preview", "--stack", "dev", "--expect-no-changes")
    made = engine.secrets()
    assert known == {urn: made[urn] for urn in known}


def _killed(engine: Engine, means: str, *, after: float) -> str:
    """What `./flatline up` has printed when all of it has ended."""
    with engine.started(*UP, "--confirm", "dev") as process:
        with suppress(TimeoutError):
            wait_until(lambda: process.poll() is not None, after, "the end of up")
        if means == "SIGKILL":
            for pid in engine.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        elif process.poll() is None and means == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        elif process.poll() is None:
            process.terminate()
        text, _ = process.communicate(timeout=120)
    wait_until(lambda: not engine.processes(), 30, f"the end of what {means} has left")
    return text


def _lasts(urn: str) -> bool:
    """Whether a resource is the same for every domain: a certificate for a name is not."""
    return "leaf-" not in urn


@pytest.fixture(scope="module")
def deployed(engine: Engine) -> None:
    """Stack dev is on the cluster. Each test that asks for it leaves it so."""
    engine.flatline(*UP, "--confirm", "dev", **QUICK)


@pytest.mark.usefixtures("deployed")
def test_an_api_server_that_goes_away_in_the_middle_is_named_and_up_goes_on(
    engine: Engine, kubernetes: Kubernetes
) -> None:
    before = engine.secrets()
    engine.set("flatline:domain", "away.example.org")
    state = engine.folder / "backend" / ".pulumi" / "stacks" / "flatline" / "dev.json"
    with engine.started(*UP, "--confirm", "dev") as process:
        wait_until(lambda: '"pending_operations":[{' in state.read_text(), 60, "an operation under way")
        kubernetes.stop_api_server()
        text, _ = process.communicate(timeout=300)
    try:
        assert process.returncode == 1, text[-4000:]
        assert "Traceback" not in text
        assert "connection refused" in text, text[-4000:]
    finally:
        kubernetes.start_api_server()
    assert {urn for urn, values in engine.secrets().items() if before.get(urn, values) != values} == set()
    engine.flatline(*UP, "--confirm", "dev")
    engine.run("preview", "--stack", "dev", "--expect-no-changes")


@pytest.mark.usefixtures("deployed")
def test_a_wrong_passphrase_changes_nothing(engine: Engine) -> None:
    before = engine.run("stack", "export", "--stack", "dev")
    said = engine.flatline(*UP, fails=True, PULUMI_CONFIG_PASSPHRASE="wrong")
    assert "passphrase" in said
    assert "Traceback" not in said
    assert engine.run("stack", "export", "--stack", "dev") == before


@pytest.mark.usefixtures("deployed")
def test_two_stacks_run_side_by_side_and_one_goes_without_the_other(engine: Engine, kubernetes: Kubernetes) -> None:
    before, one = engine.state(), _objects(kubernetes)
    engine.flatline("stack", "new", "home", "--domain", "home.example.org", "--context", CONTEXT)
    engine.flatline(*UP, "--stack", "home", **QUICK)
    both = _objects(kubernetes)
    assert one <= both
    assert {namespace for namespace, _, _ in both - one} == {"flatline-home", "flatline-home-emulators"}
    assert engine.state() == before
    assert not engine.secrets().keys() & engine.secrets("home").keys()
    engine.run("preview", "--stack", "dev", "--expect-no-changes")
    engine.flatline("down", "--stack", "home", "--context", CONTEXT, "--delete-data", "--confirm", "home", **QUICK)
    wait_until(lambda: _objects(kubernetes) == one, 120, "the end of stack home, and of nothing else")
    engine.run("preview", "--stack", "dev", "--refresh", "--expect-no-changes")


def _objects(kubernetes: Kubernetes) -> set[tuple[str, str, str]]:
    """Namespace, kind and name of what is ours."""
    kinds = "services,deployments,statefulsets,secrets,configmaps,persistentvolumeclaims,networkpolicies,cronjobs"
    items = kubernetes.get(kinds, labels={"app.kubernetes.io/part-of": "flatline"})
    return {(each["metadata"]["namespace"], each["kind"], each["metadata"]["name"]) for each in items}
