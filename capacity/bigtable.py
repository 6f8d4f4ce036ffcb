"""Bigtable: rows, bytes and rows a second of the four tables of Storage."""

import math
from dataclasses import dataclass

from capacity.dynamodb import ModelError
from capacity.installation import Installation
from capacity.traffic import Traffic, per_second
from capacity.workload import Workload
from config.schema.bigtable import TABLES

READS_PER_NODE, WRITES_PER_NODE = 17_000, 14_000
"""Rows of 1 KB a second that an SSD node reads, or writes (Google's "Understand performance")."""

NODE_BYTES = 5 * 1024**4
"""Storage of an SSD node ("Quotas and limits")."""

NODE_LOAD, NODE_FILL = 0.7, 0.7
"""How busy and how full a node should be, for low latency ("Estimate your Bigtable capacity")."""

MEMBER_BYTES, GROUP_BYTES, CHANGE_BYTES = 180, 450, 500
"""A member (ids and profile key, encrypted), a group without them (title, avatar, access), a change of one."""


@dataclass(frozen=True, kw_only=True)
class TableRows:
    """A table: rows, their mean size with what makes it, and rows a second."""

    name: str
    rows: float
    row_bytes: float
    source: str
    reads_mean: float
    reads_peak: float
    writes_mean: float
    writes_peak: float

    @property
    def bytes(self) -> float:
        """All rows."""
        return self.rows * self.row_bytes


@dataclass(frozen=True, kw_only=True)
class BigtableDemand:
    """The instance. `largest_cell` is a group with as many members as it may have, in bytes."""

    tables: tuple[TableRows, ...]
    largest_cell: float

    @property
    def bytes(self) -> float:
        """All tables."""
        return sum(table.bytes for table in self.tables)

    @property
    def load(self) -> float:
        """Nodes that would be fully busy at the peak."""
        return sum(table.reads_peak / READS_PER_NODE + table.writes_peak / WRITES_PER_NODE for table in self.tables)

    @property
    def fill(self) -> float:
        """Nodes that would be full."""
        return self.bytes / NODE_BYTES

    @property
    def nodes(self) -> int:
        """Nodes that are neither too busy nor too full."""
        return max(1, math.ceil(self.load / NODE_LOAD), math.ceil(self.fill / NODE_FILL))


def demand(workload: Workload, traffic: Traffic, installation: Installation) -> BigtableDemand:
    """What the instance is asked for. A conditional write reads its row, too. Raises ModelError for unknown tables."""
    w, t = workload, traffic
    group = GROUP_BYTES + MEMBER_BYTES * w.group_size
    changes = t.group_changes
    memberships = t.active_users * w.groups
    changed_records = t.active_users * w.storage_writes
    rows = {
        # a change is read by every member; endorsements are fetched once a day
        "groups": (t.groups, group, "450 bytes, and 180 for each member", memberships + changes, changes),
        "group-logs": (
            changes * 365 * w.years,
            CHANGE_BYTES + group,
            "a change (500 bytes) and the group after it; never deleted",
            changes * w.group_size,
            changes,
        ),
        "contacts": (
            w.users * w.contacts,
            250.0,
            "an encrypted record",
            changed_records * w.devices * 2,
            changed_records * 2,
        ),
        "contact-manifests": (
            float(w.users),
            300 + 20 * w.contacts,
            "the ids (20 bytes) of all records",
            t.active_devices * w.storage_reads + changed_records,
            changed_records,
        ),
    }
    known = {table.name for table in TABLES.values()}
    if known != rows.keys():
        raise ModelError(f"Bigtable has the tables {sorted(known)}, the model {sorted(rows)}: see capacity/bigtable.py")
    return BigtableDemand(
        tables=tuple(
            TableRows(
                name=name,
                rows=count,
                row_bytes=size,
                source=source,
                reads_mean=per_second(reads),
                reads_peak=per_second(reads, w.peak),
                writes_mean=per_second(writes),
                writes_peak=per_second(writes, w.peak),
            )
            for name, (count, size, source, reads, writes) in rows.items()
        ),
        largest_cell=GROUP_BYTES + MEMBER_BYTES * float(installation.largest_group),
    )
