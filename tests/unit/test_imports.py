"""Imports point one way, and one module alone knows the target of a stack."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of what a file imports, at its top or inside of a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def offenders(paths: list[Path], *forbidden: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in sorted(imported(path))
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in forbidden)
    ]


OURS = (
    *("capacity", "client_kit", "components", "connectivity", "render", "cli"),
    *("package", "policies", "migration", "tests", "docs"),
)


ABOVE = ("services", "emulators", "cloud", "targets", "flatline")


def but(*allowed: str) -> tuple[str, ...]:
    return tuple(package for package in OURS if package not in allowed)


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("config", OURS),
        ("capacity", but("capacity")),
        ("client_kit", (*but("client_kit"), "config", "pulumi")),
        ("connectivity", (*but("connectivity", "client_kit"), "config", "pulumi")),
        ("components", but("components")),
        ("package", ("capacity", "render", "policies", "migration", "tests", "docs")),
        *(
            (f"components/{part}", tuple(f"components.{other}" for other in ABOVE if other != part))
            for part in ("services", "cloud", "emulators", "kubernetes")
        ),
        ("render", ("config", "client_kit", "components", "connectivity", "cli", "policies", "migration", "tests")),
        ("policies", ("config", "client_kit", "components", "connectivity", "render", "cli", "migration", "tests")),
        ("migration", ("capacity", "render", "cli", "policies", "tests", "docs", "pulumi", "rich")),
    ],
)
def test_imports_point_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    assert offenders(modules(folder), *forbidden) == []


def test_ingress_knows_no_service() -> None:
    path = ROOT / "components" / "ingress.py"
    assert offenders([path], "components.services", "components.emulators", "components.targets", "config") == []
    text = path.read_text().lower()
    assert not [name for name in ("cdn0", "cdn3", "storage", "registration") if name in text]


def test_one_module_matches_on_the_target() -> None:
    """Nothing else of the program can tell the targets apart: what is made for the cloud takes its settings as data."""
    program = [ROOT / "__main__.py", *modules("components"), *modules("render")]
    knowing = {
        str(path.relative_to(ROOT))
        for path in program
        if any(
            name.startswith(("config.target", "config.settings.Local", "config.settings.Cloud"))
            for name in imported(path)
        )
    }
    assert {path for path in knowing if not path.startswith("components/cloud/")} == {
        f"components/targets/{module}.py" for module in ("__init__", "cloud", "local")
    }
    assert [path for path in modules("components/cloud") if "config.target.Local" in imported(path)] == []
    for path in program:
        if path != ROOT / "components" / "targets" / "__init__.py":
            assert branches_on_the_target(ast.parse(path.read_text())) == [], path


def branches_on_the_target(tree: ast.Module) -> list[int]:
    """Lines that look at `<...>.target.kind`, or match or test what `<...>.target` is."""
    subjects: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Match):
            subjects.append(node.subject)
        elif isinstance(node, ast.Attribute) and node.attr == "kind":
            subjects.append(node.value)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"isinstance", "type"}:
            subjects.append(node.args[0])
    return [each.lineno for each in subjects if isinstance(each, ast.Attribute) and each.attr == "target"]


@pytest.mark.parametrize(
    "text", ["match s.target:\n  case _: pass", "s.target.kind == 'local'", "isinstance(s.target, Local)"]
)
def test_a_branch_on_the_target_is_found(text: str) -> None:
    assert branches_on_the_target(ast.parse(text)) == [1]


def test_one_module_of_the_move_knows_settings_and_targets() -> None:
    paths = [path for path in modules("migration") if path.name != "endpoints.py"]
    assert offenders(paths, "components", "config.settings", "config.target") == []


def test_only_the_commands_of_the_move_need_its_packages() -> None:
    """Every other command runs in an environment without them; `doctor` asks for them where a stack is in a cloud."""
    names = ("accounts", "archives", "backup_schedule", "cluster_stores", "drill", "pausing", "recovery", "stores")
    of_accounts = (f"accounts_{name}" for name in ("list", "show", "delete", "block", "unblock"))
    commands = {f"cli/commands/{name}.py" for name in ("backup", "restore", *of_accounts)}
    allowed = {"cli/doctor/cloud.py", *commands, *(f"cli/{name}.py" for name in names)}
    paths = [path for path in modules("cli") if str(path.relative_to(ROOT)) not in allowed]
    own = [f"cli.{name}" for name in names]
    assert offenders(paths, "migration", *own, "boto3", "botocore", "google.cloud") == []


def test_components_read_no_environment_and_no_files() -> None:
    """Programs are files of the repository, read by `components.programs` alone."""
    allowed = {"components/programs.py", "components/signal_keys.py"}
    for path in modules("components"):
        if str(path.relative_to(ROOT)) in allowed:
            continue
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"open", "Path"}, path
        assert offenders([path], "os", "pathlib", "socket", "urllib", "requests", "subprocess") == []
        assert "get_stack" not in path.read_text(), path


def test_the_capacity_model_reads_no_environment_and_no_files() -> None:
    for path in modules("capacity"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"open", "print"}, path
        assert offenders([path], "os", "sys", "pathlib", "socket", "subprocess", "pulumi", "random", "time") == []


def test_one_module_uses_private_names_of_the_sdk() -> None:
    """An upgrade of Pulumi has one module to look at."""
    paths = [path for path in modules("render") if path.name != "pulumi_internals.py"]
    assert offenders(paths, "pulumi._types", "pulumi.runtime.rpc", "pulumi.runtime.config") == []
    assert [path for path in paths if re.search(r"\b(pulumi|settings|runtime)\._", path.read_text())] == []


@pytest.mark.parametrize("module", ["errors.py", "files.py"])
def test_what_every_package_may_use_is_standard_library_alone(module: str) -> None:
    tops = {name.partition(".")[0] for name in imported(ROOT / module)}
    assert tops <= set(sys.stdlib_module_names)


def test_what_the_bootstrap_imports_is_standard_library() -> None:
    """A mistyped command and a question for help need no packages."""
    for name in ("cli/arguments", "config/retention", "capacity/workload", "config/version"):
        tops = {each.partition(".")[0] for each in imported(ROOT / f"{name}.py")}
        assert tops <= set(sys.stdlib_module_names) | {"capacity", "cli", "config"}
    own = {
        each for each in imported(ROOT / "cli" / "arguments.py") if each.startswith(("capacity.", "cli.", "config."))
    }
    assert own == {"capacity.workload", "config.retention", "config.version", "config.version.VERSION"}


RENAMED = {
    "CloudResources": "Accounts",
    "DnsRecords": "Names",
    "DynamoDbTables": "Tables",
    "ElastiCacheRedis": "ElastiCaches",
    "Job": "Task",
    "KmsKey": "Encryption",
    "MountedFiles": "Files",
    "S3Buckets": "Buckets",
    "UploadSigners": "Uploaders",
    "WorkloadNamespace": "Platform",
}
"""Classes that have another name than in their type token, which stacks have in their state: a token never changes."""


def test_every_component_has_a_literal_type_of_its_own() -> None:
    types = []
    for path in modules("components"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "Component" for base in node.bases):
                (token,) = (
                    statement.value
                    for statement in node.body
                    if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "TYPE"
                )
                assert isinstance(token, ast.Constant)
                name = node.name.lstrip("_")
                assert str(token.value).rsplit(":", 1)[-1] == RENAMED.get(name, name)
                types.append(token.value)
    assert len(types) == len(set(types)) > 10
