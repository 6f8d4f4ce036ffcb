"""What power cuts and bad disks leave of the files of a Redis node, and which keys they still have."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

SECTOR = 512
"""Bytes that a disk writes or loses at once."""
Damage = Callable[[Path], None]
"""Damages the files of a node, below its volume, while it does not run."""


def commands(volume: Path) -> Path:
    """The last file of commands."""
    return max((volume / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[2]))


def base(volume: Path) -> Path:
    """The last base file."""
    return max((volume / "appendonlydir").glob("*.base.rdb"), key=lambda path: int(path.name.split(".")[2]))


def manifest(volume: Path) -> Path:
    return volume / "appendonlydir" / "appendonly.aof.manifest"


def nodes(volume: Path) -> Path:
    return volume / "nodes.conf"


def of(file: Callable[[Path], Path], change: Callable[[bytes], bytes]) -> Damage:
    """Damage to the content of one file."""

    def damage(volume: Path) -> None:
        path = file(volume)
        path.write_bytes(change(path.read_bytes()))

    return damage


def gone(file: Callable[[Path], Path]) -> Damage:
    return lambda volume: file(volume).unlink()


def emptied(_: bytes) -> bytes:
    return b""


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeroed(data: bytes) -> bytes:
    return bytes(len(data))


def second_half_zeroed(data: bytes) -> bytes:
    return halved(data) + bytes(len(data) - len(data) // 2)


def padded(data: bytes) -> bytes:
    return data + bytes(1024)


def without_last_line(data: bytes) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:-1])


def first_line(data: bytes) -> bytes:
    return data.splitlines(keepends=True)[0]


def page_lost(data: bytes) -> bytes:
    """A page of 4 KiB that was not written before later ones were."""
    middle = len(data) // 2
    return data[:middle] + bytes(min(4096, len(data) - middle)) + data[middle + 4096 :]


KEEPS_ALL: dict[str, Damage] = {
    "commands padded with NULs": of(commands, padded),
    "nodes.conf empty": of(nodes, emptied),
    "nodes.conf cut in half": of(nodes, halved),
    "nodes.conf of NULs": of(nodes, zeroed),
    "nodes.conf half of NULs": of(nodes, second_half_zeroed),
    "nodes.conf padded with NULs": of(nodes, padded),
    "nodes.conf without its last line": of(nodes, without_last_line),
    "nodes.conf without its last bytes": of(nodes, lambda data: data[:-3]),
    "nodes.conf of one line": of(nodes, first_line),
    "nodes.conf of another's text": of(nodes, lambda _: b"\x7fELF\x02\x01\nvars\n"),
    "nodes.conf gone": gone(nodes),
    "manifest empty": of(manifest, emptied),
    "manifest of NULs": of(manifest, zeroed),
    "manifest cut": of(manifest, lambda data: data[:-9]),
    "manifest of one line": of(manifest, first_line),
    "manifest gone": gone(manifest),
    "base padded with NULs": of(base, padded),
}
"""Damages that lose no key."""
LOSES_SOME: dict[str, Damage] = {
    "commands cut in half": of(commands, lambda data: halved(data).rstrip(b"\r\n")),
    "commands half of NULs": of(commands, second_half_zeroed),
    "commands with a hole": of(commands, page_lost),
    "commands of NULs": of(commands, zeroed),
    "commands empty": of(commands, emptied),
    "base cut in half": of(base, halved),
    "base of NULs": of(base, zeroed),
    "base empty": of(base, emptied),
    "base gone": gone(base),
}
"""Damages that lose keys for which there is no replica."""


def readable(volume: Path, prefix: str) -> set[str]:
    """The keys <prefix>:<number>:<number> that the files of a node still have, up to what is damaged in each.

    Read here without Redis: whole commands of the files of commands, and short texts of a base file that ends with its
    mark of the end (0xff) and eight bytes of a checksum: Redis loads such a file as a whole, or not at all.
    """
    keys = set()
    for file in (volume / "appendonlydir").glob("*.incr.aof"):
        keys |= {words[1] for words in whole_commands(file.read_bytes()) if words[0] == b"SET"}
    for file in (volume / "appendonlydir").glob("*.base.rdb"):
        data = file.read_bytes()
        if data[-9:-8] == b"\xff" and all(any(data[at : at + SECTOR]) for at in range(0, len(data), SECTOR)):
            keys |= set(re.findall(rb"%b:\d+:\d+" % prefix.encode(), data))
    return {key.decode() for key in keys if key.startswith(prefix.encode() + b":")}


def whole_commands(data: bytes) -> Iterator[list[bytes]]:
    """The words of each command in a file of commands, until the first that is not whole."""
    at = 0

    def number(mark: bytes) -> int:
        nonlocal at
        found = re.compile(rb"%b(\d+)\r\n" % re.escape(mark)).match(data, at)
        if not found:
            raise ValueError
        at = found.end()
        return int(found[1])

    try:
        while at < len(data):
            words = []
            for _ in range(number(b"*")):
                size = number(b"$")
                words.append(data[at : at + size])
                at += size + 2
                if data[at - 2 : at] != b"\r\n":
                    return
            yield words
    except ValueError:
        return
