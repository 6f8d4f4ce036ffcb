"""The recorder records small real programs as the engine would see them."""

import asyncio
import base64
import contextvars
import gc
import importlib.metadata
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulumi import Output, ResourceOptions
from pulumi.runtime import resource, stack
from pulumi.runtime.stack import wait_for_rpcs

from render import pulumi_internals, recorder
from render.model import UNKNOWN, CreateResult, RecordedResource, RecordingError
from render.values import SeededValues
from tests.unit.render.programs import METADATA, Providers, config_map, in_kubernetes, kept, named, run, whole

PREFIX = "urn:pulumi:dev::flatline::"
STACK = f"{PREFIX}pulumi:pulumi:Stack::flatline-dev"


def test_what_was_recorded_is_not_searched_for_garbage_when_it_ends() -> None:
    """A recording loads a million objects that stay. A collection of them would take a fifth of a second."""
    kept: list[list[int]] = []
    searched: list[str] = []

    def note(phase: str, _info: dict[str, int]) -> None:
        searched.append(phase)

    gc.callbacks.append(note)
    try:
        run(lambda: kept.extend([number] for number in range(50_000)))
    finally:
        gc.callbacks.remove(note)
    assert len(kept) == 50_000
    assert searched == []


def _has_a_fraction(number: float) -> bool:
    return not number.is_integer()


class TestUrns:
    def test_type_chain_is_the_whole_one_without_the_stack(self) -> None:
        urns = [resource.urn for resource in kept(whole)]
        assert urns == sorted(set(urns))
        assert f"{PREFIX}kubernetes:core/v1:Service::service" in urns
        assert f"{PREFIX}pulumi:providers:kubernetes::kubernetes" in urns
        assert f"{PREFIX}flatline:test:Nested2::outer" in urns
        chain = "flatline:test:Nested2$flatline:test:Nested1$flatline:test:Nested0"
        assert f"{PREFIX}{chain}$random:index/randomPassword:RandomPassword::outer-inner-inner-password" in urns

    def test_parent_and_provider_are_urns(self) -> None:
        recording = kept(whole)
        password = named(recording, "outer-inner-password")
        assert password.parent == f"{PREFIX}flatline:test:Nested2$flatline:test:Nested1::outer-inner"
        assert password.provider == f"{PREFIX}pulumi:providers:random::random"
        assert named(recording, "service").parent == STACK
        assert named(recording, "outer").provider is None

    def test_same_name_under_another_parent_is_another_urn(self) -> None:
        def program(opts: ResourceOptions) -> None:
            parent = config_map("parent", {}, opts)
            config_map("same", {}, opts)
            config_map("same", {}, ResourceOptions.merge(opts, ResourceOptions(parent=parent)))

        assert len([r for r in in_kubernetes(program) if r.name == "same"]) == 2

    def test_aliases_are_urns(self) -> None:
        def program(opts: ResourceOptions) -> None:
            aliases: list[pulumi.Input[str | pulumi.Alias]] = [
                pulumi.Alias(name="before"),
                pulumi.Alias(type_="kubernetes:core/v1:Secret", parent=pulumi.ROOT_STACK_RESOURCE),
                f"{PREFIX}whatever::it-was",
            ]
            component = pulumi.ComponentResource("flatline:test:Box", "box")
            config_map("now", {}, ResourceOptions.merge(opts, ResourceOptions(parent=component, aliases=aliases)))

        assert named(in_kubernetes(program), "now").aliases == (
            f"{PREFIX}flatline:test:Box$kubernetes:core/v1:ConfigMap::before",
            f"{PREFIX}kubernetes:core/v1:Secret::now",
            f"{PREFIX}whatever::it-was",
        )


