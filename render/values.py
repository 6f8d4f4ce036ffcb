"""The providers' part without providers: real values that are kept between runs, or seeded ones for tests.

Kubernetes objects echo their inputs; ``random`` and ``tls`` resources get real values. Everything else is
refused by name, so an engine-less run that keeps its values never guesses what a cloud would answer. Seeded
values, which are for showing alone, have stand-ins for it (``render.cloud_provider``).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from render import cloud_provider, kubernetes_provider, random_provider, tls_provider
from render.entropy import Entropy, SeededEntropy, SystemEntropy
from render.generated import Generated
from render.recorder import Created, Recorded, RecordingError
from render.state import State
from render.tls_provider import Clock

FIXED_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When seeded certificates begin."""


@dataclass(frozen=True)
class _Generator:
    """How one type of resource is made, and which inputs may change without making it anew."""

    generate: Callable[[Mapping[str, Any], Entropy, Clock], Generated]
    updated_in_place: frozenset[str] = frozenset()


def _without_clock(generate: Callable[[Mapping[str, Any], Entropy], Generated]) -> _Generator:
    return _Generator(lambda inputs, entropy, now: generate(inputs, entropy))


_RENEWAL: Final = frozenset({"earlyRenewalHours"})
_GENERATORS: Final[Mapping[str, _Generator]] = {
    "random:index/randomId:RandomId": _without_clock(random_provider.identifier),
    "random:index/randomInteger:RandomInteger": _without_clock(random_provider.integer),
    "random:index/randomPassword:RandomPassword": _without_clock(random_provider.password),
    "random:index/randomString:RandomString": _without_clock(random_provider.string),
    "random:index/randomUuid:RandomUuid": _without_clock(random_provider.universal_id),
    "tls:index/certRequest:CertRequest": _without_clock(tls_provider.certificate_request),
    "tls:index/locallySignedCert:LocallySignedCert": _Generator(tls_provider.locally_signed, _RENEWAL),
    "tls:index/privateKey:PrivateKey": _without_clock(tls_provider.private_key),
    "tls:index/selfSignedCert:SelfSignedCert": _Generator(tls_provider.self_signed, _RENEWAL),
}
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

    def _generate(self, resource: Recorded, generator: _Generator) -> Generated:
        label = f"{resource.urn}\0{_replacing_inputs(resource, generator)}"
        entropy = SeededEntropy(hmac.digest(self._key, label.encode(), hashlib.sha256))
        return generator.generate(resource.inputs, entropy, lambda: self._start)


class StateValues:
    """Real values, made once and kept in ``state`` (which the caller saves).

    A resource is made anew exactly when an input changes that the real provider would replace it for: any
    input of a random or tls resource but ``earlyRenewalHours``. So a changed keeper, length or subject makes
    one resource anew, and those whose inputs it feeds; a protected one is refused, as the engine would.
    Entries of resources that the program no longer has are kept: a seed that comes back must have its old
    value.
    """

    def __init__(self, state: State, now: Clock = lambda: datetime.now(UTC)) -> None:
        self._state = state
        self._now = now

    def outputs(self, resource: Recorded, provider: Recorded | None) -> Created:
        """See ``render.recorder.Values``."""
        return _outputs(resource, self._state.key("names"), self._generate)

    def _generate(self, resource: Recorded, generator: _Generator) -> Generated:
        inputs = _replacing_inputs(resource, generator).encode()
        digest = hmac.digest(self._state.key("inputs"), inputs, hashlib.sha256).hex()
        kept = self._state.get(resource.urn, digest)
        if kept is None:
            if resource.protect and self._state.knows(resource.urn):
                raise ValueError(
                    "is protected, and a changed input would make it anew; take the change back, or raise its epoch, "
                    "which makes a new one beside it"
                )
            kept = generator.generate(resource.inputs, SystemEntropy(), self._now)
            self._state.put(resource.urn, resource.type, digest, kept)
        return kept


def _replacing_inputs(resource: Recorded, generator: _Generator) -> str:
    kept = generator.updated_in_place | frozenset(resource.ignore_changes)
    inputs = {key: v for key, v in resource.inputs.items() if key not in kept}
    return json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _outputs(resource: Recorded, name_key: bytes, generate: Callable[[Recorded, _Generator], Generated]) -> Created:
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
