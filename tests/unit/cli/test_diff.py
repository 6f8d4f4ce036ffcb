"""`diff`: what changes in the rendered objects between two commits of a real repository."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from cli.commands import diff
from render.manifests import INVENTORY, PLAN
from tests.unit.cli.checkout import REPOSITORY, Checkout
from tests.unit.cli.test_json import as_documented

GIT = ("git", "-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture
def repository(checkout: Checkout) -> Checkout:
    """A checkout with the small program that is a git repository, and a folder for its temporary files."""
    found = shutil.which("git")
    assert found, "git is not on the PATH"
    (checkout.programs / "git").symlink_to(found)
    checkout.variables["TMPDIR"] = str(checkout.home / "tmp")
    (checkout.home / "tmp").mkdir()
    shutil.copy(REPOSITORY / ".gitignore", checkout.root)
    git(checkout, "init", "--quiet", "--initial-branch", "main")
    commit(checkout)
    return checkout


def git(checkout: Checkout, *words: str) -> str:
    done = subprocess.run([*GIT, *words], cwd=checkout.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(checkout: Checkout) -> str:
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "a change")
    return git(checkout, "rev-parse", "HEAD")


def edit(checkout: Checkout, before: str, after: str) -> None:
    """Changes the program."""
    program = checkout.root / "__main__.py"
    text = program.read_text()
    assert before in text
    program.write_text(text.replace(before, after))


def error(said: str) -> str:
    """The error, which on a busy machine comes after lines about what takes so long."""
    (line,) = (line for line in said.splitlines() if line.startswith("error: "))
    return line


def left_behind(checkout: Checkout) -> list[str]:
    """Temporary files, and what git would not have without a run."""
    assert git(checkout, "worktree", "list").count("\n") == 0
    assert not list((checkout.root / ".git").rglob("*.lock"))
    return [path.name for path in (checkout.home / "tmp").iterdir()]


def test_a_change_between_two_commits(repository: Checkout) -> None:
    edit(repository, '{"spec": {"replicas": 1}}', '{"spec": {"replicas": 2}}')
    commit(repository)
    said = repository.succeed("diff", "--from", "HEAD~1", "--to", "HEAD")
    assert "--- Deployment flatline/web\n+++ Deployment flatline/web\n" in said
    assert "-  replicas: 1\n+  replicas: 2\n" in said
    assert said.count("\n@@ ") == 2, "the two Deployments, and nothing else"
    assert "0 new, 2 changed, 0 gone in stack dev between HEAD~1 (" in said
    assert git(repository, "status", "--porcelain") == "", "the index is that of HEAD"
    assert "nothing differs" in repository.succeed("diff", "--from", "HEAD", "--to", "main")
    assert left_behind(repository) == []
    assert not repository.build().exists()


def test_what_the_working_tree_changes(repository: Checkout) -> None:
    """The program, a setting of the stack's file, and with that its outputs."""
    repository.configure({"domain": "chat.example.org"})
    edit(repository, '"StatefulSet",\n    "redis"', '"StatefulSet",\n    "valkey"')
    edit(repository, '{"ports": [{"port": 80}]}', '{"ports": [{"port": 81}]}')
    said = repository.succeed("diff", "--from", "main")
    assert "--- /dev/null\n+++ StatefulSet flatline/valkey\n" in said
    assert "--- StatefulSet flatline/redis\n+++ /dev/null\n" in said
    assert "1 new, 4 changed, 1 gone in stack dev between main (" in said
    assert said.rstrip().endswith("and the working tree.")
    assert "--- output urls\n+++ output urls\n" in said
    assert "+whisper: https://whisper.chat.example.org" in said
    assert "+  domain: chat.example.org" in said, "a ConfigMap whose name changes with its content is one change"


def test_a_stack_that_only_this_checkout_has(repository: Checkout) -> None:
    (repository.root / ".gitignore").write_text("Pulumi.home.yaml\n/build/\n/state/\n")
    commit(repository)
    repository.configure({"domain": "home.example.org"}, stack="home")
    edit(repository, '{"spec": {"replicas": 1}}', '{"spec": {"replicas": 3}}')
    said = repository.succeed("diff", "--from", "HEAD", "--stack", "home")
    assert "0 new, 2 changed, 0 gone in stack home" in said
    assert "there is no stack nobody" in repository.fail("diff", "--from", "HEAD", "--stack", "nobody")


