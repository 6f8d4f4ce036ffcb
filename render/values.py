"""The providers' part without providers: real values that are kept between runs, or seeded ones for tests.

Kubernetes objects echo their inputs; ``random`` and ``tls`` resources get real values. Everything else is
refused by name, so an engine-less run that keeps its values never guesses what a cloud would answer. Seeded
values, which are for showing alone, have stand-ins for it (``render.cloud_provider``).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from render import cloud_provider, kubernetes_provider, random_provider, tls_provider
from render.checkpoint import Carried
from render.entropy import SeededEntropy, SystemEntropy
from render.generator import Clock, GeneratedResource, Generator
from render.recorder import Created, Recorded, RecordingError
from render.state import State

FIXED_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When seeded certificates begin."""


_GENERATORS: Final[Mapping[str, Generator]] = {**random_provider.TYPES, **tls_provider.TYPES}
_REFUSED: Final = {
    "random:index/randomBytes:RandomBytes": (
        "keeps its value as its ID, in plain text in every state file; use a RandomPassword and derive bytes from it"
    ),
}


class SeededValues:
    """Values that are a pure function of ``seed``, the URN and the inputs. For tests and for showing; never deployed.

    Certificates begin at ``start`` (2026-01-01 unless told). Cloud resources get what their inputs and their
    provider's configuration tell, and texts that say what they stand for in place of the rest.
    """

    def __init__(self, seed: str | bytes = b"", start: datetime = FIXED_TIME) -> None:
        text = seed.encode() if isinstance(seed, str) else seed
        self._key = hmac.digest(b"flatline seeded values", text, hashlib.sha256)
        self._start = start

    def outputs(self, resource: Recorded, provider: Recorded | None) -> Created:
        """See ``render.recorder.Values``."""
        if resource.type in cloud_provider.TYPES:
            return cloud_provider.created(resource, provider)
        created = _outputs(resource, self._key, self._generate)
        return created._replace(later=cloud_provider.after_creation(resource))

    def _generate(self, resource: Recorded, generator: Generator) -> GeneratedResource:
        label = f"{resource.urn}\0{_replacing_inputs(resource.inputs, resource.ignore_changes)}"
        entropy = SeededEntropy(hmac.digest(self._key, label.encode(), hashlib.sha256))
        return generator.generate(resource.inputs, entropy, lambda: self._start)


class StateValues:
    """Real values, made once and kept in ``state`` (which the caller saves).

    A changed input replaces a random or tls resource, as the providers do: a changed keeper, length or subject
    generates it again, and the resources whose inputs it feeds. A protected one is refused, as the engine would.
    Entries of resources that the program no longer has are kept: a seed that comes back must have its old
    value. What is ``carried`` from an engine comes first, as long as its inputs are those of the program.
    """

    def __init__(
        self,
        state: State,
        now: Clock = lambda: datetime.now(UTC),
        carried: Mapping[str, Carried] | None = None,
    ) -> None:
        self._state = state
        self._now = now
        self._carried = dict(carried or {})
        self._taken: set[str] = set()
        self.made: list[str] = []
        """URNs of what was not there before, in the order of its making."""

    def outputs(self, resource: Recorded, provider: Recorded | None) -> Created:
        """See ``render.recorder.Values``."""
        return _outputs(resource, self._state.key("names"), self._generate)

    def keep_the_rest(self) -> None:
        """Keeps what was carried but not asked for: the program may want it again."""
        for urn in sorted(self._carried.keys() - self._taken):
            each = self._carried[urn]
            if each.type in _GENERATORS:
                self._take(each, _replacing_inputs(each.inputs, each.ignore_changes))

    def _generate(self, resource: Recorded, generator: Generator) -> GeneratedResource:
        inputs = _replacing_inputs(resource.inputs, resource.ignore_changes)
        brought = self._carried.get(resource.urn)
        if brought and _replacing_inputs(brought.inputs, resource.ignore_changes) == inputs:
            self._take(brought, inputs)
        digest = self._digest(inputs)
        kept = self._state.get(resource.urn, digest)
        if kept is None:
            if resource.protect and (brought or self._state.knows(resource.urn)):
                raise ValueError(
                    "is protected, and a changed input would make it anew; take the change back, or raise its epoch, "
                    "which makes a new one beside it"
                )
            self._taken.add(resource.urn)
            kept = generator.generate(resource.inputs, SystemEntropy(), self._now)
            self._state.put(resource.urn, resource.type, digest, kept)
            self.made.append(resource.urn)
        return kept

    def _take(self, brought: Carried, inputs: str) -> None:
        """Puts a carried value into the state, unless it is there already."""
        self._taken.add(brought.urn)
        digest, wanted = self._digest(inputs), brought.generated
        kept = self._state.get(brought.urn, digest)
        if kept is None or kept.id != wanted.id or _beside(kept, brought.inputs) != wanted.outputs:
            self._state.put(brought.urn, brought.type, digest, wanted)

    def _digest(self, inputs: str) -> str:
        return hmac.digest(self._state.key("inputs"), inputs.encode(), hashlib.sha256).hex()


class CarryingValues(StateValues):
    """The values of a state for a stack that has moved to a cloud, whose own resources have stand-ins."""

    def outputs(self, resource: Recorded, provider: Recorded | None) -> Created:
        """See ``render.recorder.Values``."""
        if resource.type in cloud_provider.TYPES:
            return cloud_provider.created(resource, provider)
        return super().outputs(resource, provider)._replace(later=cloud_provider.after_creation(resource))


def _beside(generated: GeneratedResource, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a provider keeps of a resource beside its inputs."""
    return {key: v for key, v in {**generated.defaults, **generated.outputs}.items() if key not in inputs}


def _replacing_inputs(inputs: Mapping[str, Any], ignore_changes: Collection[str]) -> str:
    """The inputs that replace a resource when they change, as text."""
    replacing = {key: value for key, value in inputs.items() if key not in ignore_changes}
    return json.dumps(replacing, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _outputs(
    resource: Recorded, name_key: bytes, generate: Callable[[Recorded, Generator], GeneratedResource]
) -> Created:
    what = f"{resource.type} {resource.name!r}"
    try:
        if resource.package == "kubernetes":
            return kubernetes_provider.created(resource, name_key)
        if resource.type in _REFUSED:
            raise ValueError(_REFUSED[resource.type])
        generator = _GENERATORS.get(resource.type)
        if generator is None:
            raise ValueError("only the Pulumi engine and its provider can make this type of resource")
        generated = generate(resource, generator)
    except ValueError as problem:
        raise RecordingError(f"{what}: {problem}") from None
    outputs = {**generated.defaults, **resource.inputs, **generated.outputs}
    return Created(generated.id, outputs, generated.secrets)
