"""Renders an estimate for the command `capacity`: as text for people, as JSON for programs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields
from typing import Any

import yaml
from pydantic.alias_generators import to_camel

from capacity.bigtable import TableRows
from capacity.calls import GroupMedia, Relayed
from capacity.cost import Cost, total
from capacity.dynamodb import IndexDemand, TableDemand, Throughput
from capacity.estimate import Estimate
from capacity.limits import Limit
from capacity.recommendation import Recommendation, snippet, with_blocks
from capacity.traffic import per_second
from capacity.workload import DAY, MOST_USERS, about, display, option
from cli.terminal import Terminal
from config.prices import Family

PEAK = "Peak"


@dataclass(frozen=True, kw_only=True)
class Report:
    """An estimate with its limits and cost. `prices` are those of `family`; `region` is None if it is not known."""

    estimate: Estimate
    limits: tuple[Limit, ...]
    recommended: Recommendation
    costs: tuple[Cost, ...]
    prices: Family
    family: str
    region: str | None
    stack: str | None
    blocks: Mapping[str, Mapping[str, Any]] | None
    """flatline:target and flatline:calls of the stack's file; None without a stack."""

    @property
    def settings(self) -> dict[str, Any]:
        """The recommended settings, as keys of a stack's file."""
        return with_blocks(snippet(self.estimate, self.recommended), self.blocks)

    @property
    def notes(self) -> list[str]:
        """Remarks on the numbers: their sources, and what they leave out."""
        estimate = self.estimate
        source = f"stack {self.stack}" if self.stack else "the settings' defaults"
        found = [
            f"Retentions and sizes are those of {source}: attachments {estimate.installation.attachment_days} days, "
            f"messages {estimate.installation.message_days} days.",
            f"Prices are list prices of {self.family} ({', '.join(self.prices.regions)}), without taxes, discounts, "
            "free tiers and support.",
        ]
        if estimate.installation.target == "local":
            found.append("The stack is local: the cost is that of a cloud target, for comparison.")
        if self.region is not None and self.region not in self.prices.regions:
            found.append(
                f"The price file has no prices for {self.region}; those of {self.family} stand in. Write a family "
                "for it and pass it with --prices."
            )
        return found


# --- numbers ----------------------------------------------------------------------------------------------


def count(value: float) -> str:
    """A number with about three digits: 0.023, 7.5, 1,250, 12.5k, 3.41M."""
    if value == 0:
        return "0"
    if value < 0.01:
        return "<0.01"
    if value < 9995:
        return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"
    for unit, letter in ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")):
        if value < 999.5 * unit or letter == "T":
            return f"{value / unit:.3g}{letter}" if value < 999.5 * unit else f"{value / unit:,.0f}{letter}"
    raise AssertionError(value)


def size(value: float) -> str:
    """Bytes in the largest unit in which they are at least one."""
    unit = "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1024 or unit == "PiB":
            break
        value /= 1024
    return f"{value:,.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.3g} {unit}"


def measured(value: float, unit: str) -> str:
    """A limit's value or bound, as text."""
    return size(value) if unit == "bytes" else count(value)


def dollars(value: float) -> str:
    """Dollars as text, with cents below ten."""
    return f"{value:,.0f}" if value >= 10 else f"{value:,.2f}"


def users(begins: int | None) -> str:
    """The number of users at which a limit begins, as text."""
    return f"{begins:,}" if begins is not None else "never"


# --- text -------------------------------------------------------------------------------------------------


def show(report: Report, terminal: Terminal) -> None:
    """Prints the whole report as text."""
    workload = report.estimate.workload
    terminal.say(
        f"{workload.users:,} users, each sending {display(workload.messages_per_day)} messages a day: about "
        f"${dollars(total(report.costs))} a month",
        "bold",
    )
    for note in report.notes:
        terminal.say(note)
    _traffic(report.estimate, terminal)
    _dynamodb(report.estimate, terminal)
    _redis(report, terminal)
    _bigtable(report.estimate, terminal)
    _objects(report.estimate, terminal)
    _calls(report.estimate, terminal)
    _pods(report.estimate, terminal)
    _costs(report, terminal)
    _limits(report, terminal)
    _settings(report, terminal)
    _assumptions(report, terminal)


