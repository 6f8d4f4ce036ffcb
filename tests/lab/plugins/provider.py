"""Stands in for ``pulumi-resource-random`` and ``pulumi-resource-tls``.

A resource is made by the code that renders it (``render.random_provider``, ``render.tls_provider``). Checks, diffs,
replacements, secret outputs and previews are answered as the real providers answer them, so that the engine's part is
the real one. Not offered: imports, functions, updates in place, and inputs and outputs that rendering does not offer.
"""

import importlib
import importlib.metadata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from render.entropy import SystemEntropy
from render.generator import Generator
from tests.lab.plugins import protocol


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The resources of ``types``, which the package ``name`` of the SDK declares."""

    def __init__(self, name: str, types: Mapping[str, Generator]) -> None:
        self._name, self._types = name, types

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's names
        return plugin_pb2.PluginInfo(version=importlib.metadata.version(f"pulumi-{self._name}"))

    def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.GetSchemaResponse(schema=f'{{"name": "{self._name}"}}')

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        if _type(request.urn) in self._types:
            return provider_pb2.CheckResponse(inputs=request.news)
        reason = f"the stand-in of the {self._name} provider makes no {_type(request.urn)}"
        return provider_pb2.CheckResponse(inputs=request.news, failures=[provider_pb2.CheckFailure(reason=reason)])

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        old, new = _values(request.old_inputs), _values(request.news)
        changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        if _values(request.olds).get("readyForRenewal"):
            changed |= {"readyForRenewal"}
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=sorted(changed),
            replaces=sorted(changed),
            hasDetailedDiff=True,
            detailedDiff={key: _difference(key, old, new) for key in changed},
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        generator, inputs = self._types[_type(request.urn)], _marked(request.properties)
        known = protocol.plain(inputs)
        if request.preview:
            unknown = dict.fromkeys(generator.outputs, protocol.UNKNOWN)
            return provider_pb2.CreateResponse(properties=_struct({**inputs, **unknown}))
        try:
            made = generator.generate(known, SystemEntropy(), lambda: datetime.now(UTC))
        except ValueError as problem:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(problem))
            raise  # abort has raised already
        outputs = {key: protocol.secret(v) if key in made.secrets else v for key, v in made.outputs.items()}
        return provider_pb2.CreateResponse(id=made.id, properties=_struct({**made.defaults, **inputs, **outputs}))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        state = _marked(request.properties)
        if not state:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the stand-in of the {self._name} provider imports nothing")
        if "readyForRenewal" in state:
            end = datetime.fromisoformat(protocol.plain(state["validityEndTime"]))
            state["readyForRenewal"] = datetime.now(UTC) >= end
        return provider_pb2.ReadResponse(id=request.id, properties=_struct(state), inputs=request.inputs)

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()


def _type(urn: str) -> str:
    return urn.split("::")[2].rsplit("$", 1)[-1]


def _marked(struct: Any) -> dict[str, Any]:
    """The properties of a message, secrets still marked."""
    properties: dict[str, Any] = json_format.MessageToDict(struct)
    return properties


def _values(struct: Any) -> dict[str, Any]:
    """The properties of a message, without marks."""
    values: dict[str, Any] = protocol.plain(_marked(struct))
    return values


def _struct(properties: Mapping[str, Any]) -> Any:
    struct = struct_pb2.Struct()
    struct.update(properties)
    return struct


def _difference(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Any:
    kind = "ADD" if key not in old else "DELETE" if key not in new else "UPDATE"
    value = getattr(provider_pb2.PropertyDiff, f"{kind}_REPLACE")
    return provider_pb2.PropertyDiff(kind=value, inputDiff=key in old or key in new)


def main(name: str) -> None:
    """Serves the package ``name``."""
    types = importlib.import_module(f"render.{name}_provider").TYPES
    protocol.serve(provider_pb2_grpc.add_ResourceProviderServicer_to_server, Provider(name, types))
