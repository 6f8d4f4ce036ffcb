"""As much memory as the Java service takes at its worst, when a test asks for it.

A heap grows to its -Xmx; what a JVM takes besides (code, stacks, direct buffers) was measured with the real services
under load. A test writes a factor into ASKED: 1 is that worst case.
"""

import mmap
import threading
import time
from pathlib import Path

ASKED, TAKEN = Path("/tmp/memory-asked"), Path("/tmp/memory-taken")
MIB = 1 << 20
STEP = 8 * MIB
PAGE = mmap.PAGESIZE


def start(heap: int, rest: int) -> None:
    """Watches for the request, in the background. Both in MiB."""
    threading.Thread(target=_watch, args=((heap + rest) * MIB,), daemon=True).start()


def _watch(worst: int) -> None:
    held: list[mmap.mmap] = []
    while True:
        time.sleep(0.2)
        asked = ASKED.read_text() if ASKED.exists() else ""
        if asked.endswith("\n"):  # a file that is there may still be empty
            wanted = int(worst * float(asked))
            while _resident() < wanted:
                part = mmap.mmap(-1, STEP)
                for place in range(0, STEP, PAGE):
                    part[place] = 1
                held.append(part)
            ASKED.unlink()
            TAKEN.write_text(str(_resident() // MIB))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
