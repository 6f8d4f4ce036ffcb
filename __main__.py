"""Flatline: read the settings of the stack, build the installation, export what clients pin."""

import pulumi

from cli import under_engine
from components.flatline import Flatline, FlatlineArgs
from components.targets import target_of
from config import loading
from config.installation import stack_label

with under_engine.mistakes_as_lines():
    settings = loading.of_stack()
    under_engine.check_cluster(settings.target.context)
    under_engine.check_secrets()
    stack = pulumi.get_stack()
    label = stack_label(pulumi.get_project(), stack)
    args = FlatlineArgs(settings=settings, stack=label, stack_name=stack)
    flatline = Flatline("flatline", args, target_of(settings).providers())
for name, value in flatline.outputs.items():
    pulumi.export(name, value)
under_engine.export_readme()
