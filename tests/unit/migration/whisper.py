"""Accounts in rows and objects of the form that Whisper writes, in stores of a stack."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto import mock_aws

from components.emulators import cbtemulator
from components.emulators.seeds import create_table_request
from config.schema import dynamodb, objects
from migration.accounts import Account, Accounts
from migration.endpoints import MOVED_BUCKETS, PhysicalNames
from tests.unit.migration.conftest import REGION

NUMBER, OTHER = "+12025550123", "+12025550124"
TOKEN, SALT = "2." + "ab" * 32, "cd" * 16
CREATED = 1764547200123


@dataclass
class Asked:
    """Redis that remembers what it was asked; while `down` it refuses."""

    commands: list[list[str]] = field(default_factory=list)
    published: list[tuple[str, bytes]] = field(default_factory=list)

    def check(self) -> None:
        pass

    def cluster(self, commands: Sequence[Sequence[str]]) -> None:
        self.commands += [list(words) for words in commands]

    def publish(self, channel: str, message: bytes) -> None:
        self.published.append((channel, message))


@dataclass
class Service:
    """The stores of a stack, and what writes to them as Whisper does."""

    dynamodb: Any
    s3: Any
    redis: Asked
    accounts: Accounts
    slept: list[float]
    names: PhysicalNames

    def put(self, path: str, **item: Any) -> None:
        self.dynamodb.put_item(TableName=self.names.tables[path], Item=item)

    def count(self) -> dict[str, int]:
        """Rows of every table that has any, and objects of every bucket."""
        found = {}
        for path, name in self.names.tables.items():
            if rows := self.dynamodb.scan(TableName=name)["Items"]:
                found[path] = len(rows)
        for role, name in self.names.buckets.items():
            found[role] = self.s3.list_objects_v2(Bucket=name).get("KeyCount", 0)
        return found

    def register(self, number: str, devices: int = 2) -> None:
        """An account with everything that it can have."""
        aci, pni = identifiers(number)
        data = json.dumps(
            {
                "pni": str(uuid.UUID(bytes=pni["B"])),
                "number": number,
                "devices": [
                    {"id": n, "name": "c2VjcmV0", "authToken": TOKEN[:-1] + str(n), "salt": SALT, "created": CREATED}
                    | {"lastSeen": CREATED, "registrationId": 7}
                    for n in range(1, devices + 1)
                ],
                "bv": {"rl": 201, "e": "1764547200.000000000"},
                "version": 3,
            },
            separators=(",", ":"),
        ).replace('"1764547200.000000000"', "1764547200.000000000")
        username = {"B": aci["B"] * 2}
        self.put(
            "accounts.tableName",
            U=aci,
            P={"S": number},
            PNI=pni,
            D={"B": data.encode()},
            V={"N": "3"},
            C={"BOOL": True},
            N=username,
            UAK={"B": b"u" * 16},
        )
        self.put("accounts.phoneNumberTableName", P={"S": number}, U=aci)
        self.put("accounts.phoneNumberIdentifierTableName", PNI=pni, U=aci)
        self.put("phoneNumberIdentifiers.tableName", P={"S": number}, PNI=pni)
        self.put("accounts.usernamesTableName", N=username, U=aci, F={"BOOL": True})
        recovery = {"S": str(uuid.UUID(bytes=pni["B"]))}
        self.put("registrationRecovery.tableName", P=recovery, E={"N": "2000000000"}, S={"S": SALT}, H={"S": TOKEN})
        self.put("profiles.tableName", U=aci, V={"S": "v1"}, A={"S": f"profiles/{number[1:]}"})
        self.put("profiles.tableName", U=aci, V={"S": "v2"})
        self.s3.put_object(Bucket=self.names.buckets["cdn0"], Key=f"profiles/{number[1:]}", Body=b"avatar")
        for n in range(1, devices + 1):
            device = {"N": str(n)}
            self.put("clientPublicKeys.tableName", U=aci, D=device, K={"B": b"k"})
            for owner in (aci, pni):
                for path in ("ecSignedPreKeys.tableName", "pqLastResortKeys.tableName"):
                    self.put(path, U=owner, D=device, P={"B": b"p"})
                for key in range(3):
                    sort = {"B": n.to_bytes(8, "big") + key.to_bytes(8, "big")}
                    for path in ("ecKeys.tableName", "pqKeys.tableName"):
                        self.put(path, U=owner, DK=sort, P={"B": b"p"})
                page = uuid.uuid4()
                self.put("pagedPqKeys.tableName", U=owner, D=device, ID={"B": page.bytes}, I={"N": "0"})
                name = f"{uuid.UUID(bytes=owner['B'])}/{n}/{page}"
                self.s3.put_object(Bucket=self.names.buckets["pre-keys"], Key=name, Body=b"page")


def identifiers(number: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The identifiers of the account and of the number."""
    aci, pni = (uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}{number}").bytes for kind in ("aci", "pni"))
    return {"B": aci}, {"B": pni}


LOCAL = PhysicalNames(
    tables={path: table.name for path, table in dynamodb.TABLES.items()},
    buckets={role: objects.BUCKETS[role] for role in MOVED_BUCKETS},
    project=cbtemulator.PROJECT,
    instance=cbtemulator.INSTANCE,
)


@contextmanager
def stores(names: PhysicalNames = LOCAL) -> Iterator[Service]:
    """The stores of a stack with one account, of `NUMBER`. The variables with AWS' credentials must be set."""
    with mock_aws():
        yield _service(boto3.client("dynamodb", region_name=REGION), boto3.client("s3", region_name=REGION), names)


def _service(client: Any, s3: Any, names: PhysicalNames = LOCAL) -> Service:
    for path, name in names.tables.items():
        client.create_table(**create_table_request(dynamodb.TABLES[path]) | {"TableName": name})
    for name in names.buckets.values():
        s3.create_bucket(Bucket=name)
    redis, slept = Asked(), []
    made = Accounts(client, dict.fromkeys(MOVED_BUCKETS, s3), names, redis, sleep=slept.append)
    service = Service(client, s3, redis, made, slept, names)
    service.register(NUMBER)
    return service


def found(service: Service, number: str = NUMBER) -> Account:
    """The account of a number, which must be there."""
    account = service.accounts.find(number)
    assert account is not None
    return account