def _traffic(estimate: Estimate, terminal: Terminal) -> None:
    terminal.heading("Traffic")
    peak, traffic, transfer = estimate.workload.peak, estimate.traffic, estimate.transfer
    daily = (
        ("messages sent", traffic.messages),
        ("deliveries to a device, with receipts and copies", traffic.envelopes),
        ("typing indicators", traffic.ephemeral),
        ("messages moved to DynamoDB", traffic.persisted),
        ("requests to Whisper", traffic.requests),
        ("attachments sent", traffic.uploads),
        ("attachments fetched", traffic.downloads),
    )
    rows = [(what, count(per_second(number)), count(per_second(number, peak))) for what, number in daily]
    rows.append(("open connections", "", count(traffic.connections)))
    sent = (size(per_second(transfer.from_aws)), size(per_second(transfer.from_aws, peak)))
    rows.append(("bytes to clients and to Google Cloud", *sent))
    terminal.table(("A second", "Mean", PEAK), rows, frozenset({"Mean", PEAK}))


def _dynamodb(estimate: Estimate, terminal: Terminal) -> None:
    terminal.heading("DynamoDB")
    used = [table for table in estimate.tables if table.items or table.uses]
    rows: list[tuple[str, ...]] = []
    for table in used:
        rows.append(_load(table.name, table.items, table.bytes, table.throughput))
        rows += [_load(f"  {index.name}", index.items, index.bytes, index.throughput) for index in table.indexes]
    _loads(("Table, index", "Items", "Stored", "RRU/s", PEAK, "WRU/s", PEAK), rows, terminal)
    unused = ", ".join(table.name for table in estimate.tables if table not in used)
    terminal.say(f"Empty, because nothing here uses them: {unused}.")


def _load(name: str, items: float, stored: float, load: Throughput | TableRows) -> tuple[str, ...]:
    return _counted(name, items, stored, load.reads_mean, load.reads_peak, load.writes_mean, load.writes_peak)


def _counted(name: str, items: float, stored: float, *numbers: float) -> tuple[str, ...]:
    return (name, count(items), size(stored), *map(count, numbers))


def _loads(columns: Sequence[str], rows: Iterable[Sequence[str]], terminal: Terminal) -> None:
    terminal.table(columns, rows, frozenset(columns[1:]))


def _redis(report: Report, terminal: Terminal) -> None:
    terminal.heading("Redis")
    redis, recommended = report.estimate.redis, report.recommended
    cache, in_cluster = recommended.cache, recommended.in_cluster
    rows = (
        (f"messages that wait, up to {redis.wait_seconds:.0f} s", size(redis.queued)),
        ("accounts", size(redis.accounts)),
        ("profiles", size(redis.profiles)),
        ("rate limits", size(redis.rate_limits)),
        ("connections", size(redis.connections)),
        ("all", size(redis.bytes)),
    )
    terminal.table(("Memory at the peak", "Bytes"), rows, frozenset({"Bytes"}))
    terminal.say(f"Commands a second: {count(redis.commands_mean)}, at the peak {count(redis.commands_peak)}.")
    copies = f"{cache.replicas_per_shard} replica{'s' if cache.replicas_per_shard != 1 else ''} each"
    terminal.say(f"ElastiCache: {cache.shards} shards of {cache.node.type}, {copies}.")
    if in_cluster is None:
        terminal.say("On Kubernetes: too small for this workload.")
    else:
        replicas = (
            f"{in_cluster.replicas_per_master or 'no'} replica{'s' if in_cluster.replicas_per_master > 1 else ''} each"
        )
        terminal.say(f"On Kubernetes: {in_cluster.masters} masters of {size(in_cluster.memory)}, {replicas}.")


def _bigtable(estimate: Estimate, terminal: Terminal) -> None:
    terminal.heading("Bigtable")
    rows = (_load(table.name, table.rows, table.bytes, table) for table in estimate.bigtable.tables)
    _loads(("Table", "Rows", "Stored", "Reads/s", PEAK, "Writes/s", PEAK), rows, terminal)
    terminal.say(f"Nodes: {estimate.bigtable.nodes}.")


