# ruff: noqa: N802 - the methods of a monitor and an engine have the names of their RPCs
"""Runs a Pulumi program without an engine and records every resource that it registers.

The recorder is a ``MockMonitor``, so it sees each raw request before the SDK's mocks lose what they lose:
qualified types in URNs, secrets, integers, provider-declared secrecy. The program runs through
``run_in_stack``, the entry point that the real language host uses, so stack outputs, configuration and the
order of shutdown are the engine's.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import gc
import logging
import math
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from inspect import isawaitable
from typing import Any, Final, NamedTuple, NoReturn, Protocol, TypeVar

from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime import config as runtime_config
from pulumi.runtime import rpc, settings
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.proto import engine_pb2, resource_pb2
from pulumi.runtime.stack import run_in_stack

from render.interruption import Interruption

Answer = TypeVar("Answer")
Path = tuple[str | int, ...]
"""Where a value is inside a resource's inputs or outputs: ``("spec", "ports", 0, "port")``."""

STACK_TYPE: Final = "pulumi:pulumi:Stack"
PROVIDER_PREFIX: Final = "pulumi:providers:"
TIMEOUT_SECONDS: Final = 300.0
"""A program that has not finished after this long waits for an Output that nothing will ever resolve."""

_WARNING: Final = "Calling __str__ on an Output"
# As it is, and as it looks inside base64 at each of the three alignments.
_OUTPUT_AS_TEXT: Final = (
    _WARNING,
    *(base64.b64encode(b"\0" * i + _WARNING.encode()).decode()[4 if i else 0 : 36] for i in range(3)),
)
_EXACT_INTEGERS: Final = 2**53
_FEATURES: Final = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACEMENT_TRIGGER,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
)
"""What the SDK may send. Transforms, hooks and parameterised packages need an engine, so they are absent
and the SDK itself refuses a program that uses them."""


class RecordingError(Exception):
    """The program asks for something that an engine would refuse, or that cannot be had without an engine."""


class Unknown(Enum):
    """The type of ``UNKNOWN``: a value that a provider would know only after creation (preview)."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One registered resource. Property names are the wire's (camelCase); numbers are ints where exact.

    ``provider`` and ``parent`` are URNs, ``None`` where there is none (components and providers have no
    provider); ``id`` is ``None`` for components and in preview. ``secret_paths`` are the input paths that the
    program marked secret; ``secret_output_paths`` add those that the provider declares. ``later`` holds stand-ins
    for outputs that only creation can tell: the program saw them, and they are no part of ``outputs``.
    """

    urn: str
    type: str
    name: str
    custom: bool
    inputs: Mapping[str, Any] = field(repr=False)
    outputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    later: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: str | None = None
    parent: str | None = None
    provider: str | None = None
    providers: Mapping[str, str] = field(default_factory=dict)
    protect: bool = False
    retain_on_delete: bool = False
    delete_before_replace: bool = False
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secret_paths: frozenset[Path] = frozenset()
    secret_output_paths: frozenset[Path] = frozenset()
    aliases: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    deleted_with: str | None = None
    import_id: str | None = None
    version: str = ""

    def is_secret(self, path: Path) -> bool:
        """Whether the input at ``path`` is secret, by itself or as part of a secret object."""
        return any(path[: len(secret)] == secret for secret in self.secret_paths)

    def is_secret_output(self, path: Path) -> bool:
        """Whether the output at ``path`` is secret, by itself or as part of a secret object."""
        return any(path[: len(secret)] == secret for secret in self.secret_output_paths)

    @property
    def package(self) -> str:
        """The provider package of the type token: ``kubernetes`` of ``kubernetes:core/v1:Secret``."""
        return self.type.split(":", 1)[0]


class Created(NamedTuple):
    """What a provider answers to a creation: the ID, the outputs, and the names of those it calls secret.

    ``later`` are stand-ins for what only a real creation can tell; the program gets them over ``outputs``.
    ``complete`` says that any other output is absent, where it would otherwise be unknown.
    """

    id: str
    outputs: Mapping[str, Any]
    secrets: Collection[str] = ()
    later: Mapping[str, Any] = {}
    complete: bool = False


class Values(Protocol):
    """Plays the providers: answers with the outputs of a custom resource. See ``render.values``."""

    def outputs(self, resource: Recorded, provider: Recorded | None) -> Created:
        """The outputs of ``resource`` (whose own ``outputs`` are still empty); inputs are all known.

        ``provider`` is the resource's provider, with its configuration as inputs.
        """


