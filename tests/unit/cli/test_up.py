"""`up` and `render` without an engine."""

import json
import re
import stat
from pathlib import Path

import pytest
import yaml

from tests.unit.cli.checkout import REPOSITORY, Checkout

TOKEN = re.compile(r"[A-Za-z0-9+/=]{20,}")
PUBLIC = re.compile(r"secret://\S+|-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)
# A private key ends with its public key: only what comes first is secret.
PRIVATE = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----\s+\S+).*?-----END [A-Z ]*PRIVATE KEY-----", re.S)


def secrets_of(folder: Path) -> set[str]:
    """What looks random in the rendered Secrets: no certificates, nothing that stands in our own source."""
    found: set[str] = set()
    for path in folder.glob("*-secret_*.yaml"):
        for value in yaml.safe_load(path.read_text())["stringData"].values():
            text = PRIVATE.sub(r"\1", PUBLIC.sub("", value.replace("\\n", "\n")))
            found |= {token for token in TOKEN.findall(text) if re.search(r"\d", token)}
    sources = "".join(path.read_text() for path in (REPOSITORY / "config").rglob("*.py"))
    public = (folder / "stack-outputs.json").read_text()
    return {token for token in found if token not in sources and token not in public}


def test_a_second_run_gives_the_same_bytes(whole: Checkout) -> None:
    before, state = whole.contents(), whole.state().read_bytes()
    said = whole.succeed("up")
    assert whole.contents() == before
    assert whole.state().read_bytes() == state
    assert "Nothing has changed since the last run." in said


def test_files_are_for_their_owner_alone(whole: Checkout) -> None:
    paths = [*whole.build().iterdir(), whole.state(), *whole.home.rglob("*.passphrase")]
    assert len(paths) > 100
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}


def test_the_summary_says_what_there_is_and_what_comes_next(first_summary: tuple[Checkout, str]) -> None:
    checkout, said = first_summary
    assert "no cluster is named" in said
    assert re.search(r"^\d+ objects in build/dev/$", said, re.M)
    assert re.search(r"\bStatefulSet +2\b", said)
    secret_files = sorted(path.name for path in checkout.build().glob("*-secret_*"))
    assert secret_files
    assert [line[2:] for line in said.splitlines() if line.startswith("- 10-secret_")] == secret_files
    assert "state/dev.json" in said
    assert re.search(r"new file /\S+/home/\.config/flatline/flatline-dev\.passphrase", said)
    assert "build/dev/stack-outputs.json" in said
    assert "ghcr.io/mollyim/flatline-whisper-service:main" in said
    commands = said.partition("\nNext\n")[2].splitlines()
    assert (
        "  kubectl --context YOUR-CONTEXT apply --server-side --force-conflicts --field-manager flatline -k build/dev"
        in commands
    )
    assert any("rollout status statefulset/redis" in command for command in commands)
    # Not a terminal: no colours, no cursor movements, no command cut in two.
    assert "\x1b" not in said


def test_what_an_upgrade_loses_is_said_once(checkout: Checkout) -> None:
    assert "Lost by this upgrade" not in checkout.succeed("up", "--engine", "none")
    outputs = checkout.build() / "stack-outputs.json"
    outputs.write_text(json.dumps({**json.loads(outputs.read_text()), "lostOnRestart": ["avatars, when it restarts"]}))
    said = checkout.succeed("up", "--engine", "none")
    assert "avatars, when it restarts" in said.partition("Lost by this upgrade, once")[2]
    assert "Lost by this upgrade" not in checkout.succeed("up", "--engine", "none")


def test_the_stack_file_s_context_is_in_the_commands(checkout: Checkout) -> None:
    checkout.configure({"target": {"kind": "local", "context": "my k3s"}})
    said = checkout.succeed("up", "--engine", "none")
    assert "  kubectl --context 'my k3s' apply --server-side" in said


def test_logs_of_requests_are_warned_of(whole: Checkout) -> None:
    whole.configure({"logRequests": True})
    for command in ("up", "render"):
        assert "warning: flatline:logRequests is true" in whole.run(command).stderr


def test_two_stacks_share_no_secret(whole: Checkout) -> None:
    whole.succeed("stack", "new", "home", "--domain", "chat.example.org")
    whole.succeed("up", "--stack", "home")
    dev, home = secrets_of(whole.build()), secrets_of(whole.build("home"))
    assert len(dev) > 30
    assert len(home) > 30
    assert not dev & home


def test_a_rotated_secret_changes_what_depends_on_it_and_nothing_else(whole: Checkout) -> None:
    before = whole.contents()
    whole.configure({"secrets": {"attachments": {"epoch": 2}}})
    whole.succeed("up")
    after = whole.contents()
    new = sorted(after.keys() - before.keys() - {"no-longer-part.json"})
    gone = sorted(before.keys() - after.keys())
    changed = sorted(name for name in after.keys() & before.keys() if after[name] != before[name])
    # Whisper's bundle and CDN3's key are Secrets named after their content; what mounts them names them.
    assert [re.sub(r"-[0-9a-f]{10}\.yaml", "", name) for name in new] == [
        "10-secret_flatline_cdn3-key",
        "10-secret_flatline_whisper-config",
    ]
    assert len(gone) == len(new)
    roles = {name.rpartition("_")[2] for name in changed} - {"kustomization.yaml", ".written-by-flatline"}
    roles.remove("flatline.yaml")  # the namespace, which has the digests of all secrets
    assert {"whisper.yaml", "cdn3.yaml"} <= roles
    assert all(role.startswith(("whisper", "cdn3")) for role in roles)
    assert before["stack-outputs.json"] == after["stack-outputs.json"]
    whole.configure({})
    whole.succeed("up")
    names_of_the_rotated = {"no-longer-part.json", ".written-by-flatline"}
    back = whole.contents()
    assert back.keys() - before.keys() == {"no-longer-part.json"}
    assert all(back[name] == before[name] for name in before.keys() - names_of_the_rotated)