def _objects(estimate: Estimate, terminal: Terminal) -> None:
    terminal.heading("S3")
    rows = (
        _counted(each.name, each.objects, each.bytes, each.puts_mean, each.puts_peak, each.gets_mean, each.gets_peak)
        for each in estimate.prefixes
    )
    _loads(("Prefix", "Objects", "Stored", "PUT/s", PEAK, "GET/s", PEAK), rows, terminal)


def _calls(estimate: Estimate, terminal: Terminal) -> None:
    """Of the servers that the stack runs; nothing without any."""
    relayed, groups = estimate.calls.relayed, estimate.calls.groups
    rows: list[tuple[str, Relayed | GroupMedia, str]] = []
    if relayed:
        rows.append(("TURN server", relayed, f"{relayed.ports:,} relay ports"))
    if groups:
        rows.append(("group calls", groups, f"{count(groups.streams)} streams sent"))
    if not rows:
        return
    terminal.heading("Calls at the busiest time")
    columns = ("Server", "Calls", "Mbit/s", "Cores", "Sent in a day", "Needs")
    terminal.table(
        columns,
        [
            (server, count(found.calls), count(found.mbit), count(found.cores), size(found.sent_bytes), needs)
            for server, found, needs in rows
        ],
        frozenset(columns[1:5]),
    )


def _pods(estimate: Estimate, terminal: Terminal) -> None:
    terminal.heading("Kubernetes")
    rows = [
        (pods.service, str(pods.replicas), str(pods.most), f"{pods.cores:g}", f"{pods.mib:,}", pods.why)
        for pods in estimate.cluster.pods
    ]
    columns = ("Pods", "Mean", PEAK, "Cores", "MiB", "Because")
    terminal.table(columns, rows, frozenset(columns[1:5]), prose=frozenset({"Because"}))
    terminal.say(f"Nodes at the peak: {estimate.cluster.nodes:,}.")


def _costs(report: Report, terminal: Terminal) -> None:
    terminal.heading("Cost of a month, US dollars")
    rows = [
        (line.service, line.what, f"{count(line.amount)} {line.unit}", dollars(line.dollars)) for line in report.costs
    ]
    rows.append(("all", "", "", dollars(total(report.costs))))
    columns = ("Service", "For", "Amount", "Dollars")
    terminal.table(columns, rows, frozenset(columns[2:]), prose=frozenset(columns[:2]))


_STATES = {
    "fixed": "exceeded",
    "quota": "ask for more",
    "setting": "exceeded",
    "growth": "grows",
    "stack": "exceeded",
}


def _limits(report: Report, terminal: Terminal) -> None:
    terminal.heading("Limits")
    ordered = sorted(report.limits, key=lambda limit: limit.begins or MOST_USERS + 1)
    rows = [
        (
            f"{limit.what} ({limit.where})" if limit.where else limit.what,
            measured(limit.value, limit.unit),
            measured(limit.bound, limit.unit),
            users(limit.begins),
            _STATES[limit.kind] if limit.exceeded else "",
        )
        for limit in ordered
    ]
    columns = ("Limit", "Here", "Bound", "Begins at", "")
    terminal.table(columns, rows, frozenset(columns[1:4]), prose=frozenset({"Limit", ""}))
    terminal.say("Begins at: the smallest number of users that exceeds the limit, with all other options unchanged.")
    exceeded = [limit for limit in ordered if limit.exceeded]
    if exceeded:
        terminal.heading("What to change")
        terminal.points(f"{limit.what} ({limit.detail}): {limit.remedy}. {limit.source}" for limit in exceeded)


def _settings(report: Report, terminal: Terminal) -> None:
    terminal.heading("Settings for the stack's file, below config")
    terminal.verbatim(settings_text(report))
    terminal.say("Each replaces the key of that name." if report.stack else "With --stack also flatline:target.")


def settings_text(report: Report) -> str:
    """The recommended settings as YAML."""
    found: str = yaml.safe_dump(report.settings, sort_keys=False)
    return "".join(f"  {line}\n" for line in found.splitlines())