@dataclass(frozen=True)
class Message:
    """What the program logged: ``severity`` is debug, info, warning or error; ``urn`` may be empty."""

    severity: str
    text: str
    urn: str = ""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Everything that one run of the program registered, sorted by URN.

    ``outputs`` are the stack outputs in plain; the names of those that are, or hold, a secret are in
    ``secret_outputs``. In preview a value may be ``UNKNOWN``.
    """

    project: str
    stack: str
    preview: bool
    resources: tuple[Recorded, ...]
    outputs: Mapping[str, Any] = field(repr=False)
    secret_outputs: frozenset[str]
    messages: tuple[Message, ...] = ()

    def __iter__(self) -> Iterator[Recorded]:
        return iter(self.resources)

    def by_urn(self) -> dict[str, Recorded]:
        """The resources by their URN."""
        return {resource.urn: resource for resource in self.resources}

    def of_type(self, token: str) -> tuple[Recorded, ...]:
        """The resources of one type token, sorted by URN."""
        return tuple(resource for resource in self.resources if resource.type == token)


def stack_urn(project: str, stack: str) -> str:
    """The URN of the root resource, under which everything without a parent stands."""
    return f"urn:pulumi:{stack}::{project}::{STACK_TYPE}::{project}-{stack}"


def make_urn(project: str, stack: str, parent: str, token: str, name: str) -> str:
    """The URN as the engine makes it: the type is qualified by the chain of its parents' types, the stack's
    own type left out (pulumi/pulumi, sdk/go/common/resource/urn.go)."""
    parent_type = parent.split("::")[2] if parent else STACK_TYPE
    qualified = token if parent_type == STACK_TYPE else f"{parent_type}${token}"
    return f"urn:pulumi:{stack}::{project}::{qualified}::{name}"


def path_text(path: Path) -> str:
    """``("spec", "ports", 0)`` as ``spec.ports[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def record(
    program: Callable[[], object],
    *,
    project: str,
    stack: str,
    config: Mapping[str, str],
    secret_keys: Collection[str] = (),
    values: Values,
    preview: bool = False,
) -> Recording:
    """Runs ``program`` in a fresh Pulumi runtime and returns what it registered.

    ``config`` maps full keys (``flatline:domain``) to text, as the engine hands them over; the environment
    is not consulted. May be called any number of times in a process, not from inside a running event loop.

    Raises the program's own exception if it raises one, in its body or in an ``apply``, with a note that
    names the resource; ``RecordingError`` for a duplicate URN, a custom resource without an explicit
    provider, an Output turned to text, an unknown input outside preview, a look-up (``get``, invoke), and
    whatever else needs an engine.
    """
    monitor = _Recorder(project, stack, values, preview)

    def run() -> None:
        settings.ROOT.set(None)
        runtime_config.CONFIG.set(_ClosedConfig(config))
        runtime_config._SECRET_KEYS.set(set(secret_keys))
        engine = _Engine(monitor)
        settings.configure(
            settings.Settings(
                project=project,
                stack=stack,
                monitor=monitor,
                engine=engine,
                dry_run=preview,
                legacy_apply_enabled=False,
                organization="organization",
            )
        )
        _run_to_end(program, monitor)

    with _collection_paused():
        contextvars.copy_context().run(run)
    return monitor.recording()


@contextlib.contextmanager
def _collection_paused() -> Iterator[None]:
    """No search for garbage meanwhile: it goes through every class of the SDKs again and again, for little.

    It is most of the time of a recording (benchmarks.recording), and what the search would free is a few megabytes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _ClosedConfig(dict[str, str]):
    """Configuration that answers for every key, so that the SDK never falls back to PULUMI_CONFIG_*."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> None:
        return None


def _run_to_end(program: Callable[[], object], monitor: _Recorder) -> None:
    own_failure: list[BaseException] = []

    def start() -> Awaitable[None] | None:
        try:
            result = program()
        except BaseException as failure:
            own_failure.append(failure)
            raise
        return awaited(result) if isawaitable(result) else None

    async def awaited(result: Awaitable[object]) -> None:
        try:
            await result
        except BaseException as failure:
            own_failure.append(failure)
            raise

    async def main(interruption: Interruption) -> None:
        task = asyncio.current_task()
        assert task is not None
        interruption.ends(task)
        asyncio.get_running_loop().set_exception_handler(_report_unless_failed(monitor))
        limit = asyncio.timeout(TIMEOUT_SECONDS)
        try:
            async with limit:
                await run_in_stack(start)
        except BaseException:
            monitor.failed = True
            if limit.expired():
                raise RecordingError(
                    f"the program did not finish within {TIMEOUT_SECONDS:.0f} s: it waits for an Output that"
                    " nothing resolves"
                ) from None
            await _settle()
            raise

    try:
        with Interruption() as interruption, asyncio.Runner() as runner:
            runner.run(main(interruption))
    except BaseException as failure:
        raise _first_cause(own_failure, monitor, failure) from None


def _report_unless_failed(
    monitor: _Recorder,
) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """After a failure the SDK leaves futures that repeat it; only the first report is of use."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if monitor.failed or monitor.failure is not None:
            logging.getLogger(__name__).debug("after a failure: %s", context.get("message"))
        else:
            loop.default_exception_handler(context)

    return handle


async def _settle() -> None:
    """Lets registrations that wait for what failed fail too, so that one of them can be named."""
    registrations = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "rpc_wrapper"]
    if registrations:
        await asyncio.wait(registrations, timeout=1)


def _first_cause(own: list[BaseException], monitor: _Recorder, seen: BaseException) -> BaseException:
    """The failure that came first: the program's own, then the recorder's, then what the SDK reports.

    The SDK wraps a ValueError or an AssertionError in one that repeats the input's text; that text may be
    a secret, so the original is given instead, with a note that names the resource only.
    """
    failure, note = _unwrapped(own[0] if own else monitor.failure or seen)
    manager: Any = settings.SETTINGS.rpc_manager  # a property of the context, which the SDK types as its decorator
    registration_failure = manager.unhandled_exception
    if note is None and registration_failure is not None:
        cause, its_note = _unwrapped(registration_failure)
        note = its_note if cause is failure else None
    if note is not None:
        failure.add_note(note)
    return failure


def _unwrapped(failure: BaseException) -> tuple[BaseException, str | None]:
    """The original of a failure that the SDK wrapped, and the wrapper's line that names the resource."""
    note = None
    seen: list[BaseException] = []
    while failure not in seen and str(failure).startswith("While processing ") and failure.__cause__:
        seen.append(failure)
        first_line = str(failure).partition("\n")[0]
        if first_line.startswith("While processing resource: "):
            note = first_line
        failure = failure.__cause__
    return failure, note


class _NoMocks(Mocks):
    """The base class demands mocks; the recorder answers every request itself."""

    def call(self, args: MockCallArgs) -> NoReturn:
        raise RecordingError(f"{args.token}: functions of providers cannot be called without an engine")

    def new_resource(self, args: MockResourceArgs) -> NoReturn:
        raise RecordingError(f"{args.typ}: resources cannot be read without an engine")


class _Engine:
    """Receives what the program logs."""

    def __init__(self, monitor: _Recorder) -> None:
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


class _Decoded:
    """Plain Python from a protobuf Struct, and where in it the secrets, unknowns and mistakes are."""

    def __init__(self, struct: struct_pb2.Struct) -> None:
        self.secrets: set[Path] = set()
        self.unknowns: list[Path] = []
        self.outputs_as_text: list[Path] = []
        self.unsupported: list[tuple[Path, str]] = []
        self.properties: dict[str, Any] = self._object(struct, ())

    def _object(self, struct: struct_pb2.Struct, path: Path) -> dict[str, Any]:
        decoded = {}
        for key in sorted(struct.fields):
            value = struct.fields[key]
            if value.WhichOneof("kind") in ("null_value", None):
                continue
            if _WARNING in key:
                self.outputs_as_text.append(path)
            decoded[key] = self._value(value, (*path, key))
        return decoded

    def _value(self, value: struct_pb2.Value, path: Path) -> Any:
        match value.WhichOneof("kind"):
            case "string_value":
                return self._text(value.string_value, path)
            case "number_value":
                return self._number(value.number_value, path)
            case "bool_value":
                return value.bool_value
            case "struct_value":
                return self._struct(value.struct_value, path)
            case "list_value":
                return [self._value(item, (*path, i)) for i, item in enumerate(value.list_value.values)]
            case _:
                return None

    def _struct(self, struct: struct_pb2.Struct, path: Path) -> Any:
        if rpc._special_sig_key not in struct.fields:
            return self._object(struct, path)
        signature = struct.fields[rpc._special_sig_key].string_value
        if signature == rpc._special_secret_sig:
            self.secrets.add(path)
            return self._value(struct.fields["value"], path)
        if signature == rpc._special_resource_sig:
            return struct.fields["urn"].string_value
        self.unsupported.append((path, "an asset or archive"))
        return None

    def _text(self, text: str, path: Path) -> Any:
        if text == rpc.UNKNOWN:
            self.unknowns.append(path)
            return UNKNOWN
        if any(form in text for form in _OUTPUT_AS_TEXT):
            self.outputs_as_text.append(path)
        return text

    def _number(self, number: float, path: Path) -> int | float:
        if not math.isfinite(number):
            self.unsupported.append((path, "a number that is not finite"))
        elif number.is_integer():
            if abs(number) > _EXACT_INTEGERS:
                self.unsupported.append((path, "an integer beyond 2^53, which loses digits on the wire"))
            return int(number)
        return number

    def check(self, what: str, preview: bool) -> None:
        """Raises ``RecordingError`` naming ``what`` and the path for each kind of mistake; never a value."""
        for path in self.outputs_as_text:
            raise RecordingError(
                f"{what}: {path_text(path)} holds the warning text of an Output turned to a string;"
                " use Output.apply, Output.concat or Output.format instead of an f-string or str()"
            )
        for path, problem in self.unsupported:
            raise RecordingError(f"{what}: {path_text(path)} is {problem}")
        if not preview:
            for path in self.unknowns:
                raise RecordingError(
                    f"{what}: {path_text(path)} is unknown; it comes from an output that only a cluster or"
                    " a cloud could tell, so it cannot be rendered"
                )


def _encode(value: Any, path: Path, secrets: Collection[Path]) -> Any:
    """A value for the wire, secrets marked at their paths, unknowns as the engine's word for them."""
    if value is UNKNOWN:
        value = rpc.UNKNOWN
    elif isinstance(value, Mapping):
        value = {key: _encode(item, (*path, key), secrets) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [_encode(item, (*path, i), secrets) for i, item in enumerate(value)]
    if path in secrets:
        return {rpc._special_sig_key: rpc._special_secret_sig, "value": value}
    return value


class _Recorder(MockMonitor):
    """The monitor that the SDK talks to. Requests arrive on several threads; one lock orders them."""

    def __init__(self, project: str, stack: str, values: Values, preview: bool) -> None:
        super().__init__(_NoMocks())
        self._project = project
        self._stack = stack
        self._values = values
        self._preview = preview
        self._lock = threading.Lock()
        self._recorded: dict[str, Recorded] = {}
        self._stack_outputs: dict[str, Any] = {}
        self._secret_stack_outputs: frozenset[str] = frozenset()
        self._messages: list[Message] = []
        self.failure: Exception | None = None
        self.failed = False

    def recording(self) -> Recording:
        return Recording(
            project=self._project,
            stack=self._stack,
            preview=self._preview,
            resources=tuple(self._recorded[urn] for urn in sorted(self._recorded)),
            outputs=self._stack_outputs,
            secret_outputs=self._secret_stack_outputs,
            messages=tuple(sorted(self._messages, key=lambda m: (m.urn, m.text))),
        )

    def log(self, message: Message) -> None:
        with self._lock:
            self._messages.append(message)

    def _guarded(self, answer: Callable[[], Answer]) -> Answer:
        try:
            with self._lock:
                return answer()
        except Exception as failure:
            if self.failure is None:
                self.failure = failure
            raise

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        return make_urn(self._project, self._stack, parent, type_, name)

    def RegisterResource(self, request: Any) -> resource_pb2.RegisterResourceResponse:
        return self._guarded(lambda: self._register(request))

    def RegisterResourceOutputs(self, request: Any) -> empty_pb2.Empty:
        return self._guarded(lambda: self._register_outputs(request))

    def ReadResource(self, request: Any) -> NoReturn:
        self._refuse(f"{request.type} {request.name!r} is read from what exists (get)")

    def Invoke(self, request: Any) -> NoReturn:
        self._refuse(f"the function {request.tok} is called")

    def Call(self, request: Any) -> NoReturn:
        self._refuse(f"the method {request.tok} is called")

    def ExistsResource(self, request: Any) -> NoReturn:
        self._refuse(f"{request.type} is looked up")

    def RegisterPackage(self, request: Any) -> NoReturn:
        self._refuse(f"the parameterised package {request.name} is registered")

    def RegisterStackTransform(self, request: Any) -> NoReturn:
        self._refuse("a stack transform is registered")

    def RegisterStackInvokeTransform(self, request: Any) -> NoReturn:
        self._refuse("a transform of function calls is registered")

    def RegisterResourceHook(self, request: Any) -> NoReturn:
        self._refuse("a resource hook is registered")

    def RegisterErrorHook(self, request: Any) -> NoReturn:
        self._refuse("an error hook is registered")

    def _refuse(self, what: str) -> NoReturn:
        def answer() -> NoReturn:
            raise RecordingError(f"{what}: this needs the Pulumi engine and cannot be rendered without it")

        self._guarded(answer)
        raise AssertionError("unreachable: the answer always raises")

    def SupportsFeature(self, request: Any) -> Any:
        return resource_pb2.SupportsFeatureResponse(hasSupport=False)

    def GetDeploymentInfo(self, request: Any) -> resource_pb2.DeploymentInfo:
        return resource_pb2.DeploymentInfo(supportedFeatures=_FEATURES)

    def _register(self, request: Any) -> resource_pb2.RegisterResourceResponse:
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK_TYPE:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        what = f"{request.type} {request.name!r}"
        self._check_request(request, urn, what)
        decoded = _Decoded(request.object)
        decoded.check(f"{what}: input", self._preview)
        resource = self._recorded_from(request, urn, decoded)
        created = self._create(resource)
        secrets = {*resource.secret_paths, *((key,) for key in created.secrets)}
        given = {**created.outputs, **created.later}
        secrets |= {(key,) for key in resource.additional_secret_outputs if key in given}
        self._recorded[urn] = replace(
            resource,
            id=created.id or None,
            outputs=dict(created.outputs),
            later=dict(created.later),
            secret_output_paths=frozenset(secrets),
        )
        response = resource_pb2.RegisterResourceResponse(urn=urn, id=created.id)
        response.object.CopyFrom(request.object)
        for key, value in given.items():
            if resource.inputs.get(key) != value or (key,) in secrets:
                response.object[key] = _encode(value, (key,), secrets)
        # An output that the provider did not give resolves as unknown, so that using it is an error here
        # instead of a property that is silently missing.
        response.unknown = request.custom and not request.type.startswith(PROVIDER_PREFIX) and not created.complete
        return response

    def _check_request(self, request: Any, urn: str, what: str) -> None:
        if urn in self._recorded:
            raise RecordingError(f"two resources have the URN {urn}: give one of them another name")
        if request.remote:
            raise RecordingError(f"{what}: a remote component needs the Pulumi engine")
        if not request.custom or request.type.startswith(PROVIDER_PREFIX):
            return
        if not request.provider:
            raise RecordingError(f"{what} has no explicit provider: pass provider= or providers= to it or to a parent")
        package = request.type.split(":", 1)[0]
        provider_type = request.provider.split("::")[2].split("$")[-1]
        if provider_type != PROVIDER_PREFIX + package:
            raise RecordingError(f"{what} has a provider of another package: {provider_type}")

    def _recorded_from(self, request: Any, urn: str, decoded: _Decoded) -> Recorded:
        return Recorded(
            urn=urn,
            type=request.type,
            name=request.name,
            custom=request.custom,
            inputs=decoded.properties,
            parent=request.parent or None,
            provider=_provider_urn(request.provider) if request.provider else None,
            providers={package: _provider_urn(ref) for package, ref in sorted(request.providers.items())},
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            delete_before_replace=request.deleteBeforeReplace,
            dependencies=tuple(sorted(request.dependencies)),
            property_dependencies={
                key: tuple(sorted(dependencies.urns))
                for key, dependencies in sorted(request.propertyDependencies.items())
            },
            secret_paths=frozenset(decoded.secrets),
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

    def _create(self, resource: Recorded) -> Created:
        if not resource.custom:
            return Created("", resource.inputs)
        if self._preview:
            return Created("", _known_before_creation(resource))
        if resource.type.startswith(PROVIDER_PREFIX):
            return Created(resource.name, resource.inputs)
        return self._values.outputs(resource, self._recorded.get(resource.provider or ""))

    def _register_outputs(self, request: Any) -> empty_pb2.Empty:
        decoded = _Decoded(request.outputs)
        if request.urn == stack_urn(self._project, self._stack):
            decoded.check("stack output", self._preview)
            self._stack_outputs = decoded.properties
            self._secret_stack_outputs = frozenset(str(path[0]) for path in decoded.secrets)
        else:
            resource = self._recorded[request.urn]
            decoded.check(f"{resource.type} {resource.name!r}: output", self._preview)
            self._recorded[request.urn] = replace(
                resource,
                outputs={**resource.outputs, **decoded.properties},
                secret_output_paths=resource.secret_output_paths | decoded.secrets,
            )
        return empty_pb2.Empty()


def _provider_urn(reference: str) -> str:
    """The URN of a provider reference, ``<urn>::<id>``."""
    return reference.rpartition("::")[0]


def _known_before_creation(resource: Recorded) -> dict[str, Any]:
    """Outputs in preview: the inputs, and unknown for what the provider would make up.

    Secret outputs are given as unknown and secret, so that secrecy travels in preview as it does in update.
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
