# ruff: noqa: N802 - the methods of a monitor and an engine have the names of their RPCs
"""The resource monitor that records registrations, and the engine that collects log messages.

The monitor is a ``MockMonitor``, so it sees each raw request before the SDK's mocks lose parts of it: qualified types
in URNs, secrets, integers, provider-declared secrecy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NoReturn, TypeVar, cast

from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.mocks import MockMonitor, Mocks
from pulumi.runtime.proto import engine_pb2, resource_pb2

from render.model import (
    PROVIDER_PREFIX,
    STACK_TYPE,
    UNKNOWN,
    CreateResult,
    Message,
    RecordedResource,
    Recording,
    RecordingError,
    Values,
    make_urn,
    stack_urn,
)
from render.wire import DecodedProperties, encode

Response = TypeVar("Response")

_FEATURES: Final = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACEMENT_TRIGGER,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
)
"""The features that the SDK may use. Transforms, hooks and parameterised packages need an engine: they are absent, so
the SDK itself refuses a program that uses them."""


class Monitor(MockMonitor):
    """Answers the SDK's requests, which arrive on several threads. One lock orders them.

    ``failure`` is the first failed request. ``failed`` is set from outside, when the program has failed.
    """

    def __init__(self, project: str, stack: str, values: Values, preview: bool) -> None:
        super().__init__(cast(Mocks, None))  # no request reaches them, because the monitor answers every one
        self._project = project
        self._stack = stack
        self._values = values
        self._preview = preview
        self._lock = threading.Lock()
        self._resources: dict[str, RecordedResource] = {}
        self._stack_outputs: dict[str, Any] = {}
        self._secret_stack_outputs: frozenset[str] = frozenset()
        self._messages: list[Message] = []
        self.failure: Exception | None = None
        self.failed = False

    def recording(self) -> Recording:
        """The resources, stack outputs and messages so far."""
        return Recording(
            project=self._project,
            stack=self._stack,
            preview=self._preview,
            resources=tuple(self._resources[urn] for urn in sorted(self._resources)),
            outputs=self._stack_outputs,
            secret_outputs=self._secret_stack_outputs,
            messages=tuple(sorted(self._messages, key=lambda message: (message.urn, message.text))),
        )

    def log(self, message: Message) -> None:
        """Records a message."""
        with self._lock:
            self._messages.append(message)

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        return make_urn(self._project, self._stack, parent, type_, name)

    def RegisterResource(self, request: Any) -> resource_pb2.RegisterResourceResponse:
        return self._answer(lambda: self._register(request))

    def RegisterResourceOutputs(self, request: Any) -> empty_pb2.Empty:
        return self._answer(lambda: self._register_outputs(request))

    def ReadResource(self, request: Any) -> NoReturn:
        self._refuse(f"{request.type} {request.name!r} is read from what exists (get)")

    def Invoke(self, request: Any) -> NoReturn:
        self._refuse(f"the function {request.tok} is called")

    def Call(self, request: Any) -> NoReturn:
        self._refuse(f"the method {request.tok} is called")

    def ExistsResource(self, request: Any) -> NoReturn:
        self._refuse(f"{request.type} is looked up")

    def SupportsFeature(self, request: Any) -> Any:
        return resource_pb2.SupportsFeatureResponse(hasSupport=False)

    def GetDeploymentInfo(self, request: Any) -> resource_pb2.DeploymentInfo:
        return resource_pb2.DeploymentInfo(supportedFeatures=_FEATURES)

    def _answer(self, handle: Callable[[], Response]) -> Response:
        try:
            with self._lock:
                return handle()
        except Exception as failure:
            if self.failure is None:
                self.failure = failure
            raise

    def _refuse(self, action: str) -> NoReturn:
        def handle() -> NoReturn:
            raise RecordingError(f"{action}: this needs the Pulumi engine and cannot be rendered without it")

        self._answer(handle)
        raise AssertionError("unreachable: handle always raises")

    def _register(self, request: Any) -> resource_pb2.RegisterResourceResponse:
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK_TYPE:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        title = f"{request.type} {request.name!r}"
        self._check(request, urn, title)
        properties = DecodedProperties(request.object)
        properties.check(f"{title}: input", self._preview)
        resource = self._resource(request, urn, properties)
        result = self._create(resource)
        outputs = {**result.outputs, **result.placeholders}
        secrets = {*resource.secret_paths, *((key,) for key in result.secrets)}
        secrets |= {(key,) for key in resource.additional_secret_outputs if key in outputs}
        self._resources[urn] = replace(
            resource,
            id=result.id or None,
            outputs=dict(result.outputs),
            placeholders=dict(result.placeholders),
            secret_output_paths=frozenset(secrets),
        )
        response = resource_pb2.RegisterResourceResponse(urn=urn, id=result.id)
        response.object.CopyFrom(request.object)
        for key, value in outputs.items():
            if resource.inputs.get(key) != value or (key,) in secrets:
                response.object[key] = encode(value, (key,), secrets)
        # An output that the provider left out resolves as unknown, so its use is an error here instead of a property
        # that is silently missing.
        response.unknown = request.custom and not request.type.startswith(PROVIDER_PREFIX) and not result.complete
        return response

    def _check(self, request: Any, urn: str, title: str) -> None:
        if urn in self._resources:
            raise RecordingError(f"two resources have the URN {urn}: give one of them another name")
        if request.remote:
            raise RecordingError(f"{title}: a remote component needs the Pulumi engine")
        if not request.custom or request.type.startswith(PROVIDER_PREFIX):
            return
        if not request.provider:
            raise RecordingError(f"{title} has no explicit provider: pass provider= or providers= to it or to a parent")
        package = request.type.split(":", 1)[0]
        provider_type = request.provider.split("::")[2].split("$")[-1]
        if provider_type != PROVIDER_PREFIX + package:
            raise RecordingError(f"{title} has a provider of another package: {provider_type}")

    def _resource(self, request: Any, urn: str, properties: DecodedProperties) -> RecordedResource:
        return RecordedResource(
            urn=urn,
            type=request.type,
            name=request.name,
            custom=request.custom,
            inputs=properties.values,
            parent=request.parent or None,
            provider=_provider_urn(request.provider) if request.provider else None,
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            delete_before_replace=request.deleteBeforeReplace,
            dependencies=tuple(sorted(request.dependencies)),
            property_dependencies={
                key: tuple(sorted(dependencies.urns))
                for key, dependencies in sorted(request.propertyDependencies.items())
            },
            secret_paths=frozenset(properties.secrets),
            aliases=tuple(self._alias(request, alias) for alias in request.aliases),
            additional_secret_outputs=tuple(sorted(request.additionalSecretOutputs)),
            ignore_changes=tuple(sorted(request.ignoreChanges)),
            replace_on_changes=tuple(sorted(request.replaceOnChanges)),
            deleted_with=request.deletedWith or None,
            import_id=request.importId or None,
            version=request.version,
        )

    def _alias(self, request: Any, alias: Any) -> str:
        if alias.WhichOneof("alias") == "urn":
            return str(alias.urn)
        spec = alias.spec
        parent = "" if spec.noParent else spec.parentUrn or request.parent
        return make_urn(
            spec.project or self._project,
            spec.stack or self._stack,
            parent,
            spec.type or request.type,
            spec.name or request.name,
        )

    def _create(self, resource: RecordedResource) -> CreateResult:
        if not resource.custom:
            return CreateResult("", resource.inputs)
        if self._preview:
            return CreateResult("", _outputs_in_preview(resource))
        if resource.type.startswith(PROVIDER_PREFIX):
            return CreateResult(resource.name, resource.inputs)
        return self._values.create(resource, self._resources.get(resource.provider or ""))

    def _register_outputs(self, request: Any) -> empty_pb2.Empty:
        properties = DecodedProperties(request.outputs)
        if request.urn == stack_urn(self._project, self._stack):
            properties.check("stack output", self._preview)
            self._stack_outputs = properties.values
            self._secret_stack_outputs = frozenset(str(path[0]) for path in properties.secrets)
        else:
            resource = self._resources[request.urn]
            properties.check(f"{resource.type} {resource.name!r}: output", self._preview)
            self._resources[request.urn] = replace(
                resource,
                outputs={**resource.outputs, **properties.values},
                secret_output_paths=resource.secret_output_paths | properties.secrets,
            )
        return empty_pb2.Empty()


class LogEngine:
    """The engine of a recording: it passes the program's messages to the monitor, without debug messages."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def Log(self, request: Any) -> empty_pb2.Empty:
        severity = engine_pb2.LogSeverity.Name(request.severity).lower()
        if severity != "debug":
            self._monitor.log(Message(severity, request.message, request.urn))
        return empty_pb2.Empty()

    def RequirePulumiVersion(
        self, request: engine_pb2.RequirePulumiVersionRequest
    ) -> engine_pb2.RequirePulumiVersionResponse:
        return engine_pb2.RequirePulumiVersionResponse()


def _provider_urn(reference: str) -> str:
    """The URN of a provider reference, ``<urn>::<id>``."""
    return reference.rpartition("::")[0]


def _outputs_in_preview(resource: RecordedResource) -> dict[str, Any]:
    """The inputs, and ``UNKNOWN`` for a name that the provider would choose.

    Additional secret outputs are unknown and secret, so that secrecy propagates in a preview as it does in an update.
    """
    outputs = dict(resource.inputs)
    if resource.package == "kubernetes":
        metadata = outputs.get("metadata")
        if isinstance(metadata, Mapping) and "name" not in metadata:
            outputs["metadata"] = {**metadata, "name": UNKNOWN}
        elif metadata is None:
            outputs["metadata"] = {"name": UNKNOWN}
    else:
        for key in resource.additional_secret_outputs:
            outputs.setdefault(key, UNKNOWN)
    return outputs