def _assumptions(report: Report, terminal: Terminal) -> None:
    terminal.heading("Assumptions")
    terminal.points(_assumption(report.estimate, entry) for entry in fields(report.estimate.workload))
    terminal.heading("Sizes")
    sizes = [(table.name, f"{table.item.bytes:,.0f}", table.item.source) for table in report.estimate.tables]
    sizes += [(table.name, f"{table.row_bytes:,.0f}", table.source) for table in report.estimate.bigtable.tables]
    sizes += [
        (prefix.name, f"{prefix.bytes / prefix.objects:,.0f}" if prefix.objects else "0", prefix.source)
        for prefix in report.estimate.prefixes
    ]
    columns = ("Item, row, object", "Bytes", "Made of")
    terminal.table(columns, sizes, frozenset({"Bytes"}), prose=frozenset({"Made of"}))
    terminal.heading("Prices")
    terminal.points(f"{name}: {listed.source}, {listed.as_of}" for name, listed in _listed(report.prices))


def _assumption(estimate: Estimate, entry: Field[Any]) -> str:
    meant, value = about(entry), display(getattr(estimate.workload, entry.name))
    unit = "" if meant.unit in {"share", "times"} else f" {meant.unit}"
    typed = f" ({option(entry)})" if meant.option else ""
    return f"{meant.meaning}: {value}{unit}{typed}; {meant.source}"


def _listed(prices: Family) -> Iterable[tuple[str, Any]]:
    for name in type(prices).model_fields:
        block = getattr(prices, name)
        if hasattr(block, "source"):
            yield name, block


# --- JSON -------------------------------------------------------------------------------------------------


def as_document(report: Report) -> dict[str, Any]:
    """The report for programs: exact numbers, bytes, units a second, US dollars a month."""
    estimate, recommended = report.estimate, report.recommended
    found = {
        "workload": asdict(estimate.workload),
        "installation": {**asdict(estimate.installation), "volumes": dict(estimate.installation.volumes)},
        "traffic": {
            name: number / DAY if name not in _NOT_DAILY else number
            for name, number in asdict(estimate.traffic).items()
        },
        "dynamodb": [_table(table) for table in estimate.tables],
        "redis": {
            **asdict(estimate.redis),
            "bytes": estimate.redis.bytes,
            "elasticache": {
                "nodeType": recommended.cache.node.type,
                "shards": recommended.cache.shards,
                "replicasPerShard": recommended.cache.replicas_per_shard,
            },
            "inCluster": asdict(recommended.in_cluster) if recommended.in_cluster else None,
        },
        "bigtable": {
            "nodes": estimate.bigtable.nodes,
            "tables": [{**asdict(table), "bytes": table.bytes} for table in estimate.bigtable.tables],
        },
        "s3": [asdict(prefix) for prefix in estimate.prefixes],
        "calls": asdict(estimate.calls),
        "transfer": {name: number / DAY for name, number in asdict(estimate.transfer).items()},
        "kubernetes": {"nodes": estimate.cluster.nodes, "pods": [asdict(pods) for pods in estimate.cluster.pods]},
        "cost": {
            "total": total(report.costs),
            "prices": report.family,
            "lines": [asdict(line) for line in report.costs],
        },
        "limits": [{**asdict(limit), "exceeded": limit.exceeded} for limit in report.limits],
        "assumptions": [
            {"name": name, "value": value, "unit": meant.unit, "meaning": meant.meaning, "source": meant.source}
            for name, value, meant in (
                (each.name, getattr(estimate.workload, each.name), about(each)) for each in fields(estimate.workload)
            )
        ],
        "notes": report.notes,
    }
    return {**_camel(found), "settings": report.settings}


def _camel(block: dict[str, Any]) -> dict[str, Any]:
    """The block with camelCase keys, as in YAML."""
    return {to_camel(key): _camel_inside(inner) for key, inner in block.items()}


def _camel_inside(value: Any) -> Any:
    if isinstance(value, dict):
        return _camel(value)
    return [_camel_inside(inner) for inner in value] if isinstance(value, (list, tuple)) else value


_NOT_DAILY = frozenset(
    {"devices", "active_users", "active_devices", "connections", "recipients", "attachment_bytes", "groups"}
)


def _table(table: TableDemand) -> dict[str, Any]:
    return {
        **_demand(table),
        "key": table.key,
        "item_bytes": table.item.bytes,
        "item_source": table.item.source,
        "indexes": [{**_demand(index), "local": index.local} for index in table.indexes],
    }


def _demand(demand: TableDemand | IndexDemand) -> dict[str, Any]:
    return {"name": demand.name, "items": demand.items, "bytes": demand.bytes, **asdict(demand.throughput)}
