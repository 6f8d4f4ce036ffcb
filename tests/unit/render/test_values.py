"""The values that take the place of the providers: from a seed, and kept in a state."""

import base64
import json
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pulumi_kubernetes as kubernetes
import pulumi_random as random
import pulumi_tls as tls
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi import CustomResource, ResourceOptions, _types

from render import random_provider
from render.entropy import Entropy, SeededEntropy, SystemEntropy
from render.model import RecordedResource, RecordingError
from render.state import State
from render.values import SeededValues, StateValues
from tests.unit.render.programs import (
    METADATA,
    Providers,
    authority,
    config_map,
    in_kubernetes,
    kept,
    named,
    run,
    whole,
)


def opened(path: Path) -> State:
    return State(path, project="flatline", stack="dev", passphrase=lambda: "correct horse")


class TestSeeded:
    def test_a_function_of_seed_urn_and_inputs(self) -> None:
        assert run(whole, values=SeededValues("a")) == run(whole, values=SeededValues("a"))

    def test_different_seeds_share_no_secret(self) -> None:
        first, second = (_secrets(kept(whole, seed).resources) for seed in "ab")
        assert first
        assert not first & second

    def test_different_urns_share_no_secret(self) -> None:
        passwords = [r.outputs["result"] for r in kept(whole) if "RandomPassword" in r.type]
        assert len(passwords) == len(set(passwords)) == 3

    def test_changed_keeper_changes_the_value(self) -> None:
        def program(epoch: str) -> Callable[[], None]:
            def wrapped() -> None:
                random.RandomPassword("it", length=20, keepers={"epoch": epoch}, opts=Providers().random)

            return wrapped

        first, second = (named(run(program(epoch)), "it").outputs["result"] for epoch in "12")
        assert first != second

    def test_certificates_begin_at_the_start(self) -> None:
        start = datetime(2030, 5, 6, 7, 8, 9, tzinfo=UTC)
        recording = run(lambda: authority(Providers()) and None, values=SeededValues("x", start=start))
        assert named(recording, "leaf").outputs["validityStartTime"] == "2030-05-06T07:08:09Z"

    def test_rsa(self) -> None:
        def program() -> None:
            tls.PrivateKey("a", algorithm="RSA", opts=(opts := Providers().tls))
            tls.PrivateKey("b", algorithm="RSA", rsa_bits=2048, opts=opts)

        first, second = run(program, values=SeededValues("x")), run(program, values=SeededValues("x"))
        assert first == second
        assert named(first, "a").outputs["privateKeyPem"] != named(first, "b").outputs["privateKeyPem"]


