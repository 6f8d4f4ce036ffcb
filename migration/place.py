"""Where the stores of a stack are and what they are called there: the one module of the move that knows targets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from components.emulators import cbtemulator, localstack
from config.schema import dynamodb, objects
from config.settings import Settings
from config.target import Cloud, Local
from migration.errors import MigrationError

MOVED_BUCKETS = ("pre-keys", "cdn0")
"""Roles of the buckets that hold what clients have uploaded; the configuration's one is made from the settings."""

WRITERS = ("whisper", "whisper-persister", "storage", "cdn0-gate")
"""Deployments that write to the stores (those that a stack has not are passed over)."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """`tables`: path in the schema → name. `buckets`: role → name. `project` and `instance` of Bigtable."""

    tables: Mapping[str, str]
    buckets: Mapping[str, str]
    project: str
    instance: str


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """`dynamodb`, `s3` and `cdn0` are URLs, AWS's own where None; `bigtable` is `host:port` of an emulator, or None."""

    dynamodb: str | None = None
    s3: str | None = None
    cdn0: str | None = None
    bigtable: str | None = None

    def __bool__(self) -> bool:
        return any((self.dynamodb, self.s3, self.cdn0, self.bigtable))


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How the stores are reached.

    `account` is the AWS account that the credentials of the default chain must belong to; None means
    emulators, which take any credentials and get `credentials`.
    """

    region: str
    account: str | None = None
    credentials: Mapping[str, str] | None = field(default=None, repr=False)
    at: Addresses = Addresses()


@dataclass(frozen=True)
class Service:
    """A Service of an emulator in the stack's cluster."""

    namespace: str
    name: str
    port: int


def physical_names(settings: Settings, buckets: Mapping[str, str]) -> Names:
    """The names in the stack's target. `buckets` are those that were typed, by role.

    Buckets in AWS end in digits that the stack made up, so each must be typed or adopted. Raises MigrationError.
    """
    match settings.target:
        case Local():
            names = Names(
                tables={path: table.name for path, table in dynamodb.TABLES.items()},
                buckets={role: objects.BUCKETS[role] for role in MOVED_BUCKETS},
                project=cbtemulator.PROJECT,
                instance=cbtemulator.INSTANCE,
            )
        case Cloud(aws=aws, gcp=gcp):
            names = Names(
                tables={path: aws.table_name(table) for path, table in dynamodb.TABLES.items()},
                buckets={role: name for role, name in aws.adopt.buckets.items() if role in MOVED_BUCKETS},
                project=gcp.project,
                instance=gcp.instance,
            )
        case _:
            assert_never(settings.target)
    names = replace(names, buckets={**names.buckets, **buckets})
    for role in MOVED_BUCKETS:
        if role not in names.buckets:
            raise MigrationError(
                f"the name of the bucket for {role} is not known: its last digits were made up with it",
                f"Type it: --{role}-bucket <name>. `aws s3 ls` has it: <namePrefix>-{role}- and eight digits.",
            )
    return names


def emulators(settings: Settings) -> dict[str, Service]:
    """The Services behind `dynamodb`, `s3`, `cdn0` and `bigtable` of a stack whose stores are in its cluster."""
    match settings.target:
        case Local():
            aws = Service(settings.emulator_namespace, "localstack", localstack.PORT)
            return {
                "dynamodb": aws,
                "s3": aws,
                "cdn0": Service(settings.emulator_namespace, "cdn0-store", localstack.PORT),
                "bigtable": Service(settings.namespace, "cbtemulator", cbtemulator.PORT),
            }
        case Cloud():
            return {}
        case _:
            assert_never(settings.target)


def reach(settings: Settings, *, region: str | None, account: str | None, at: Addresses) -> Reach:
    """How the stores are reached by what was typed and by the settings.

    An account of the settings cannot be typed away. Raises MigrationError.
    """
    match settings.target:
        case Local():
            keys = None if account else {name: localstack.CREDENTIALS[name] for name in _KEYS}
            return Reach(region=region or localstack.REGION, account=account, credentials=keys, at=at)
        case Cloud(aws=aws):
            for what, typed, own in (("account", account, aws.account), ("region", region, aws.region)):
                if typed is not None and typed != own:
                    raise MigrationError(f"--{what} is {typed}, and the stack's target.aws.{what} is {own}")
            return Reach(region=aws.region, account=aws.account, at=at)
        case _:
            assert_never(settings.target)


_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
