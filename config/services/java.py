"""Memory of the Java services: the figures that were measured, and the sizes that follow from them."""

from dataclasses import dataclass

USED_SHARE = 0.9
"""Of the memory limit: what the heap at its largest and everything outside of it may take together."""

LIMIT_STEP, REQUEST_STEP = 128, 16
"""Sizes are rounded up to multiples of these, in MiB."""


@dataclass(frozen=True, kw_only=True)
class Jvm:
    """A Java process; all figures are in MiB.

    `heap` is the most that its heap may take. The serial collector, which Java chooses below 1792 MiB, lets the heap
    grow to it before the first full collection, so it is reached in ordinary use. `rest` is what the process takes
    outside of the heap: code, threads, buffers, native libraries. `idle` is the whole process with little to do.
    """

    heap: int
    rest: int
    idle: int

    @property
    def limit(self) -> int:
        """The memory limit of the container, in MiB."""
        return _rounded((self.heap + self.rest) / USED_SHARE, LIMIT_STEP)

    @property
    def request(self) -> int:
        """The memory request of the container, in MiB."""
        return _rounded(self.idle, REQUEST_STEP)

    @property
    def busy_request(self) -> int:
        """The memory request of one of many, whose number follows their load: what it takes at most, in MiB."""
        return _rounded(self.heap + self.rest, REQUEST_STEP)

    @property
    def options(self) -> tuple[str, ...]:
        """Arguments of `java` that make it so."""
        return (f"-Xmx{self.heap}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")


def _rounded(mebibytes: float, step: int) -> int:
    return -int(-mebibytes // step) * step


# Measured with the real services and the rendered files, each in a memory cgroup with its limit.
WHISPER = Jvm(heap=920, rest=385, idle=544)
"""1304 in all after 22,266 messages at 185 a second over 200 WebSockets; 159 of the heap outlive a full collection.
With a heap of 1152 in 1536 it was killed within minutes."""

PERSISTER = Jvm(heap=512, rest=260, idle=407)

CLEAN_UP = PERSISTER
"""The same program with less to do: all six commands ran with this heap, and how much they took was not looked at."""

STORAGE = Jvm(heap=384, rest=125, idle=173)

REGISTRATION = Jvm(heap=256, rest=385, idle=224)
"""Not measured. Outside of the heap it is taken to need as much as Whisper, the most that was measured, which has the
same kind of libraries and more of them; idle, somewhat more than Storage."""
