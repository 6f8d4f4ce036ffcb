"""A program in place of Flatline's own, for tests of the commands on a stack in a cloud: a few of each resource."""

from pathlib import Path

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp
import pulumi_kubernetes as kubernetes
import pulumi_random as random

from config import loading
from config.target import Cloud

Path(__file__).with_name("program-ran").touch()

settings = loading.of_stack()
target = settings.target
assert isinstance(target, Cloud)
amazon = pulumi.ResourceOptions(
    provider=aws.Provider("aws", region=target.aws.region, allowed_account_ids=[target.aws.account])
)
google = pulumi.ResourceOptions(provider=gcp.Provider("gcp", project=target.gcp.project))
cluster = pulumi.ResourceOptions(provider=kubernetes.Provider("kubernetes", kubeconfig="", context=target.context))
randoms = pulumi.ResourceOptions(provider=random.Provider("random"))

for name in ("accounts", "keys"):
    aws.dynamodb.Table(
        name,
        name=f"{target.aws.name_prefix}-{name}",
        hash_key="U",
        attributes=[aws.dynamodb.TableAttributeArgs(name="U", type="B")],
        opts=pulumi.ResourceOptions.merge(amazon, pulumi.ResourceOptions(protect=True)),
    )
# as in small_program.py: a stack that moves to a cloud keeps it
password = random.RandomPassword(
    "turn-1", length=40, special=False, opts=pulumi.ResourceOptions.merge(randoms, pulumi.ResourceOptions(protect=True))
)
cache = aws.elasticache.ReplicationGroup("cache", description="Caches", auth_token=password.result, opts=amazon)
groups = gcp.bigtable.Instance("groups", name=target.gcp.instance, opts=google)
key = aws.iam.AccessKey("uploader", user="uploader", opts=amazon)

kubernetes.core.v1.Namespace("namespace", metadata={"name": settings.namespace}, opts=cluster)
kubernetes.core.v1.ConfigMap(
    "endpoints",
    metadata={"name": "endpoints", "namespace": settings.namespace},
    data={"redis": cache.configuration_endpoint_address, "bigtable": groups.id},
    opts=cluster,
)
kubernetes.core.v1.Secret(
    "uploader",
    metadata={"name": "uploader", "namespace": settings.namespace},
    string_data={"secret": key.secret, "password": password.result},
    opts=cluster,
)
pulumi.export("urls", {"whisper": f"https://{settings.host('whisper')}"})
