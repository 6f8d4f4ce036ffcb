"""The policy pack as the engine runs it: a process in an environment of its own, spoken to by gRPC."""

import os
import runpy
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from policies.model import Resource
from tests.lab.fetch import Missing, retried
from tests.lab.namespace import why_not_private

PACK = Path(__file__).parents[2] / "policies"
LAUNCHER = PACK.parent / "flatline"
MESSAGE_BYTES = 400 * 2**20


def environment() -> Path:
    """The folder of an environment with the pack's packages, which ./flatline makes once. Raises `Missing`."""
    launcher = runpy.run_path(str(LAUNCHER))
    if not launcher["complete"](launcher["environment"]("policies")) and not why_not_private():
        raise Missing("needs the policy pack's packages, which python -m tests.lab.run fetches before its tests")
    return retried("the policy pack's packages", lambda: _made(launcher), on=(RuntimeError,))


prepare = environment


def _made(launcher: Mapping[str, Any]) -> Path:
    try:
        return Path(launcher["prepared"]("policies")).parents[1]
    except SystemExit as stopped:
        raise RuntimeError(stopped.code) from None


class Pack:
    """A running pack for a stack. `target` is the value of flatline:target."""

    def __init__(self, folder: Path, *, stack: str = "dev", target: str = '{"kind":"local"}') -> None:
        self._folder = folder
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PULUMI_PROJECT": "flatline",
            "PULUMI_STACK": stack,
            "PULUMI_DRY_RUN": "true",
            "PULUMI_CONFIG": f'{{"flatline:target": {_quoted(target)}}}',
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def __enter__(self) -> Self:
        command = [str(environment() / "bin" / "python"), "-u", str(PACK)]
        self._log = (self._folder / "policy-pack.log").open("wb")
        self._process = subprocess.Popen(
            command, cwd=self._folder, env=self._environment, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            self._process.wait()
            raise RuntimeError(f"the pack did not start:\n{(self._folder / 'policy-pack.log').read_text()[-2000:]}")
        options = [("grpc.max_send_message_length", MESSAGE_BYTES), ("grpc.max_receive_message_length", MESSAGE_BYTES)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self._analyzer = analyzer_pb2_grpc.AnalyzerStub(self._channel)
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()

    def info(self) -> Any:
        """What the pack says about itself."""
        return self._analyzer.GetAnalyzerInfo(empty_pb2.Empty())

    def configure(self, policy: str, level: Any, **properties: Any) -> None:
        """Sets the level and the settings of one policy, as --policy-pack-config does."""
        config = analyzer_pb2.PolicyConfig(enforcementLevel=level, properties=_struct(properties))
        self._analyzer.Configure(analyzer_pb2.ConfigureAnalyzerRequest(policyConfig={policy: config}))

    def analyze(self, resource: Resource) -> list[Any]:
        """The diagnostics about one resource."""
        request = analyzer_pb2.AnalyzeRequest(
            type=resource.type,
            urn=resource.urn,
            name=resource.name,
            properties=_struct(resource.properties),
            options=analyzer_pb2.AnalyzerResourceOptions(protect=bool(resource.protect)),
        )
        return list(self._analyzer.Analyze(request).diagnostics)

    def analyze_stack(self, resources: Iterable[Resource]) -> list[Any]:
        """The diagnostics about all resources together."""
        request = analyzer_pb2.AnalyzeStackRequest(resources=[_analyzer_resource(found) for found in resources])
        return list(self._analyzer.AnalyzeStack(request).diagnostics)


def _analyzer_resource(resource: Resource) -> Any:
    dependencies = {
        name: analyzer_pb2.AnalyzerPropertyDependencies(urns=list(urns)) for name, urns in resource.dependencies.items()
    }
    return analyzer_pb2.AnalyzerResource(
        type=resource.type,
        urn=resource.urn,
        name=resource.name,
        properties=_struct(resource.properties),
        options=analyzer_pb2.AnalyzerResourceOptions(protect=bool(resource.protect)),
        propertyDependencies=dependencies,
    )


def _struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(properties)
    return struct


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
