"""The plan shows a reviewer the resources that are not Kubernetes objects."""

import base64
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_gcp as gcp
import pulumi_kubernetes as kubernetes
import pulumi_random as random
import pytest
import yaml
from pulumi import ResourceOptions

from render import manifests, plan
from render.manifests import PLAN, ManifestError, tree
from render.model import Recording
from render.values import SeededValues
from tests.unit.render.clouds import ACCOUNT, EXAMPLES, Clouds, every_type, iam_arn, in_clouds
from tests.unit.render.programs import kept, named, run, whole


def planned(program: Callable[[Clouds], object]) -> dict[str, Any]:
    """The plan, parsed as YAML."""
    content: dict[str, Any] = yaml.safe_load(plan.text(in_clouds(program)))
    return content


def several_planned() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(plan.text(several_recorded()))
    return content


@cache
def several_recorded() -> Recording:
    """Of `several`; tests must not change it."""
    return in_clouds(several)


def several(clouds: Clouds) -> None:
    """Tables, a cache with a password, a policy about both, a user with a key, a Helm release, and an object."""
    kept = ResourceOptions(provider=clouds.aws.provider, protect=True, retain_on_delete=True)
    keys = aws.dynamodb.Table("keys", name="keys", opts=ResourceOptions.merge(kept, ResourceOptions(import_="old")))
    aws.dynamodb.Table("accounts", name="accounts", opts=kept)
    password = random.RandomPassword("password", length=32, special=False, opts=clouds.random)
    cache = aws.elasticache.ReplicationGroup("cache", description="Caches", auth_token=password.result, opts=clouds.aws)
    role = aws.iam.Role(
        "whisper",
        name="whisper",
        assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}),
        opts=clouds.aws,
    )
    aws.iam.RolePolicy(
        "tables",
        role=role.name,
        policy=pulumi.Output.json_dumps({"Statement": [{"Resource": [keys.arn, cache.arn]}]}),
        opts=clouds.aws,
    )
    key = aws.iam.AccessKey("uploader", user="uploader", opts=clouds.aws)
    kubernetes.core.v1.Secret(
        "uploader",
        metadata={"name": "uploader", "namespace": "flatline"},
        string_data={"secret": key.secret, "password": password.result},
        opts=clouds.kubernetes,
    )
    kubernetes.core.v1.ConfigMap(
        "endpoints",
        metadata={"name": "endpoints", "namespace": "flatline"},
        data={"redis": cache.configuration_endpoint_address},
        opts=clouds.kubernetes,
    )
    kubernetes.helm.v3.Release(
        "traefik", chart="traefik", values={"replicas": 2}, opts=ResourceOptions(provider=clouds.kubernetes.provider)
    )


