"""`connect` in front of the real Traefik with the rendered routes: served when whole, else told the cause."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.doctor import outside
from cli.doctor.examination import Examination
from cli.reissue import NOT_PINS
from client_kit import kit, pins
from client_kit.pins import Pins
from connectivity import services
from connectivity.check import Host, check
from connectivity.names import resolved
from connectivity.problem import Problem
from tests.integration.deployed import PUBLIC, deploy, reached_at, rendered
from tests.lab.kubernetes import Kubernetes
from tests.lab.process import wait_until
from tests.lab.traefik import Traefik
from tests.unit.authority import NOW, Issued, issue, leaf
from tests.unit.cli.doctor_evidence import Plant
from tests.unit.connectivity.test_check import cutting, flatline_authority, plain_http, resetting, silent, typed
from tests.unit.edge import Edge, http

pytestmark = pytest.mark.integration

NAMESPACE, DOMAIN = "flatline", "flatline.internal"
NOBODY = "203.0.113.77"
LATER_SECONDS = 30
HEADERS, UPGRADE_TAKEN = "middlewares.traefik.io", {"Upgrade": "", "Connection": ""}

Object = dict[str, Any]
Outcome = dict[str, tuple[str, str]]
"""By service that a client would not be served by: the step and the cause."""


@dataclass
class Installation:
    """The stack behind Traefik; its services answer as `behind` says."""

    cluster: Kubernetes
    address: str
    objects: list[Object]
    outputs: dict[str, Any]
    pods: dict[str, list[str]]
    """Where Traefik sends what is for each workload."""
    behind: Edge = field(default_factory=lambda: Edge(None))

    @property
    def known(self) -> Pins:
        return pins.of(self.outputs)

    def outcome(self, known: Pins | None = None, port: int = 443) -> Outcome:
        """What `connect` finds now."""
        return failures(asyncio.run(check(known or self.known, address=self.address, port=port)))

    def object(self, kind: str, name: str) -> Object:
        (found,) = (each for each in self.objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
        return found

    def comes(self, expected: Callable[[Outcome], bool], known: Pins | None = None) -> None:
        """Waits until `connect` finds what is expected."""
        seen: list[Outcome] = [{}]

        def found() -> bool:
            seen[0] = self.outcome(known)
            return expected(seen[0])

        try:
            wait_until(found, LATER_SECONDS, "the outcome")
        except TimeoutError:
            raise AssertionError(seen[0]) from None

    @contextmanager
    def without(self, *objects: Object) -> Iterator[None]:
        """These objects are not there."""
        self.cluster.delete(objects)
        try:
            yield
        finally:
            self.cluster.apply(objects)
            self.comes(lambda outcome: not outcome)

    @contextmanager
    def instead(self, found: Object, changed: Object) -> Iterator[None]:
        """One object is another one."""
        with self.without(found):
            self.cluster.apply([changed])
            try:
                yield
            finally:
                self.cluster.delete([changed])

    @contextmanager
    def answering(self, name: str, behind: Edge | None) -> Iterator[None]:
        """The pods of one workload answer otherwise, or not at all; those of the others as they should."""
        with ExitStack() as running:
            for workload, ports in PUBLIC.items():
                edge = behind if workload == name else self.behind
                if edge is None:
                    continue
                for address in self.pods[workload]:
                    for port in ports:
                        running.enter_context(edge.running(address, port))
            yield


def failures(hosts: Sequence[Host]) -> Outcome:
    bad = {host.service: [step for step in host.steps if step.passed is False] for host in hosts if not host.served}
    assert all(step.cure for steps in bad.values() for step in steps)
    return {service: (steps[0].name, steps[0].cause or "") for service, steps in bad.items()}


@pytest.fixture(scope="module")
def deployed(
    empty_kubernetes: Kubernetes, traefik: Traefik, ingress_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    rate = '{"rateLimit": {"average": 10000, "burst": 10000}}'
    folder, recording = rendered(tmp_path_factory.mktemp("dev") / "dev", ingress=rate)
    deploy(empty_kubernetes, folder)
    traefik.wait_hosts(*(f"{name}.{DOMAIN}" for name in pins.SERVICES))
    outputs = {name: value for name, value in recording.outputs.items() if name not in NOT_PINS}
    pods = {workload: reached_at(empty_kubernetes, workload) for workload in PUBLIC}
    return Installation(empty_kubernetes, ingress_address, empty_kubernetes.load(folder), outputs, pods)


@pytest.fixture
def whole(deployed: Installation) -> Iterator[Installation]:
    """The installation, all of it answering."""
    with deployed.answering("", None):
        deployed.comes(lambda outcome: not outcome)
        yield deployed


def test_a_whole_installation_is_served(whole: Installation, tmp_path: Path) -> None:
    """By the command, with the pins of a kit."""
    kit.write(tmp_path / "kit", kit.made("libsignal", "dev", whole.outputs, whole.known))
    assert typed("--pins", str(tmp_path / "kit" / kit.PINS), "--address", whole.address) == 0


@pytest.mark.parametrize(
    ("route", "service"), [("storage", "storage"), ("cdn3-download", "cdn3"), ("cdn0-read", "cdn0")]
)
def test_a_missing_route(whole: Installation, route: str, service: str) -> None:
    with whole.without(whole.object("IngressRoute", route)):
        whole.comes(lambda outcome: outcome.keys() == {service} and "Traefik has no route for" in outcome[service][1])


@pytest.mark.parametrize(
    ("name", "service", "behind", "cause"),
    [
        ("storage", "storage", None, "Traefik cannot reach Storage (502 from"),
        ("storage", "storage", replace(Edge(None), raw=resetting), "Traefik cannot reach Storage (502 from"),
        ("cdn0-gate", "cdn0", replace(Edge(None), raw=silent), "does not answer within"),
        ("whisper", "whisper", replace(Edge(None), web_socket=cutting), "opens, and is cut at once"),
        ("whisper", "whisper", replace(Edge(None), web_socket=silent), "opens, and carries no data"),
        ("cdn3", "cdn3", Edge(None).with_answer("cdn3", http("500 Internal Server Error")), "answers 500, and CDN3"),
    ],
    ids=["closed", "resetting", "slow", "socket cut", "socket dead", "failing"],
)
def test_a_service_that_does_not_serve(
    deployed: Installation,
    name: str,
    service: str,
    behind: Edge | None,
    cause: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(services, "ANSWER_SECONDS", 3.0)
    with deployed.answering(name, behind):
        deployed.comes(lambda outcome: outcome.keys() == {service} and cause in outcome[service][1])


def test_a_proxy_that_takes_the_upgrade_away(whole: Installation) -> None:
    """As a load balancer does that knows HTTP and no WebSockets."""
    headers = whole.object("Middleware", "headers")
    request = {**headers["spec"]["headers"]["customRequestHeaders"], **UPGRADE_TAKEN}
    changed = {**headers, "spec": {"headers": {**headers["spec"]["headers"], "customRequestHeaders": request}}}
    with whole.instead(headers, changed):
        whole.comes(lambda outcome: "a WebSocket with " in outcome.get("whisper", ("", ""))[1])


def test_limits_that_are_too_tight(whole: Installation) -> None:
    limit = whole.object("Middleware", "rate-limit")
    with whole.instead(limit, {**limit, "spec": {"rateLimit": {"average": 1, "period": "1m", "burst": 1}}}):
        whole.comes(lambda outcome: {cause.partition(" ")[2] for _, cause in outcome.values()} == {LIMITED})


DOCTOR = {"connect-port", "connect-tls", "connect-answer"}
"""The doctor's names of these faults, which are planted here for it as well."""


