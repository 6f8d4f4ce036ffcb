"""Every command line that README.md and docs/ show can be typed; what messages tell people to type can be, too."""

import ast
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cli import arguments
from tests.unit.cli import kubectl_cli
from tests.unit.cli.checkout import FOLDERS, REPOSITORY, Checkout, kubeconfig
from tests.unit.cli.conftest import ApiServer

FOR_DEVELOPERS = {"CONTRIBUTING.md"}
"""Its commands run the tests; test_repository_files.py parses them."""
DOCUMENTS = (
    *sorted(path for path in REPOSITORY.glob("*.md") if path.name not in FOR_DEVELOPERS),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
)
PLACEHOLDERS = {
    "<address>": "198.51.100.7",
    "<command>": "status",
    "<context>": "my-k3s",
    "<name>": "turn",
    "<provider>": "passphrase",
    "<stack>": "dev",
    "<your domain>": "chat.example.org",
    "<folder>": "backup",
    "NUMBER": "+12025550123",
    "DIR": "manifests",
}
"""What people write in place of these."""

MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: some, namespace: chat}\ndata: {key: value}\n"

CLOUD = "needs accounts of AWS and Google Cloud"
CLUSTER = "needs a cluster with Flatline on it"
INVITED = CLUSTER + "; test_invitations.py has a stand-in, integration/node/test_node.py a node"
BACKED_UP = CLUSTER + "; integration/test_migration.py has its stores"
SCHEDULED = "changes the stack for good, or needs that; test_backup_schedule.py types it"
PYTEST = "runs this test"
DIGESTS = "ends with 1 until the file has digests, which an operator chooses; graph/test_policies.py has the copy"
SERVERS = "needs servers; unit/connectivity and integration/test_connect.py have them"
TOOLS = "needs sops, kubeseal or a store; test_gitops.py has stand-ins, integration/test_gitops.py the tools"
MINUTES = "installs packages and measures for minutes"
REGISTRY = "needs a registry; integration/test_images.py has one"
NAME = "wants the stack's name; test_rotate.py types it"
RELAY = "needs a stack with a TURN server of the operator's; test_turn.py has one"
NOT_RUN = {
    "curl --cacert ca.pem --write-out '%{http_code}\\n' https://whisper.flatline.internal/v1/accounts/whoami": CLUSTER,
    "curl --cacert ca.pem --write-out '%{http_code}\\n' ${outputs.urls.whisper}/v1/accounts/whoami": CLUSTER,
    "./flatline check --stack mine": DIGESTS,
    "./flatline cluster remove": "needs a k3s that `up` has installed; test_k3s.py has one",
    "./flatline connect": SERVERS,
    "./flatline connect --stack <stack>": SERVERS,
    "./flatline diff --from main": "needs a clone with that branch; test_diff.py has one",
    "./flatline invite +12025550123 --context my-k3s": INVITED,
    "./flatline invite --next --context my-k3s": INVITED,
    "./flatline invite +12025550123 --replace --context my-k3s": INVITED,
    "./flatline invite +12025550123 --again --context my-k3s": INVITED,
    "./flatline invite +12025550123 --codes 2 --replace --context my-k3s": INVITED,
    "./flatline invite NUMBER": INVITED,
    "./flatline invite NUMBER --codes 2 --replace": INVITED,
    "./flatline invitations": CLUSTER + "; test_invitations.py has a stand-in",
    "./flatline invitations --context my-k3s": INVITED,
    "./flatline revoke +12025550123 --context my-k3s": INVITED,
    "./flatline doctor --context <context>": CLUSTER + "; integration/node/test_doctor.py has one",
    "./flatline doctor": CLUSTER + "; integration/node/test_doctor.py has one",
    "./flatline connect --call --context k3s": CLUSTER + "; connectivity/test_call.py has stand-ins",
    "./flatline invitations --context <context>": INVITED,
    "./flatline down --delete-data": "asks for the stack's name, on a terminal; test_down.py types it",
    "./flatline backup --to backups --context my-k3s": BACKED_UP,
    "./flatline backup --to backups --drill --context my-k3s": CLUSTER + "; integration/node/ has one",
    "./flatline backup --to backups --pause --context my-k3s": BACKED_UP,
    './flatline backup --to s3://BUCKET/PREFIX --schedule "15 3 * * *" --keep daily=7,weekly=4,monthly=6 '
    "--endpoint https://s3.example.org --network 203.0.113.9/32 --credentials bucket-key": SCHEDULED,
    "./flatline backup --documents --context my-k3s": SCHEDULED,
    "./flatline backup --to PLACE --stack prod": CLOUD + "; integration/test_migration.py has stand-ins",
    "./flatline restore --from <folder> --context my-k3s": BACKED_UP,
    "./flatline restore --from <folder> --context my-k3s --pause": BACKED_UP,
    "./flatline restore --stack prod --from <folder>": CLOUD + "; integration/test_migration.py has stand-ins",
    "./flatline images": REGISTRY,
    "./flatline images --bundle images.tar": REGISTRY,
    "./flatline images --lock": REGISTRY,
    "./flatline render --secrets sops --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p "
    "--output ../deploy/home": TOOLS,
    "./flatline render --secrets sealed --certificate cluster.pem --output ../deploy/home": TOOLS,
    "./flatline render --secrets external-secrets --store vault --values ../values.json --output ../deploy/home": TOOLS,
    "./flatline accounts list --context <context>": CLUSTER + "; test_accounts.py has its stores",
    "./flatline accounts delete NUMBER": CLUSTER + "; test_accounts.py has its stores",
    "./flatline accounts block NUMBER": CLUSTER + "; test_accounts.py has its stores",
    "./flatline rotate authority": NAME,
    "./flatline turn config --address 198.51.100.7": RELAY,
    "./flatline turn config --address <address>": RELAY,
    "./flatline rotate secret <name>": NAME,
    "./flatline rotate secret turn": NAME,
    "./flatline scan": "installs checkov; integration/test_scan.py runs it",
    "./flatline test": PYTEST,
    "./flatline test --integration": PYTEST,
    "./flatline up --stack mine --context my-cluster": CLOUD,
    "kubectl --context my-k3s --namespace flatline scale deployment/whisper deployment/storage deployment/cdn0-gate "
    "--replicas 0": CLUSTER,
    "pulumi preview --stack dev": "needs the Pulumi CLI; integration/test_engine.py has it",
    "pulumi preview --policy-pack policies": "needs the Pulumi CLI; integration/test_policy_pack.py has it",
    "(cd policies && pulumi install)": "needs the Pulumi CLI",
    "UV_PROJECT_ENVIRONMENT=~/flatline-tools uv sync --frozen": MINUTES,
    "~/flatline-tools/bin/python -m benchmarks": MINUTES,
    "~/flatline-tools/bin/python -m benchmarks rendering": MINUTES,
    "~/flatline-tools/bin/python -m benchmarks registration": MINUTES,
    "~/flatline-tools/bin/python -m benchmarks --update-docs": MINUTES,
}
"""Why a command line is not run here. It is parsed all the same."""