class TestValuesOnTheWire:
    def test_integers_and_floats(self) -> None:
        recording = kept(whole)
        spec = named(recording, "route").inputs["spec"]
        assert spec["routes"][0]["priority"] == 10
        assert isinstance(spec["routes"][0]["priority"], int)
        assert spec["routes"][0]["snake_case"] == 1.5
        assert recording.outputs["port"] == 8080
        assert isinstance(recording.outputs["port"], int)
        assert recording.outputs["nested"]["ratio"] == 0.5

    @settings(max_examples=8, deadline=None)
    @given(
        st.lists(
            st.recursive(
                st.booleans()
                | st.integers(-(2**53), 2**53)
                | st.floats(allow_nan=False, allow_infinity=False).filter(_has_a_fraction)
                | st.text(),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
                max_leaves=8,
            ),
            min_size=1,
            max_size=6,
        )
    )
    def test_any_json_value_survives(self, values: list[object]) -> None:
        exported = {f"value{number}": {"it": value} for number, value in enumerate(values)}
        recording = run(lambda: [pulumi.export(name, value) for name, value in exported.items()] and None)
        assert recording.outputs == exported
        assert repr(recording.outputs) == repr(_sorted(exported))

    def test_nothing_is_absent_and_empty_stays(self) -> None:
        def program(opts: ResourceOptions) -> None:
            kubernetes.apiextensions.CustomResource(
                "it",
                api_version="v1",
                kind="Thing",
                metadata=METADATA,
                spec={"none": None, "empty": {}, "list": []},
                opts=opts,
            )

        assert named(in_kubernetes(program), "it").inputs["spec"] == {"empty": {}, "list": []}


class TestSecrets:
    def test_wrapped_paths(self) -> None:
        def program(opts: ResourceOptions) -> None:
            config_map("it", {"plain": "a", "hidden": Output.secret("b")}, opts)

        resource = named(in_kubernetes(program), "it")
        assert resource.secret_paths == {("data", "hidden")}
        assert resource.is_secret(("data", "hidden", "deeper"))
        assert not resource.is_secret(("data", "plain"))
        assert resource.inputs["data"] == {"plain": "a", "hidden": "b"}

    def test_declared_by_the_provider_and_propagated(self) -> None:
        recording = kept(whole)
        assert named(recording, "outer-password").is_secret_output(("result",))
        assert named(recording, "outer-secret").secret_paths == {("stringData",)}
        assert named(recording, "ca-key").secret_output_paths == {
            ("privateKeyPem",),
            ("privateKeyPemPkcs8",),
        }
        assert named(recording, "outer").secret_output_paths == {("password",)}
        assert recording.secret_outputs == {"password", "nested"}

    def test_through_all_and_apply(self) -> None:
        def program() -> None:
            providers = Providers()
            password = random.RandomPassword("password", length=20, opts=providers.random)
            text = Output.all("user", password.result).apply(":".join)
            config_map("it", {"text": text, "length": password.length.apply(str)}, providers.kubernetes)

        assert named(run(program), "it").secret_paths == {("data", "text")}

    def test_additional_secret_outputs(self) -> None:
        def program() -> None:
            opts = ResourceOptions.merge(Providers().random, ResourceOptions(additional_secret_outputs=["hex"]))
            identifier = random.RandomId("it", byte_length=8, opts=opts)
            pulumi.export("it", identifier.hex)

        recording = run(program)
        assert named(recording, "it").additional_secret_outputs == ("hex",)
        assert recording.secret_outputs == {"it"}

    def test_configuration(self) -> None:
        def program() -> None:
            pulumi.export("hidden", pulumi.Config().require_secret("key"))
            pulumi.export("plain", pulumi.Config("other").require("key"))

        config = {"flatline:key": "a", "other:key": "b"}
        recording = run(program, config=config, secret_keys=["flatline:key"])
        assert recording.outputs == {"hidden": "a", "plain": "b"}
        assert recording.secret_outputs == {"hidden"}

    def test_repr_shows_none(self) -> None:
        recording = kept(whole)
        assert recording.outputs["password"] not in repr(recording)