def test_the_doctor_finds_faults_under_their_own_names(whole: Installation) -> None:
    """It knows no names here, and goes to the address of the load balancer."""
    assert doctor_finds(whole, whole.address) == set()
    with whole.without(whole.object("IngressRoute", "storage")):
        whole.comes(lambda outcome: outcome.keys() == {"storage"})
        assert doctor_finds(whole, whole.address) == {"connect-answer"}
    with whole.without(tls_secret(whole)):
        whole.comes(lambda outcome: {step for step, _ in outcome.values()} == {"tls"})
        assert doctor_finds(whole, whole.address) == {"connect-tls"}
    assert doctor_finds(whole, "10.244.0.251") == {"connect-port"}


def doctor_finds(installation: Installation, address: str) -> set[str]:
    """What is found in a cluster whose load balancer has an address, but for names that nobody knows."""
    plant = Plant()
    plant.named("system", "Service", "traefik")["status"]["loadBalancer"]["ingress"] = [{"ip": address}]
    plant.readings["outside"] = outside.tried(installation.known, None, plant.evidence(), lambda: False)
    return {each.symptom for each in Examination.of(plant.evidence()).findings} - {"connect-name"}


LIMITED = "refuses the request: too many (429)"


def test_tls_1_2_alone(whole: Installation) -> None:
    option = whole.object("TLSOption", "tls")
    with whole.instead(option, {**option, "spec": {**option["spec"], "maxVersion": "VersionTLS12"}}):
        whole.comes(lambda outcome: len(outcome) == 4 and "speaks no TLS 1.3" in outcome["cdn0"][1])


