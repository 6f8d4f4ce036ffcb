"""The Bigtable tables of the storage service: one column family each, no garbage-collection rule.

Rows are written by conditional mutations; the service reads a row of each table in its `/_ready`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class BigtableTable:
    """A table: its id and its column family."""

    name: str
    family: str


TABLES: dict[str, BigtableTable] = {
    "contactsTableId": BigtableTable("contacts", "c"),
    "contactManifestsTableId": BigtableTable("contact-manifests", "m"),
    "groupsTableId": BigtableTable("groups", "g"),
    "groupLogsTableId": BigtableTable("group-logs", "l"),
}
"""Key below `bigtable` in Storage's YAML → the table it names."""
