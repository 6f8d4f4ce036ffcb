"""Where the stores of a stack are and what they are called there: the one module of the move that knows targets."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from components import versitygw
from components.emulators import cbtemulator, localstack
from config.schema import dynamodb, objects
from config.settings import Settings
from config.target import Cloud, Local
from migration.errors import MigrationError

MOVED_BUCKETS = tuple(versitygw.OWNERS)
"""Roles of the buckets that hold what clients have uploaded; the configuration's one is made from the settings."""

OBJECT_STORE = "object-store"
"""Deployment and Service of the server that has the buckets, in the stack's namespace."""

OBJECT_STORE_SECRET = "object-store-accounts"
"""The volume of its pods that is the Secret with its accounts, whose name changes with its content."""

ROOT_SECRET_FILE = posixpath.basename(versitygw.ROOT_SECRET_FILE)

WRITERS = ("whisper", "whisper-persister", "storage", "cdn0-gate", "calling-frontend")
"""Deployments that write to the stores (those that a stack has not are passed over)."""


@dataclass(frozen=True, kw_only=True)
class PhysicalNames:
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
class Connection:
    """How the stores are reached.

    `account` is the AWS account that the credentials of the default chain must belong to; None means
    emulators, which take any credentials and get `credentials`. `object_credentials` are those for the buckets; None
    means the default chain.
    """

    region: str
    account: str | None = None
    credentials: Mapping[str, str] | None = field(default=None, repr=False)
    object_credentials: Mapping[str, str] | None = field(default=None, repr=False)
    at: Addresses = Addresses()


@dataclass(frozen=True)
class Service:
    """A Service of a store in the stack's cluster."""

    namespace: str
    name: str
    port: int


def physical_names(settings: Settings, buckets: Mapping[str, str]) -> PhysicalNames:
    """The names in the stack's target. `buckets` are those that were typed, by role.

    Buckets in AWS end in digits that the stack made up, so each must be typed or adopted. Raises MigrationError.
    """
    tables = dynamodb.tables(group_calls=settings.calls.groups is not None)
    match settings.target:
        case Local():
            names = PhysicalNames(
                tables={path: table.name for path, table in tables.items()},
                buckets={role: objects.BUCKETS[role] for role in MOVED_BUCKETS},
                project=cbtemulator.PROJECT,
                instance=cbtemulator.INSTANCE,
            )
        case Cloud(aws=aws, gcp=gcp):
            names = PhysicalNames(
                tables={path: aws.table_name(table) for path, table in tables.items()},
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
            store = Service(settings.namespace, OBJECT_STORE, versitygw.PORT)
            return {
                "dynamodb": Service(settings.emulator_namespace, "localstack", localstack.PORT),
                "s3": store,
                "cdn0": store,
                "bigtable": Service(settings.namespace, "cbtemulator", cbtemulator.PORT),
            }
        case Cloud():
            return {}
        case _:
            assert_never(settings.target)


def connection(settings: Settings, *, region: str | None, account: str | None, at: Addresses) -> Connection:
    """How the stores are reached by what was typed and by the settings.

    An account of the settings cannot be typed away. Buckets beside LocalStack's tables are LocalStack's; those at an
    address of their own are reached with the credentials of the default chain. Raises MigrationError.
    """
    match settings.target:
        case Local():
            keys = None if account else localstack.CREDENTIALS
            return Connection(
                region=region or localstack.REGION,
                account=account,
                credentials=keys,
                object_credentials=keys if at.s3 == at.cdn0 == at.dynamodb else None,
                at=at,
            )
        case Cloud(aws=aws):
            for what, typed, own in (("account", account, aws.account), ("region", region, aws.region)):
                if typed is not None and typed != own:
                    raise MigrationError(f"--{what} is {typed}, and the stack's target.aws.{what} is {own}")
            return Connection(region=aws.region, account=aws.account, at=at)
        case _:
            assert_never(settings.target)


def object_credentials(secret: str) -> dict[str, str]:
    """The key pair of the object store's operator. `secret` is what `OBJECT_STORE_SECRET` has in `ROOT_SECRET_FILE`."""
    return {"AWS_ACCESS_KEY_ID": versitygw.ROOT, "AWS_SECRET_ACCESS_KEY": secret}
