"""Each mistake in the configuration gives one clear line, and never shows a secret."""

import base64
import json
import secrets
import string
from contextlib import nullcontext
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from config import operator_values
from config.images import IMAGES
from config.loading import SettingsError, load
from config.registration import WebhookRegistration
from config.schema.secrets import BY_NAME
from config.settings import Settings
from config.types import AwsRegion, quantity_bytes
from tests.unit.authority import issue, leaf


def loaded(**config: Any) -> Settings:
    """Of a configuration; values that are no text are written as the engine hands them over."""
    return load(
        {f"flatline:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    )


def problems(**config: Any) -> list[str]:
    """The lines that a configuration gives."""
    with pytest.raises(SettingsError) as caught:
        loaded(**config)
    return caught.value.problems


def webhook(url: str, ways: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Settings of a gateway of codes, and the ways out to it."""
    opened = {} if ways is None else {"egress": {"registration": ways}}
    return {"registration": {"kind": "webhook", "url": url}, **opened}


def exporters(**named: Any) -> dict[str, Any]:
    """Settings of the collector's exporters; `__` in a name stands for its slash."""
    return {"telemetry": {"exporters": {name.replace("__", "/"): value for name, value in named.items()}}}


def dynamic(**block: Any) -> dict[str, Any]:
    return {"whisper": {"dynamicConfig": block}}


PIN = {"bucketSize": 1, "permitRegenerationDuration": "1s"}
PREFIXES = ["+1" * 30] * 2000
WAY = {"cidr": "203.0.113.0/24", "ports": [443]}
AUTHORITY = {"validityDays": 90}

MISTAKES: list[tuple[str, dict[str, Any], str, str]] = [
    ("unknown key", {"domian": "x.org"}, "flatline:domian", "did you mean domain?"),
    ("unknown nested key", {"redis": {"master": 3}}, "flatline:redis.master", "did you mean masters?"),
    ("a URL for a domain", {"domain": "https://chat.example.org"}, "flatline:domain", "bare host name"),
    ("capital letters", {"domain": "Chat.example.org"}, "flatline:domain", "write chat.example.org"),
    ("a wildcard", {"domain": "*.example.org"}, "flatline:domain", "write example.org"),
    ("an address", {"domain": "192.0.2.1"}, "flatline:domain", "IP address"),
    ("one label", {"domain": "localhost"}, "flatline:domain", "2 or more labels"),
    ("a final dot", {"domain": "example.org."}, "flatline:domain", "write example.org"),
    ("an underscore", {"domain": "my_chat.example.org"}, "flatline:domain", "no host name"),
    ("a long domain", {"domain": "a" * 50 + ".example.org"}, "flatline:domain", "at most 50"),
    ("a namespace of the cluster", {"namespace": "kube-system"}, "flatline:namespace", "belongs to the cluster"),
    ("the default namespace", {"namespace": "default"}, "flatline:namespace", "such as flatline"),
    ("a namespace that is no label", {"namespace": "Flat_line"}, "flatline:namespace", "no Kubernetes name"),
    ("an unknown target", {"target": {"kind": "moon"}}, "flatline:target.kind", "'local'"),
    ("a size without unit", {"target": {"volumes": {"redis": "2"}}}, "target.volumes.redis", "such as 2Gi"),
    ("a decimal size", {"target": {"volumes": {"redis": "2G"}}}, "target.volumes.redis", "Ki, Mi, Gi or Ti"),
    ("too few masters", {"redis": {"masters": 2}}, "flatline:redis.masters", "write 3 or more"),
    ("memory beyond the volume", {"redis": {"memory": "16Gi"}}, "redis.memory", "target.volumes.redis is 2Gi"),
    ("text for a number", {"redis": {"masters": "3"}}, "flatline:redis.masters", "write a whole number"),
    ("a fraction", {"redis": {"masters": 3.5}}, "flatline:redis.masters", "whole number"),
    ("a word for a switch", {"exposeAdmin": "yes"}, "flatline:exposeAdmin", "write true or false"),
    ("a scalar for a block", {"cdn": 5}, "flatline:cdn", "write a block of keys"),
    ("a long leaf", {"certificates": {"leaf": {"validityDays": 398}}}, "leaf.validityDays", "397 or less"),
    ("a leaf that outlives it", {"certificates": {"authority": AUTHORITY}}, "flatline:certificates", "at most 90"),
    ("no such signer", {"certificates": {"authority": {"signingEpoch": 2}}}, "certificates.authority", "at most 1"),
    ("an unknown secret", {"secrets": {"trn": {"epoch": 2}}}, "flatline:secrets", "did you mean turn?"),
    ("epoch zero", {"secrets": {"turn": {"epoch": 0}}}, "secrets.turn.epoch", "write 1 or more"),
    ("an epoch that is not there", {"secrets": {"turn": {"activeEpoch": 2}}}, "secrets.turn", "write at most 1"),
    ("an image without version", {"images": {"overrides": {"redis": "redis"}}}, "overrides.redis", "exact version"),
    ("an unknown image", {"images": {"digests": {"reds": "sha256:0"}}}, "digests.reds", "did you mean redis?"),
    ("no digest", {"images": {"digests": {"redis": "sha256:0"}}}, "digests.redis", "64 hexadecimal digits"),
    ("a registry with a scheme", {"images": {"registry": "https://r.example.org"}}, "registry", "without a scheme"),
    ("an upload that fills the volume", {"cdn": {"maxAttachmentSize": "10Gi"}}, "flatline", "larger volume"),
    ("attachments gone before messages", {"cdn": {"retentionDays": 30}}, "cdn.retentionDays", "31 or more"),
    ("credentials for days", {"cdn": {"credentialMaxAgeHours": 48}}, "credentialMaxAgeHours", "24 or less"),
    ("no exporter", exporters(), "flatline:telemetry", "{prometheus: {endpoint"),
    ("an unknown exporter", exporters(promtheus__a={}), "promtheus/a", "mean prometheus?"),
    ("an exporter of traces", exporters(zipkin={}), "exporters.zipkin", "no metrics"),
    ("nobody reaches it", exporters(prometheus={"endpoint": "localhost:8889"}), "telemetry.exporters", "0.0.0.0:8889"),
    ("an exporter without an address", exporters(prometheus=None), "telemetry.exporters", "such as 0.0.0.0:8889"),
    (
        "an exporter on the port of another",
        exporters(prometheus={"endpoint": ":9000"}, prometheus__b={"endpoint": ":9000"}),
        "prometheus/b.endpoint",
        "write another one",
    ),
    ("the health check's port", exporters(prometheus={"endpoint": ":13133"}), "prometheus.endpoint", "another one"),
    (
        "a scraper of nothing",
        {"telemetry": {"exporters": {"debug": None}, "scrapers": [{"namespace": "a", "podLabels": {"b": "c"}}]}},
        "flatline:telemetry",
        "write exporters.prometheus",
    ),
    ("no network", {"egress": {"whisper": [{"cidr": "x", "ports": [443]}]}}, "whisper.0.cidr", "CIDR form"),
    ("host bits", {"egress": {"whisper": [{"cidr": "10.0.0.1/8", "ports": [443]}]}}, "cidr", "CIDR form"),
    ("a port out of range", {"egress": {"whisper": [{"cidr": "10.0.0.0/8", "ports": [0]}]}}, "ports.0", "1 or more"),
    ("an unknown way out", {"egress": {"storage": []}}, "egress.storage", "write one of"),
    ("registration without kind", {"registration": {"port": 1}}, "flatline:registration", "kind"),
    ("a webhook without a URL", {"registration": {"kind": "webhook"}}, "registration.url", "is missing; write it"),
    ("a webhook that is no URL", webhook("sms.example.org"), "registration.url", "is no URL; write http(s)://"),
    ("a webhook of another scheme", webhook("ftp://sms.example.org/"), "registration.url", "write http(s)://"),
    ("a webhook with a password", webhook("https://me:word@sms.example.org/"), "registration.url", "has a user"),
    ("a webhook with a query", webhook("https://sms.example.org/?key=1"), "registration.url", "a query"),
    ("a webhook without a way", webhook("https://sms.example.org/"), "egress.registration", "TCP port 443"),
    ("a way to another port", webhook("https://sms.example.org:8443/", [WAY]), "registration", "ports: [8443]"),
    ("a way out for invitations", {"egress": {"registration": [WAY]}}, "egress.registration", "no connection; remove"),
    ("a TURN URL", {"turn": {"host": "turn:turn.example.org"}}, "turn.host", "bare host name"),
    ("an unknown limiter", dynamic(limits={"massages": {}}), "limits.massages", "messages?"),
    ("no duration", dynamic(limits={"pin": PIN}), "permitRegenerationDuration", "write it as ISO 8601 does"),
    ("a score out of range", dynamic(captcha={"scoreFloor": 2.0}), "captcha.scoreFloor", "write 1 or less"),
    ("a number in remote config", {"whisper": {"remoteConfig": {"x": 1}}}, "remoteConfig.x", "write text"),
    ("what Whisper refuses", dynamic(payments={"disallowedPrefixes": PREFIXES}), "dynamicConfig", "less than 100000"),
]


@pytest.mark.parametrize(("config", "key", "remedy"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_names_its_key_and_its_remedy(config: dict[str, Any], key: str, remedy: str) -> None:
    (line,) = problems(**config)
    assert key in line
    assert remedy in line
    assert "\n" not in line
    assert "pydantic" not in line


def test_all_mistakes_are_told_at_once() -> None:
    assert len(problems(domain="X", redis={"masters": 1, "reps": 2}, exposeAdmin="on")) == 4


def test_a_misspelt_namespace_is_not_silent() -> None:
    with pytest.raises(SettingsError, match="write flatline:domain"):
        load({"flatlin:domain": "chat.example.org"})


def test_keys_of_the_engine_are_left_to_it() -> None:
    assert load({"pulumi:disable-default-providers": '["*"]'}) == Settings()


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("kubernetes:context", "write flatline:target.context"),
        ("kubernetes:kubeconfig", "set the variable KUBECONFIG"),
        ("aws:profile", "set the variable AWS_PROFILE"),
        ("aws:region", "write flatline:target.aws.region"),
        ("gcp:project", "write flatline:target.gcp.project"),
        ("aws:skipMetadataApiCheck", "remove it"),
        ("kubernetes:enableServerSideApply", "remove it"),
        ("random:x", "remove it"),
        ("tls:proxy", "remove it"),
        ("flatline:target.context", "write flatline:target: {context: <value>}"),
        ("flatline:certificates.leaf.epoch", "write flatline:certificates: {leaf: {epoch: <value>}}"),
    ],
)
def test_a_key_of_a_default_provider_or_with_dots_is_not_silent(key: str, remedy: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({key: "hidden"})
    (line,) = caught.value.problems
    assert line.startswith(f"{key}: ")
    assert line.endswith(remedy)
    assert "hidden" not in line


REGIONS = [
    (region, partition in {"aws", "aws-us-gov"})
    for partition in boto3.Session().get_available_partitions()
    for region in boto3.Session().get_available_regions("dynamodb", partition_name=partition)
]
OTHERS = ["us-isob-east-1", "us-iso-west-1", "us-isof-south-1", "eu-isoe-west-1", "eusc-de-east-1"]


@pytest.mark.parametrize(("region", "good"), [*REGIONS, *((region, False) for region in OTHERS)])
def test_regions_are_those_that_resource_names_are_made_for(region: str, good: bool) -> None:
    refused = pytest.raises(ValidationError, match="not an AWS region that Flatline can use")
    with nullcontext() if good else refused:
        TypeAdapter(AwsRegion).validate_python(region)


def test_an_empty_configuration_is_complete() -> None:
    settings = load({})
    assert settings.domain == "flatline.internal"
    assert settings.emulator_namespace == "flatline-emulators"
    assert not settings.expose_admin
    assert settings.redis_nodes == 3
    assert settings.registration.kind == "invitation"
    assert settings.moving_images == ("whisper", "storage")


def test_the_image_of_the_development_service_counts_where_it_runs() -> None:
    settings = loaded(registration={"kind": "development"})
    assert settings.moving_images == ("whisper", "storage", "registration")


def test_a_webhook_and_its_way_out() -> None:
    chosen = loaded(**webhook("https://sms.example.org/codes", [WAY])).registration
    assert isinstance(chosen, WebhookRegistration)
    assert (chosen.url, chosen.port) == ("https://sms.example.org/codes", 443)


def test_a_mirror_replaces_the_registry_and_nothing_else() -> None:
    settings = loaded(images={"registry": "mirror.example.org/hub"})
    assert settings.images.reference("redis") == f"mirror.example.org/hub/library/redis:{IMAGES['redis'].tag}"


def test_a_digest_makes_a_moving_tag_exact() -> None:
    digest = "sha256:" + "0" * 64
    settings = loaded(images={"digests": {"whisper": digest}})
    assert settings.images.reference("whisper").endswith(f":main@{digest}")
    assert "whisper" not in settings.moving_images


def test_a_domain_of_digits_stays_text() -> None:
    (line,) = problems(domain="123")
    assert '"123"' in line


@given(st.text(alphabet=string.printable, max_size=30))
def test_any_text_is_a_domain_or_a_clear_mistake(text: str) -> None:
    match attempt({"flatline:domain": text}):
        case Settings(domain=domain):
            assert domain == text == text.lower()
            assert "." in text
        case [line]:
            assert line.startswith("flatline:domain: ")


def attempt(config: dict[str, str]) -> Settings | list[str]:
    try:
        return load(config)
    except SettingsError as error:
        return error.problems


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(f.alias or n for n, f in Settings.model_fields.items())), NESTED)
def test_any_value_of_any_key_is_taken_or_refused_clearly(key: str, value: Any) -> None:
    outcome = attempt({f"flatline:{key}": json.dumps(value)})
    assert isinstance(outcome, Settings) or all(line.startswith("flatline") for line in outcome)


class TestBroughtSecrets:
    """Values of the operator's are checked for form, and never shown."""

    @pytest.mark.parametrize(
        ("name", "value", "remedy"),
        [
            ("turn", "not hex at all", "write standard hex"),
            ("turn", "abcd", "32 or more"),
            ("storage-authentication", "url_safe-base64", "write standard base64"),
            ("storage-authentication", "c2hvcnQ=", "32 or more"),
            ("zk-server", "AAAA", "exactly 2721"),
            ("zk-calling", "AAAA", "exactly 385"),
            ("noise-tunnel", "AAAA", "exactly 32"),
            ("fcm", "{}", "used by nothing"),
        ],
    )
    def test_a_wrong_form_is_told(self, name: str, value: str, remedy: str) -> None:
        (line,) = problems(secrets={name: {"value": value}})
        assert remedy in line
        assert value not in line.replace(name, "")

    def test_a_secret_of_the_wrong_type_is_not_shown(self) -> None:
        (line,) = problems(secrets={"turn": {"value": 918273645}})
        assert "918273645" not in line

    def test_settings_hide_it(self) -> None:
        settings = loaded(secrets={"turn": {"value": "ab" * 32}})
        assert "abab" not in repr(settings)

    def test_every_secret_has_readers_and_a_reason(self) -> None:
        assert all(secret.readers and secret.why for secret in BY_NAME.values())
        places = [(r.service, r.path) for secret in BY_NAME.values() for r in secret.readers]
        assert len(places) == len(set(places))


class TestBroughtCertificate:
    ROOT = issue("root")
    LEAF = leaf(ROOT, "chat.example.org")
    WEAK = leaf(ROOT, "chat.example.org", key=rsa.generate_private_key(65537, 1024))

    def block(self, **changes: str) -> dict[str, Any]:
        brought = {"certificate": self.LEAF.pem, "privateKey": self.LEAF.private_pem, "authority": self.ROOT.pem}
        return {"provided": brought | changes}

    def test_a_good_one_is_taken(self) -> None:
        settings = loaded(domain="chat.example.org", certificates=self.block())
        assert settings.certificates.provided

    @pytest.mark.parametrize(
        ("domain", "changes", "problem"),
        [
            ("chat.example.org", {"privateKey": ROOT.private_pem}, "belongs to another certificate"),
            ("chat.example.org", {"certificate": WEAK.pem, "privateKey": WEAK.private_pem}, "is weak"),
            ("chat.example.net", {}, "*.chat.example.net"),
            ("chat.example.org", {"authority": "hello"}, "no PEM certificate"),
        ],
        ids=["another key", "a weak key", "another name", "no certificate"],
    )
    def test_a_wrong_one_is_told_and_no_key_shown(self, domain: str, changes: dict[str, str], problem: str) -> None:
        (line,) = problems(domain=domain, certificates=self.block(**changes))
        assert problem in line
        assert not [secret for secret in self.LEAF.private_pem.splitlines()[:-1] if secret in line]

    def test_epochs_beside_it_are_told(self) -> None:
        (line,) = problems(domain="chat.example.org", certificates={**self.block(), "leaf": {"epoch": 2}})
        assert "exclude each other" in line

    @pytest.mark.parametrize("key", ["certificate", "authority"])
    def test_a_private_key_in_the_wrong_place_is_not_shown(self, key: str) -> None:
        pasted = self.LEAF.private_pem
        for text in (pasted, self.block()["provided"]["certificate"] + pasted, f"  {pasted}"):
            (line,) = problems(domain="chat.example.org", certificates=self.block(**{key: text}))
            assert f"certificates.provided.{key}" in line
            assert "holds a private key" in line
            assert not [secret for secret in pasted.splitlines()[1:-1] if secret in line]


@pytest.mark.parametrize(("text", "size"), [("1Ki", 1024), ("3Mi", 3 * 2**20), ("2Gi", 2**31), ("1Ti", 2**40)])
def test_sizes_are_binary(text: str, size: int) -> None:
    assert quantity_bytes(text) == size


KEY_TEXT = issue("key").private_pem
SECRET_TEXT = secrets.token_hex(32)
SHORT_SECRET = base64.b64encode(secrets.token_bytes(32)).decode()
SHORTEST_SECRET = f"A{secrets.token_hex(16)}"


@pytest.mark.parametrize(
    "text",
    [KEY_TEXT, SECRET_TEXT, SHORT_SECRET, SHORTEST_SECRET, KEY_TEXT.replace("\n", ""), " ".join(KEY_TEXT.split())],
    ids=["key", "secret", "short secret", "shortest secret", "key in a line", "key with spaces"],
)
@pytest.mark.parametrize(
    "block",
    [
        {"certificates": {"provided": "TEXT"}},
        {"certificates": {"provided": {"certificate": "TEXT", "privateKey": "TEXT", "authority": "TEXT"}}},
        {"certificates": "TEXT"},
        {"certificates": {"leaf": {"epoch": "TEXT"}}},
        {"secrets": {"turn": "TEXT"}},
        {"secrets": {"turn": {"epoch": "TEXT"}}},
        {"secrets": {"turn": {"value": ["TEXT"]}}},
        {"secrets": "TEXT"},
        {"domain": "TEXT"},
        {"namespace": "TEXT"},
        {"turn": {"host": "TEXT"}},
        {"turn": {"host": "turn.example.org", "port": "TEXT"}},
        {"images": {"registry": "TEXT/"}},
        {"whisper": "TEXT"},
        {"redis": {"masters": "TEXT"}},
        {"target": {"kind": "TEXT"}},
        {"target": {"kind": ["TEXT"]}},
        {"registration": {"kind": {"TEXT": "TEXT"}}},
        {"TEXT": 1},
        {"turn": {"host": "turn.example.org", "TEXT": 1}},
        {"secrets": {"TEXT": {"epoch": 1}}},
        {"secrets": {"turn": {"TEXT": "TEXT"}}},
        {"images": {"digests": {"TEXT": "TEXT"}}},
        {"ingress": {"podLabels": {"TEXT": 1}}},
        {"telemetry": {"exporters": {"TEXT": {}}}},
    ],
    ids=json.dumps,
)
def test_what_may_be_a_secret_is_never_shown(block: dict[str, Any], text: str) -> None:
    pasted = json.loads(json.dumps(block).replace("TEXT", json.dumps(text)[1:-1]))
    said = "\n".join(problems(**pasted))
    assert said
    secret = text.replace("-----BEGIN PRIVATE KEY-----", "").replace("-----END PRIVATE KEY-----", "")
    pieces = [secret[at : at + 16] for at in range(0, len(secret) - 15, 8)]
    assert len(pieces) > 2
    assert not [piece for piece in pieces if piece in said]


PREDICTABLE = [
    bytes(32),
    b"\xff" * 32,
    bytes(range(32)),
    bytes(range(0, 256, 8)),
    bytes(range(255, 223, -1)),
    b"\x01\x23\x45\x67\x89\xab\xcd\xef" * 4,
    b"passwordpassword" * 2,
    (b"\x8f\x13\xd7\x42\xa9\x60\xee\x35\x1c\xb8\x07\x9e" * 3)[:32],
    b"nobody will ever guess this text",
    b"correcthorsebatterystapleandmore",
    bytes(31) + b"\x01",
    secrets.token_bytes(4) + bytes(28),
    secrets.token_bytes(5) * 7,
]


@pytest.mark.parametrize("name", ["turn", "noise-tunnel", "link-device", "attachments"])
@pytest.mark.parametrize("data", PREDICTABLE, ids=range(len(PREDICTABLE)))
def test_a_secret_without_entropy_is_refused(name: str, data: bytes) -> None:
    secret = BY_NAME[name]
    data = data[: operator_values.LENGTHS.get(secret.kind, len(data))]
    value = data.hex() if secret.readers[0].encoding == "hex" else base64.b64encode(data).decode()
    with pytest.raises(ValueError, match="is not random") as refused:
        operator_values.check_random(secret, value)
    assert value not in str(refused.value)


def test_random_values_are_taken() -> None:
    for _ in range(2000):
        assert not operator_values.is_predictable(secrets.token_bytes(32))
        assert not operator_values.is_predictable(secrets.token_hex(32).encode(), share=0.5)
        assert not operator_values.is_predictable(base64.b64encode(secrets.token_bytes(32)), share=0.5)


def test_another_image_of_the_collector_may_have_other_exporters() -> None:
    overrides = {"otel-collector": "registry.example.org/collector:1.2.3"}
    settings = loaded(telemetry={"exporters": {"ours": None}}, images={"overrides": overrides})
    assert set(settings.telemetry.exporters) == {"ours"}
