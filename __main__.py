"""Flatline: read the settings of the stack, build the installation, export what clients pin."""

import pulumi

from components.backend import providers
from components.flatline import Flatline, FlatlineArgs
from config.settings import Settings

settings = Settings.of_stack()
flatline = Flatline("flatline", FlatlineArgs(settings=settings), providers(settings))
for name, value in flatline.outputs.items():
    pulumi.export(name, value)