@dataclass(frozen=True)
class Shown:
    """A command line of a document, without its comment."""

    document: str
    line: str

    @property
    def typed(self) -> str:
        """As people type it."""
        return filled(self.line)


def filled(line: str) -> str:
    for placeholder, word in PLACEHOLDERS.items():
        line = re.sub(rf"(?<![\w<]){re.escape(placeholder)}(?![\w>])", word, line)
    return line


def shown(path: Path) -> Iterator[Shown]:
    """The lines of the blocks and the `./flatline` commands inside of text, in the order of the document."""
    document = str(path.relative_to(REPOSITORY))
    pattern = re.compile(r"^ *```(?:sh|bash|console)\n(.*?)^ *```|^ *```.*?^ *```|`(\./flatline\b[^`]*)`", re.M | re.S)
    for found in pattern.finditer(path.read_text()):
        block, inline = found[1] or "", found[2]
        lines = [" ".join(inline.split())] if inline else re.sub(r"\\\n\s*", "", block).splitlines()
        for line in lines:
            command = re.sub(r"(^|\s+)#\s.*$", "", line.strip().removeprefix("$ "))
            if command:
                yield Shown(document, command)


ALL = [each for path in DOCUMENTS for each in shown(path)]


def test_the_table_of_what_is_not_run_is_current() -> None:
    lines = {each.line for each in ALL}
    assert len(lines) > 40
    assert not set(NOT_RUN) - lines, "rows for lines that no document shows any more"


def test_what_is_not_run_can_be_parsed() -> None:
    assert [line for line in NOT_RUN if line.startswith("./flatline") and not can_be_typed(line)] == []
    for line in NOT_RUN:
        subprocess.run(["/bin/sh", "-n", "-c", filled(line)], check=True)


def can_be_typed(line: str) -> bool:
    """False for a typing mistake."""
    words = shlex.split(filled(line), comments=True)[1:]
    with suppress(SystemExit):  # of one that asks for help
        return bool(arguments.parse(words))
    return bool({"--help", "--version"} & {*words} or not words)


