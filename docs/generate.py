"""Writes the generated parts of the documentation: the references of settings, commands and JSON, the table of
symptoms, that of rotations, the architecture picture with its table of connections, and what CHANGELOG.md says of
upgrades.

python -m docs.generate            writes them
python -m docs.generate --check    fails when they are not current
"""

import re
import runpy
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from cli.doctor.examination import document_of
from cli.doctor.symptoms import SYMPTOMS
from components.capabilities import NetworkPeer
from components.flatline import Flatline
from config import upgrades
from config.images import IMAGES
from config.schema.rotations import Consequence, consequence
from config.schema.secrets import SECRETS
from docs import command_pages, settings_table
from render.recorder import record
from render.values import SeededValues

ROOT = Path(__file__).parent.parent


def picture(flatline: Flatline) -> str:
    """The declared edges as a Mermaid flow chart; pods of one component are one node."""
    network_peers = (*flatline.network_peers, *flatline.external_peers)
    names = {network_peer.pods: _node(network_peer) for network_peer in network_peers}
    edges = sorted(
        {
            (names[network_peer.pods], names[target.pods], f"{target.port}/{target.protocol}")
            for network_peer in network_peers
            for target in network_peer.egress
            if names[network_peer.pods] != names[target.pods]
        }
    )
    lines = ["flowchart LR", "  client([clients]) -- 443/TCP --> traefik[Traefik]"]
    lines += [f"  {node}[{title}]" for node, title in sorted(_titles(network_peers).items())]
    lines += [f"  {source} -- {port} --> {target}" for source, target, port in edges]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def connections(flatline: Flatline) -> str:
    """The same edges pod by pod; those that open the same ones share a row."""
    network_peers = (*flatline.network_peers, *flatline.external_peers)
    names = {peer.pods: "traefik" if _node(peer) == "traefik" else peer.name for peer in network_peers}
    alike: dict[tuple[str, ...], list[str]] = {}
    for peer in network_peers:
        if peer.egress:
            opened = {f"`{names[target.pods]}` {target.port}/{target.protocol}" for target in peer.egress}
            alike.setdefault(tuple(sorted(opened)), []).append(f"`{names[peer.pods]}`")
    rows = sorted((", ".join(sorted(pods)), ", ".join(opened)) for opened, pods in alike.items())
    return "\n".join(["| pods | may connect to |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]) + "\n"


def _flatline() -> Flatline:
    """The installation as an object, made by the program itself."""
    made: list[Flatline] = []

    def program() -> None:
        made.append(runpy.run_path(str(ROOT / "__main__.py"))["flatline"])

    record(program, project="flatline", stack="docs", config={}, values=SeededValues("docs"))
    return made[0]


TITLES = {
    "whisper": "Whisper<br>server, persister, clean-ups",
    "storage": "Storage",
    "registration": "Registration",
    "cdn0-gate": "CDN0 gate",
    "object-store": "versitygw<br>S3: pre-keys, avatars",
    "localstack": "LocalStack<br>DynamoDB, configuration",
    "cdn3": "CDN3<br>tusd, hook, expiry, downloads",
    "bigtable": "cbtemulator<br>Bigtable",
    "redis": "Redis Cluster<br>nodes, membership",
    "redis-pubsub": "Redis<br>publish/subscribe",
    "telemetry": "OpenTelemetry Collector",
    "traefik": "Traefik",
}


def _node(network_peer: NetworkPeer) -> str:
    labels = dict(network_peer.pods.labels)
    if network_peer.name in TITLES:
        return network_peer.name
    component = labels.get("app.kubernetes.io/component")
    return component if component is not None else "traefik"


def _titles(network_peers: tuple[NetworkPeer, ...]) -> dict[str, str]:
    return {
        node: f'"{TITLES[node]}"'
        for node in {_node(network_peer) for network_peer in network_peers}
        if node != "traefik"
    }


EXAMPLE = """\
config:
  flatline:domain: chat.example.org
  flatline:target:
    kind: local
    context: my-k3s
    volumes: { attachments: 100Gi }
  flatline:scaling:
    whisper: { replicas: 2 }
  flatline:secrets:
    turn: { epoch: 2 }
  flatline:egress:
    otel-collector:
      - { cidr: 203.0.113.7/32, ports: [4317] }
  pulumi:disable-default-providers: ["*"]
"""


def configuration() -> str:
    """The reference of all settings, secrets and images."""
    return "\n".join(
        [
            "# Configuration",
            "",
            "Generated from `config/` by `.venv/bin/python -m docs.generate`. Every setting belongs under `config:` in",
            "`Pulumi.<stack>.yaml`; what is not there has its default. A key that is not in this table is an error.",
            "",
            "In the tables a dot leads into a block, `<name>` is one of the [names below](#names), and `[]` is each",
            "item of a list. In the file blocks are nested:",
            "",
            "```yaml",
            *EXAMPLE.splitlines(),
            "```",
            "",
            "A key is required where its block is there. `kind:` before a meaning says for which kind of block it is.",
            "",
            "| key | form | default | meaning |",
            "| --- | --- | --- | --- |",
            *(row.text for row in settings_table.rows()),
            "",
            "## Names",
            "",
            "| where | names |",
            "| --- | --- |",
            *(f"| `{where}` | {names} |" for where, names in settings_table.names()),
            "",
            "## Secrets",
            "",
            "`flatline:secrets.<name>.epoch` replaces one; `flatline:secrets.<name>.value` brings your own, in the",
            "encoding of its first reader. `./flatline secret set <name>` checks it and stores it encrypted.",
            "",
            "| name | made of | readers | what it does |",
            "| --- | --- | --- | --- |",
            *_secrets(),
            "",
            "## Images",
            "",
            "| name | reference | architectures |",
            "| --- | --- | --- |",
            *(
                f"| `{name}` | `{image.reference()}` | {', '.join(image.architectures)} |"
                for name, image in IMAGES.items()
            ),
            "",
        ]
    )


def _secrets() -> Iterator[str]:
    made = {"random": "{} random bytes", "service-account": "a service account's JSON", "ec-p256": "a P-256 key"}
    for secret in SECRETS:
        readers = ", ".join(f"{r.service} `{r.path}` ({r.encoding})" for r in secret.readers)
        kind = made.get(secret.kind, f"libsignal's {secret.kind}" if "params" in secret.kind else "a Curve25519 key")
        yield f"| `{secret.name}` | {kind.format(secret.length)} | {readers} | {secret.why} |"


def rotations() -> str:
    """Secrets whose replacement people notice in the same way share a row; those that hurt are in bold."""
    alike: dict[Consequence, list[str]] = {}
    for secret in SECRETS:
        alike.setdefault(consequence(secret.name), []).append(f"`{secret.name}`")
    lines = ["| secrets | what people notice | how long |", "| --- | --- | --- |"]
    for each, names in alike.items():
        effect = f"**{each.effect}**" if each.hurts else each.effect
        lines.append(f"| {', '.join(names)} | {effect} | {each.until} |")
    return "\n".join(lines) + "\n"


def changelog(text: str) -> str:
    """The changelog with what config/upgrades.yaml says under each version, as its last part."""
    heading, *versions = re.split(r"^(?=## )", text, flags=re.M)
    return (heading + "".join(map(_with_upgrade, versions))).rstrip("\n") + "\n"


def _with_upgrade(part: str) -> str:
    kept = part.partition("### Upgrade\n")[0].rstrip("\n")
    points = (
        textwrap.fill(f"- {each}", 120, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
        for each in upgrades.document(part.split()[1])
    )
    return "\n".join([kept, "", "### Upgrade", "", *points, "", ""])


def documents() -> dict[Path, str]:
    """Path → text of every generated document; of four of them only what stands between marks is generated."""
    folder, readme = ROOT / "docs", ROOT / "README.md"
    flatline = _flatline()
    return {
        folder / "configuration.md": configuration(),
        folder / "symptoms.md": document_of(SYMPTOMS.values()),
        folder / "reference.md": command_pages.reference(),
        folder / "json.md": command_pages.json_page(),
        folder / "json.schema.json": command_pages.json_schema(),
        folder / "operations.md": _between(folder / "operations.md", "rotations", rotations()),
        folder / "commands.md": _between(folder / "commands.md", "commands", command_pages.table()),
        folder / "architecture.md": _between(folder / "architecture.md", "connections", connections(flatline)),
        readme: _between(readme, "architecture", picture(flatline)),
        ROOT / "CHANGELOG.md": changelog((ROOT / "CHANGELOG.md").read_text()),
    }


def _between(path: Path, mark: str, text: str) -> str:
    """The text of a file with another part between two marks."""
    before, begin, rest = path.read_text().partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    return before + begin + text + end + after


def main() -> int:
    """Writes or checks; returns the exit code."""
    check = sys.argv[1:] == ["--check"]
    stale = {path: text for path, text in documents().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if check:
            print(f"{path.relative_to(ROOT)} is not current: run python -m docs.generate")
        else:
            path.write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
