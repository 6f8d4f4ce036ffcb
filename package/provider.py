"""Serves the component to the engine, as a provider whose schema has the settings as the component's arguments."""

import json
import sys
from typing import Any

import pulumi
from pulumi.errors import InputPropertiesError, InputPropertyErrorDetails
from pulumi.provider import ConstructResult
from pulumi.provider import main as serve
from pulumi.provider.experimental.analyzer import ComponentDefinition
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.provider.server import ComponentInitError

from config.loading import SettingsError
from config.settings import PROJECT
from config.version import VERSION
from errors import FlatlineError
from package.component import Flatline
from package.schema import Arguments


class FlatlineProvider(ComponentProvider):
    """The SDK's provider of components, with our arguments, and without two things that it does (decision 20)."""

    def __init__(self) -> None:
        super().__init__([Flatline], PROJECT, version=VERSION)
        arguments, schema = Arguments(), json.loads(self.schema or "")
        (component,) = schema["resources"].values()
        component["inputProperties"] = arguments.properties
        schema["types"] = {**arguments.types, **schema["types"]}
        self.schema = json.dumps(schema)

    def map_inputs(self, inputs: pulumi.Inputs, component_def: ComponentDefinition) -> pulumi.Inputs:
        """The arguments as they are, since their names are the schema's.

        The SDK drops keys that it does not know and blocks that are Outputs; here the settings find them.
        """
        return inputs

    def construct(
        self, name: str, resource_type: str, inputs: pulumi.Inputs, options: pulumi.ResourceOptions | None = None
    ) -> ConstructResult:
        """The component. A mistake of its user's is an error of the arguments; the SDK would add a stack trace."""
        try:
            return super().construct(name, resource_type, inputs, options)
        except ComponentInitError as error:
            if isinstance(error.inner, SettingsError):
                raise _of_arguments(error.inner.problems) from None
            if isinstance(error.inner, FlatlineError):
                raise InputPropertiesError("\n".join([error.inner.problem, *error.inner.remedies])) from None
            raise


def _of_arguments(problems: list[str]) -> InputPropertiesError:
    """The lines of a SettingsError, by argument; but the engine shows an argument's value, so not for secrets."""
    hidden = [problem for problem in problems if problem.startswith(("secrets", "certificates"))]
    parts = [problem.partition(" ") for problem in problems if problem not in hidden]
    details = [InputPropertyErrorDetails(property_path=key.rstrip(":"), reason=reason) for key, _, reason in parts]
    return InputPropertiesError("\n".join(hidden), details)


def main(arguments: list[Any] | None = None) -> None:
    """Serves the engine whose address is the first argument of this process."""
    serve(FlatlineProvider(), sys.argv[1:] if arguments is None else arguments)