class TestPreview:
    def test_it_has_the_same_resources_and_secrets(self) -> None:
        update, preview = kept(whole), kept(whole, preview=True)
        assert [(r.urn, r.provider) for r in preview] == [(r.urn, r.provider) for r in update]
        assert [r.secret_paths for r in preview] == [r.secret_paths for r in update]
        assert preview.secret_outputs == update.secret_outputs

    def test_outputs_of_providers_are_unknown(self) -> None:
        recording = kept(whole, preview=True)
        assert recording.outputs["password"] is UNKNOWN
        assert recording.outputs["ca"] is UNKNOWN
        assert recording.outputs["port"] == 8080
        assert named(recording, "outer-secret").inputs["stringData"] is UNKNOWN
        assert named(recording, "leaf").inputs["caCertPem"] is UNKNOWN
        assert named(recording, "leaf").inputs["validityPeriodHours"] == 1000
        assert all(resource.id is None for resource in recording)

    def test_names_of_objects_without_one_are_unknown(self) -> None:
        volumes = named(kept(whole, preview=True), "deployment").inputs["spec"]["template"]["spec"]["volumes"]
        assert volumes[1] == {"name": "config", "configMap": {"name": UNKNOWN}}

    def test_the_program_knows_that_it_is_a_preview(self) -> None:
        def program() -> None:
            pulumi.export("preview", pulumi.runtime.is_dry_run())

        assert run(program, preview=True).outputs == {"preview": True}
        assert run(program).outputs == {"preview": False}


def unknown_address(providers: Providers) -> None:
    service = kubernetes.core.v1.Service("service", metadata=METADATA, spec={"ports": []}, opts=providers.kubernetes)
    config_map("it", {"address": service.status.load_balancer.ingress[0].ip}, providers.kubernetes)


def unknown_type(_: Providers) -> None:
    provider = pulumi.ProviderResource("aws", "aws")
    pulumi.CustomResource("aws:sqs/queue:Queue", "it", {}, ResourceOptions(provider=provider))


def text_in_base64(providers: Providers) -> None:
    text = base64.b64encode(str(Output.from_input("y")).encode()).decode()
    kubernetes.core.v1.Secret("it", metadata=METADATA, data={"key": text}, opts=providers.kubernetes)


def after_a_failure(providers: Providers) -> None:
    """Both fail for one reason, and the first cause is told."""
    source = random.RandomPassword("source", length=-1, opts=providers.random)
    config_map("dependent", {"a": source.result}, providers.kubernetes)


class Stubborn(pulumi.CustomResource):
    """A resource that takes any provider."""


REFUSED: dict[str, tuple[Callable[[Providers], object], str]] = {
    "no provider": (
        lambda _: random.RandomPassword("lonely", length=20),
        r"RandomPassword 'lonely' has no explicit provider",
    ),
    "text in base64": (text_in_base64, r"data\.key holds the warning text"),
    "text in a stack output": (
        lambda _: pulumi.export("it", str(Output.from_input(1))),
        "stack output: it holds the warning text",
    ),
    "an unknown input in an update": (unknown_address, r"ConfigMap 'it': input: data\.address is unknown"),
    "an unknown stack output in an update": (
        lambda p: pulumi.export("hash", random.RandomPassword("it", length=20, opts=p.random).bcrypt_hash),
        "stack output: hash is unknown",
    ),
    "reading what exists": (
        lambda p: kubernetes.core.v1.ConfigMap.get("it", "flatline/it", p.kubernetes),
        r"ConfigMap 'it' is read from what exists",
    ),
    "a function": (
        lambda _: pulumi.export("it", pulumi.runtime.invoke_output("tls:index/getPublicKey:getPublicKey", {})),
        r"the function tls:index/getPublicKey:getPublicKey is called",
    ),
    "a transform": (
        lambda _: pulumi.runtime.register_resource_transform(lambda args: None),
        "does not support transforms",
    ),
    "a remote component": (
        lambda _: pulumi.ComponentResource("other:index:Thing", "it", {}, remote=True),
        "a remote component needs the Pulumi engine",
    ),
    "an unknown type": (unknown_type, r"aws:sqs/queue:Queue 'it': only the Pulumi engine"),
    "two of one URN": (
        lambda p: [config_map("twice", {"a": text}, p.kubernetes) for text in "12"],
        r"two resources have the URN .*ConfigMap::twice",
    ),
    "an integer that loses digits": (
        lambda _: pulumi.export("value", 2**53 + 2),
        r"stack output: value is an integer beyond 2\^53",
    ),
    "an asset": (lambda _: pulumi.export("value", pulumi.StringAsset("text")), "value is an asset"),
    "what depends on what failed, whose cause is told": (
        lambda p: config_map(
            "it", {"a": random.RandomPassword("first", length=-1, opts=p.random).result}, p.kubernetes
        ),
        r"RandomPassword 'first': length is -1",
    ),
    "a provider of another package": (
        lambda p: Stubborn("kubernetes:core/v1:ConfigMap", "it", {}, p.random),
        "provider",
    ),
}


