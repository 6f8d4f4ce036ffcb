"""Bigtable: rows, bytes, and rows a second of Storage's four tables."""

import math
from dataclasses import dataclass

from capacity.dynamodb import ModelError
from capacity.installation import Installation
from capacity.traffic import Traffic, per_second
from capacity.workload import Workload
from config.schema.bigtable import TABLES

READS_PER_NODE, WRITES_PER_NODE = 17_000, 14_000
"""Rows of 1 KB that an SSD node reads, or writes, in a second (Google's "Understand performance")."""

NODE_BYTES = 5 * 1024**4
"""Storage of an SSD node ("Quotas and limits")."""

NODE_LOAD, NODE_FILL = 0.7, 0.7
"""Highest load and storage of a node for low latency, as shares ("Plan your Bigtable capacity")."""

MEMBER_BYTES, GROUP_BYTES, CHANGE_BYTES = 180, 450, 500
"""Bytes of a member (encrypted ids and profile key), a group without members (title, avatar, access), and a change."""


@dataclass(frozen=True, kw_only=True)
class TableRows:
    """A table: its rows, their mean size and parts, and rows read and written a second."""

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
        """Bytes of all rows."""
        return self.rows * self.row_bytes


@dataclass(frozen=True, kw_only=True)
class BigtableDemand:
    """The instance. `largest_cell` is the bytes of a group with as many members as it may have."""

    tables: tuple[TableRows, ...]
    largest_cell: float

    @property
    def bytes(self) -> float:
        """Bytes of all tables."""
        return sum(table.bytes for table in self.tables)

    @property
    def load(self) -> float:
        """Load at the peak, in fully loaded nodes."""
        return sum(table.reads_peak / READS_PER_NODE + table.writes_peak / WRITES_PER_NODE for table in self.tables)

    @property
    def fill(self) -> float:
        """Storage, in full nodes."""
        return self.bytes / NODE_BYTES

    @property
    def nodes(self) -> int:
        """Nodes for the load and the storage."""
        return max(1, math.ceil(self.load / NODE_LOAD), math.ceil(self.fill / NODE_FILL))


def demand(workload: Workload, traffic: Traffic, installation: Installation) -> BigtableDemand:
    """The demand on the instance. A conditional write also reads its row. Raises ModelError if the schema differs."""
    group = GROUP_BYTES + MEMBER_BYTES * workload.group_size
    changes = traffic.group_changes
    memberships = traffic.active_users * workload.groups
    changed_records = traffic.active_users * workload.storage_writes
    rows = {
        # Every member reads a change, and fetches endorsements once a day.
        "groups": (traffic.groups, group, "450 bytes, and 180 for each member", memberships + changes, changes),
        "group-logs": (
            changes * 365 * workload.years,
            CHANGE_BYTES + group,
            "a change (500 bytes) and the group after it; never deleted",
            changes * workload.group_size,
            changes,
        ),
        "contacts": (
            workload.users * workload.contacts,
            250.0,
            "an encrypted record",
            changed_records * workload.devices * 2,
            changed_records * 2,
        ),
        "contact-manifests": (
            float(workload.users),
            300 + 20 * workload.contacts,
            "the ids (20 bytes) of all records",
            traffic.active_devices * workload.storage_reads + changed_records,
            changed_records,
        ),
    }
    known = {table.name for table in TABLES.values()}
    if known != rows.keys():
        raise ModelError(
            f"Bigtable has the tables {sorted(known)}, but the model has {sorted(rows)}: see capacity/bigtable.py"
        )
    return BigtableDemand(
        tables=tuple(
            TableRows(
                name=name,
                rows=count,
                row_bytes=size,
                source=source,
                reads_mean=per_second(reads),
                reads_peak=per_second(reads, workload.peak),
                writes_mean=per_second(writes),
                writes_peak=per_second(writes, workload.peak),
            )
            for name, (count, size, source, reads, writes) in rows.items()
        ),
        largest_cell=GROUP_BYTES + MEMBER_BYTES * float(installation.largest_group),
    )
