"""List prices for estimates: the form of `config/prices.yaml` and of a file of your own.

Nothing is deployed by them. Every mistake in a file gives one line that names the key, what is wrong and what to write.
"""

from collections.abc import Hashable
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from config import mistakes
from config.base_model import StrictModel
from errors import MistakesError

Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class PricesError(MistakesError):
    """Mistakes in a price file; `problems` has a line for each."""


class Listed(StrictModel):
    """Prices of one public page."""

    source: Annotated[str, Field(pattern=r"^https://")]
    """The page."""
    as_of: Annotated[str, Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$")]
    """Year and month, in quotes."""


class Tier(StrictModel):
    """A price for what is below a total in a month; the last tier has no end."""

    up_to_gib: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Where it ends."""
    gib: Price
    """A GiB."""


class Tiered(Listed):
    """A price that falls with the amount."""

    tiers: Annotated[list[Tier], Field(min_length=1)]
    """In order."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        ends = [tier.up_to_gib for tier in self.tiers]
        inner = [end for end in ends[:-1] if end is not None]
        if ends[-1] is not None or len(inner) != len(ends) - 1:
            raise ValueError("tiers: write upToGib for each but the last")
        if inner != sorted(set(inner)):
            raise ValueError("tiers: write upToGib in rising order")
        return self

    def of(self, gib: float) -> float:
        """The price of so many GiB in a month."""
        total, begin = 0.0, 0.0
        for tier in self.tiers:
            end = gib if tier.up_to_gib is None else min(gib, tier.up_to_gib)
            total += max(0.0, end - begin) * tier.gib
            begin = max(begin, end)
        return total


class DynamoDbPrices(Listed):
    """On-demand tables of the standard class."""

    read_million: Price
    write_million: Price
    storage_gib: Price
    backup_gib: Price
    """Point-in-time recovery."""


class S3Prices(Tiered):
    """S3 Standard; the tiers are storage."""

    put_thousand: Price
    get_thousand: Price


class CacheNode(StrictModel):
    """A node type of ElastiCache."""

    type: Annotated[str, Field(pattern=r"^cache\.[a-z0-9]+\.[a-z0-9]+$")]
    memory_gib: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    hour: Price


class ElastiCachePrices(Listed):
    """ElastiCache for Valkey, on demand."""

    nodes: Annotated[list[CacheNode], Field(min_length=1)]


class BigtablePrices(Listed):
    """Bigtable on SSD."""

    node_hour: Price
    storage_gib: Price
    backup_gib: Price


class KubernetesPrices(Listed):
    """EKS and its nodes, on demand."""

    control_plane_hour: Price
    node_type: Text
    node_hour: Price
    disk_gib: Price


class LoadBalancerPrices(Listed):
    """A Network Load Balancer."""

    hour: Price
    unit_hour: Price
    """A capacity unit: 100,000 connections that are open, or a GiB in an hour."""


class Family(StrictModel):
    """Regions that share their prices."""

    regions: Annotated[list[Text], Field(min_length=1)]
    """AWS regions."""
    dynamodb: DynamoDbPrices
    s3: S3Prices
    elasticache: ElastiCachePrices
    bigtable: BigtablePrices
    kubernetes: KubernetesPrices
    load_balancer: LoadBalancerPrices
    from_aws: Tiered
    """Data transfer from AWS to the internet."""
    from_google: Tiered
    """Data transfer from Google Cloud to the internet."""


class Prices(StrictModel):
    """List prices in US dollars, without taxes, discounts and free tiers."""

    families: Annotated[dict[Text, Family], Field(min_length=1)]
    """By name; the first is taken for a region that none of them has."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        regions = [region for family in self.families.values() for region in family.regions]
        for region in regions:
            if regions.count(region) > 1:
                raise ValueError(f"families: {region} is in two; write each region once")
        return self

    def family(self, region: str | None) -> tuple[str, Family]:
        """The name and the prices of a region's family."""
        named = list(self.families.items())
        return next((entry for entry in named if region in entry[1].regions), named[0])


class _Loader(yaml.SafeLoader):
    """YAML in which no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse(text: str, name: str) -> Prices:
    """The prices in a file's text. Raises PricesError; `name` is the file's, for its lines."""
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as problem:
        raise PricesError([f"{name} is no YAML: {' '.join(str(problem).split())}"]) from None
    if not isinstance(content, dict):
        raise PricesError([f"{name}: write families: and their prices (docs/capacity.md has an example)"])
    try:
        return Prices.model_validate(content)
    except ValidationError as error:
        raise PricesError(mistakes.lines_of(error, Prices, f"{name}: ")) from None
