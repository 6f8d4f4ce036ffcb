"""The local target: emulators and stores in the cluster itself."""

from dataclasses import replace
from typing import Any

import pulumi

from components.backup import key_file
from components.base import Component
from components.capabilities import Archived, Bucket, DynamoDb, ObjectStore, Rooms, UploadsOnVolume, Volume
from components.cdn0_gate import GateArgs, OwnServer
from components.config_tree import shared_credentials
from components.emulators import seeds
from components.emulators.cbtemulator import INSTANCE, PROJECT, Cbtemulator, CbtemulatorArgs
from components.emulators.cdn0 import Cdn0
from components.emulators.localstack import CREDENTIALS, PORT, REGION, LocalStack, LocalStackArgs
from components.kubernetes.namespace import WorkloadNamespace, WorkloadNamespaceArgs
from components.redis import Redis
from components.secrets import Secrets
from components.targets.base import Stores, StoresArgs, Target
from components.versitygw import CREDENTIALS_FILE, OWNERS, Versitygw, VersitygwArgs
from components.versitygw import REGION as STORE_REGION
from config.schema import bigtable, dynamodb, objects
from config.settings import Settings
from config.target import Local
from config.types import quantity_bytes


class _Emulators(Component):
    """The parent of the emulators."""

    TYPE = "flatline:backend:Emulators"


class LocalTarget(Target):
    """A cluster of one's own, with emulators in place of the clouds."""

    def __init__(self, settings: Settings, target: Local) -> None:
        super().__init__(settings)
        self._target = target

    def stores(self, args: StoresArgs, opts: pulumi.ResourceOptions) -> Stores:
        """LocalStack for DynamoDB, cbtemulator for Bigtable, versitygw for S3, and Redis."""
        group = _Emulators("emulators", opts)
        volumes = self._target.volumes
        namespace = WorkloadNamespace(
            "emulators",
            WorkloadNamespaceArgs(
                namespace=self.settings.emulator_namespace,
                pod_security="baseline",
                images=args.images,
                storage_class=self._target.storage_class,
                labels=args.namespace.args.labels,
            ),
            group.child_opts,
        )
        store = Versitygw(
            "object-store",
            VersitygwArgs(
                namespace=args.namespace, secrets=args.secrets, volume=Volume(name="objects", size=volumes.objects)
            ),
            group.child_opts,
        )
        localstack = LocalStack(
            "localstack",
            LocalStackArgs(
                namespace=namespace,
                seed=self._seed(store.url),
                volume=Volume(name="database", size=volumes.database),
                access=(store.access,),
                files=(store.credentials("localstack-seed-identity", "pre-keys", namespace),),
            ),
            group.child_opts,
        )
        cdn0 = Cdn0(
            "cdn0",
            GateArgs(
                namespace=args.namespace,
                secrets=args.secrets,
                store=OwnServer(store.bucket("cdn0", "cdn0-gate-identity")),
                scale=self.scale("cdn0"),
            ),
            group.child_opts,
        )
        groups = Cbtemulator(
            "cbtemulator",
            CbtemulatorArgs(namespace=args.namespace, volume=Volume(name="groups", size=volumes.groups)),
            group.child_opts,
        )
        pre_keys = store.bucket("pre-keys", "whisper-identity")
        group.register_outputs({})
        redis = Redis("redis", self.redis_args(args, volumes.redis, cpu="25m", memory_share=16), opts)
        # A process has one identity for AWS: the owner of the pre-key pages, whom LocalStack accepts like anybody.
        access = replace(
            localstack.access,
            env={**pre_keys.access.env, "AWS_REGION": REGION, "AWS_ENDPOINT_OVERRIDE": localstack.url},
            files=pre_keys.access.files,
        )
        dynamic_config = Bucket(
            access=access, region=REGION, name=objects.BUCKETS["dynamic-config"], endpoint=localstack.url
        )
        return Stores(
            dynamodb=DynamoDb(
                access=access, region=REGION, tables={path: table.name for path, table in dynamodb.TABLES.items()}
            ),
            objects=ObjectStore(dynamic_config=dynamic_config, pre_keys=pre_keys, cdn0=cdn0.bucket),
            bigtable=groups.bigtable,
            redis=redis.cluster,
            pubsub=redis.pubsub,
            uploads=UploadsOnVolume(
                volume=Volume(name="attachments", size=volumes.attachments),
                min_free_bytes=quantity_bytes(self.settings.cdn.min_free_space),
            ),
            rooms=self._rooms(localstack),
            archived=self._archived(args.secrets, localstack, store, groups),
            namespaces=(namespace,),
            network_peers=(
                *redis.network_peers,
                *store.network_peers,
                *localstack.network_peers,
                *cdn0.network_peers,
                *groups.network_peers,
            ),
            routes=cdn0.routes,
        )

    @property
    def _group_calls(self) -> bool:
        return self.settings.calls.groups is not None

    def _rooms(self, localstack: LocalStack) -> Rooms | None:
        """The table of group calls. Its user has credentials of its own in its code, which LocalStack accepts."""
        if not self._group_calls:
            return None
        table = dynamodb.GROUP_CALLS[dynamodb.ROOMS].name
        return Rooms(access=localstack.access, region=REGION, table=table, endpoint=localstack.url)

    def _archived(self, secrets: Secrets, localstack: LocalStack, store: Versitygw, groups: Cbtemulator) -> Archived:
        """Each bucket is read as its owner."""
        tables = dynamodb.tables(group_calls=self._group_calls).values()
        owners = secrets.of("object-store")
        return Archived(
            egress=(*localstack.access.egress, *store.access.egress, *groups.bigtable.access.egress),
            plan={
                "dynamodb": {
                    "endpoint": localstack.url,
                    "region": REGION,
                    "credentials": key_file("database"),
                    "tables": [{"name": each.name, "keys": each.key_schema, "ttl": each.ttl} for each in tables],
                },
                "bigtable": {
                    "emulator": groups.bigtable.access.env["BIGTABLE_EMULATOR_HOST"],
                    "project": PROJECT,
                    "instance": INSTANCE,
                    "tables": [each.name for each in bigtable.TABLES.values()],
                },
                "objects": [
                    {
                        "name": role,
                        "bucket": objects.BUCKETS[role],
                        "endpoint": store.url,
                        "region": STORE_REGION,
                        "credentials": key_file(role),
                    }
                    for role in OWNERS
                ],
            },
            keys={
                "database": shared_credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"]),
                **{role: shared_credentials(owner, owners[role]) for role, owner in OWNERS.items()},
            },
        )

    def _seed(self, store: str) -> dict[str, Any]:
        """LocalStack's seed. `store` is the URL of the S3 server with the pages that rows of pre-keys refer to."""
        configuration = objects.BUCKETS["dynamic-config"]
        return seeds.localstack(
            region=REGION,
            port=PORT,
            tables=tuple(dynamodb.tables(group_calls=self._group_calls).values()),
            buckets=(configuration,),
            objects=(
                {
                    "bucket": configuration,
                    "key": objects.DYNAMIC_CONFIG_OBJECT,
                    "text": self.settings.whisper.dynamic_config.text(),
                    "contentType": "application/yaml",
                },
            ),
            pages={
                "table": dynamodb.TABLES["pagedPqKeys.tableName"].name,
                "endpoint": store,
                "bucket": objects.BUCKETS["pre-keys"],
                "credentialsFile": CREDENTIALS_FILE,
            },
        )