def test_plain_http_where_tls_should_be(whole: Installation) -> None:
    """As behind a load balancer that takes TLS away."""
    with replace(whole.behind, raw=plain_http).running(whole.address) as port:
        causes = [cause for _, cause in whole.outcome(port=port).values()]
    assert len(causes) == 4
    assert [cause for cause in causes if "answers, but not in TLS" not in cause] == []


def test_a_port_that_is_closed(whole: Installation) -> None:
    outcome = whole.outcome(port=444)
    assert {step for step, _ in outcome.values()} == {"connection"}
    assert all("refuses TCP connections" in cause for _, cause in outcome.values())


def test_a_name_that_leads_elsewhere(whole: Installation) -> None:
    async def resolve(host: str) -> Sequence[str]:
        return (NOBODY,) if host.startswith("cdn0.") else (whole.address,)

    outcome = failures(asyncio.run(check(whole.known, resolve=resolve)))
    assert outcome.keys() == {"cdn0"}
    assert f"its name leads to {NOBODY}, and the names of the other hosts" in outcome["cdn0"][1]


def test_no_dns(whole: Installation) -> None:
    """Nothing answers in the network namespace of the tests."""
    outcome = failures(asyncio.run(check(whole.known)))
    assert len(outcome) == 4
    assert {step for step, _ in outcome.values()} == {"name"}
    with pytest.raises(Problem):
        asyncio.run(resolved(f"whisper.{DOMAIN}"))


def test_pins_of_the_next_authority(whole: Installation, tmp_path: Path) -> None:
    _, other = rendered(tmp_path / "other", certificates='{"authority": {"epoch": 2}}')
    changed = {**whole.outputs, "caCertificates": other.outputs["caCertificates"]}
    outcome = whole.outcome(pins.of(changed))
    assert len(outcome) == 4
    assert outcome["whisper"][1] == "the certificate is by Flatline CA 1, and the pins have Flatline CA 2"


def test_pins_of_another_installation(whole: Installation) -> None:
    outcome = whole.outcome(pins.of({**whole.outputs, "caCertificates": flatline_authority().pem}))
    assert "by an authority of the pinned name (Flatline CA 1) with another key" in outcome["storage"][1]


def test_pins_of_another_domain(whole: Installation) -> None:
    urls = {service: f"https://{service}.chat.example.org" for service in pins.SERVICES}
    outcome = whole.outcome(pins.of({**whole.outputs, "urls": urls}))
    assert len(outcome) == 4
    assert outcome["cdn3"][1].startswith("Traefik has no certificate and no route for cdn3.chat.example.org")


def tls_secret(installation: Installation) -> Object:
    (found,) = (each for each in installation.objects if each.get("type") == "kubernetes.io/tls")
    return found


def test_no_certificate(whole: Installation) -> None:
    with whole.without(tls_secret(whole)):
        whole.comes(lambda outcome: len(outcome) == 4 and all(step == "tls" for step, _ in outcome.values()))


CA = flatline_authority()
CERTIFICATES: dict[str, tuple[Issued, str]] = {
    "expired": (leaf(CA, DOMAIN, ends=NOW - timedelta(hours=1)), "the certificate expired on"),
    "not yet valid": (leaf(CA, DOMAIN, begins=NOW + timedelta(days=2)), "the certificate is not valid before"),
    "of one that intercepts": (leaf(issue("Gateway"), DOMAIN), "the certificate is by Gateway, which is not pinned"),
}


@pytest.mark.parametrize("fault", CERTIFICATES)
def test_another_certificate(whole: Installation, fault: str) -> None:
    served, cause = CERTIFICATES[fault]
    secret = tls_secret(whole)
    changed = {**secret, "stringData": {"tls.crt": served.pem, "tls.key": served.private_pem}}
    known = pins.of({**whole.outputs, "caCertificates": CA.pem})
    with whole.instead(secret, changed):
        whole.comes(lambda outcome: len(outcome) == 4 and cause in outcome["whisper"][1], known)


def test_a_failure_ends_the_command_with_a_status(
    whole: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pins.json"
    file.write_text(json.dumps({"version": 1, "pins": whole.outputs}))
    assert typed("--pins", str(file), "--address", NOBODY, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert not document["served"]
    assert document["hosts"][0]["steps"][1]["cause"].startswith(f"{NOBODY}:443 refuses TCP connections")


def test_a_service_without_pods(deployed: Installation) -> None:
    """The last test: pods that come back have other addresses."""
    with deployed.answering("", None):
        deployed.cluster.delete([deployed.object("Deployment", "storage")])
        deployed.comes(
            lambda outcome: "Traefik has no ready pod for Storage (503" in outcome.get("storage", ("", ""))[1]
        )
