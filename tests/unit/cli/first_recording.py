"""What the process of all commands does before the first of them: it records stack dev.

The SDKs then know the types of their classes, and placeholders of keys are made, which each command would do again.
"""

import io
from contextlib import redirect_stderr

from cli import arguments, stacks
from cli.recording import record_with_placeholders
from cli.terminal import Terminal
from tests import forks

arguments.parser()
with redirect_stderr(io.StringIO()):
    record_with_placeholders(stacks.read("dev"), Terminal())
forks.keep_memory()
