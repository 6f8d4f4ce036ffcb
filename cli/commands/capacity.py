"""`capacity`: estimates the resources, the cost and the limits for a number of users."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import yaml

from capacity.cost import costs
from capacity.estimate import Estimate
from capacity.installation import Installation
from capacity.limits import limits
from capacity.recommendation import recommend
from capacity.workload import OPTIONS, Workload
from cli import document, stacks
from cli.capacity_report import Report, as_document, show
from cli.forms.capacity import Capacity
from cli.stacks import LoadedStack
from cli.terminal import Terminal
from config.prices import Prices, parse
from config.settings import PROJECT
from errors import FlatlineError

PRICES = stacks.ROOT / "config" / "prices.yaml"


def run(arguments: Namespace, terminal: Terminal) -> int:
    """Prints the estimate."""
    loaded = stacks.read(arguments.stack) if arguments.stack else None
    settings = loaded.settings if loaded else None
    prices = _prices(Path(arguments.prices) if arguments.prices else PRICES)
    workload = Workload(**{number.name: getattr(arguments, number.name) for number in OPTIONS})
    estimate = Estimate.of(workload, Installation.of(settings))
    region = arguments.region or estimate.installation.region
    family, listed = prices.family(region)
    recommended = recommend(estimate, listed.elasticache.nodes)
    report = Report(
        estimate=estimate,
        limits=limits(estimate),
        recommended=recommended,
        costs=costs(estimate, recommended, listed),
        prices=listed,
        family=family,
        region=region,
        stack=arguments.stack,
        blocks=_blocks(loaded) if loaded else None,
    )
    if arguments.json:
        document.show(Capacity, as_document(report), terminal)
    else:
        show(report, terminal)
    return 0


def _blocks(loaded: LoadedStack) -> dict[str, dict[str, Any]]:
    """flatline:target and flatline:calls as the file has them, so that encrypted values stay encrypted."""
    config = (yaml.safe_load(loaded.stack.file.read_text(encoding="utf-8")) or {}).get("config") or {}
    target, calls = f"{PROJECT}:target", f"{PROJECT}:calls"
    return {
        target: {"kind": loaded.settings.target.kind, **(config.get(target) or {})},
        calls: config.get(calls) or {},
    }


def _prices(path: Path) -> Prices:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise FlatlineError(
            f"the prices in {path} cannot be read: {reason}", "Copy config/prices.yaml, and change it."
        ) from None
    return parse(text, stacks.display_path(path))
