"""Calls: what the TURN server relays, and what the calling service of groups passes on.

A mean is not enough to size either: calls begin by chance, and few of them vary much. `at_once` has room for that.
"""

import math
from dataclasses import dataclass

from capacity.installation import Installation, RelaySettings
from capacity.traffic import Traffic, per_second
from capacity.workload import Workload

POD_CORES = 8
"""Assumed cores of the largest node for a pod that cannot be divided: a call is bound to one."""

CHANCE = 3
"""Standard deviations above the mean: calls that begin by chance are more for 1 to 2 minutes in a thousand."""


@dataclass(frozen=True, kw_only=True)
class Relayed:
    """The TURN server at the busiest time. `mbit` counts each relayed bit once; `sent_bytes` leave it in a day.

    `ports` are those of calls that are being set up, in which every device asks for relays, and of relayed calls.
    """

    calls: float
    ports: int
    mbit: float
    cores: float
    sent_bytes: float


@dataclass(frozen=True, kw_only=True)
class GroupMedia:
    """The calling service's backend at the busiest time. `sent_bytes` leave it in a day.

    `streams` are those that it sends: each device of a call gets the one of each other device.
    """

    calls: float
    streams: float
    mbit: float
    cores: float
    sent_bytes: float


@dataclass(frozen=True, kw_only=True)
class CallsDemand:
    """None where the stack does not run the server."""

    relayed: Relayed | None
    groups: GroupMedia | None

    @property
    def sent_bytes(self) -> float:
        """Bytes that leave the cluster in a day."""
        return sum(each.sent_bytes for each in (self.relayed, self.groups) if each)


def demand(workload: Workload, traffic: Traffic, installation: Installation) -> CallsDemand:
    """The demand on the servers for calls that the stack runs."""
    return CallsDemand(
        relayed=_relayed(workload) if installation.relay else None,
        groups=_groups(workload, traffic) if installation.group_calls else None,
    )


def at_once(mean: float) -> float:
    """How many there are at once by chance (Poisson), where there are `mean` of them at the busiest time."""
    return mean + CHANCE * math.sqrt(mean)


def stream_kbit(workload: Workload) -> float:
    """What a device sends in a call to one person, on the mean."""
    return workload.video * workload.video_kbit + (1 - workload.video) * workload.audio_kbit


def _relayed(workload: Workload) -> Relayed:
    begun = workload.users * workload.calls
    a_second, seconds = per_second(begun, workload.peak), workload.call_minutes * 60
    under_way = at_once(a_second * workload.relayed * seconds)
    relays = 1 + workload.both_relayed
    # through each relay goes what its device sends and what it gets
    mbit = under_way * relays * 2 * stream_kbit(workload) / 1000
    setting_up = at_once(a_second * workload.ring_seconds)
    return Relayed(
        calls=under_way,
        ports=math.ceil(setting_up * 2 * workload.device_ports + under_way * relays),
        mbit=mbit,
        cores=mbit / workload.turn_mbit,
        # from one relay to the other nothing leaves the server, so both devices of a call get one stream each
        sent_bytes=begun * workload.relayed * seconds * 2 * stream_kbit(workload) * 125,
    )


def _groups(workload: Workload, traffic: Traffic) -> GroupMedia:
    begun, seconds = traffic.groups * workload.group_calls, workload.group_call_minutes * 60
    calls, members = at_once(per_second(begun, workload.peak) * seconds), workload.call_members
    kbit = members * min((members - 1) * workload.group_kbit, workload.group_most_kbit)
    return GroupMedia(
        calls=calls,
        streams=calls * members * (members - 1),
        mbit=calls * kbit / 1000,
        cores=calls * kbit / 1000 / workload.sfu_mbit,
        sent_bytes=begun * seconds * kbit * 125,
    )


def relay_ports(relay: RelaySettings, needed: int) -> tuple[int, int]:
    """The ends of a range for `needed` ports that the settings take, or of the largest where there is no room for all.

    It begins where the stack's does, or after a port that is in use.
    """
    wanted = min(-(-needed // 10) * 10, relay.most)
    taken = set(relay.taken)
    begins = (relay.first, *sorted(port + 1 for port in taken if port > relay.first and port + 1 not in taken))
    ends = (min(relay.last + 1, first + wanted, *(port for port in relay.taken if port >= first)) for first in begins)
    first, end = max(zip(begins, ends, strict=True), key=lambda each: each[1] - each[0])
    return first, end - 1
