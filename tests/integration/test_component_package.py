"""The component package under the real Pulumi engine, in a program that is not ours and knows the schema's names alone.

Objects go to files, not to a cluster.
"""

import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.graph.stack import ROOT
from tests.lab.engine import engine_environment
from tests.lab.fetch import skip_if_missing

pytestmark = pytest.mark.integration

SECRET = "5f3a" * 16
PROGRAM = """
import pulumi
import pulumi_kubernetes as kubernetes

class Flatline(pulumi.ComponentResource):
    urls: pulumi.Output[dict]

    def __init__(self, arguments, options):
        outputs = dict.fromkeys(("urls", "caCertificates", "noisePublicKey", "version"))
        super().__init__("flatline:index:Flatline", "flatline", {**outputs, **arguments}, options, remote=True)

config = pulumi.Config()
files = kubernetes.Provider("files", render_yaml_to_directory="manifests")
arguments = config.require_object("arguments")
arguments.setdefault("secrets", {})["turn"] = {"value": config.require_secret("turn")}
made = Flatline(arguments, pulumi.ResourceOptions(providers={"kubernetes": files}))
pulumi.export("urls", made.urls)
pulumi.export("version", made.version)
pulumi.export("authority", made.caCertificates)
pulumi.export("key", made.noisePublicKey)
"""


@dataclass(frozen=True)
class Project:
    """A project of somebody else's, whose plugin is this checkout's package."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str, fails: bool = False) -> str:
        """What the CLI prints; whether it fails is asserted."""
        done = subprocess.run(
            ["pulumi", "--non-interactive", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        said = done.stdout + done.stderr
        assert bool(done.returncode) is fails, said[-6000:]
        return said

    def configure(self, arguments: dict[str, object]) -> None:
        self.run("config", "set", "--path", "arguments", json.dumps(arguments))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("component")
    with skip_if_missing():
        environment = engine_environment(folder)
    own = {"HOME": str(folder), "FLATLINE_PYTHON": sys.executable, "PULUMI_CONFIG_PASSPHRASE": "x"}
    made = Project(folder / "chat", {**environment, **own})
    made.folder.mkdir()
    content = {
        "name": "chat",
        "runtime": {"name": "python", "options": {"virtualenv": sys.prefix}},
        "plugins": {"providers": [{"name": "flatline", "path": str(ROOT / "package")}]},
    }
    (made.folder / "Pulumi.yaml").write_text(yaml.safe_dump(content))
    (made.folder / "__main__.py").write_text(textwrap.dedent(PROGRAM))
    made.run("stack", "init", "home")
    made.run("config", "set", "--secret", "turn", SECRET)
    return made


def test_the_engine_reads_the_schema(project: Project) -> None:
    schema = json.loads(project.run("package", "get-schema", str(ROOT / "package")))
    assert "flatline:index:Flatline" in schema["resources"]


def test_it_installs_flatline(project: Project) -> None:
    project.configure({"domain": "chat.example.org", "redis": {"masters": 4}})
    assert "flatline:index:Flatline" in project.run("preview")
    said = project.run("up", "--yes", "--skip-preview")
    assert SECRET not in said
    outputs = json.loads(project.run("stack", "output", "--json"))
    assert outputs["urls"]["whisper"] == "https://whisper.chat.example.org"
    assert outputs["authority"].startswith("-----BEGIN CERTIFICATE-----")
    state = project.run("stack", "export")
    assert SECRET not in state
    names = {each["urn"].partition("$")[0].rpartition("::")[2] for each in json.loads(state)["deployment"]["resources"]}
    assert "flatline:index:Flatline" in names
    project.run("preview", "--expect-no-changes")
    rendered = list((project.folder / "manifests").rglob("*.yaml"))
    assert len(rendered) > 80
    (redis,) = (path for path in rendered if "statefulset" in path.name and path.name.endswith("-redis.yaml"))
    assert yaml.safe_load(redis.read_text())["spec"]["replicas"] == 4


def test_a_mistake_names_its_argument(project: Project) -> None:
    project.configure({"redis": {"masters": 2}, "nothing": 1})
    said = project.run("preview", fails=True)
    assert "property redis.masters with value 2 has a problem: is 2; write 3 or more" in said
    assert "property nothing with value 1 has a problem: is no known key" in said
    assert "component.py" not in said, "a stack trace of the package"


def test_a_mistake_in_a_secret_does_not_show_it(project: Project) -> None:
    """The engine shows the value of an argument that it is told of."""
    project.configure({"secrets": {"redis": {"value": "0ddba11"}}})
    said = project.run("preview", fails=True)
    assert "secrets.redis: value is not hex; write standard hex without line ends" in said
    assert "0ddba11" not in said
