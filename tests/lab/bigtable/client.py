"""Google's client, in an environment of its own: client.py ADDRESS PROJECT INSTANCE.

Standard input: a JSON list of actions, each a list of texts. Standard output: the list of their answers.

    ["tables"]                            {table: [column families]}
    ["create", TABLE, FAMILY...]          makes a table
    ["write", TABLE, FAMILY, ROW, VALUE]  sets the column "q" of a row
    ["read", TABLE, FAMILY, ROW]          that column's value, null if there is no such row
"""

import json
import sys
from importlib import import_module
from typing import Any

# Not in the environment of the tests, where these would be imports that cannot be checked.
grpc: Any = import_module("grpc")
bigtable: Any = import_module("google.cloud.bigtable")
admin_v2: Any = import_module("google.cloud.bigtable_admin_v2")
transports: Any = import_module("google.cloud.bigtable_admin_v2.services.bigtable_table_admin.transports")


class Place:
    """One instance of a project, at the emulator of an address."""

    def __init__(self, address: str, project: str, instance: str) -> None:
        transport = transports.BigtableTableAdminGrpcTransport(channel=grpc.insecure_channel(address))
        self.admin = admin_v2.BigtableTableAdminClient(transport=transport)
        self.parent = f"projects/{project}/instances/{instance}"
        self.data = bigtable.Client(project=project).instance(instance)

    def tables(self) -> dict[str, list[str]]:
        names = [table.name for table in self.admin.list_tables(request={"parent": self.parent})]
        found = [self.admin.get_table(request={"name": name}) for name in names]
        return {table.name.removeprefix(f"{self.parent}/tables/"): sorted(table.column_families) for table in found}

    def create(self, table: str, *families: str) -> None:
        definition: dict[str, Any] = {"column_families": {family: {} for family in families}}
        self.admin.create_table(request={"parent": self.parent, "table_id": table, "table": definition})

    def write(self, table: str, family: str, row: str, value: str) -> None:
        change = self.data.table(table).direct_row(row)
        change.set_cell(family, b"q", value)
        if status := change.commit().code:
            raise RuntimeError(f"write to {table}: status {status}")

    def read(self, table: str, family: str, row: str) -> str | None:
        found = self.data.table(table).read_row(row.encode())
        return str(found.cell_value(family, b"q").decode()) if found else None


if __name__ == "__main__":
    place = Place(*sys.argv[1:])
    print(json.dumps([getattr(place, action)(*arguments) for action, *arguments in json.load(sys.stdin)]))
