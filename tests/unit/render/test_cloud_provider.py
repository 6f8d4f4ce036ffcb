"""Cloud resources have exact outputs where these follow from inputs, and recognisable placeholders elsewhere."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp
import pulumi_kubernetes as kubernetes
import pytest
from pulumi import ResourceOptions

from policies import check
from policies.config import load
from render import cloud_provider, manifests
from render.model import RecordedResource, RecordingError
from render.placeholders import MARK, contains_placeholder
from render.state import State
from render.values import StateValues
from tests.unit.render.clouds import ACCOUNT, EXAMPLES, REGION, Clouds, Example, arn, every_type, iam_arn, in_clouds
from tests.unit.render.programs import Providers, named, run

ROOT = Path(__file__).parents[3]

# Forms that real values have: access keys and their secrets, IDs of EC2, key IDs, hosts of caches, private keys.
LOOKS_REAL = re.compile(
    r"\b(AKIA|ASIA)[A-Z0-9]{8,}|(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=])|\b(sg|sgr|vpc|subnet)-[0-9a-f]{8,}"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}|cache\.amazonaws|elb\.amazonaws|-----BEGIN"
)

each = pytest.mark.parametrize(("token", "example"), EXAMPLES.items(), ids=EXAMPLES)


def made(token: str) -> RecordedResource:
    """The example of a type."""
    (resource,) = every_type().of_type(token)
    return resource


class TestEveryType:
    def test_the_list_is_tested(self) -> None:
        assert set(EXAMPLES) == cloud_provider.TYPES

    @each
    def test_outputs_are_exact_or_placeholders_that_look_like_nothing_real(self, token: str, example: Example) -> None:
        resource = made(token)
        assert {name: resource.outputs.get(name) for name in example.exact} == example.exact
        assert resource.id is not None
        assert contains_placeholder(resource.id) if example.id is None else resource.id == example.id
        assert not contains_placeholder(dict(resource.outputs))
        assert set(example.placeholders) <= set(resource.placeholders)
        assert all(contains_placeholder(value) for value in resource.placeholders.values())
        assert not set(resource.placeholders) & set(resource.outputs)
        given = json.dumps([resource.id, {k: v for k, v in resource.placeholders.items() if k not in KEY_FILES}])
        assert not LOOKS_REAL.search(given)

    @each
    def test_every_output_can_be_used(self, token: str, example: Example) -> None:
        resource, recording = made(token), every_type()
        own = {name.removeprefix(f"{token} "): value for name, value in recording.outputs.items() if token in name}
        for name in (*example.exact, *example.placeholders):
            assert own[name] == {**resource.outputs, **resource.placeholders}[name]
        assert {f"{token} {name}" for name in example.secret} <= recording.secret_outputs
        assert set(own) >= set(resource.placeholders)
        assert {path[0] for path in resource.secret_output_paths} == set(example.secret)

    def test_a_real_looking_value_would_be_found(self) -> None:
        for real in ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "sg-0a1b2c3d4e5f"):
            assert LOOKS_REAL.search(f'"{real}"')


KEY_FILES = ("privateKey", "publicKey")


def test_placeholders_of_key_files_are_base64_of_json() -> None:
    resource = made("gcp:serviceaccount/key:Key")
    content = json.loads(base64.b64decode(resource.placeholders["privateKey"], validate=True))
    assert content == {"type": "(known after creation: gcp:serviceaccount/key:Key it privateKey)"}


def test_placeholders_name_the_resource_and_the_output() -> None:
    group = made("aws:elasticache/replicationGroup:ReplicationGroup")
    assert group.placeholders["configurationEndpointAddress"] == (
        "(known after creation: aws:elasticache/replicationGroup:ReplicationGroup it configurationEndpointAddress)"
    )


class TestShapes:
    def test_lists_and_objects(self) -> None:
        def program(clouds: Clouds) -> None:
            table = aws.dynamodb.Table("it", opts=clouds.aws)
            group = aws.elasticache.ReplicationGroup("group", description="d", opts=clouds.aws)
            pulumi.export("recovery", table.point_in_time_recovery.enabled)
            pulumi.export("index", table.global_secondary_indexes[0].name)
            pulumi.export("member", group.member_clusters[0])
            pulumi.export("shard", group.node_group_configurations[0].slots)

        found = in_clouds(program).outputs
        token = "aws:dynamodb/table:Table"
        assert found["recovery"] == f"{MARK}{token} it pointInTimeRecovery.enabled)"
        assert found["index"] == f"{MARK}{token} it globalSecondaryIndexes[0].name)"
        assert found["member"].endswith("group memberClusters[0])")
        assert found["shard"].endswith("group nodeGroupConfigurations[0].slots)")

    def test_missing_parts_of_a_list_are_filled_in(self) -> None:
        def program(clouds: Clouds) -> None:
            table = aws.dynamodb.Table(
                "it",
                attributes=[{"name": "U", "type": "S"}],
                global_secondary_indexes=[{"name": "by-number"}],  # pyrefly: ignore[bad-argument-type]
                opts=clouds.aws,
            )
            pulumi.export("given", table.global_secondary_indexes[0].name)
            pulumi.export("lacking", table.global_secondary_indexes[0].projection_type)

        recording = in_clouds(program)
        assert recording.outputs["given"] == "by-number"
        assert contains_placeholder(recording.outputs["lacking"])
        assert named(recording, "it").outputs["globalSecondaryIndexes"] == [{"name": "by-number"}]

    def test_optional_outputs_are_absent(self) -> None:
        def program(clouds: Clouds) -> None:
            group = aws.elasticache.ReplicationGroup("it", description="d", opts=clouds.aws)
            pulumi.export("absent", group.auth_token.apply(lambda token: token is None))

        assert in_clouds(program).outputs["absent"] is True

    def test_secret_outputs_stay_secret_in_other_resources(self) -> None:
        def program(clouds: Clouds) -> None:
            key = aws.iam.AccessKey("it", user="uploader", opts=clouds.aws)
            kubernetes.core.v1.Secret(
                "secret",
                metadata={"namespace": "flatline", "name": "it"},
                string_data={"secret": key.secret},
                opts=clouds.kubernetes,
            )

        assert named(in_clouds(program), "secret").is_secret(("stringData",))


class TestNames:
    def test_generated_names_are_part_of_derived_outputs(self) -> None:
        def program(clouds: Clouds) -> None:
            aws.s3.Bucket("cdn", opts=clouds.aws)
            aws.iam.Role("role", assume_role_policy="{}", opts=clouds.aws)

        recording = in_clouds(program)
        bucket, role = named(recording, "cdn"), named(recording, "role")
        name = f"{MARK}aws:s3/bucket:Bucket cdn bucket)"
        assert bucket.id == bucket.placeholders["bucket"] == name
        assert bucket.placeholders["arn"] == f"arn:aws:s3:::{name}"
        assert bucket.placeholders["bucketRegionalDomainName"] == f"{name}.s3.{REGION}.amazonaws.com"
        assert role.placeholders["arn"] == iam_arn(f"role/{MARK}aws:iam/role:Role role name)")

    def test_an_alias_of_a_new_key(self) -> None:
        def program(clouds: Clouds) -> None:
            key = aws.kms.Key("key", opts=clouds.aws)
            aws.kms.Alias("alias", name="alias/data", target_key_id=key.key_id, opts=clouds.aws)

        alias = named(in_clouds(program), "alias")
        assert alias.placeholders["targetKeyArn"] == arn("kms", f"key/{MARK}aws:kms/key:Key key keyId)")

    @pytest.mark.parametrize(
        ("region", "partition", "domain"),
        [
            ("us-east-1", "aws", "amazonaws.com"),
            ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
            ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
        ],
    )
    def test_partitions(self, region: str, partition: str, domain: str) -> None:
        def program() -> None:
            provider = ResourceOptions(provider=aws.Provider("aws", region=region, allowed_account_ids=[ACCOUNT]))
            aws.s3.Bucket("bucket", bucket="b", opts=provider)
            aws.dynamodb.Table("table", name="t", opts=provider)

        recording = run(program)
        assert named(recording, "bucket").outputs["arn"] == f"arn:{partition}:s3:::b"
        assert named(recording, "bucket").outputs["bucketRegionalDomainName"] == f"b.s3.{region}.{domain}"
        assert named(recording, "table").outputs["arn"] == f"arn:{partition}:dynamodb:{region}:{ACCOUNT}:table/t"

    def test_a_region_of_its_own(self) -> None:
        recording = in_clouds(lambda c: aws.dynamodb.Table("it", name="t", region="eu-west-1", opts=c.aws))
        assert named(recording, "it").outputs["arn"] == f"arn:aws:dynamodb:eu-west-1:{ACCOUNT}:table/t"

    @pytest.mark.parametrize("allowed", [None, [ACCOUNT, "210987654321"]])
    def test_an_account_that_is_not_pinned(self, allowed: list[str] | None) -> None:
        def program() -> None:
            provider = aws.Provider("main", region=REGION, allowed_account_ids=allowed)
            aws.dynamodb.Table("it", name="t", opts=ResourceOptions(provider=provider))

        account = f"{MARK}pulumi:providers:aws main accountId)"
        assert named(run(program), "it").placeholders["arn"] == f"arn:aws:dynamodb:{REGION}:{account}:table/t"

    def test_a_project_of_a_domain(self) -> None:
        def program() -> None:
            provider = ResourceOptions(provider=gcp.Provider("gcp", project="example.org:chat"))
            gcp.serviceaccount.Account("it", account_id="storage", opts=provider)

        assert named(run(program), "it").outputs["email"] == "storage@chat.example.org.iam.gserviceaccount.com"

    def test_a_project_of_its_own(self) -> None:
        recording = in_clouds(lambda c: gcp.bigtable.Instance("it", name="groups", project="other", opts=c.gcp))
        assert named(recording, "it").id == "projects/other/instances/groups"


class TestLoadBalancer:
    @staticmethod
    def program(kind: str) -> None:
        service = kubernetes.core.v1.Service(
            "it",
            metadata={"name": "it", "namespace": "flatline"},
            spec={"type": kind},
            opts=Providers().kubernetes,
        )
        pulumi.export("host", service.status.load_balancer.ingress[0].hostname)

    def test_its_host_is_known_after_creation(self) -> None:
        recording = run(lambda: self.program("LoadBalancer"))
        where = "status.loadBalancer.ingress[0].hostname"
        assert recording.outputs["host"] == f"{MARK}kubernetes:core/v1:Service it {where})"
        assert "status" not in named(recording, "it").outputs

    def test_other_services_have_none(self) -> None:
        with pytest.raises(RecordingError, match="stack output: host is unknown"):
            run(lambda: self.program("ClusterIP"))

    @pytest.mark.usefixtures("quick")
    def test_it_is_unknown_with_a_state(self, tmp_path: Path) -> None:
        with pytest.raises(RecordingError, match="stack output: host is unknown"), kept(tmp_path) as state:
            run(lambda: self.program("LoadBalancer"), values=StateValues(state))


def kept(folder: Path) -> State:
    return State(folder / "state.json", project="flatline", stack="dev", passphrase=lambda: "correct horse")


class TestRefusals:
    @pytest.mark.usefixtures("quick")
    @each
    def test_values_of_a_state_have_no_placeholders(self, tmp_path: Path, token: str, example: Example) -> None:
        with (
            pytest.raises(RecordingError, match=r"only the Pulumi engine|not a single Kubernetes object"),
            kept(tmp_path) as state,
        ):
            run(lambda: example.make(Clouds()) and None, values=StateValues(state))

    def test_types_that_are_not_listed(self) -> None:
        with pytest.raises(RecordingError, match=r"aws:sqs/queue:Queue 'it': only the Pulumi engine"):
            in_clouds(lambda clouds: aws.sqs.Queue("it", opts=clouds.aws))

    @each
    def test_a_tree_with_secrets(self, token: str, example: Example) -> None:
        recording = replace(every_type(), resources=(made(token),), outputs={}, secret_outputs=frozenset())
        with pytest.raises(manifests.ManifestError, match="for review"):
            manifests.tree(recording)

    def test_a_tree_with_the_host_of_a_load_balancer(self) -> None:
        recording = run(lambda: TestLoadBalancer.program("LoadBalancer"))
        with pytest.raises(manifests.ManifestError, match="for review"):
            manifests.tree(recording)
        assert manifests.KUSTOMIZATION not in manifests.tree(recording, redact=True)


def test_stacks_without_clouds_do_not_import_their_packages() -> None:
    program = (
        "import sys\n"
        "from tests.unit.render.programs import run, whole\n"
        "from render import manifests\n"
        "manifests.tree(run(whole))\n"
        "print([name for name in sys.modules if name in ('pulumi_aws', 'pulumi_gcp')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class TestRules:
    """The policies check cloud resources, and no placeholder satisfies them."""

    @staticmethod
    def findings(program: Callable[[Clouds], object]) -> set[str]:
        report = check.check(check.from_recording(in_clouds(program)), load(profile="cloud"))
        assert not report.undecided
        return {found.rule.name for found in report.findings}

    @pytest.mark.parametrize(
        ("make", "rules"),
        [
            (
                lambda c: aws.dynamodb.Table("it", name="t", opts=c.aws),
                {"dynamodb-backup", "dynamodb-deletion-protection", "dynamodb-encryption", "dynamodb-capacity"},
            ),
            (
                lambda c: aws.s3.Bucket("it", opts=c.aws),
                {"s3-public-access", "s3-tls-only", "s3-encryption", "s3-lifecycle", "s3-ownership"},
            ),
            (lambda c: aws.kms.Key("it", opts=c.aws), {"kms-rotation"}),
            (
                lambda c: aws.elasticache.ReplicationGroup("it", description="d", opts=c.aws),
                {"elasticache-transit", "elasticache-rest", "elasticache-authentication"},
            ),
            (lambda c: aws.iam.AccessKey("it", user="somebody", opts=c.aws), {"iam-access-keys"}),
            (
                lambda c: gcp.bigtable.Instance("it", name="groups", opts=c.gcp),
                {"bigtable-deletion-protection"},
            ),
            (
                lambda c: gcp.bigtable.Table("it", name="t", instance_name="groups", opts=c.gcp),
                {"bigtable-deletion-protection", "bigtable-backup"},
            ),
        ],
    )
    def test_missing_settings_are_found(self, make: Callable[[Clouds], object], rules: set[str]) -> None:
        assert rules <= self.findings(make)

    def test_correct_resources_pass(self) -> None:
        def program(clouds: Clouds) -> None:
            key = aws.kms.Key("key", enable_key_rotation=True, opts=clouds.aws)
            aws.dynamodb.Table(
                "table",
                billing_mode="PAY_PER_REQUEST",
                deletion_protection_enabled=True,
                point_in_time_recovery=aws.dynamodb.TablePointInTimeRecoveryArgs(enabled=True),
                server_side_encryption=aws.dynamodb.TableServerSideEncryptionArgs(enabled=True, kms_key_arn=key.arn),
                opts=clouds.aws,
            )
            gcp.bigtable.Instance("groups", name="groups", deletion_protection=True, opts=clouds.gcp)

        about = ("kms", "dynamodb", "bigtable")
        assert not {rule for rule in self.findings(program) if rule.startswith(about)}

    def test_a_bucket_is_checked_by_its_configuration(self) -> None:
        def program(clouds: Clouds, status: str) -> None:
            bucket = aws.s3.Bucket("config", opts=clouds.aws)
            aws.s3.BucketVersioning(
                "config",
                bucket=bucket.id,
                versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status=status),
                opts=clouds.aws,
            )

        assert "s3-versioning" in self.findings(lambda clouds: program(clouds, "Suspended"))
        assert "s3-versioning" not in self.findings(lambda clouds: program(clouds, "Enabled"))

    def test_a_wildcard_grant_is_found_beside_placeholders(self) -> None:
        def program(clouds: Clouds, action: str) -> None:
            bucket = aws.s3.Bucket("cdn", opts=clouds.aws)
            statement = bucket.arn.apply(
                lambda found: json.dumps(
                    {"Statement": [{"Effect": "Allow", "Action": action, "Resource": f"{found}/profiles/*"}]}
                )
            )
            aws.iam.RolePolicy("policy", role="whisper", policy=statement, opts=clouds.aws)

        assert "iam-wildcards" in self.findings(lambda clouds: program(clouds, "s3:*"))
        assert "iam-wildcards" not in self.findings(lambda clouds: program(clouds, "s3:PutObject"))

    def test_default_tags_count(self) -> None:
        assert "aws-tags" in self.findings(lambda c: aws.iam.User("it", name="a", opts=c.aws))  # no tag `stack`
        tagged = {"stack": "prod"}
        assert "aws-tags" not in self.findings(lambda c: aws.iam.User("it", name="a", tags=tagged, opts=c.aws))
