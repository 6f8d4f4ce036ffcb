"""The assumptions of the model: habits of users, and rates of programs.

Each number is a field with its unit, bounds and source. The options of `./flatline capacity`, the assumptions that it
prints and the validation all come from these fields. Standard library only, because `--help` needs the options.
"""

from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final

DAY: Final = 86_400
KIB: Final = 1024
MIB: Final = 1024**2
GIB: Final = 1024**3
MOST_USERS: Final = 10**10
"""More than the world's population. The search for the number of users at which a limit begins ends here."""


class WorkloadError(ValueError):
    """A number is out of its bounds. The text names the number and its bounds."""


@dataclass(frozen=True, kw_only=True)
class About:
    """The meaning of a number. `low` and `high` are inclusive; `option` says that `./flatline capacity` accepts it."""

    meaning: str
    unit: str
    low: float
    high: float
    source: str
    option: bool

    @property
    def range(self) -> str:
        """The bounds as text."""
        return f"{display(self.low)} to {display(self.high)}"


def about(entry: Field[Any]) -> About:
    """The meaning of a field of `Workload`."""
    meaning = entry.metadata["about"]
    assert isinstance(meaning, About)
    return meaning


def option(entry: Field[Any]) -> str:
    """The command's option for a field."""
    return "--" + entry.name.replace("_", "-")


def required(entry: Field[Any]) -> bool:
    """True if a field has no default."""
    return entry.default is MISSING


def default(entry: Field[Any]) -> float | None:
    """The default of a field; None if it is required."""
    return None if entry.default is MISSING else float(entry.default)


def display(value: float) -> str:
    """A number with thousands separators, and without an exponent if it is whole."""
    return f"{int(value):,}" if value == int(value) else f"{value:,.10g}"


def _number(
    meaning: str, unit: str, source: str, low: float, high: float, *, default: Any = MISSING, option: bool = False
) -> Any:
    metadata = {"about": About(meaning=meaning, unit=unit, low=low, high=high, source=source, option=option)}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def _option(meaning: str, unit: str, source: str, low: float, high: float, *, default: Any = MISSING) -> Any:
    return _number(meaning, unit, source, low, high, default=default, option=True)


def _fixed(default: float, meaning: str, unit: str, source: str, *, low: float = 0, high: float = 10**9) -> Any:
    return _number(meaning, unit, source, low, high, default=default)


