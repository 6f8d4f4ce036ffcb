"""Every kind of mistake in a stack's file ends with its own line, status 1 and no traceback."""

import shutil
from pathlib import Path

import pytest

from cli import stacks
from cli.__main__ import main
from tests.unit.cli.checkout import REPOSITORY, Checkout

WEAK = "c2hvcnQ="  # five bytes

CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "misspelt key": ("flatline:domian: chat.example.org", ("flatline:domian", "did you mean domain?")),
    "misspelt nested key": ("flatline:redis: {master: 3}", ("flatline:redis.master", "did you mean masters?")),
    "misspelt namespace": ("flatlin:domain: chat.example.org", ("flatlin:domain", "flatline:domain")),
    "capital letters": ("flatline:domain: Chat.Example.org", ("flatline:domain", "chat.example.org")),
    "a URL": ("flatline:domain: https://chat.example.org", ("flatline:domain", "bare host name")),
    "an address": ("flatline:domain: 10.0.0.1", ("flatline:domain", "IP address")),
    "a wildcard": ('flatline:domain: "*.example.org"', ("flatline:domain", "example.org")),
    "one label": ("flatline:domain: localhost", ("flatline:domain", "2 or more labels")),
    "too long a domain": (f"flatline:domain: {'a' * 60}.example.org", ("flatline:domain", "characters")),
    "the cluster's namespace": ("flatline:namespace: kube-system", ("flatline:namespace", "belongs to the cluster")),
    "unknown target": ("flatline:target: {kind: moon}", ("flatline:target.kind", "local")),
    "a number for text": ("flatline:target: {context: 7}", ("flatline:target.context", "quote it")),
    "text for a number": ("flatline:redis: {masters: three}", ("flatline:redis.masters", "whole number")),
    "text for a boolean": ('flatline:exposeAdmin: "yes"', ("flatline:exposeAdmin", "true or false")),
    "a list for a block": ("flatline:redis: [3]", ("flatline:redis", "a block of keys")),
    "too few masters": ("flatline:redis: {masters: 2}", ("flatline:redis.masters", "3 or more")),
    "a size without unit": ("flatline:cdn: {maxAttachmentSize: 100M}", ("flatline:cdn.maxAttachmentSize", "Mi")),
    "uploads larger than their volume": (
        "flatline:cdn: {maxAttachmentSize: 10Gi}",
        ("target.volumes.attachments", "fewer than four uploads"),
    ),
    "too long a certificate": (
        "flatline:certificates: {leaf: {validityDays: 400}}",
        ("flatline:certificates.leaf.validityDays", "397"),
    ),
    "a signer that is not there": (
        "flatline:certificates: {authority: {epoch: 1, signingEpoch: 2}}",
        ("flatline:certificates.authority", "signingEpoch"),
    ),
    "an unknown secret": ("flatline:secrets: {trun: {epoch: 2}}", ("flatline:secrets", "did you mean turn?")),
    "an epoch of zero": ("flatline:secrets: {turn: {epoch: 0}}", ("flatline:secrets.turn.epoch", "1 or more")),
    "a value that is too short": (
        f"flatline:secrets: {{link-device: {{epoch: 2, value: {WEAK}}}}}",
        ("flatline:secrets.link-device", "32 or more"),
    ),
    "an epoch that is not there": (
        "flatline:secrets: {link-device: {activeEpoch: 2}}",
        ("flatline:secrets.link-device", "write at most 1"),
    ),
    "a short secret": (
        f"flatline:secrets: {{link-device: {{value: {WEAK}}}}}",
        ("link-device", "5 bytes"),
    ),
    "an unknown image": ("flatline:images: {digests: {whisperr: x}}", ("images.digests", "did you mean whisper?")),
    "no digest": ("flatline:images: {digests: {whisper: main}}", ("images.digests.whisper", "64 hexadecimal")),
    "an image without version": (
        "flatline:images: {overrides: {redis: docker.io/library/redis:latest}}",
        ("images.overrides.redis", "exact version"),
    ),
    "an egress that is no network": (
        "flatline:egress: {whisper: [{cidr: example.org, ports: [443]}]}",
        ("flatline:egress.whisper", "CIDR"),
    ),
    "no exporter": ("flatline:telemetry: {exporters: {}}", ("flatline:telemetry", "at least one")),
    "a key with dots": ("flatline:target.context: k3s", ("flatline:target.context", "{context: <value>}")),
    "a provider's key": ("kubernetes:context: my-k3s", ("kubernetes:context", "write flatline:target.context")),
    "memory without room": ("flatline:redis: { memory: 16Gi }", ("redis.memory", "twice its size")),
    "an unknown exporter": (
        "flatline:telemetry: {exporters: {otlphtp: {}}}",
        ("telemetry.exporters.otlphtp", "did you mean otlphttp?"),
    ),
    "a dynamic configuration key": (
        "flatline:whisper: {dynamicConfig: {captchas: {}}}",
        ("flatline:whisper.dynamicConfig.captchas", "did you mean captcha?"),
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for stack files, in place of the checkout's, and a home of its own. Runs stay in this process."""
    shutil.copy(REPOSITORY / "Pulumi.yaml", tmp_path)
    for name, path in {"ROOT": tmp_path, "STATE": tmp_path / "state", "BUILD": tmp_path / "build"}.items():
        monkeypatch.setattr(stacks, name, path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "FLATLINE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def fail(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Standard error of a command that must end with status 1."""
    status = main(words)
    said = capsys.readouterr()
    assert status == 1, said.out + said.err
    assert "Traceback" not in said.out + said.err
    assert "unexpected" not in said.err
    return said.err


@pytest.mark.parametrize("name", CASES)
def test_it_says_which_key_and_what_to_write(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    line, expected = CASES[name]
    (folder / "Pulumi.dev.yaml").write_text(f"config:\n  {line}\n")
    said = fail(capsys, "up")
    assert said.startswith("error: Pulumi.dev.yaml")
    for part in expected:
        assert part in said
    assert WEAK not in said
    assert sorted(path.name for path in folder.iterdir()) == ["Pulumi.dev.yaml", "Pulumi.yaml"]


FILES = {
    "no YAML": ("config: [", "malformed YAML"),
    "a tab": ("config:\n\tflatline:domain: a.b\n", "malformed YAML"),
    "a key twice": ("config:\n  flatline:domain: a.b\n  flatline:domain: c.d\n", "already given in line 2"),
    "an unknown part": ("configuration: {}\n", "unknown key"),
    "a list": ("- config\n", "must be a mapping"),
    "secrets without salt": ("config:\n  flatline:domain:\n    secure: v1:x:y\n", "no encryptionsalt"),
    "an ESC environment": ("environment: [home]\n", "Pulumi ESC"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    text, expected = FILES[name]
    (folder / "Pulumi.dev.yaml").write_text(text)
    said = fail(capsys, "up")
    assert "Pulumi.dev.yaml" in said
    assert expected in said


def test_a_mistake_names_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Pulumi.dev.yaml").write_text(
        "config:\n  domain: chat.example.org\n  flatline:redis:\n    masters: 2\n  flatline:redi: {}\n"
    )
    said = fail(capsys, "up")
    assert "Pulumi.dev.yaml:4: flatline:redis.masters is 2; write 3 or more" in said
    assert "Pulumi.dev.yaml:5: flatline:redi is no known key; did you mean redis?" in said


def test_several_mistakes_have_a_line_each(checkout: Checkout) -> None:
    checkout.configure({"domain": "localhost", "redis": {"masters": 1}, "exposeAdmin": 1})
    said = checkout.fail("up")
    assert said.count("error: ") == 3


@pytest.mark.parametrize("command", ["render", "preview", "status", "down", "secret list"])
def test_every_command_says_it(folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    (folder / "Pulumi.dev.yaml").write_text("config:\n  flatline:domain: localhost\n")
    assert "flatline:domain" in fail(capsys, *command.split())


def test_as_a_process_of_its_own_it_is_the_same(checkout: Checkout) -> None:
    checkout.file().write_text("config: [")
    assert "malformed YAML" in checkout.fail("up")
    assert not (checkout.root / "state").exists()
    assert not (checkout.root / "build").exists()


@pytest.mark.parametrize("name", ["-home", "my home", "home/dev", "a" * 101, "dev.redacted"])
def test_a_name_that_no_stack_can_have(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    said = fail(capsys, "stack", "new", "--domain", "chat.example.org", "--", name)
    assert "cannot be the name of a stack" in said
    assert list(folder.glob("Pulumi.*.yaml")) == []


USAGE = (
    ("upp",),
    ("up", "dev"),
    ("up", "--stak", "dev"),
    ("up", "--engine", "terraform"),
    ("secret",),
    ("secret", "get", "turn"),
    ("stack", "new", "home"),
    ("down", "--confirm"),
    ("test", "--fast", "--all"),
)


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_a_typing_mistake_ends_with_2(checkout: Checkout, words: tuple[str, ...]) -> None:
    said = checkout.fail(*words, status=2)
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_a_defect_says_how_to_see_more(checkout: Checkout) -> None:
    (checkout.root / "__main__.py").write_text("{}['missing']\n")
    result = checkout.run("up")
    assert result.returncode == 1
    assert "error: unexpected KeyError: 'missing'" in result.stderr
    assert "Traceback" not in result.stderr
    assert "FLATLINE_DEBUG=1" in result.stderr
    assert "Traceback" in checkout.run("up", FLATLINE_DEBUG="1").stderr
