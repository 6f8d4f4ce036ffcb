"""What the process of all commands does before the first of them: it records stack dev.

The SDKs then know the types of their classes, and placeholders of keys are made, which each command would do again.
"""

import gc
import io
from contextlib import redirect_stderr

from cli import arguments, stacks
from cli.recording import record_with_placeholders
from cli.terminal import Terminal

arguments.parser()
with redirect_stderr(io.StringIO()):
    record_with_placeholders(stacks.read("dev"), Terminal())
gc.collect()
gc.freeze()  # so that a fork copies none of it when it looks for garbage
