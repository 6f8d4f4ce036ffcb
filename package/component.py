"""The component `Flatline`: a whole installation, for Pulumi programs in any language."""

import copy
import json
import re
from collections.abc import Mapping
from functools import reduce
from typing import Any, TypedDict, cast

import pulumi

from cli import under_engine
from components import flatline
from components.capabilities import ServedCertificate
from components.targets import target_of
from config.installation import stack_label
from config.loading import SettingsError, load
from config.settings import PROJECT, Settings

Path = tuple[str, ...]
CERTIFICATE = ("certificates", "provided")


class FlatlineArgs(dict[str, Any]):
    """The settings of an installation, by their names in docs/configuration.md without `flatline:`.

    The SDK's analyzer finds no keys here: `schema.Arguments` makes them of the settings.
    """


class Urls(TypedDict):
    """Where clients find each service, without a final slash."""

    whisper: str
    """For accounts, keys and messages."""

    storage: str
    """For groups and their avatars."""

    cdn0: str
    """For avatars and stickers."""

    cdn3: str
    """For attachments of messages."""


class Flatline(flatline.Flatline):
    """A Signal-compatible messaging server on Kubernetes. A stack has room for one."""

    urls: pulumi.Output[Urls]
    """The URLs that clients are built with."""

    ca_certificates: pulumi.Output[str]
    """The certificate authorities that clients trust, as one PEM text; two while an authority is being replaced."""

    ca_certificates_der: pulumi.Output[list[str]]
    """The same authorities, each as base64 of its DER form."""

    server_public_params: pulumi.Output[str]
    """ZKGROUP_SERVER_PUBLIC_PARAMS of clients, in base64."""

    generic_server_public_params: pulumi.Output[str]
    """GENERIC_SERVER_PUBLIC_PARAMS of clients, in base64."""

    backup_server_public_params: pulumi.Output[str]
    """BACKUP_SERVER_PUBLIC_PARAMS of clients, in base64."""

    unidentified_sender_trust_root: pulumi.Output[str]
    """UNIDENTIFIED_SENDER_TRUST_ROOT of clients: a public key of 33 bytes, in base64."""

    noise_public_key: pulumi.Output[str]
    """The public key of the noise tunnel: 33 bytes, in base64."""

    served_certificate: pulumi.Output[str]
    """The certificate chain that Traefik serves, as a PEM text: leaf first."""

    version: pulumi.Output[str]
    """The version of Flatline."""

    def __init__(self, name: str, args: FlatlineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Raises SettingsError, IncompatibleSchemaError (components/cloud) and FlatlineError."""
        wanted = flatline_args(args)
        given = opts.providers if opts is not None and isinstance(opts.providers, Mapping) else {}
        if "kubernetes" not in given:
            under_engine.check_cluster(wanted.settings.target.context)
        made = target_of(wanted.settings).providers(given, prefix=f"{name}-")
        super().__init__(name, wanted, pulumi.ResourceOptions.merge(opts, made))
        for output, value in self.outputs.items():
            setattr(self, re.sub("([A-Z])", r"_\1", output).lower(), pulumi.Output.from_input(value))


def flatline_args(args: Mapping[str, Any]) -> flatline.FlatlineArgs:
    """The arguments of a program as those of the composition. Raises SettingsError, with the keys of the arguments.

    What an Output has is checked, with everything else, once it is known.
    """
    outputs: dict[Path, pulumi.Output[Any]] = {}
    plain = _plain(args, (), outputs)
    certificate = any(path[:2] == CERTIFICATE for path in outputs)
    without = {**plain, "certificates": {**plain["certificates"], "provided": None}} if certificate else plain
    settings = _load(without)
    checked = pulumi.Output.all(*outputs.values()).apply(
        lambda values: _checked(plain, dict(zip(outputs, values, strict=True)))
    )

    def value(*path: str) -> pulumi.Output[str]:
        return checked.apply(lambda found: cast(str, reduce(lambda part, key: part[key], path, found)))

    return flatline.FlatlineArgs(
        settings=settings,
        stack=stack_label(pulumi.get_project(), pulumi.get_stack()),
        stack_name=pulumi.get_stack(),
        secret_values={path[1]: pulumi.Output.secret(value(*path)) for path in outputs if path[0] == "secrets"},
        certificate=ServedCertificate(
            chain=pulumi.Output.unsecret(value(*CERTIFICATE, "certificate")),
            private_key=pulumi.Output.secret(value(*CERTIFICATE, "privateKey")),
            authority=pulumi.Output.unsecret(value(*CERTIFICATE, "authority")),
        )
        if certificate
        else None,
    )


def may_be_output(path: Path) -> bool:
    """True if a program may pass an argument as an Output: secrets, and a certificate of its own."""
    return (path[:1] == ("secrets",) and path[2:] == ("value",)) or (path[:2] == CERTIFICATE and len(path) == 3)


def _plain(value: Any, path: Path, outputs: dict[Path, pulumi.Output[Any]]) -> Any:
    """A copy without Outputs, which go to `outputs`, and with whole numbers as such. The engine knows floats alone."""
    if isinstance(value, Mapping):
        found = {key: _plain(each, (*path, key), outputs) for key, each in value.items()}
        return {key: each for key, each in found.items() if (*path, key) not in outputs}
    if isinstance(value, list):
        return [_plain(each, (*path, str(at)), outputs) for at, each in enumerate(value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | int | float):
        return value
    if not may_be_output(path):
        raise SettingsError([f"{'.'.join(path)}: is an Output; write a value that is known before the update"])
    outputs[path] = value
    return None


def _load(plain: Mapping[str, Any]) -> Settings:
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in plain.items()}
    try:
        return load({f"{PROJECT}:{key}": text for key, text in texts.items()})
    except SettingsError as error:
        raise SettingsError([problem.removeprefix(f"{PROJECT}:") for problem in error.problems]) from None


def _checked(plain: Mapping[str, Any], values: Mapping[Path, str]) -> dict[str, Any]:
    """All arguments with the values of Outputs, once they are known. Raises SettingsError."""
    whole = cast(dict[str, Any], copy.deepcopy(plain))
    for path, value in values.items():
        reduce(lambda part, key: part[key], path[:-1], whole)[path[-1]] = value
    _load(whole)
    return whole
