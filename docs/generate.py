"""Writes the generated parts of the documentation: the configuration reference and the architecture picture.

python -m docs.generate            writes them
python -m docs.generate --check    fails when they are not current
"""

import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from components.capabilities import Member
from components.flatline import Flatline
from config.images import IMAGES
from config.schema.secrets import SECRETS
from config.settings import Settings
from render.recorder import record
from render.values import SeededValues

ROOT = Path(__file__).parent.parent


def picture() -> str:
    """The declared edges as a Mermaid flow chart; pods of one component are one node."""
    flatline = _flatline()
    members = (*flatline.members, *flatline.outsiders)
    names = {member.pods: _node(member) for member in members}
    edges = sorted(
        {
            (names[member.pods], names[target.pods], f"{target.port}/{target.protocol}")
            for member in members
            for target in member.egress
            if names[member.pods] != names[target.pods]
        }
    )
    lines = ["flowchart LR", "  client([clients]) -- 443/TCP --> traefik[Traefik]"]
    lines += [f"  {node}[{title}]" for node, title in sorted(_titles(members).items())]
    lines += [f"  {source} -- {port} --> {target}" for source, target, port in edges]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


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


def _node(member: Member) -> str:
    labels = dict(member.pods.labels)
    if member.name in TITLES:
        return member.name
    component = labels.get("app.kubernetes.io/component")
    return component if component is not None else "traefik"


def _titles(members: tuple[Member, ...]) -> dict[str, str]:
    return {node: f'"{TITLES[node]}"' for node in {_node(member) for member in members} if node != "traefik"}


def configuration() -> str:
    """The reference of all settings, secrets and images."""
    rows = [
        f"| `{key}` | {kind} | {default} | {text} |" for key, kind, default, text in _settings(Settings, "flatline:")
    ]
    return "\n".join(
        [
            "# Configuration",
            "",
            "Generated from `config/` by `python -m docs.generate`. Every setting belongs under `config:` in",
            "`Pulumi.<stack>.yaml`; what is not there has its default. A key that is not in this table is an error.",
            "",
            "| key | form | default | meaning |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "## Secrets",
            "",
            "`flatline:secrets.<name>.epoch` makes one anew; `flatline:secrets.<name>.value` brings your own, in the",
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


def _settings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        kinds = [kind for kind in _types(field.annotation) if isinstance(kind, type)]
        blocks = [kind for kind in kinds if issubclass(kind, BaseModel)]
        collection = get_origin(_bare(field.annotation)) in (dict, list)
        meaning = field.description or (blocks[0].__doc__ if blocks else "") or ""
        suffix = ".<name>" if get_origin(_bare(field.annotation)) is dict else "[]" if collection else ""
        union = len(blocks) > 1
        if union:
            tags = " or ".join(f"`kind: {get_args(block.model_fields['kind'].annotation)[0]}`" for block in blocks)
            yield key, tags, _default(field), " ".join(_one_line(block.__doc__ or "") for block in blocks)
        elif not blocks or collection:
            yield key + suffix, _form(field), _default(field), _one_line(meaning)
        for block in blocks:
            rows = _settings(block, f"{key}{suffix}.")
            yield from (row for row in rows if not (union and row[0] == f"{key}.kind"))


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _types(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _types(inner[0])
    elif origin is dict:
        yield from _types(inner[1])
    elif origin is list or origin is Union or type(annotation).__name__ == "UnionType":
        for part in inner:
            yield from _types(part)
    else:
        yield annotation


def _form(field: FieldInfo) -> str:
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    found: list[str] = []
    for kind in _types(field.annotation):
        if kind is type(None):
            continue
        literals = ", ".join(f"`{value}`" for value in get_args(kind)) if get_origin(kind) is Literal else ""
        found.append(literals or str(names.get(kind, getattr(kind, "__name__", "text"))))
    bounds = {name: value for rule in field.metadata for name, value in _bounds(rule).items()}
    limits = [f"{word} {bounds[rule]}" for rule, word in (("ge", "from"), ("le", "to")) if rule in bounds]
    text = " or ".join("block" if name[0].isupper() and name != "SecretStr" else name for name in found)
    return " ".join([text.replace("SecretStr", "secret text"), *limits])


def _bounds(rule: Any) -> Mapping[str, Any]:
    """The bounds of a constraint such as `Ge(ge=1)`; none of a validator."""
    return {name: getattr(rule, name) for name in ("ge", "le") if hasattr(rule, name)}


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, BaseModel):
        return f"`kind: {value.kind}`" if hasattr(value, "kind") else "see below"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def documents() -> dict[Path, str]:
    """Path → text of every generated document; the picture replaces what stands between its marks in README.md."""
    readme = ROOT / "README.md"
    before, begin, rest = readme.read_text().partition("<!-- architecture -->\n")
    _, end, after = rest.partition("<!-- /architecture -->")
    return {
        ROOT / "docs" / "configuration.md": configuration(),
        readme: before + begin + picture() + end + after,
    }


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