def test_secrets_never_appear(repository: Checkout) -> None:
    values = ["a1" * 32, "b2" * 32]
    for value in values:
        repository.configure({"secrets": {"turn": {"value": value}}})
        commit(repository)
    result = repository.run("diff", "--from", "HEAD~2", "--to", "HEAD", "--json")
    assert result.returncode == 0
    assert "Secret flatline/turn-key" in result.stdout, "its name changes with its value"
    assert not [value for value in values if value in result.stdout + result.stderr]


def test_the_form_for_programs(repository: Checkout) -> None:
    edit(repository, '{"spec": {"replicas": 1}}', '{"spec": {"replicas": 2}}')
    now = commit(repository)
    found = json.loads(repository.succeed("diff", "--from", "HEAD~1", "--to", "HEAD", "--json"))
    assert as_documented("diff", found)
    assert (found["to"], found["from"]) == (now, git(repository, "rev-parse", "HEAD~1"))
    assert [each["object"] for each in found["changes"]] == [
        "Deployment flatline-emulators/web",
        "Deployment flatline/web",
    ]
    assert json.loads(repository.succeed("diff", "--from", "HEAD", "--json"))["to"] is None


def test_cloud_resources_are_compared_one_by_one(tmp_path: Path) -> None:
    for side, resources in (("from", {"aws:s3:Bucket a": {"inputs": {"x": 1}}}), ("to", {"aws:s3:Bucket b": {}})):
        (tmp_path / side).mkdir()
        (tmp_path / side / PLAN).write_text("# a heading\n" + yaml.safe_dump(resources))
        (tmp_path / side / INVENTORY).write_text(f"{PLAN}\n")
    found = list(diff._changes(tmp_path / "from", tmp_path / "to"))
    assert [(each.change, each.object) for each in found] == [("gone", "aws:s3:Bucket a"), ("new", "aws:s3:Bucket b")]
    assert "-  x: 1" in found[0].lines


@pytest.mark.parametrize("revision", ["nothing", "--help", "HEAD~99", "main:flatline"])
def test_an_unknown_revision(repository: Checkout, revision: str) -> None:
    said = repository.fail("diff", f"--from={revision}")
    assert said.startswith(f"error: there is no revision {revision} in this repository\n")


def test_a_revision_that_cannot_be_rendered(repository: Checkout) -> None:
    repository.configure({"domain": "https://chat.example.org", "namespace": "default"})
    commit(repository)
    said = repository.fail("diff", "--from", "HEAD~1", "--to", "HEAD")
    assert error(said).startswith("error: stack dev cannot be rendered at HEAD (")
    assert "Pulumi.dev.yaml:2: flatline:domain" in error(said)
    assert "  error: Pulumi.dev.yaml:3: flatline:namespace" in said
    (repository.root / "flatline").unlink()
    commit(repository)
    shutil.copy(REPOSITORY / "flatline", repository.root)
    assert "stack dev cannot be rendered at HEAD (" in error(repository.fail("diff", "--from", "HEAD"))
    assert left_behind(repository) == []


def test_without_git_and_without_a_repository(repository: Checkout) -> None:
    shutil.rmtree(repository.root / ".git")
    said = repository.fail("diff", "--from", "main")
    assert said.startswith("error: git cannot read ")
    assert "not a git repository" in said
    (repository.programs / "git").unlink()
    assert repository.fail("diff", "--from", "main").startswith("error: git is not on the PATH\n")


def test_a_run_that_is_ended_leaves_nothing(repository: Checkout) -> None:
    real = (repository.programs / "git").resolve()
    (repository.programs / "git").unlink()
    repository.program(
        "git",
        f"""
        import signal, subprocess, time
        status = subprocess.call([{str(real)!r}, *sys.argv[1:]])
        if "checkout-index" in sys.argv:
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(60)
        sys.exit(status)
        """,
    )
    assert repository.run("diff", "--from", "HEAD").returncode == 128 + signal.SIGTERM
    assert left_behind(repository) == []