class TestText:
    def test_blocks_are_sorted_by_type_and_name_after_the_providers(self) -> None:
        assert list(several_planned()) == [
            "pulumi:providers:aws aws",
            "pulumi:providers:gcp gcp",
            "aws:dynamodb:Table accounts",
            "aws:dynamodb:Table keys",
            "aws:elasticache:ReplicationGroup cache",
            "aws:iam:AccessKey uploader",
            "aws:iam:Role whisper",
            "aws:iam:RolePolicy tables",
            "kubernetes:helm.sh/v3:Release traefik",
        ]

    def test_a_block_reads_well(self) -> None:
        text = plan.text(several_recorded())
        assert (
            "\naws:dynamodb:Table keys:\n"
            "  protect: true\n"
            "  retainOnDelete: true\n"
            "  import: old\n"
            "  inputs:\n"
            "    name: keys\n"
            "\n"
        ) in text

    def test_it_is_a_function_of_the_program(self) -> None:
        def backwards(clouds: Clouds) -> None:
            for name in ("b", "a"):
                aws.iam.User(name, name=name, opts=clouds.aws)

        def forwards(clouds: Clouds) -> None:
            for name in ("a", "b"):
                aws.iam.User(name, name=name, opts=clouds.aws)

        assert plan.text(in_clouds(backwards)) == plan.text(in_clouds(forwards))

    def test_policy_documents_are_written_out(self) -> None:
        found = several_planned()
        trust = found["aws:iam:Role whisper"]["inputs"]["assumeRolePolicy"]
        assert trust == {"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}
        tags = found["pulumi:providers:aws aws"]["inputs"]["defaultTags"]
        assert tags == {"tags": {"project": "flatline"}}

    @pytest.mark.parametrize("text", ["{not json", "[a]", '{"number": NaN}', "12", '"text"', "{}{}"])
    def test_other_text_stays_text(self, text: str) -> None:
        found = planned(lambda c: aws.kms.Key("it", description=text, opts=c.aws))
        assert found["aws:kms:Key it"]["inputs"]["description"] == text

    def test_multi_line_text_survives(self) -> None:
        content = "  a: 1\n\n   \n  b: |\n    x\n"
        found = planned(lambda c: aws.s3.BucketObjectv2("it", bucket="b", key="k", content=content, opts=c.aws))
        assert found["aws:s3:BucketObjectv2 it"]["inputs"]["content"] == content

    def test_references(self) -> None:
        statement = several_planned()["aws:iam:RolePolicy tables"]["inputs"]["policy"]["Statement"][0]
        assert statement["Resource"] == [
            f"arn:aws:dynamodb:eu-central-1:{ACCOUNT}:table/keys",
            f"arn:aws:elasticache:eu-central-1:{ACCOUNT}:replicationgroup:${{cache.replicationGroupId}}",
        ]

    def test_references_to_a_name_that_several_have_say_the_type(self) -> None:
        def program(clouds: Clouds) -> None:
            user = aws.iam.User("it", opts=clouds.aws)
            aws.iam.UserPolicy("it", user=user.name, policy="{}", opts=clouds.aws)

        found = planned(program)["aws:iam:UserPolicy it"]["inputs"]["user"]
        assert found == "${aws:iam:User it.name}"

    def test_generated_parts_of_names_are_references(self) -> None:
        def program(clouds: Clouds) -> None:
            suffix = random.RandomId("suffix", byte_length=4, opts=clouds.random)
            bucket = aws.s3.Bucket("it", bucket=pulumi.Output.concat("cdn-", suffix.hex), opts=clouds.aws)
            aws.s3.BucketPolicy("policy", bucket=bucket.id, policy="{}", opts=clouds.aws)

        found = planned(program)
        assert found["aws:s3:Bucket it"]["inputs"]["bucket"] == "cdn-${suffix.hex}"
        assert found["aws:s3:BucketPolicy policy"]["inputs"]["bucket"] == "cdn-${suffix.hex}"

    def test_aliases_of_renamed_types_are_left_out(self) -> None:
        recording = in_clouds(lambda c: aws.s3.Bucket("it", opts=c.aws))
        assert any("BucketV2" in alias for alias in named(recording, "it").aliases)
        assert "aliases" not in plan.text(recording)

    def test_options(self) -> None:
        def program(clouds: Clouds) -> None:
            other = aws.Provider("other", region="us-east-1")
            first = aws.iam.User("first", name="first", opts=clouds.aws)
            aws.iam.User(
                "second",
                name="second",
                path=first.name.apply(lambda name: f"/{name}/"),
                opts=ResourceOptions(
                    provider=other,
                    depends_on=[first, aws.kms.Key("key", opts=clouds.aws)],
                    delete_before_replace=True,
                    ignore_changes=["path"],
                    replace_on_changes=["name"],
                    deleted_with=first,
                    aliases=[pulumi.Alias(name="zweite")],
                ),
            )

        block = planned(program)["aws:iam:User second"]
        assert block.pop("aliases")[0].endswith("::zweite")
        assert block == {
            "provider": "other",
            "dependsOn": ["aws:kms:Key key"],
            "deletedWith": "aws:iam:User first",
            "deleteBeforeReplace": True,
            "ignoreChanges": ["path"],
            "replaceOnChanges": ["name"],
            "inputs": {"name": "second", "path": "/first/"},
        }

    def test_two_with_one_name_differ(self) -> None:
        class Group(pulumi.ComponentResource):
            def __init__(self, name: str, clouds: Clouds) -> None:
                super().__init__(f"flatline:test:{name}", name)
                options = ResourceOptions(parent=self, provider=clouds.aws.provider)
                aws.iam.User("user", name=name, opts=options)

        found = planned(lambda clouds: [Group(name, clouds) for name in ("One", "Two")])
        assert [name for name in found if "iam" in name] == [
            "flatline:test:One$aws:iam/user:User user",
            "flatline:test:Two$aws:iam/user:User user",
        ]

    def test_every_type_can_be_planned(self) -> None:
        found = yaml.safe_load(plan.text(every_type()))
        blocks = [block for name, block in found.items() if not name.startswith("pulumi:")]
        assert len(blocks) == len(EXAMPLES)
        assert all(block["inputs"] for block in blocks)

    def test_without_cloud_resources_there_is_no_file(self) -> None:
        assert plan.text(kept(whole)) == ""
        assert PLAN not in tree(kept(whole))
        assert manifests.KUSTOMIZATION in tree(kept(whole))


class TestSecrets:
    def test_they_are_redacted(self) -> None:
        found = several_planned()
        assert found["aws:elasticache:ReplicationGroup cache"]["inputs"]["authToken"] == manifests.REDACTED

    def test_an_access_key_of_the_provider_is_redacted(self) -> None:
        def program() -> None:
            provider = aws.Provider(
                "aws", region="eu-central-1", access_key="not-a-real-key", secret_key="nor-this-one"
            )
            aws.iam.User("it", name="it", opts=ResourceOptions(provider=provider))

        text = plan.text(run(program))
        assert "accessKey: REDACTED" in text
        assert "not-a-real-key" not in text
        assert "nor-this-one" not in text

    def test_a_secret_inside_of_an_input_is_redacted(self) -> None:
        def program(clouds: Clouds) -> None:
            password = random.RandomPassword("password", length=32, opts=clouds.random)
            kubernetes.helm.v3.Release(
                "it", chart="c", values={"open": 1, "password": password.result}, opts=clouds.kubernetes
            )

        recording = in_clouds(program)
        text = plan.text(recording)
        assert named(recording, "password").outputs["result"] not in text
        assert manifests.REDACTED in text

    def test_the_redacted_tree_holds_none(self) -> None:
        recording = several_recorded()
        files = tree(recording, redact=True)
        password = named(recording, "password").outputs["result"]
        assert all(password not in text for text in files.values())
        assert "secret: REDACTED" in files["10-secret_flatline_uploader.yaml"]
        endpoint = "aws:elasticache/replicationGroup:ReplicationGroup cache configurationEndpointAddress"
        assert endpoint in files["10-configmap_flatline_endpoints.yaml"]

    def test_a_generated_secret_that_gets_into_the_plan_is_found(self) -> None:
        def program(clouds: Clouds) -> None:
            password = random.RandomPassword("password", length=32, special=False, opts=clouds.random)
            aws.iam.User("it", name="it", tags={"password": pulumi.Output.unsecret(password.result)}, opts=clouds.aws)

        with pytest.raises(ManifestError, match=rf"{PLAN} would show a secret of .*::password in the redacted tree"):
            tree(in_clouds(program), redact=True)

    @pytest.mark.parametrize("where", ["plan", "object", "outputs"])
    def test_a_secret_of_the_cloud_that_gets_out_is_found(self, where: str) -> None:
        def program(clouds: Clouds) -> None:
            key = aws.iam.AccessKey("key", user="uploader", opts=clouds.aws)
            secret = pulumi.Output.unsecret(key.secret)
            if where == "plan":
                aws.iam.User("it", name="it", tags={"secret": secret}, opts=clouds.aws)
            elif where == "outputs":
                pulumi.export("secret", secret)
            else:
                kubernetes.core.v1.ConfigMap(
                    "it", metadata={"name": "it", "namespace": "x"}, data={"s": secret}, opts=clouds.kubernetes
                )

        with pytest.raises(ManifestError, match=r"would show a secret of .*AccessKey::key"):
            tree(in_clouds(program), redact=True)

    def test_a_key_file_that_gets_out_is_found_decoded_too(self) -> None:
        def program(clouds: Clouds) -> None:
            key = gcp.serviceaccount.Key("key", service_account_id="a", opts=clouds.gcp)
            text = pulumi.Output.unsecret(key.private_key).apply(lambda found: base64.b64decode(found).decode())
            kubernetes.core.v1.ConfigMap(
                "it", metadata={"name": "it", "namespace": "x"}, data={"key.json": text}, opts=clouds.kubernetes
            )

        with pytest.raises(ManifestError, match=r"would show a secret of .*serviceaccount/key:Key::key"):
            tree(in_clouds(program), redact=True)


class TestTree:
    def test_it_is_for_review_alone(self) -> None:
        files = tree(several_recorded(), redact=True)
        assert files[PLAN] == plan.text(several_recorded())
        assert not {manifests.KUSTOMIZATION, manifests.STACK_OUTPUTS} & set(files)
        with pytest.raises(ManifestError, match="for review"):
            tree(several_recorded())

    def test_a_release_is_not_an_object(self) -> None:
        kinds = {resource.outputs["kind"] for resource in manifests.kubernetes_objects(several_recorded())}
        assert kinds == {"Secret", "ConfigMap"}

    def test_summary(self, tmp_path: Path) -> None:
        written = manifests.write(several_recorded(), tmp_path / "out", redact=True)
        assert written.planned == (
            plan.ResourceCount("aws dynamodb", "Table", 2, 2),
            plan.ResourceCount("aws elasticache", "ReplicationGroup", 1, 0),
            plan.ResourceCount("aws iam", "AccessKey", 1, 0),
            plan.ResourceCount("aws iam", "Role", 1, 0),
            plan.ResourceCount("aws iam", "RolePolicy", 1, 0),
            plan.ResourceCount("kubernetes helm.sh", "Release", 1, 0),
        )
        assert written.objects == {"ConfigMap": 1, "Secret": 1}
        assert (tmp_path / "out" / PLAN).read_text() == plan.text(several_recorded())

    def test_another_seed_changes_no_plan(self) -> None:
        first = run(lambda: several(Clouds()), values=SeededValues("a"))
        second = run(lambda: several(Clouds()), values=SeededValues("b"))
        assert plan.text(first) == plan.text(second)


def test_placeholders_of_load_balancers_keep_their_text() -> None:
    def program(clouds: Clouds) -> None:
        service = kubernetes.core.v1.Service(
            "traefik",
            metadata={"name": "traefik", "namespace": "x"},
            spec={"type": "LoadBalancer"},
            opts=clouds.kubernetes,
        )
        aws.route53.Record(
            "record",
            zone_id="Z1",
            name="a.example.org",
            type="CNAME",
            ttl=60,
            records=[service.status.load_balancer.ingress[0].hostname],
            opts=clouds.aws,
        )

    records = planned(program)["aws:route53:Record record"]["inputs"]["records"]
    assert records == [
        "(known after creation: kubernetes:core/v1:Service traefik status.loadBalancer.ingress[0].hostname)"
    ]


def test_role_arns_are_real() -> None:
    """IAM refers to resources by name, so no placeholder is needed and a reviewer reads the exact grants."""
    assert named(several_recorded(), "tables").inputs["role"] == "whisper"
    assert named(several_recorded(), "whisper").outputs["arn"] == iam_arn("role/whisper")