class TestKept:
    pytestmark = pytest.mark.usefixtures("quick")

    def program(self, **changes: Any) -> Callable[[], None]:
        """A password, one that depends on it, and a certificate authority with a leaf."""
        settings: dict[str, Any] = {"epoch": "1", "length": 20, "subject": "Test CA", "hours": 1000, **changes}

        def wrapped() -> None:
            providers = Providers()
            first = random.RandomPassword(
                "first", length=settings["length"], keepers={"epoch": settings["epoch"]}, opts=providers.random
            )
            random.RandomPassword("second", length=20, keepers={"from": first.result}, opts=providers.random)
            random.RandomPassword("third", length=20, opts=providers.random)
            authority(providers, subject=settings["subject"], hours=settings["hours"])

        return wrapped

    def changed(self, path: Path, **changes: Any) -> set[str]:
        """The resources whose outputs, inputs apart, differ after a run with other settings."""
        with opened(path) as state:
            before = run(self.program(), values=StateValues(state))
            state.save()
        with opened(path) as state:
            after = run(self.program(**changes), values=StateValues(state))
            state.save()
        return {r.name for r in before if _made(r) != _made(named(after, r.name))}

    def test_second_run_is_equal(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        with opened(path) as state:
            first = run(whole, values=StateValues(state))
            assert state.save()
        content = path.read_bytes()
        with opened(path) as state:
            assert run(whole, values=StateValues(state)) == first
            assert not state.save()
        assert path.read_bytes() == content

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, set()),
            ({"epoch": "2"}, {"first", "second"}),
            ({"length": 21}, {"first", "second"}),
            ({"subject": "Other CA"}, {"ca", "leaf"}),
            ({"hours": 2000}, {"ca", "leaf"}),
        ],
    )
    def test_a_change_replaces_the_resources_that_depend_on_it(
        self, tmp_path: Path, changes: dict[str, Any], expected: set[str]
    ) -> None:
        assert self.changed(tmp_path / "state.json", **changes) == expected

    def test_a_protected_resource_is_never_replaced(self, tmp_path: Path) -> None:
        """The engine would refuse to replace it, and clients may have pinned it."""

        def program(length: int) -> Callable[[], None]:
            def wrapped() -> None:
                protected = ResourceOptions.merge(Providers().random, ResourceOptions(protect=True))
                random.RandomPassword("seed", length=length, opts=protected)

            return wrapped

        with opened(tmp_path / "state.json") as state:
            before = named(run(program(40), values=StateValues(state)), "seed").outputs["result"]
            with pytest.raises(RecordingError, match="RandomPassword 'seed': is protected") as refused:
                run(program(41), values=StateValues(state))
            assert before not in str(refused.value)
            assert named(run(program(40), values=StateValues(state)), "seed").outputs["result"] == before

    def test_a_resource_that_comes_back_has_its_old_value(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        with opened(path) as state:
            before = named(run(self.program(), values=StateValues(state)), "third").outputs["result"]
            state.save()
        with opened(path) as state:
            run(lambda: None, values=StateValues(state))
            assert len(state.unused()) == 8
            assert not state.save()
        with opened(path) as state:
            assert named(run(self.program(), values=StateValues(state)), "third").outputs["result"] == before
            assert state.unused() == ()

    def test_two_stacks_share_no_secret(self, tmp_path: Path) -> None:
        secrets = []
        for name in "ab":
            with opened(tmp_path / name) as state:
                secrets.append(_secrets(run(whole, values=StateValues(state)).resources))
        assert secrets[0]
        assert not secrets[0] & secrets[1]

    def test_no_secret_in_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        with opened(path) as state:
            recording = run(self.program(), values=StateValues(state))
            state.save()
        content = path.read_text()
        for secret in _secrets(recording.resources):
            for form in (secret, secret.splitlines()[1 if "\n" in secret else 0], json.dumps(secret)[1:-1]):
                assert form not in content
                assert base64.b64encode(form.encode()).decode() not in content
        assert json.dumps(named(recording, "leaf").outputs["certPem"])[1:-1] in content

    def test_certificates_begin_now(self, tmp_path: Path) -> None:
        with opened(tmp_path / "state.json") as state:
            leaf = named(run(self.program(), values=StateValues(state)), "leaf").outputs
        start = datetime.fromisoformat(leaf["validityStartTime"])
        assert abs(datetime.now(UTC) - start) < timedelta(minutes=5)
        assert datetime.fromisoformat(leaf["validityEndTime"]) - start == timedelta(hours=1000)


def _made(resource: RecordedResource) -> dict[str, Any]:
    return {name: value for name, value in resource.outputs.items() if name not in resource.inputs}


def _secrets(resources: tuple[RecordedResource, ...]) -> set[str]:
    """The generated secrets."""
    made = [resource for resource in resources if resource.package in ("random", "tls")]
    values = [r.outputs[str(path[0])] for r in made for path in r.secret_output_paths if len(path) == 1]
    assert all(isinstance(value, str) for value in values)
    return set(values)


class TestPasswords:
    entropies = (SystemEntropy(), SeededEntropy(b"key"))

    @pytest.mark.parametrize("entropy", entropies)
    @given(special=st.booleans(), length=st.integers(1, 60))
    def test_honours_its_inputs(self, entropy: Entropy, special: bool, length: int) -> None:
        text = random_provider.password({"length": length, "special": special}, entropy).outputs["result"]
        alphabet = string.ascii_letters + string.digits + ("!@#$%&*()-_=+[]{}<>:?" if special else "")
        assert len(text) == length
        assert set(text) <= set(alphabet)

    def test_every_character_of_the_alphabet_comes_about_equally_often(self) -> None:
        text = random_provider.password({"length": 60_000, "special": False}, SeededEntropy(b"k")).outputs["result"]
        counts = [text.count(character) for character in string.ascii_letters + string.digits]
        assert min(counts) > 800
        assert max(counts) < 1150

    def test_impossible_inputs(self) -> None:
        with pytest.raises(ValueError, match="length is 0"):
            random_provider.password({"length": 0}, SystemEntropy())

    def test_is_secret_and_its_id_says_nothing(self) -> None:
        generated = random_provider.password({"length": 20}, SystemEntropy())
        assert generated.id == "none"
        assert generated.secrets == {"result"}


class TestOtherRandomValues:
    def test_encodings_of_an_id(self) -> None:
        outputs = random_provider.identifier({"byteLength": 9}, SeededEntropy(b"k")).outputs
        raw = bytes.fromhex(outputs["hex"])
        assert len(raw) == 9
        assert int(outputs["dec"]) == int.from_bytes(raw, "big")
        assert base64.b64decode(outputs["b64Std"]) == raw
        assert base64.urlsafe_b64decode(outputs["b64Url"]) == raw

    @given(st.integers(1, 2**70), st.binary(min_size=1, max_size=8))
    def test_seeded_entropy_is_within_the_limit(self, limit: int, key: bytes) -> None:
        assert 0 <= SeededEntropy(key).below(limit) < limit

    def test_random_bytes_are_refused_with_the_reason(self) -> None:
        with pytest.raises(RecordingError, match=r"RandomBytes 'it': keeps its value as its ID, in plain text"):
            run(lambda: random.RandomBytes("it", length=8, opts=Providers().random) and None)

    @pytest.mark.parametrize(
        ("kind", "arguments", "problem"),
        [
            (random.RandomString, {"length": 20}, "RandomString 'it': only the Pulumi engine and its provider"),
            (random.RandomUuid, {}, "RandomUuid 'it': only the Pulumi engine and its provider"),
            (random.RandomPassword, {"length": 20, "min_upper": 2}, "RandomPassword 'it': the input minUpper needs"),
            (random.RandomId, {"byte_length": 4, "prefix": "p"}, "RandomId 'it': the input prefix needs the Pulumi"),
        ],
    )
    def test_what_the_program_does_not_use_is_refused_by_name(
        self, kind: Any, arguments: dict[str, Any], problem: str
    ) -> None:
        with pytest.raises(RecordingError, match=problem):
            run(lambda: kind("it", **arguments, opts=Providers().random) and None)

    def test_gives_every_output_of_the_real_type_that_is_read(self) -> None:
        assert _missing_outputs(random.RandomId, {"byte_length": 4}, "random") == set()
        assert _missing_outputs(random.RandomPassword, {"length": 20}, "random") == {"bcryptHash"}


class TestOutputsOfTls:
    def test_private_key(self) -> None:
        missing = _missing_outputs(tls.PrivateKey, {"algorithm": "ECDSA", "ecdsa_curve": "P256"}, "tls")
        openssh = {"privateKeyOpenssh", "publicKeyOpenssh", "publicKeyFingerprintMd5", "publicKeyFingerprintSha256"}
        assert missing == openssh

    def test_an_input_that_is_not_supported(self) -> None:
        def program() -> None:
            opts = Providers().tls
            key = tls.PrivateKey("key", algorithm="ECDSA", ecdsa_curve="P256", opts=opts)
            tls.CertRequest("it", private_key_pem=key.private_key_pem, ip_addresses=["127.0.0.1"], opts=opts)

        with pytest.raises(RecordingError, match="CertRequest 'it': the input ipAddresses needs the Pulumi engine"):
            run(program)

    def test_certificates(self) -> None:
        recording = run(lambda: authority(Providers()) and None)
        for name, kind in (("ca", tls.SelfSignedCert), ("request", tls.CertRequest), ("leaf", tls.LocallySignedCert)):
            assert _missing(named(recording, name), kind) == set()


_INPUTS_WITHOUT_DEFAULT = {
    *("keepers", "overrideSpecial", "prefix", "seed", "dnsNames", "ipAddresses", "uris", "subject", "maxPathLength"),
    *("privateKeyPemWo", "privateKeyPemWoVersion", "caPrivateKeyPemWo", "caPrivateKeyPemWoVersion"),
}


def _missing_outputs(kind: Any, arguments: dict[str, Any], package: str) -> set[str]:
    recording = run(lambda: kind("it", **arguments, opts=getattr(Providers(), package)) and None)
    return _missing(named(recording, "it"), kind)


def _missing(resource: RecordedResource, kind: Any) -> set[str]:
    """The output properties of the type that are absent, except inputs without a default."""
    properties = set(_types.resource_types(kind))
    assert "id" not in properties
    assert len(properties) > 1
    return properties - set(resource.outputs) - _INPUTS_WITHOUT_DEFAULT


class TestKubernetesObjects:
    def name_of(self, build: Callable[[ResourceOptions], object], seed: str = "x") -> str:
        recording = in_kubernetes(build, values=SeededValues(seed))
        (resource,) = [r for r in recording if r.package == "kubernetes"]
        return str(resource.outputs["metadata"]["name"])

    def config_map(self, name: str, content: str, seed: str = "x") -> str:
        return self.name_of(lambda opts: config_map(name, {"a": content}, opts), seed)

    def secret(self, content: str, seed: str = "x") -> str:
        return self.name_of(
            lambda opts: kubernetes.core.v1.Secret("it", metadata=METADATA, string_data={"a": content}, opts=opts), seed
        )

    def test_named_after_its_content(self) -> None:
        name = self.config_map("Whisper_Config", "1")
        assert name.startswith("whisper-config-")
        assert len(name.removeprefix("whisper-config-")) == 10
        assert name == self.config_map("Whisper_Config", "1", seed="other")
        assert name != self.config_map("Whisper_Config", "2")

    def test_the_name_of_a_secret_does_not_reveal_its_content(self) -> None:
        assert self.secret("guess") == self.secret("guess")
        assert self.secret("guess") != self.secret("guess", seed="another stack")

    def test_long_names_fit_a_label(self) -> None:
        assert len(self.config_map("x" * 300, "1")) == 63

    def test_name_of_a_cron_job_leaves_room_for_its_jobs(self) -> None:
        spec: Any = {"schedule": "@daily", "job_template": {"spec": {"template": {}}}}
        name = self.name_of(lambda opts: kubernetes.batch.v1.CronJob("x" * 80, metadata=METADATA, spec=spec, opts=opts))
        assert len(name) == 52

    def test_a_given_name_stays(self) -> None:
        metadata: Any = {"name": "given", "namespace": "flatline"}
        assert self.name_of(lambda opts: kubernetes.core.v1.ConfigMap("it", metadata=metadata, opts=opts)) == "given"

    def test_ids(self) -> None:
        assert named(kept(whole), "service").id == "flatline/whisper"
        assert named(kept(whole), "namespace").id == "flatline"

    def test_without_metadata(self) -> None:
        assert self.name_of(lambda opts: kubernetes.core.v1.Namespace("it", opts=opts)).startswith("it-")

    @pytest.mark.parametrize(
        ("build", "problem"),
        [
            (
                lambda opts: kubernetes.core.v1.ConfigMap("it", metadata={"generate_name": "it-"}, opts=opts),
                r"generateName lets the cluster choose",
            ),
            (
                lambda opts: kubernetes.core.v1.ConfigMapPatch("it", metadata={"name": "it"}, opts=opts),
                r"a patch of an object",
            ),
            (
                lambda opts: kubernetes.core.v1.ConfigMapList("it", items=[{"data": {}}], opts=opts),
                r"a list of objects",
            ),
            (
                lambda opts: CustomResource("kubernetes:helm.sh/v2:Chart", "it", {"chart": "traefik"}, opts),
                r"not a single Kubernetes object",
            ),
            (lambda opts: config_map("___", {}, opts), r"no letter or digit"),
        ],
    )
    def test_resources_that_cannot_be_a_manifest(
        self, build: Callable[[ResourceOptions], object], problem: str
    ) -> None:
        with pytest.raises(RecordingError, match=problem):
            in_kubernetes(build)


def test_a_wrong_certificate_input_names_the_resource_and_no_key() -> None:
    def program() -> None:
        opts = Providers().tls
        tls.SelfSignedCert(
            "it", private_key_pem="not a key, but secret", allowed_uses=[], validity_period_hours=1, opts=opts
        )

    with pytest.raises(RecordingError, match=r"SelfSignedCert 'it': privateKeyPem is not") as caught:
        run(program)
    assert "but secret" not in str(caught.value)