def prepared(checkout: Checkout, server: ApiServer) -> Checkout:
    """With the contexts that documents name, and a cluster behind them that has nothing yet."""
    names = ("k3s", "my-k3s", "my-cluster")
    (checkout.home / "kubeconfig").write_text(kubeconfig(dict.fromkeys(names, server.url)))
    kubectl_cli.put(checkout)
    checkout.file("prod").write_text((REPOSITORY / "Pulumi.prod.yaml").read_text())
    (checkout.root / "manifests").mkdir()
    (checkout.root / "manifests" / "config.yaml").write_text(MANIFEST)
    return checkout


def type_all(checkout: Checkout, lines: list[Shown]) -> None:
    """Types them in their order, each once."""
    failed = []
    for each in dict.fromkeys(lines):
        if each.line in NOT_RUN:
            continue
        value = secrets.token_hex(32)  # for `secret set`
        if re.fullmatch(r"\./flatline[^|>&]*", each.typed):
            done = checkout.run(*shlex.split(each.typed)[1:], stdin=value)
        else:
            path = f"{checkout.programs}:{Path(sys.executable).parent}:/usr/bin:/bin"
            environment = {**checkout.environment(), "PATH": path}
            command = ["/bin/sh", "-c", each.typed]
            done = subprocess.run(
                command, cwd=checkout.root, env=environment, input=value, capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            failed.append(f"{each.document}: {each.typed}: status {done.returncode}\n{done.stderr}")
    assert not failed, "\n".join(failed)


def test_readme_on_a_fresh_clone(checkout_folder: Path, api_servers: tuple[ApiServer, ApiServer]) -> None:
    checkout = prepared(Checkout.make(checkout_folder, small=False), api_servers[0])
    lines = [each for each in ALL if each.document == "README.md"]
    assert lines[0].line.startswith("./flatline up")
    type_all(checkout, lines)
    assert "BEGIN CERTIFICATE" in (checkout.root / "ca.pem").read_text()


OF_THE_WHOLE = {"docs/client.md", "docs/cloud.md", "docs/migration.md", "docs/policies.md"}
"""Documents whose commands read what only Flatline itself has; for the others the small program is enough."""


def test_the_documents_of_the_whole_program(whole: Checkout, api_servers: tuple[ApiServer, ApiServer]) -> None:
    type_all(prepared(whole, api_servers[0]), shown_in(lambda document: document in OF_THE_WHOLE))


def test_the_other_documents(brought_up: Checkout, api_servers: tuple[ApiServer, ApiServer]) -> None:
    type_all(prepared(brought_up, api_servers[0]), shown_in(lambda document: document not in OF_THE_WHOLE))


def shown_in(chosen: Callable[[str], bool]) -> list[Shown]:
    """The lines of some documents, each once, without those of the README and of documents before."""
    first: dict[str, Shown] = {}
    for each in sorted(ALL, key=lambda each: (each.document != "README.md", each.document not in OF_THE_WHOLE)):
        first.setdefault(each.line, each)
    return [each for each in first.values() if each.document != "README.md" and chosen(each.document)]


MODULES = sorted(
    path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py") if ".venv" not in path.parts
)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module but its docstrings, with `x` for what is put in."""
    tree = ast.parse(path.read_text())
    passed_over = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr | ast.JoinedStr)
        for part in ([node.value] if isinstance(node, ast.Expr) else node.values)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed_over:
            yield node.lineno, node.value


def test_commands_in_messages_can_be_typed() -> None:
    """Each stands between backticks, so that it is never broken, and is no typing mistake."""
    bare, commands = [], dict[str, str]()
    for path in MODULES:
        if path.name == "arguments.py":
            continue  # help, whose examples test_documentation.py parses
        for line, text in texts(path):
            inside = re.findall(r"`(\./flatline [^`]+)`", text)
            commands |= dict.fromkeys(inside, f"{path}:{line}")
            bare += [f"{path}:{line}: {text}"] * (text.count("./flatline ") != len(inside))
    assert not bare, "no backticks:\n" + "\n".join(bare)
    mistaken = [f"{place}: {command}" for command, place in commands.items() if not can_be_typed(command)]
    assert not mistaken, "\n".join(mistaken)
    assert len(commands) > 40


def test_commands_that_are_shown_as_words_can_be_typed() -> None:
    found = 0
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.List) or not node.elts or not isinstance(node.elts[0], ast.Constant):
                continue
            if node.elts[0].value == "./flatline":
                given = [each for each in node.elts[1:] if not isinstance(each, ast.Starred)]
                words = [each.value if isinstance(each, ast.Constant) else "x" for each in given]
                assert can_be_typed(shlex.join(["./flatline", *map(str, words)])), path
                found += 1
    assert found > 4
