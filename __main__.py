"""Flatline: read the settings of the stack, build the installation, export what clients pin."""

import pulumi

from cli import under_engine
from components.backend import providers
from components.flatline import Flatline, FlatlineArgs
from config.settings import Settings

with under_engine.mistakes_as_lines():
    settings = Settings.of_stack()
    under_engine.check_cluster(settings.target.context)
    under_engine.check_secrets()
    flatline = Flatline("flatline", FlatlineArgs(settings=settings), providers(settings))
for name, value in flatline.outputs.items():
    pulumi.export(name, value)