def test_what_is_no_longer_part_of_the_stack_gets_its_command(brought_up: Checkout) -> None:
    gone = next(brought_up.build().glob("*-secret_*_turn-key-*")).name
    name = gone.removesuffix(".yaml").rpartition("_")[2]
    brought_up.configure({"secrets": {"turn": {"epoch": 2}}})
    said = brought_up.succeed("up")
    deletion = next(line for line in said.splitlines() if " delete " in line)
    assert f"secret/{name}" in deletion.split()
    assert "-n flatline " in deletion


@pytest.mark.parametrize("command", [("up",), ("render",)], ids=" ".join)
def test_what_earlier_runs_had_is_named_until_it_is_part_of_the_stack_again(
    brought_up: Checkout, command: tuple[str, ...]
) -> None:
    keys = []
    for epoch in (2, 3):
        keys.append(key_secret(brought_up))
        brought_up.configure({"secrets": {"turn": {"epoch": epoch}}})
        brought_up.succeed(*command)
    for _ in range(2):
        (deletion,) = (line for line in brought_up.succeed("up").splitlines() if " delete " in line)
        assert {f"secret/{key}" for key in keys} <= set(deletion.split())
        assert f"secret/{key_secret(brought_up)}" not in deletion
    brought_up.configure({"secrets": {"turn": {"epoch": 2}}})
    (deletion,) = (line for line in brought_up.succeed("up").splitlines() if " delete " in line)
    assert f"secret/{keys[0]}" in deletion
    assert f"secret/{keys[1]}" not in deletion


def key_secret(checkout: Checkout) -> str:
    """The name of the Secret that is named after a key."""
    return next(checkout.build().glob("*-secret_*_turn-key-*")).name.removesuffix(".yaml").rpartition("_")[2]


def test_redacted_files_are_the_same_ones_without_secrets(whole: Checkout) -> None:
    whole.succeed("render", "--redact", "--output", str(whole.root.parent / "review"))
    redacted = whole.contents(whole.root.parent / "review")
    # a Secret is named after its content, and for review that is another one
    assert {re.sub("-[0-9a-f]{10}.yaml", "", name) for name in redacted} == {
        re.sub("-[0-9a-f]{10}.yaml", "", name) for name in whole.contents()
    }
    config = {name for name in whole.contents() if "-configmap_" in name}
    assert config
    assert all(redacted[name] == whole.contents()[name] for name in config)
    secrets = secrets_of(whole.build())
    assert len(secrets) > 30
    text = b"\0".join(redacted.values()).decode()
    assert not [secret for secret in secrets if secret in text]
    assert "PRIVATE KEY" not in text
    assert "REDACTED" in text


def test_render_writes_what_up_writes(brought_up: Checkout) -> None:
    brought_up.succeed("render", "-o", "elsewhere")
    assert brought_up.contents(brought_up.root / "elsewhere") == brought_up.contents()


def test_render_leaves_foreign_files_alone(brought_up: Checkout) -> None:
    (brought_up.build() / "notes.txt").write_text("mine")
    assert "notes.txt" in brought_up.fail("render")
    assert (brought_up.build() / "notes.txt").read_text() == "mine"


def test_the_state_and_what_is_printed_hold_no_secret(first_summary: tuple[Checkout, str]) -> None:
    checkout, said = first_summary
    printed = said + checkout.state().read_text()
    secrets = secrets_of(checkout.build())
    assert len(secrets) > 30
    assert not [secret for secret in secrets if secret in printed]
    passphrase = next(checkout.home.rglob("*.passphrase")).read_text().strip()
    assert passphrase not in printed


def test_a_lost_passphrase_ends_the_run_and_keeps_the_state(brought_up: Checkout) -> None:
    state = brought_up.state().read_bytes()
    for path in brought_up.home.rglob("*.passphrase"):
        path.unlink()
    assert "PULUMI_CONFIG_PASSPHRASE" in brought_up.fail("up")
    assert "incorrect passphrase" in brought_up.fail("up", PULUMI_CONFIG_PASSPHRASE="wrong")
    assert brought_up.state().read_bytes() == state


@pytest.mark.parametrize("name", ["nope", "../dev", "", ".hidden", "a/b", "x" * 101])
def test_a_stack_that_is_not_there(checkout: Checkout, name: str) -> None:
    said = checkout.fail("up", "--stack", name)
    assert "dev" in said if name == "nope" else "cannot be the name" in said
    assert not (checkout.root / "build").exists()
    assert not (checkout.root / "state").exists()
