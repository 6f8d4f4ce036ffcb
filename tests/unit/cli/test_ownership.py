"""Two stacks never share a namespace by accident, and none takes one of the cluster's."""

import pytest

from cli.ownership import Place, namespace_for
from tests.unit.cli.checkout import Checkout

SMS = {"kind": "external", "service": "sms", "podLabels": {"app": "sms"}}
NEW = ("stack", "new", "home", "--domain", "chat.example.org")


def test_a_new_stack_has_namespaces_of_its_own(brought_up: Checkout) -> None:
    brought_up.succeed(*NEW)
    brought_up.succeed("up", "--stack", "home")
    dev, home = ({path.name for path in brought_up.build(stack).glob("01-namespace_*")} for stack in ("dev", "home"))
    assert home == {"01-namespace_flatline-home.yaml", "01-namespace_flatline-home-emulators.yaml"}
    assert not dev & home


@pytest.mark.parametrize(
    ("dev", "home"),
    [
        ("flatline", "flatline"),
        ("chat", "chat"),
        ("chat", "chat-emulators"),
        ("chat-emulators", "chat"),
    ],
)
@pytest.mark.parametrize("command", ["up", "render", "preview"])
def test_a_shared_namespace_is_an_error_that_names_the_key(
    checkout: Checkout, command: str, dev: str, home: str
) -> None:
    checkout.configure({"namespace": dev})
    checkout.configure({"namespace": home}, "home")
    said = checkout.fail(command, "--stack", "home")
    assert "with stack dev" in said
    assert "flatline:namespace" in said
    assert "Pulumi.home.yaml" in said
    assert not (checkout.root / "build").exists()
    assert not (checkout.root / "state").exists()


def test_two_clusters_may_have_the_same_namespace(checkout: Checkout) -> None:
    for stack in ("dev", "home"):
        checkout.configure({"target": {"kind": "local", "context": stack}}, stack)
    checkout.succeed("up", "--stack", "home")


def test_a_stack_whose_namespace_is_taken_is_not_made(checkout: Checkout) -> None:
    checkout.configure({"namespace": "flatline-home"})
    assert "would share the namespace flatline-home with stack dev" in checkout.fail(*NEW)
    assert not checkout.file("home").exists()


@pytest.mark.parametrize(
    ("config", "whose"),
    [
        ({"namespace": "traefik", "ingress": {"namespace": "traefik"}}, "ingress.namespace"),
        ({"namespace": "edge", "ingress": {"namespace": "edge-emulators"}}, "ingress.namespace"),
        ({"namespace": "dns", "clusterDns": {"namespace": "dns"}}, "clusterDns.namespace"),
        ({"namespace": "sms", "registration": {**SMS, "namespace": "sms"}}, "registration.namespace"),
        ({"namespace": "kube-system"}, "belongs to the cluster"),
        ({"namespace": "default"}, "belongs to the cluster"),
    ],
)
def test_a_namespace_of_the_clusters_is_an_error(checkout: Checkout, config: dict[str, object], whose: str) -> None:
    checkout.configure(config)
    for command in ("up", "render", "preview"):
        said = checkout.fail(command)
        assert whose in said
        assert "namespace" in said


@pytest.mark.parametrize(
    ("stack", "namespace"),
    [
        ("home", "flatline-home"),
        ("My_Home.2", "flatline-my-home-2"),
        ("x" * 100, "flatline-" + "x" * 41),
        ("a" * 40 + "--b", "flatline-" + "a" * 40),
    ],
)
def test_names_of_namespaces(stack: str, namespace: str) -> None:
    assert namespace_for(stack) == namespace


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (("local", None), ("local", None), True),
        (("local", "a"), ("local", None), True),
        (("local", "a"), ("local", "b"), False),
        (("local", "a"), ("cloud", "a"), True),
        (("local", None), ("cloud", None), False),
    ],
)
def test_which_stacks_may_be_on_one_cluster(
    one: tuple[str, str | None], other: tuple[str, str | None], shared: bool
) -> None:
    places = [Place("s", "n", context, kind) for kind, context in (one, other)]
    assert places[0].may_share_cluster(places[1]) == shared
    assert places[1].may_share_cluster(places[0]) == shared