class TestRefused:
    @pytest.fixture(autouse=True)
    def outputs_may_become_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Removes the variable that makes the SDK raise, as for a user who has not set it."""
        monkeypatch.delenv("PULUMI_ERROR_OUTPUT_STRING", raising=False)

    @pytest.mark.parametrize("preview", [False, True])
    def test_output_as_text(self, preview: bool) -> None:
        def program(opts: ResourceOptions) -> None:
            config_map("it", {"list": f"x{Output.from_input('y')}"}, opts)

        with pytest.raises(RecordingError, match=r"ConfigMap 'it': input: data\.list holds the warning text"):
            in_kubernetes(program, preview=preview)

    @pytest.mark.parametrize(("program", "problem"), REFUSED.values(), ids=REFUSED)
    def test_what_needs_the_engine_or_is_a_mistake(self, program: Callable[[Providers], object], problem: str) -> None:
        with pytest.raises(Exception, match=problem) as refused:
            run(lambda: program(Providers()) and None)
        assert isinstance(refused.value, RecordingError) or "transforms" in problem


class ProgramError(Exception):
    """The exception of the failing programs."""


def fail(_: str) -> str:
    raise ProgramError("mine")


async def fail_later() -> None:
    await asyncio.sleep(0)
    fail("")


def fail_beside_what_is_never_resolved() -> None:
    """It is told at once."""
    never: Any = asyncio.get_running_loop().create_future()
    Output.from_input(never)
    Output.from_input("x").apply(fail)


FAILING: dict[str, Callable[[], object]] = {
    "in the program": lambda: Providers() and fail(""),
    "in a coroutine": fail_later,
    "in an apply that nothing uses": lambda: Output.from_input("x").apply(fail) and None,
    "in an export": lambda: pulumi.export("it", Output.from_input("x").apply(fail)),
    "while another output is never resolved": fail_beside_what_is_never_resolved,
}


class TestFailures:
    @pytest.mark.parametrize("program", FAILING.values(), ids=FAILING)
    def test_the_exception_is_the_program_s(self, program: Callable[[], object]) -> None:
        with pytest.raises(ProgramError, match="mine"):
            run(program)

    @pytest.mark.parametrize("kind", [ProgramError, ValueError, AssertionError, TimeoutError, KeyError])
    def test_in_apply(self, kind: type[Exception]) -> None:
        failure = kind("mine")

        def fail(_: str) -> str:
            raise failure

        with pytest.raises(kind) as caught:
            in_kubernetes(lambda opts: config_map("it", {"a": Output.from_input("x").apply(fail)}, opts))
        assert caught.value is failure

    def test_in_apply_names_the_resource_and_no_value(self) -> None:
        def fail(_: str) -> str:
            raise ValueError("mine")

        def program(opts: ResourceOptions) -> None:
            hidden = {"a": Output.from_input("x").apply(fail), "b": "a-secret"}
            config_map("it", hidden, opts)

        with pytest.raises(ValueError, match="mine") as caught:
            in_kubernetes(program)
        assert str(caught.value) == "mine"
        (note,) = caught.value.__notes__
        assert "'it'" in note
        assert "a-secret" not in note

    def test_exit(self) -> None:
        def program() -> None:
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            run(program)

    def test_output_that_nothing_resolves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recorder, "TIMEOUT_SECONDS", 0.2)

        def program(opts: ResourceOptions) -> None:
            never: Any = asyncio.get_running_loop().create_future()
            config_map("it", {"a": Output.from_input(never)}, opts)

        with pytest.raises(RecordingError, match="waits for an Output that nothing resolves"):
            in_kubernetes(program)

    def test_leaves_nothing_behind(self) -> None:
        def failing(opts: ResourceOptions) -> None:
            for i in range(5):
                config_map(f"it{i}", {"a": Output.from_input("x").apply(fail)}, opts)

        threads = threading.active_count()
        expected = run(whole)
        for _ in range(3):
            with pytest.raises(ProgramError):
                in_kubernetes(failing)
            assert run(whole) == expected
        assert threading.active_count() == threads


class TestRuntime:
    def test_environment_is_not_configuration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PULUMI_CONFIG", '{"flatline:key": "from the environment"}')
        monkeypatch.setenv("PULUMI_CONFIG_FLATLINE_OTHER", "from the environment")

        def program() -> None:
            config = pulumi.Config()
            pulumi.export("found", [config.get("key"), config.get("other"), config.get("given")])

        recording = run(program, config={"flatline:given": "yes"})
        assert recording.outputs == {"found": [None, None, "yes"]}

    def test_project_and_stack(self) -> None:
        recording = run(lambda: pulumi.export("it", f"{pulumi.get_project()}/{pulumi.get_stack()}"))
        assert recording.outputs == {"it": "flatline/dev"}

    def test_from_another_thread(self) -> None:
        recordings = []
        thread = threading.Thread(target=lambda: recordings.append(run(whole)))
        thread.start()
        thread.join()
        assert recordings == [run(whole)]

    @pytest.mark.parametrize("where", ["in the program", "in an apply", "in a provider", "in a task's callback"])
    def test_a_signal_ends_it_at_any_moment(self, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
        """The SDK keeps an exception that is raised inside its tasks, and would wait forever for their result."""
        monkeypatch.setattr(recorder, "TIMEOUT_SECONDS", 5.0)

        class Stopped(BaseException):
            pass

        def stop(number: int, _frame: FrameType | None) -> NoReturn:
            raise Stopped

        def send() -> str:
            signal.raise_signal(signal.SIGTERM)
            return "sent"

        class Sending(SeededValues):
            def create(self, resource: RecordedResource, provider: RecordedResource | None) -> CreateResult:
                if where == "in a provider":
                    send()
                return super().create(resource, provider)

        def program() -> None:
            options = Providers().kubernetes
            made = config_map("first", {"a": "b"}, options)
            config_map("second", {"a": made.id.apply(lambda _: send() if where == "in an apply" else "")}, options)
            if where == "in the program":
                send()
            if where == "in a task's callback":
                asyncio.ensure_future(made.id.future()).add_done_callback(lambda _: send())

        before = signal.signal(signal.SIGTERM, stop)
        try:
            with pytest.raises(Stopped):
                run(program, values=Sending("test"))
            assert signal.getsignal(signal.SIGTERM) is stop
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_after_mocks_of_another_test(self) -> None:
        """A root resource, a stack name and configuration of an earlier run are neither used nor changed."""

        class Nothing(pulumi.runtime.Mocks):
            def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
                return {}

            def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> Any:
                return "", {}

        def in_mocks() -> None:
            asyncio.set_event_loop(loop)
            pulumi.runtime.set_mocks(Nothing(), project="other", stack="mocked")
            pulumi.runtime.set_all_config({"flatline:key": "left"})
            root = pulumi.runtime.get_root_resource()
            assert run(whole) == expected
            assert run(lambda: pulumi.export("key", pulumi.Config().get("key"))).outputs == {}
            assert pulumi.get_stack() == "mocked"
            assert pulumi.runtime.get_root_resource() is root
            asyncio.set_event_loop(loop)
            loop.run_until_complete(wait_for_rpcs())

        expected = run(whole)
        loop = asyncio.new_event_loop()
        try:
            contextvars.copy_context().run(in_mocks)
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def test_messages(self) -> None:
        def program() -> None:
            pulumi.log.warn("careful")
            pulumi.log.debug("chatter")

        (message,) = run(program).messages
        assert (message.severity, message.text) == ("warning", "careful")

    def test_options_are_recorded(self) -> None:
        def program(opts: ResourceOptions) -> None:
            first = config_map("first", {"a": "b"}, opts)
            more = ResourceOptions(
                protect=True,
                retain_on_delete=True,
                delete_before_replace=True,
                depends_on=[first],
                ignore_changes=["data"],
                replace_on_changes=["metadata"],
                deleted_with=first,
            )
            config_map("second", {"name": first.metadata["name"]}, ResourceOptions.merge(opts, more))

        recording = in_kubernetes(program)
        first, second = named(recording, "first"), named(recording, "second")
        assert (second.protect, second.retain_on_delete, second.delete_before_replace) == (True, True, True)
        assert second.dependencies == (first.urn,)
        assert second.property_dependencies["data"] == (first.urn,)
        assert second.ignore_changes == ("data",)
        assert second.replace_on_changes == ("metadata",)
        assert second.deleted_with == first.urn
        assert not first.protect

    def test_values_see_the_inputs(self) -> None:
        seen: list[RecordedResource] = []

        class Watching(SeededValues):
            def create(self, resource: RecordedResource, provider: RecordedResource | None) -> CreateResult:
                seen.append(resource)
                assert provider is not None
                assert provider.urn == resource.provider
                return super().create(resource, provider)

        run(whole, values=Watching())
        assert all(resource.custom and not resource.type.startswith("pulumi:") for resource in seen)
        assert all(not resource.outputs for resource in seen)

    def test_outputs_of_a_component(self) -> None:
        outer = named(kept(whole), "outer")
        assert outer.outputs["name"].startswith("outer-secret-")


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


class TestCostsOfTheEngine:
    """What the SDK does for an engine alone is left out, and a recording is the same without it."""

    def test_the_recording_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        quick = run(whole)
        monkeypatch.setattr(pulumi_internals, "_INSTALLED", "another release")
        assert run(whole) == quick

    def test_it_is_for_the_release_that_is_installed(self) -> None:
        assert importlib.metadata.version("pulumi") == pulumi_internals.READ_RELEASE

    def test_no_stack_trace_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        taken: list[object] = []
        extract = traceback.extract_stack
        monkeypatch.setattr(traceback, "extract_stack", lambda *given: taken.append(given) or extract(*given))
        run(whole)
        assert taken == []

    def test_waiting_grows_with_the_number_of_outputs_and_not_with_its_square(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waited_for: list[int] = []
        wait = asyncio.wait

        async def counted(tasks: Any, **given: Any) -> Any:
            waited_for.append(len(tasks))
            return await wait(tasks, **given)

        monkeypatch.setattr(asyncio, "wait", counted)

        async def after(turns: int) -> str:
            for _ in range(turns):
                await asyncio.sleep(0)
            return "x"

        def one_by_one(length: int) -> None:
            for number in range(length):
                Output.from_input(after(number))

        looks = []
        for length in (20, 80):
            waited_for.clear()
            run(lambda length=length: one_by_one(length))
            looks.append(sum(waited_for))
        assert looks[1] < 6 * looks[0]

    def test_the_sdk_is_left_as_it_was(self) -> None:
        run(whole)
        with pytest.raises(SystemExit):
            run(lambda: sys.exit(3))
        own = pulumi_internals._OWN_TRACE, pulumi_internals._OWN_WAIT
        assert (resource._get_stack_trace, stack.wait_for_rpcs) == own