_HABIT = "a guess; measure your own"
_CLIENT = "what Signal's clients do"
_CODE = "read in the service's code"
_SIZED = "computed from the format"
_BENCH = "a cautious guess; measure your own"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The use of an installation. Raises WorkloadError for a number out of its bounds."""

    users: int = _option("registered users", "users", "as typed", 1, MOST_USERS)
    messages_per_day: float = _option("messages that a user sends in a day", "messages/user/day", "as typed", 0, 10_000)

    devices: float = _option("devices per user", "devices", _HABIT, 1, 6, default=1.2)
    active: float = _option("share of users that are active in a day", "share", _HABIT, 0.001, 1, default=0.6)
    connected: float = _option(
        "share of the active devices that hold a WebSocket at the busiest time",
        "share",
        "high, because without push credentials clients keep their connection",
        0.001,
        1,
        default=0.7,
    )
    offline: float = _option(
        "share of deliveries that wait until the persister moves them to DynamoDB", "share", _HABIT, 0, 1, default=0.3
    )
    peak: float = _option("the busiest minute divided by the mean of the day", "times", _HABIT, 1, 100, default=3.0)
    group_messages: float = _option("share of the messages that go to a group", "share", _HABIT, 0, 1, default=0.3)
    group_size: float = _option("members of a group", "users", _HABIT, 2, 1001, default=10.0)
    groups: float = _option("groups that a user is in", "groups", _HABIT, 0, 1000, default=3.0)
    group_updates: float = _option(
        "changes of a group in a day (members, title, avatar)", "changes/group/day", _HABIT, 0, 1000, default=0.1
    )
    attachments: float = _option("share of the messages with an attachment", "share", _HABIT, 0, 1, default=0.05)
    attachment_kib: float = _option("mean size of an attachment", "KiB", _HABIT, 1, 10**8, default=500.0)
    avatar_kib: float = _option("mean size of an avatar", "KiB", _HABIT, 1, 10_240, default=100.0)
    calls: float = _option(
        "calls to one other person that a user begins in a day", "calls/user/day", _HABIT, 0, 1000, default=0.3
    )
    call_minutes: float = _option("mean length of such a call", "minutes", _HABIT, 0.1, 1440, default=8.0)
    video: float = _option("share of calls with video", "share", _HABIT, 0, 1, default=0.5)
    relayed: float = _option(
        "share of calls that the TURN server relays (flatline:calls.turn)", "share", _HABIT, 0, 1, default=0.2
    )
    call_members: float = _option(
        "devices in a group call (flatline:calls.groups)", "devices", _HABIT, 2, 1000, default=5.0
    )

    envelope_bytes: float = _fixed(
        850, "an envelope: padded text, sealed sender, certificate", "bytes", _SIZED, low=1, high=256 * KIB
    )
    receipts: float = _fixed(2, "receipts from each recipient: delivered, read", "for a message", _CLIENT)
    typing: float = _fixed(1, "typing indicators, which are never persisted", "for a message", _CLIENT)
    fetched: float = _fixed(0.8, "share of attachments that a device downloads", "share", _HABIT, high=1)
    abandoned: float = _fixed(
        0.05, "share of persisted messages that nobody fetches before they expire", "share", _HABIT, high=1
    )
    offline_days: float = _fixed(0.5, "time until a device fetches a persisted message", "days", _HABIT)
    reconnects: float = _fixed(8, "times that a device connects in a day", "connections/device/day", _HABIT, low=0.1)
    api_requests: float = _fixed(
        60,
        "requests of a device besides messages (keys, profiles, credentials, keep-alives)",
        "requests/device/day",
        _HABIT,
    )
    sessions: float = _fixed(
        0.5, "pre-key bundles that are fetched for each active user in a day", "bundles/user/day", _HABIT
    )
    registrations: float = _fixed(0.002, "registrations in a day, for each user", "share/day", _HABIT)
    links: float = _fixed(0.001, "devices linked in a day, for each user", "share/day", _HABIT)
    deletions: float = _fixed(0.0005, "accounts deleted in a day, for each user", "share/day", _HABIT)
    unsealed: float = _fixed(0.1, "share of messages that show their sender to the server", "share", _HABIT, high=1)
    usernames: float = _fixed(0.3, "share of users with a username and a link to it", "share", _HABIT, high=1)
    avatars: float = _fixed(0.5, "share of users, and of groups, with an avatar", "share", _HABIT, high=1)
    avatar_changes: float = _fixed(0.01, "avatars changed in a day, for each user", "share/day", _HABIT)
    profile_reads: float = _fixed(20, "profiles that an active user fetches in a day", "profiles/user/day", _HABIT)
    cache_misses: float = _fixed(
        0.2, "share of account and profile reads that Redis does not answer", "share", _HABIT, high=1
    )
    versions: float = _fixed(1.3, "profile versions kept for a user", "rows/user", _HABIT)
    contacts: float = _fixed(
        150, "records that a user keeps in Storage (contacts, groups, settings)", "rows/user", _HABIT
    )
    storage_writes: float = _fixed(
        0.5, "times that an active user's records change in a day", "changes/user/day", _HABIT
    )
    storage_reads: float = _fixed(
        4, "times that an active device asks for its records' version in a day", "reads/device/day", _CLIENT
    )
    group_calls: float = _fixed(0.05, "calls of a group in a day (flatline:calls.groups)", "calls/group/day", _HABIT)
    group_call_minutes: float = _fixed(60, "mean length of a group call", "minutes", _HABIT, low=0.1, high=1440)
    call_links: float = _fixed(0.2, "call links that a user has made (flatline:calls.groups)", "links/user", _HABIT)
    years: float = _fixed(
        1,
        "age of the data that nothing deletes (group logs)",
        "year(s)",
        "Bigtable's tables have no garbage collection",
        low=0.001,
        high=100,
    )

    busiest: float = _fixed(1000, "the busiest device divided by the mean device", "times", _HABIT, low=1)
    busiest_away: float = _fixed(
        50, "the busiest device that is away for long, divided by the mean", "times", _HABIT, low=1
    )
    busiest_envelope_bytes: float = _fixed(
        256 * KIB, "the largest envelope that Whisper takes", "bytes", _CODE, low=1, high=10**8
    )
    most_devices: float = _fixed(
        6, "devices that an account may have", "devices", "Signal's default (maxDevices of Whisper)", low=1
    )

    websockets_per_pod: float = _fixed(
        8000, "WebSockets that a Whisper pod holds in 1536 MiB", "connections", _BENCH, low=1
    )
    whisper_requests: float = _fixed(
        400,
        "requests that a core of Whisper handles in a second",
        "requests/s/core",
        "a third of the 1,380 refused requests/s that were measured on one core",
        low=1,
    )
    delivery: float = _fixed(
        0.5, "work of a delivery over a WebSocket, and of its acknowledgement", "requests", _BENCH, high=10
    )
    storage_requests: float = _fixed(
        300, "requests that a core of Storage handles in a second", "requests/s/core", _BENCH, low=1
    )
    cdn_mib: float = _fixed(50, "bytes that a CDN pod moves in a second", "MiB/s", _BENCH, low=1)
    cdn_requests: float = _fixed(300, "requests that a CDN pod answers in a second", "requests/s", _BENCH, low=1)
    cpu_percent: float = _fixed(
        60,
        "CPU load of a pod at which another pod is added",
        "percent",
        "flatline:scaling.<service>.cpuPercent",
        low=1,
        high=100,
    )
    traefik_connections: float = _fixed(20_000, "connections that a Traefik pod holds", "connections", _BENCH, low=1)
    slots_per_thread: float = _fixed(
        10,
        "Redis slots that a persister thread visits in a second",
        "slots/s",
        "measured: 16 threads, 16384 slots in 103 s",
        low=0.001,
    )
    queues_per_thread: float = _fixed(
        50, "message queues that a persister thread moves in a second", "queues/s", _BENCH, low=0.001
    )
    messages_per_queue: float = _fixed(3, "messages that are moved together", "messages", _HABIT, low=1)
    redis_commands: float = _fixed(
        5, "Redis commands for an envelope: insert, publish, get, remove", "commands", _CODE, low=1
    )
    redis_shard_commands: float = _fixed(
        30_000, "commands, mostly Lua scripts, that a Redis node runs in a second", "commands/s", _BENCH, low=1
    )
    both_relayed: float = _fixed(
        0.5, "share of relayed calls in which both devices are on the relay", "share", _HABIT, high=1
    )
    ring_seconds: float = _fixed(
        30, "time in which a call is set up, from its first message until it is answered or given up", "s", _HABIT
    )
    device_ports: float = _fixed(
        6,
        "relayed ports of a device while a call is set up, also of a call that is not relayed in the end",
        "ports/device",
        "one for each of the six addresses that Whisper hands out",
        low=1,
    )
    audio_kbit: float = _fixed(
        60,
        "a device's sound, one way",
        "kbit/s",
        "computed: Opus at 32 kbit/s, and 50 times a second 70 bytes of SRTP, UDP, IP and channel data",
        low=1,
    )
    video_kbit: float = _fixed(
        2500, "a device's sound and picture, one way", "kbit/s", "the most that a client sends; measure your own", low=1
    )
    turn_mbit: float = _fixed(
        1000,
        "relayed data for each core of the TURN server, each bit counted once",
        "Mbit/s/core",
        "measured: 1000 to 1140 (python -m benchmarks.turn)",
        low=1,
    )
    group_kbit: float = _fixed(
        800,
        "a device's stream in a group call",
        "kbit/s",
        "the rate at which the calling service begins (--initial-target-send-rate-kbps)",
        low=1,
    )
    group_most_kbit: float = _fixed(
        5000,
        "the most that a device in a group call gets",
        "kbit/s",
        "the calling service's default (--default-requested-max-send-rate-kbps)",
        low=1,
    )
    sfu_mbit: float = _fixed(
        500, "data that a core of the calling service sends", "Mbit/s/core", "half of coturn's; measure your own", low=1
    )
    scan_mib: float = _fixed(
        10,
        "bytes that a clean-up command scans in a second: pages of 1 MiB, one after another",
        "MiB/s",
        "a page in about 100 ms",
        low=0.001,
    )

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, bounds = getattr(self, entry.name), about(entry)
            expected = "a whole number" if entry.type is int else "a number"
            if isinstance(value, bool) or not isinstance(value, int if entry.type is int else int | float):
                raise WorkloadError(f"{entry.name} is {value!r}; write {expected}, {bounds.range}")
            if not bounds.low <= value <= bounds.high:
                raise WorkloadError(f"{entry.name} is {value:,}; write {expected}, {bounds.range}")


OPTIONS: Final = tuple(entry for entry in fields(Workload) if about(entry).option)
"""The fields that are options of `./flatline capacity`."""
