"""The secrets of an engine-less stack, as values that another stack can be given, and its certificate."""

import runpy
from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_random as random
import pulumi_tls as tls

from cli.recording import PROGRAM
from cli.stacks import LoadedStack, display_path
from cli.terminal import Terminal
from components.secrets import Secrets, SecretsArgs
from config.schema.secrets import SECRETS, Secret
from config.settings import PROJECT
from errors import FlatlineError
from render.model import CreateResult, RecordedResource, Recording, RecordingError
from render.recorder import record
from render.state import State
from render.values import StateValues

_NEVER_BROUGHT = {"ec-p256", "service-account"}
_SERVERS = {"redis", "cdn0-gate", "object-store"}


def moves(secret: Secret) -> bool:
    """True if a secret moves together with the accounts and groups.

    Those of the servers of one installation (Redis' password, the key pairs of CDN0's bucket) stay, because the other
    installation has servers of its own; documents that nothing reads cannot be brought.
    """
    return secret.kind not in _NEVER_BROUGHT and not _SERVERS & {reader.service for reader in secret.readers}


@dataclass(frozen=True)
class KeyMaterial:
    """`values`: name of a secret → text in the encoding of its first reader. The others are PEM texts."""

    values: Mapping[str, str] = field(repr=False)
    certificate: str = field(repr=False)
    private_key: str = field(repr=False)
    authority: str = field(repr=False)


def of(loaded: LoadedStack, domain: str, terminal: Terminal) -> KeyMaterial:
    """The key material in a stack's state and file, with a certificate of its authority for a domain.

    The state stays as it is: nothing is made but, for another domain, that certificate. Raises FlatlineError.
    """
    stack = loaded.stack
    if not stack.state.exists():
        raise FlatlineError(
            f"stack {stack.name} has no secrets in {display_path(stack.state)}",
            f"If it has never been brought up: `./flatline up --stack {stack.name}`",
            "If Pulumi keeps it, its secrets cannot be read by this command: docs/migration.md tells what can be done.",
        )
    state = State(
        stack.state, project=PROJECT, stack=stack.name, passphrase=loaded.passphrase, salt=loaded.config.encryption_salt
    )
    with state, terminal.step(f"Reading the secrets of stack {stack.name}"):
        recording = record(
            lambda: runpy.run_path(str(PROGRAM), run_name="__main__"),
            project=PROJECT,
            stack=stack.name,
            config={**loaded.config.config, f"{PROJECT}:domain": domain},
            secret_keys=loaded.config.secret_keys,
            values=_Kept(state),
        )
        values = _values(loaded, recording)
    (certificate,) = (each.inputs for each in recording.resources if each.inputs.get("type") == "kubernetes.io/tls")
    texts = certificate["stringData"]
    return KeyMaterial(values, texts["tls.crt"], texts["tls.key"], recording.outputs["caCertificates"])


def _values(loaded: LoadedStack, recording: Recording) -> dict[str, str]:
    """The values of all secrets that move, as the program's own component makes them from the recorded seeds."""

    def program() -> None:
        providers = {"random": random.Provider("random"), "tls": tls.Provider("tls")}
        secrets = Secrets("secrets", _arguments(loaded), pulumi.ResourceOptions(providers=providers))
        for secret in filter(moves, SECRETS):
            reader = secret.readers[0]
            pulumi.export(secret.name, secrets.of(reader.service)[reader.path])

    again = record(program, project=PROJECT, stack=loaded.stack.name, config={}, values=_Replay(recording))
    return {name: str(value) for name, value in again.outputs.items()}


def _arguments(loaded: LoadedStack) -> SecretsArgs:
    settings = loaded.settings.secrets
    return SecretsArgs(
        epochs={name: setting.epochs for name, setting in settings.items()},
        provided={name: setting.value.get_secret_value() for name, setting in settings.items() if setting.value},
    )


class _Kept:
    """The values of a state; what it should have and has not is an error instead of something new."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._values = StateValues(state)

    def create(self, resource: RecordedResource, provider: RecordedResource | None) -> CreateResult:
        """Implements `render.model.Values`."""
        if resource.package in {"random", "tls"} and not self._state.has(resource.urn):
            raise RecordingError(
                f"{resource.type} {resource.name!r} has never been made: bring the stack up before its secrets move"
            )
        return self._values.create(resource, provider)


class _Replay:
    """The providers' answers in a recording, by type and name; nothing else."""

    def __init__(self, recording: Recording) -> None:
        self._known = {(each.type, each.name): each for each in recording.resources}

    def create(self, resource: RecordedResource, provider: RecordedResource | None) -> CreateResult:
        """Implements `render.model.Values`."""
        known = self._known[resource.type, resource.name]
        return CreateResult(known.id or "", known.outputs, {str(path[0]) for path in known.secret_output_paths})
