"""The cloud stack in all its variants: nothing of the emulators, no standing keys, one role for each service."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.cloud import schema_compatibility
from components.cloud.bigtable import cluster_id
from components.targets import target_of
from config import loading
from config.schema import bigtable, dynamodb, released
from config.schema.dynamodb import Key
from render.model import RecordedResource, Recording
from render.placeholders import placeholder
from render.recorder import record
from render.values import SeededValues
from tests.graph.stack import PROJECT, Stack, configuration, load, recorded, recorded_anew
from tests.lab.aws_iam import Document, Request, trusts

GOLDEN = Path(__file__).parent / "golden"
ACCOUNT, PREFIX, REGION, CLUSTER = "111122223333", "flatline-prod", "eu-central-1", "flatline"
CLEAN_UPS = (
    "notify-idle-devices",
    "remove-expired-accounts",
    "remove-expired-backups",
    "remove-expired-devices",
    "remove-expired-username-holds",
    "remove-orphaned-pre-key-pages",
)
WITH_GRANTS = {
    *("whisper", "whisper-persister", *(f"whisper-{command}" for command in CLEAN_UPS)),
    *("cdn0-gate", "cdn3", "cdn3-download"),
}
UPLOADERS = {"cdn0-whisper", "cdn0-storage"}
CONFIG, BUNDLE = "/usr/share/signal/dev.yml", "/usr/share/signal/secrets-bundle.yml"
ISSUER = "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
WEB_IDENTITY = {"kind": "web-identity", "issuer": ISSUER}
KEY = "cdn0-whisper-secret-key"

VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "web identity": {
        "target": {
            "aws": {"identity": WEB_IDENTITY, "redis": {"kind": "in-cluster"}},
            "gcp": {"identity": {"kind": "workload-identity", "pool": "flatline-example.svc.id.goog"}},
        },
        "secrets": {KEY: {"epoch": 2}},
    },
    "access keys": {
        "target": {
            "aws": {"identity": {"kind": "access-keys", "epoch": 2}, "removalProtection": False},
            "gcp": {"identity": {"kind": "service-account-key", "epoch": 2}},
        },
        "secrets": {KEY: {"epoch": 3}},
    },
    "taken back": {"secrets": {KEY: {"epoch": 3, "activeEpoch": 2}}},
}


def changed(changes: Mapping[str, Any]) -> dict[str, str]:
    """The configuration of prod with changes. Blocks are merged, but what has a kind is replaced."""
    config = dict(configuration("prod"))
    for name, value in changes.items():
        key = f"flatline:{name}"
        before = json.loads(config[key]) if isinstance(value, Mapping) and key in config else value
        after = _merged(before, value) if isinstance(value, Mapping) else value
        config[key] = after if isinstance(after, str) else json.dumps(after)
    return config


def _merged(before: Any, after: Any) -> Any:
    if not isinstance(before, Mapping) or not isinstance(after, Mapping) or "kind" in after:
        return after
    return {**before, **{key: _merged(before.get(key), value) for key, value in after.items()}}


@cache
def _variant(name: str) -> Stack:
    return Stack(recorded(changed(VARIANTS[name]), stack="prod")) if VARIANTS[name] else load("prod")


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Stack:
    return _variant(request.param)


def accounts(**changes: Any) -> Recording:
    """What is in AWS and Google Cloud before anything is in the cluster."""

    def program() -> None:
        settings = loading.of_stack()
        target = target_of(settings)
        target.prepare(target.providers())

    return record(program, project=PROJECT, stack="prod", config=changed(changes), values=SeededValues("seed"))


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text in a value, with its path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from leaves(item, (*path, i))
    elif isinstance(value, str):
        yield path, value


def environment(stack: Stack) -> dict[tuple[str, str], str]:
    """Every environment value, by pod and name."""
    return {
        (pod.name, entry["name"]): entry.get("value", "")
        for pod in stack.pods()
        for container in pod.containers()
        for entry in container.get("env", ())
    }


# --- no emulators, no standing keys, no plain secrets -------------------------------------------------------

EMULATORS = (
    "localstack",
    "cbtemulator",
    "versitygw",
    "/object-store",
    "emulators",
    "AWS_ENDPOINT",
    "BIGTABLE_EMULATOR",
    "endpointOverride",
)


def traces(stack: Stack, names: Collection[str] = EMULATORS) -> list[str]:
    """Where an emulator is named: objects, images, environment, arguments, configuration; not our own programs."""
    found = [f"{o['kind']}/{o['metadata'].get('namespace', '')}/{o['metadata']['name']}" for o in stack.objects]
    found += [resource.urn for resource in stack.resources]
    for pod in stack.pods():
        for container in pod.containers():
            found += [container["image"], *container.get("command", ()), *container.get("args", ())]
        for mounts in pod.files.values():
            found += [line for m in mounts if not m.path.endswith((".mjs", ".py")) for line in m.text.splitlines()]
    found += [text for key, value in environment(stack).items() for text in (key[1], value)]
    found += [
        text
        for resource in stack.resources
        if resource.package in ("aws", "gcp")
        for _, text in leaves(resource.inputs)
    ]
    return [text for text in found if any(name.lower() in text.lower() for name in names)]


def test_nothing_of_the_emulators_is_there(variant: Stack) -> None:
    assert traces(variant) == []
    # Helm makes Traefik's
    assert {o["metadata"]["name"] for o in variant.of("Namespace")} == {"flatline"}
    assert {o["metadata"].get("namespace", "") for o in variant.objects} <= {"", "flatline", "traefik"}


@pytest.mark.parametrize("name", EMULATORS)
def test_an_emulator_would_be_seen(name: str) -> None:
    """What the test above looks for is in the local stack."""
    assert traces(load("dev"), [name])


def test_only_those_who_sign_forms_have_keys(variant: Stack) -> None:
    users = {str(each.inputs["user"]) for each in variant.recording.of_type("aws:iam/accessKey:AccessKey")}
    last_resort = variant is _variant("access keys")
    expected = UPLOADERS | (WITH_GRANTS if last_resort else set())
    assert users == {f"{PREFIX}-{name}" for name in expected}
    assert bool(variant.recording.of_type("gcp:serviceaccount/key:Key")) is last_resort
    names = {name for _, name in environment(variant)}
    assert names & {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} == set()
    assert ("AWS_SHARED_CREDENTIALS_FILE" in names) is last_resort
    everything = json.dumps([dict(resource.inputs) for resource in variant.resources])
    assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b", everything)


def secrets(stack: Stack) -> set[str]:
    """Every secret value there is, those that only creation can tell by the texts that stand for them."""
    found = {
        str(each.outputs["result"]) for each in stack.recording.of_type("random:index/randomPassword:RandomPassword")
    }
    for each in stack.recording.of_type("tls:index/privateKey:PrivateKey"):
        found |= {str(each.outputs[name]).strip() for name in ("privateKeyPem", "privateKeyPemPkcs8")}
    for each in stack.recording.of_type("aws:iam/accessKey:AccessKey"):
        found.add(placeholder(each, "secret"))
    for each in stack.recording.of_type("gcp:serviceaccount/key:Key"):
        found |= {str(each.placeholders["privateKey"]), placeholder(each, "privateKey")}
    bundle = yaml.safe_load(stack.file("whisper", BUNDLE))
    config, storage = yaml.safe_load(stack.file("whisper", CONFIG)), yaml.safe_load(stack.file("storage", CONFIG))
    found |= {text for key, text in bundle.items() if key != "cdn.accessKey"}
    found |= {storage["authentication"]["key"], storage["zkConfig"]["serverSecret"], storage["cdn"]["accessSecret"]}
    found |= {storage["group"]["externalServiceSecret"], config["cacheCluster"]["configurationUri"].split("@")[0][10:]}
    found.add(stack.file("cdn3", "/etc/flatline/attachments.key"))
    return {text for text in found if text}


def test_secrets_are_only_where_they_are_marked(variant: Stack) -> None:
    values = {piece for text in secrets(variant) for piece in (text, json.dumps(text)[1:-1])}
    assert min(len(text) for text in values) >= 20
    seen = 0
    for resource in variant.resources:
        for path, text in leaves(resource.inputs):
            if any(value in text for value in values):
                seen += 1
                assert resource.is_secret(path), f"{resource.type} {resource.name}: {path}"
                assert resource.type in (
                    "kubernetes:core/v1:Secret",
                    "aws:elasticache/replicationGroup:ReplicationGroup",
                    "tls:index/selfSignedCert:SelfSignedCert",
                    "tls:index/locallySignedCert:LocallySignedCert",
                    "tls:index/certRequest:CertRequest",
                ), resource.urn
    assert seen >= 10


# --- who trusts whom ----------------------------------------------------------------------------------------


def trust_of(role: RecordedResource) -> Document:
    document: Document = json.loads(role.inputs["assumeRolePolicy"])
    return document


def roles(stack: Stack) -> dict[str, RecordedResource]:
    return {str(r.inputs["name"]).removeprefix(f"{PREFIX}-"): r for r in stack.recording.of_type("aws:iam/role:Role")}


def used_accounts(stack: Stack) -> dict[str, set[str]]:
    """The service accounts → the pods that run as them."""
    used: dict[str, set[str]] = {}
    for pod in stack.pods():
        used.setdefault(pod.spec["serviceAccountName"], set()).add(pod.labels["app.kubernetes.io/name"])
    return used


def test_each_service_account_with_grants_has_one_identity_of_its_own(variant: Stack) -> None:
    if variant is _variant("access keys"):
        assert roles(variant) == {}
        users = {str(u.inputs["name"]) for u in variant.recording.of_type("aws:iam/user:User")}
        assert users == {f"{PREFIX}-{name}" for name in WITH_GRANTS | UPLOADERS}
    else:
        assert set(roles(variant)) == WITH_GRANTS
    used = used_accounts(variant)
    for account in WITH_GRANTS:
        assert used[account] == {account}
        (pod,) = (pod for pod in variant.pods() if pod.spec["serviceAccountName"] == account)
        assert pod.spec["automountServiceAccountToken"] is False


def test_a_role_is_for_its_own_pods_of_its_own_cluster() -> None:
    stack = _variant("as it is")
    associations = stack.recording.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    assert {
        (a.inputs["clusterName"], a.inputs["namespace"], a.inputs["serviceAccount"], a.inputs["roleArn"])
        for a in associations
    } == {(CLUSTER, "flatline", name, f"arn:aws:iam::{ACCOUNT}:role/{PREFIX}-{name}") for name in WITH_GRANTS}
    for name, role in roles(stack).items():
        document, eks = trust_of(role), ("Service", "pods.eks.amazonaws.com")
        tags = {
            "aws:RequestTag/eks-cluster-name": CLUSTER,
            "aws:RequestTag/kubernetes-namespace": "flatline",
            "aws:RequestTag/kubernetes-service-account": name,
            "aws:SourceAccount": ACCOUNT,
        }
        for action in ("sts:AssumeRole", "sts:TagSession"):
            own = Request(action, role.id or "", tags, eks)
            assert trusts(document, own)
            for key in tags:
                assert not trusts(document, replace(own, context={**tags, key: f"{tags[key]}2"}))
                assert not trusts(document, replace(own, context={k: v for k, v in tags.items() if k != key}))
            for other in (("Service", "ec2.amazonaws.com"), ("AWS", f"arn:aws:iam::{ACCOUNT}:root"), None):
                assert not trusts(document, replace(own, principal=other))
        for action in ("sts:AssumeRoleWithWebIdentity", "sts:SetSourceIdentity"):
            assert not trusts(document, Request(action, "", tags, eks))


def test_a_role_is_for_the_token_of_its_own_service_account() -> None:
    stack = _variant("web identity")
    host = ISSUER.removeprefix("https://")
    provider = ("Federated", f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}")
    for name, role in roles(stack).items():
        document = trust_of(role)
        claims = {f"{host}:aud": "sts.amazonaws.com", f"{host}:sub": f"system:serviceaccount:flatline:{name}"}
        own = Request("sts:AssumeRoleWithWebIdentity", "", claims, provider)
        assert trusts(document, own)
        for key in claims:
            assert not trusts(document, replace(own, context={**claims, key: f"{claims[key]}2"}))
            assert not trusts(document, replace(own, context={k: v for k, v in claims.items() if k != key}))
        assert not trusts(document, replace(own, principal=("Federated", f"{provider[1]}2")))
        assert not trusts(document, replace(own, action="sts:AssumeRole"))
        (pod,) = (pod for pod in stack.pods() if pod.spec["serviceAccountName"] == name)
        env = {entry["name"]: entry.get("value") for c in pod.spec["containers"] for entry in c.get("env", ())}
        assert env["AWS_ROLE_ARN"] == f"arn:aws:iam::{ACCOUNT}:role/{PREFIX}-{name}"
        tokens = [
            (source["serviceAccountToken"]["audience"], volume["name"], source["serviceAccountToken"]["path"])
            for volume in pod.spec["volumes"]
            for source in volume.get("projected", {}).get("sources", ())
        ]
        ((audience, volume, path),) = tokens
        assert audience == "sts.amazonaws.com"
        for container in pod.spec["containers"]:
            (mount,) = (each for each in container["volumeMounts"] if each["name"] == volume)
            assert f"{mount['mountPath']}/{path}" == env["AWS_WEB_IDENTITY_TOKEN_FILE"]
            assert mount["readOnly"] is True
    assert not stack.recording.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")


def grants_of(recording: Recording, account: str) -> set[tuple[str, str, str]]:
    """(action, resource, condition) of everything that a role or a user may do."""
    owner, documents = f"{PREFIX}-{account}", []
    for each in recording:
        if owner in (each.inputs.get("role"), each.inputs.get("user")):
            if "policy" in each.inputs:
                documents.append(each.inputs["policy"])
            if "policyArn" in each.inputs:
                (attached,) = (
                    p for p in recording.of_type("aws:iam/policy:Policy") if p.id == each.inputs["policyArn"]
                )
                documents.append(attached.inputs["policy"])
    return {
        (action, resource, json.dumps(statement.get("Condition"), sort_keys=True))
        for document in documents
        for statement in json.loads(document)["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


@pytest.mark.parametrize("name", ["web identity", "access keys"])
@pytest.mark.parametrize("account", sorted(WITH_GRANTS))
def test_every_way_to_an_identity_grants_the_same(name: str, account: str) -> None:
    expected = grants_of(_variant("as it is").recording, account)
    assert expected
    assert grants_of(_variant(name).recording, account) == expected


def test_a_file_of_keys_is_for_its_own_pods() -> None:
    stack = _variant("access keys")
    file = "/var/run/secrets/flatline/aws-credentials"
    holders = {
        pod.labels["app.kubernetes.io/name"]: {m for mounts in pod.files.values() for m in mounts if m.path == file}
        for pod in stack.pods()
    }
    assert {name for name, found in holders.items() if found} == WITH_GRANTS
    keys = {each.name: each for each in stack.recording.of_type("aws:iam/accessKey:AccessKey")}
    for name in WITH_GRANTS:
        ((mounted),) = holders[name]
        # epoch 2 is the second of two places
        used = keys[f"{name}-even"]
        assert f"{name}-odd" in keys
        assert mounted.secret
        assert mounted.text == (
            f"[default]\naws_access_key_id = {placeholder(used, 'id')}\n"
            f"aws_secret_access_key = {placeholder(used, 'secret')}\n"
        )
        assert environment(stack)[_owner(stack, name), "AWS_SHARED_CREDENTIALS_FILE"] == file


def _owner(stack: Stack, name: str) -> str:
    return stack.pod(name).name


@pytest.mark.parametrize(
    ("name", "member"),
    [
        (
            "as it is",
            "principal://iam.googleapis.com/projects/111122223333/locations/global/workloadIdentityPools/flatline"
            "/subject/system:serviceaccount:flatline:storage",
        ),
        ("web identity", "serviceAccount:flatline-prod-storage@flatline-example.iam.gserviceaccount.com"),
        ("access keys", "serviceAccount:flatline-prod-storage@flatline-example.iam.gserviceaccount.com"),
    ],
)
def test_storage_alone_reads_and_writes_groups(name: str, member: str) -> None:
    recording = _variant(name).recording
    grants = [each for each in recording if each.package == "gcp" and "role" in each.inputs]
    bound = [each for each in grants if each.type == "gcp:bigtable/instanceIamMember:InstanceIamMember"]
    assert [(each.inputs["role"], each.inputs["member"], each.inputs["instance"]) for each in bound] == [
        ("roles/bigtable.user", member, "flatline-storage")
    ]
    rest = [each for each in grants if each not in bound]
    assert [(each.inputs["role"], each.inputs["member"]) for each in rest] == (
        [("roles/iam.workloadIdentityUser", "serviceAccount:flatline-example.svc.id.goog[flatline/storage]")]
        if name == "web identity"
        else []
    )
    assert len(recording.of_type("gcp:serviceaccount/account:Account")) == (0 if name == "as it is" else 1)


def test_google_credentials_are_of_the_variant() -> None:
    def file(name: str) -> Any:
        return json.loads(_variant(name).file("storage", "/var/run/secrets/flatline/google-credentials.json"))

    federated = file("as it is")
    provider = "projects/111122223333/locations/global/workloadIdentityPools/flatline/providers/cluster"
    assert federated["type"] == "external_account"
    assert federated["audience"] == f"//iam.googleapis.com/{provider}"
    assert "private" not in json.dumps(federated)
    newest = {each.name: each for each in _variant("access keys").recording.of_type("gcp:serviceaccount/key:Key")}
    assert sorted(newest) == ["storage-1", "storage-2"]
    assert file("access keys") == {"type": placeholder(newest["storage-2"], "privateKey")}
    annotated = _variant("web identity").get("ServiceAccount", "storage")["metadata"]["annotations"]
    assert annotated == {
        "iam.gke.io/gcp-service-account": "flatline-prod-storage@flatline-example.iam.gserviceaccount.com"
    }


def test_redis_of_a_variant() -> None:
    in_cluster = _variant("web identity")
    assert not [each for each in in_cluster.resources if each.type.startswith("aws:elasticache")]
    assert yaml.safe_load(in_cluster.file("whisper", CONFIG))["cacheCluster"]["configurationUri"].startswith("redis://")
    assert in_cluster.get("StatefulSet", "redis")
    managed = _variant("as it is")
    assert not [o for o in managed.of("StatefulSet") if "redis" in o["metadata"]["name"]]
    assert yaml.safe_load(managed.file("whisper", CONFIG))["cacheCluster"]["configurationUri"].startswith("rediss://:")


# --- rotation of the keys that sign forms ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "places", "used"),
    [
        ("as it is", {"odd"}, "odd"),
        ("web identity", {"odd", "even"}, "even"),
        ("access keys", {"odd", "even"}, "odd"),
        ("taken back", {"odd", "even"}, "even"),
    ],
    ids=["epoch 1", "epoch 2", "epoch 3", "epoch 3, active 2"],
)
def test_all_readers_use_the_key_of_the_active_epoch(name: str, places: set[str], used: str) -> None:
    stack = _variant(name)
    keys = {
        each.name: each
        for each in stack.recording.of_type("aws:iam/accessKey:AccessKey")
        if each.inputs["user"] in {f"{PREFIX}-{user}" for user in UPLOADERS}
    }
    assert set(keys) == {f"cdn0-whisper-{place}" for place in places} | {"cdn0-storage-odd"}
    bundle = yaml.safe_load(stack.file("whisper", BUNDLE))
    storage = yaml.safe_load(stack.file("storage", CONFIG))["cdn"]
    gate = json.loads(stack.file("cdn0-gate", "/etc/flatline/cdn0-credentials.json"))
    signers = {each["name"]: (each["accessKeyId"], each["secretAccessKey"]) for each in gate}

    def of(key: str) -> tuple[str, str]:
        return placeholder(keys[key], "id"), placeholder(keys[key], "secret")

    assert (bundle["cdn.accessKey"], bundle["cdn.accessSecret"]) == signers["whisper"] == of(f"cdn0-whisper-{used}")
    assert (storage["accessKey"], storage["accessSecret"]) == signers["storage"] == of("cdn0-storage-odd")


def test_a_place_is_made_anew_when_its_epoch_changes() -> None:
    """Epoch 3 takes the place of epoch 1, so its key is replaced; that of epoch 2 stays as it is."""

    def keys(epoch: int) -> dict[str, RecordedResource]:
        recording = accounts(secrets={KEY: {"epoch": epoch}})
        return {e.name: e for e in recording.of_type("aws:iam/accessKey:AccessKey") if "whisper" in e.name}

    first, second, third = keys(1), keys(2), keys(3)
    assert [sorted(each) for each in (first, second, third)] == [
        ["cdn0-whisper-odd"],
        ["cdn0-whisper-even", "cdn0-whisper-odd"],
        ["cdn0-whisper-even", "cdn0-whisper-odd"],
    ]
    assert all(each.delete_before_replace for found in (first, second, third) for each in found.values())


# --- Whisper's and Storage's configuration ------------------------------------------------------------------

REASONS = {
    r"whisper (cacheCluster|messageCache\.cluster|pushSchedulerCluster|rateLimitersCluster)\.configurationUri": (
        "ElastiCache instead of pods, over TLS"
    ),
    r"whisper pubsub\.uri": "ElastiCache instead of a pod, over TLS",
    r"(whisper|storage) cdn\.bucket": "names in S3 are the world's",
    r"whisper (dynamicConfig\.s3Bucket|pagedSingleUseKEMPreKeyStore\.bucket)": "names in S3 are the world's",
    r"whisper (cdn|pagedSingleUseKEMPreKeyStore)\.endpointOverride": "S3 is found by its region",
    r"(whisper|storage) (.*\.)?(region|s3Region)": "the region of the account",
    r"whisper dynamoDbTables\..*ableName": "several installations may share an account",
    r"(secrets bundle|storage) cdn\.access(Key|Secret)": "AWS makes the keys that sign forms",
    r"storage bigtable\.(projectId|instanceId)": "the project and the instance",
}
"""What must differ, and why."""


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{path}.{key}" if path else key).items()}
    return {path: value}


def _configurations(stack: Stack) -> dict[str, Any]:
    found = {"whisper": yaml.safe_load(stack.file("whisper", CONFIG))}
    found["storage"] = yaml.safe_load(stack.file("storage", CONFIG))
    flat = {f"{name} {path}": value for name, tree in found.items() for path, value in _flat(tree).items()}
    bundle = yaml.safe_load(stack.file("whisper", BUNDLE))
    return {**flat, **{f"secrets bundle {path}": value for path, value in bundle.items()}}


def _shown(path: str, value: Any) -> str:
    if value is None:
        return "-"
    if path.endswith(("accessKey", "accessSecret")):
        return "AWS's" if "(known after creation: " in value else "made here"
    text = re.sub(r"\(known after creation: \S+ (\S+) (\S+)\)", r"<\1 \2>", str(value))
    return re.sub(r"//:[0-9a-f]{64}@", "//:<password>@", text)


def difference() -> tuple[str, set[str]]:
    """The difference as a table, and the paths that differ.

    Both stacks have the same domain and name, so that the random values in them, which are made by URN, are the same.
    """
    same = {**configuration("prod"), "flatline:domain": configuration("dev")["flatline:domain"]}
    local, cloud = _configurations(load("dev")), _configurations(Stack(recorded(same, stack="dev")))
    paths = sorted(path for path in local.keys() | cloud.keys() if local.get(path) != cloud.get(path))
    rows = [("path", "local", "cloud", "because")]
    for path in paths:
        reasons = [why for pattern, why in REASONS.items() if re.fullmatch(pattern, path)]
        assert len(reasons) == 1, f"{path} differs, and {len(reasons)} reasons say why"
        rows.append((path, _shown(path, local.get(path)), _shown(path, cloud.get(path)), reasons[0]))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n", set(paths)


def test_configurations_differ_in_what_must_differ(request: pytest.FixtureRequest) -> None:
    """After a wanted change: ./flatline test --update-golden."""
    table, paths = difference()
    print(table)
    golden = GOLDEN / "cloud-configuration-difference.txt"
    if request.config.getoption("--update-golden"):
        golden.write_text(table)
    assert table == golden.read_text()
    for pattern in REASONS:
        assert any(re.fullmatch(pattern, path) for path in paths), f"nothing differs any more in {pattern}"


# --- adoption, protection, replacement ------------------------------------------------------------------------

DATA = {
    "aws:dynamodb/table:Table",
    "aws:kms/key:Key",
    "aws:s3/bucket:Bucket",
    "aws:s3/bucketObjectv2:BucketObjectv2",
    "gcp:bigtable/instance:Instance",
    "gcp:bigtable/table:Table",
}


def by_name(recording: Recording, token: str) -> dict[str, RecordedResource]:
    return {each.name: each for each in recording.of_type(token)}


def test_what_exists_is_adopted_by_its_name() -> None:
    adopted = accounts(
        target={
            "aws": {
                "adopt": {
                    "tables": {"Accounts": "old-accounts", "Messages": "Messages"},
                    "buckets": {"cdn0": "old-avatars", "uploads": "old-uploads"},
                }
            },
            "gcp": {"adopt": True, "instance": "old-groups"},
        }
    )
    plain = accounts()
    tables = by_name(adopted, "aws:dynamodb/table:Table")
    assert {n: (t.inputs["name"], t.import_id) for n, t in tables.items() if t.import_id} == {
        "dynamodb-Accounts": ("old-accounts", "old-accounts"),
        "dynamodb-Messages": ("Messages", "Messages"),
    }
    buckets = by_name(adopted, "aws:s3/bucket:Bucket")
    assert {n: (b.inputs["bucket"], b.import_id) for n, b in buckets.items() if b.import_id} == {
        "bucket-cdn0": ("old-avatars", "old-avatars"),
        "bucket-uploads": ("old-uploads", "old-uploads"),
    }
    (instance,) = adopted.of_type("gcp:bigtable/instance:Instance")
    assert instance.import_id == "projects/flatline-example/instances/old-groups"
    assert {n: t.import_id for n, t in by_name(adopted, "gcp:bigtable/table:Table").items()} == {
        f"bigtable-{name}": f"projects/flatline-example/instances/old-groups/tables/{name}"
        for name in ("contacts", "contact-manifests", "groups", "group-logs")
    }
    # the others are as they were, and the same resources are there
    assert {each.urn for each in adopted} == {each.urn for each in plain}
    assert not [each for each in plain if each.import_id]
    for token, changed_names in (("aws:dynamodb/table:Table", tables), ("aws:s3/bucket:Bucket", buckets)):
        for name, each in by_name(plain, token).items():
            if not changed_names[name].import_id:
                assert changed_names[name].inputs == each.inputs
    grants = json.loads(by_name(adopted, "aws:iam/userPolicy:UserPolicy")["cdn0-storage"].inputs["policy"])
    assert [each["Resource"] for each in grants["Statement"]] == [["arn:aws:s3:::old-avatars/groups/*"]]


def test_all_data_is_protected() -> None:
    recording = _variant("as it is").recording
    data = [each for each in recording if each.type in DATA]
    caches = recording.of_type("aws:elasticache/replicationGroup:ReplicationGroup")
    for each in data:
        assert each.protect, each.urn
        assert each.retain_on_delete, each.urn
        assert not each.delete_before_replace, each.urn
    assert {each.name: each.protect for each in caches} == {"redis": True, "redis-pubsub": False}
    seeds = [each for each in recording if each.package == "random"]
    assert all(each.protect for each in seeds)


def test_without_removal_protection_nothing_else_changes() -> None:
    protected, free = accounts(), accounts(target={"aws": {"removalProtection": False}})
    off = {
        "aws:dynamodb/table:Table": ("deletionProtectionEnabled", True, False),
        "gcp:bigtable/instance:Instance": ("deletionProtection", True, False),
        "gcp:bigtable/table:Table": ("deletionProtection", "PROTECTED", "UNPROTECTED"),
    }
    assert {each.urn for each in protected} == {each.urn for each in free}
    now = free.by_urn()
    for each in protected:
        other = now[each.urn]
        if each.type in DATA:
            assert (each.protect, each.retain_on_delete) == (True, True), each.urn
            assert (other.protect, other.retain_on_delete, other.delete_before_replace) == (False, False, True)
        else:
            assert (each.protect, each.retain_on_delete) == (other.protect, other.retain_on_delete), each.urn
        inputs = dict(each.inputs)
        if each.type in off:
            name, before, after = off[each.type]
            assert inputs[name] == before
            inputs[name] = after
        assert other.inputs == inputs, each.urn


def test_only_the_named_tables_may_be_replaced() -> None:
    recording = accounts(target={"aws": {"replaceTables": ["Profiles"]}, "gcp": {"replaceTables": ["contacts"]}})
    open_ones = {each.name for each in recording if each.type in DATA and not each.protect}
    assert open_ones == {"dynamodb-Profiles", "bigtable-contacts"}
    for each in recording:
        if each.type not in DATA:
            continue
        free = each.name in open_ones
        assert each.retain_on_delete is not free
        assert each.delete_before_replace is free
        protection = each.inputs.get("deletionProtectionEnabled", each.inputs.get("deletionProtection"))
        if protection is not None:
            assert protection in ((False, "UNPROTECTED") if free else (True, "PROTECTED")), each.name


# --- the schema and what installations have -------------------------------------------------------------------

Change = Callable[[dict[str, Any]], dict[str, Any]]


def _without(path: str) -> Change:
    return lambda tables: {key: value for key, value in tables.items() if key != path}


def _with(path: str, **values: Any) -> Change:
    return lambda tables: {**tables, path: replace(tables[path], **values)}


def _index(tables: dict[str, Any]) -> dict[str, Any]:
    messages = tables["messages.tableName"]
    moved = replace(messages.indexes[0], range=Key("T", "B"))
    return {**tables, "messages.tableName": replace(messages, indexes=(moved,))}


def _added(tables: dict[str, Any]) -> dict[str, Any]:
    return {**tables, "new.tableName": replace(tables["backups.tableName"], name="New")}


DYNAMODB_DRIFT: list[tuple[Change, tuple[str, ...], str]] = [
    (_without("profiles.tableName"), ("Profiles",), r"Profiles: is no longer in the schema \(removed or renamed\)"),
    (_with("profiles.tableName", name="Profiles2"), ("Profiles", "Profiles2"), r"Profiles: is no longer in the schema"),
    (_with("profiles.tableName", hash=Key("A", "B")), ("Profiles",), r"Profiles: its keys were U:B, V:S and are A:B"),
    (_with("profiles.tableName", hash=Key("U", "S")), ("Profiles",), r"Profiles: its keys were U:B, V:S and are U:S"),
    (_with("profiles.tableName", range=None), ("Profiles",), r"Profiles: its keys were U:B, V:S and are U:B,"),
    (_with("backups.tableName", range=Key("V", "S")), ("Backups",), r"Backups: its keys were U:B and are U:B, V:S"),
    (_with("messages.tableName", indexes=()), ("Messages",), r"Messages: its keys were H:B, S:B, Message_UUID_Index"),
    (_index, ("Messages",), r"Messages: its keys were .*Message_UUID_Index=U:B and are .*Message_UUID_Index=T:B"),
]


@pytest.mark.parametrize(("change", "names", "message"), DYNAMODB_DRIFT)
def test_a_table_is_lost_by_a_change_of_the_schema_when_it_is_asked_for_by_name_alone(
    monkeypatch: pytest.MonkeyPatch, change: Change, names: tuple[str, ...], message: str
) -> None:
    tables = change(dynamodb.TABLES)
    monkeypatch.setattr(dynamodb, "TABLES", tables)
    for named in ([], ["RemoteConfig"]):
        with pytest.raises(schema_compatibility.IncompatibleSchemaError, match=message) as refusal:
            accounts(target={"aws": {"replaceTables": named}})
        assert "flatline:target.aws.replaceTables" in str(refusal.value)
        assert "nothing was done" in str(refusal.value)
    recording = accounts(target={"aws": {"replaceTables": list(names)}})
    found = {str(each.inputs["name"]) for each in recording.of_type("aws:dynamodb/table:Table")}
    assert found == {f"{PREFIX}-{table.name}" for table in tables.values()}


def test_a_whole_preview_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb, "TABLES", _without("profiles.tableName")(dynamodb.TABLES))
    with pytest.raises(schema_compatibility.IncompatibleSchemaError, match="Profiles"):
        recorded_anew(configuration("prod"), stack="prod", preview=True)


def test_a_new_table_must_be_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb, "TABLES", _added(dynamodb.TABLES))
    with pytest.raises(
        schema_compatibility.IncompatibleSchemaError,
        match=r"New: is new; add its keys U:B to config/schema/released\.py",
    ):
        accounts()


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (_without("groupsTableId"), "groups", r"groups: is no longer in the schema"),
        (_with("groupsTableId", family="x"), "groups", r"groups: its column families were g and are x"),
    ],
)
def test_groups_are_never_lost_by_a_change_of_the_schema(
    monkeypatch: pytest.MonkeyPatch, change: Change, name: str, message: str
) -> None:
    monkeypatch.setattr(bigtable, "TABLES", change(bigtable.TABLES))
    with pytest.raises(schema_compatibility.IncompatibleSchemaError, match=message) as refusal:
        accounts()
    assert "flatline:target.gcp.replaceTables" in str(refusal.value)
    with pytest.raises(schema_compatibility.IncompatibleSchemaError, match=message):
        accounts(target={"aws": {"replaceTables": []}, "gcp": {"replaceTables": ["contacts"]}})
    accounts(target={"gcp": {"replaceTables": [name]}})


def test_what_can_change_in_place_is_no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = _with("accounts.tableName", indexes=(), ttl="E")(dynamodb.TABLES)
    monkeypatch.setattr(dynamodb, "TABLES", tables)
    assert accounts()


def test_what_was_released_is_what_the_schema_has() -> None:
    tables = dynamodb.tables(group_calls=True).values()
    assert {table.name: schema_compatibility.keys(table) for table in tables} == released.DYNAMODB
    assert {table.name: (table.family,) for table in bigtable.TABLES.values()} == released.BIGTABLE


# --- limits of AWS and Google Cloud ---------------------------------------------------------------------------

LONGEST = "a" * 20
ZONES = ("northamerica-northeast1-a", "northamerica-northeast2-a", "australia-southeast1-c", "southamerica-east1-b")
LIMITS: dict[tuple[str, str], tuple[int, int]] = {
    ("aws:dynamodb/table:Table", "name"): (3, 255),
    ("aws:ec2/securityGroup:SecurityGroup", "name"): (1, 255),
    ("aws:elasticache/parameterGroup:ParameterGroup", "name"): (1, 255),
    ("aws:elasticache/replicationGroup:ReplicationGroup", "replicationGroupId"): (1, 40),
    ("aws:elasticache/subnetGroup:SubnetGroup", "name"): (1, 255),
    ("aws:iam/policy:Policy", "name"): (1, 128),
    ("aws:iam/role:Role", "name"): (1, 64),
    ("aws:iam/user:User", "name"): (1, 64),
    ("aws:kms/alias:Alias", "name"): (1, 256),
    ("aws:s3/bucket:Bucket", "bucket"): (3, 63),
    ("gcp:bigtable/instance:Instance", "displayName"): (4, 30),
    ("gcp:bigtable/instance:Instance", "name"): (6, 33),
    ("gcp:serviceaccount/account:Account", "accountId"): (6, 30),
}
"""Least and most characters of names."""

BIGGEST: dict[str, dict[str, Any]] = {
    name: _merged(
        {
            "target": {
                "aws": {"namePrefix": LONGEST, "region": "ap-southeast-1"},
                "gcp": {"instance": "i" * 33, "clusters": [{"zone": zone} for zone in ZONES]},
            }
        },
        identity,
    )
    for name, identity in {
        "roles": {"target": {"gcp": {"identity": {"kind": "service-account-key"}}}},
        "users": {"target": {"aws": {"identity": {"kind": "access-keys"}}}},
    }.items()
}


@cache
def biggest(name: str) -> Recording:
    """The stack with the longest names that its settings permit."""
    return recorded(changed(BIGGEST[name]), stack="prod")


@pytest.mark.parametrize("name", BIGGEST)
def test_the_longest_names_fit(name: str) -> None:
    seen = set()
    for each in biggest(name):
        for (token, field), (least, most) in LIMITS.items():
            if each.type == token:
                seen.add(token)
                value = str(each.inputs[field])
                assert least <= len(value) <= most, f"{each.urn}: {field} has {len(value)} characters"
                assert "--" not in value, each.urn
                assert not value.endswith("-"), each.urn
    assert {token for token, _ in LIMITS} - seen <= {
        "aws:iam/role:Role",
        "aws:iam/policy:Policy",
        "gcp:serviceaccount/account:Account",
    }
    named = {each.type for each in biggest(name) if each.package in ("aws", "gcp") and each.inputs.get("name")}
    assert named - {token for token, _ in LIMITS} <= {"gcp:bigtable/table:Table", "aws:route53/record:Record"}


@pytest.mark.parametrize("instance", ["i" * 33, "flatline-storage", "flatline-st-orage", "abcdef"])
def test_ids_of_bigtable_clusters_fit_and_differ(instance: str) -> None:
    zones = [
        f"{region}-{zone}"
        for region in (
            *("africa-south1", "asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3"),
            *("asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2", "australia-southeast1"),
            *("australia-southeast2", "europe-central2", "europe-north1", "europe-southwest1", "europe-west10"),
            *("me-central1", "me-west1", "northamerica-northeast1", "northamerica-northeast2", "northamerica-south1"),
            *("southamerica-east1", "southamerica-west1", "us-central1", "us-east1", "us-south1", "us-west4"),
        )
        for zone in "abc"
    ]
    clusters = [{"zone": zone} for zone in zones[:8]]
    (made,) = accounts(target={"gcp": {"instance": instance, "clusters": clusters}}).of_type(
        "gcp:bigtable/instance:Instance"
    )
    ids = [cluster_id(instance, zone) for zone in zones]
    assert [str(each["clusterId"]) for each in made.inputs["clusters"]] == ids[:8]
    assert all(re.fullmatch(r"[a-z][-a-z0-9]{5,29}", each) for each in ids), ids
    assert len(set(ids)) == len(zones)


@pytest.mark.parametrize("name", BIGGEST)
def test_policies_fit(name: str) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: white space does not count."""
    inline: dict[tuple[str, str], int] = {}
    for each in biggest(name):
        policy = re.sub(r"\s", "", str(each.inputs.get("policy", "")))
        if each.type == "aws:iam/rolePolicy:RolePolicy":
            inline["role", each.inputs["role"]] = inline.get(("role", each.inputs["role"]), 0) + len(policy)
        if each.type == "aws:iam/userPolicy:UserPolicy":
            inline["user", each.inputs["user"]] = inline.get(("user", each.inputs["user"]), 0) + len(policy)
        if each.type == "aws:iam/policy:Policy":
            assert len(policy) <= 6144, each.urn
        if each.type == "aws:iam/role:Role":
            assert len(re.sub(r"\s", "", str(each.inputs["assumeRolePolicy"]))) <= 2048, each.urn
        if each.type == "aws:s3/bucketPolicy:BucketPolicy":
            assert len(policy) <= 20 * 1024
    assert inline
    for (kind, owner), size in inline.items():
        assert size <= {"role": 10240, "user": 2048}[kind], f"{kind} {owner}: {size} characters"
    attached: dict[str, int] = {}
    for each in biggest(name).of_type("aws:iam/userPolicyAttachment:UserPolicyAttachment"):
        attached[str(each.inputs["user"])] = attached.get(str(each.inputs["user"]), 0) + 1
    assert max(attached.values(), default=0) <= 10
