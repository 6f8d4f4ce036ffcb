"""Secrets have one origin, reach their readers, and are nowhere else."""

import base64
import json
from collections.abc import Mapping, Set
from functools import cache
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from components.signal_keys import public_half
from config.installation import SECRETS_ANNOTATION, STACK_LABEL
from config.schema.secrets import PLAIN_VALUES, SECRETS, Reader, Secret
from tests.graph.stack import Object, Stack, configuration, load, recorded, recorded_anew

CONFIG, BUNDLE = "/usr/share/signal/dev.yml", "/usr/share/signal/secrets-bundle.yml"


def at(tree: Mapping[str, Any], path: str) -> str:
    """A value by its dotted path."""
    value: Any = tree
    for part in path.split("."):
        value = value[part]
    return str(value)


@cache
def tree_of(text: str) -> Any:
    """The tree of a YAML file, which is asked for once for each secret in it."""
    return yaml.safe_load(text)


def read(stack: Stack, reader: Reader) -> str:
    """What a reader really gets, found in the file that it reads."""
    if reader.service == "whisper":
        if reader.path in PLAIN_VALUES:
            return at(tree_of(stack.file("whisper", CONFIG)), reader.path)
        return str(tree_of(stack.file("whisper", BUNDLE))[reader.path])
    if reader.service == "storage":
        return at(tree_of(stack.file("storage", CONFIG)), reader.path)
    if reader.service == "redis":
        uri = tree_of(stack.file("whisper", CONFIG))["cacheCluster"]["configurationUri"]
        return str(uri.partition("://:")[2].partition("@")[0])
    if reader.service == "registration":
        return stack.file("registration", "/etc/flatline/webhook.key")
    if reader.service == "cdn3":
        return stack.file("cdn3", "/etc/flatline/attachments.key")
    if reader.service == "cdn0-gate":
        signers = json.loads(stack.file("cdn0-gate", "/etc/flatline/cdn0-credentials.json"))
        name, key = reader.path.split(".")
        (found,) = (signer[key] for signer in signers if signer["name"] == name)
        return str(found)
    if reader.service == "object-store":
        if reader.path == "root":
            return stack.file("object-store", "/etc/flatline/object-store/root-secret")
        accounts = json.loads(stack.file("object-store", "/etc/flatline/object-store/users.json"))
        return str(accounts["accessAccounts"][f"flatline-{reader.path}"]["secret"])
    if reader.service == "calling":
        return stack.file("calling-frontend", f"/etc/flatline/{reader.path}")
    if reader.service == "turn":
        lines = stack.file("turn", "/etc/coturn/turnserver.conf").splitlines()
        return next(line.partition("=")[2] for line in lines if line.partition("=")[0] == reader.path)
    raise AssertionError(f"{reader.service} reads no file")


def decoded(reader: Reader, text: str) -> bytes:
    if reader.encoding == "hex":
        return bytes.fromhex(text)
    if reader.encoding == "base64":
        return base64.b64decode(text, validate=True)
    return text.encode()


def material(stack: Stack, secret: Secret) -> bytes:
    """The bytes of a secret, the same for all of its readers."""
    texts = {reader: read(stack, reader) for reader in readers(stack, secret) if reader.service != "signer"}
    issued = any("known after creation" in text for text in texts.values())  # by AWS, for all readers as it is
    values = {text.encode() if issued else decoded(reader, text) for reader, text in texts.items()}
    assert len(values) == 1, f"{secret.name} differs between its readers"
    return values.pop()


WEBHOOK = {
    "flatline:registration": '{"kind": "webhook", "url": "https://sms.example.org/codes"}',
    "flatline:egress": '{"registration": [{"cidr": "203.0.113.0/24", "ports": [443]}]}',
}

IN_FILES = [secret for secret in SECRETS if all(reader.service != "signer" for reader in secret.readers)]


def readers(stack: Stack, secret: Secret) -> list[Reader]:
    """Those that a stack has: a cloud has no object store of its own, a webhook and calls are asked for."""
    own = any(o["metadata"]["name"] == "object-store" for o in stack.of("Deployment"))
    webhook = any(m.path == "/etc/flatline/webhook.key" for m in stack.files())
    calling = any(pod.labels["app.kubernetes.io/component"] == "calling" for pod in stack.pods())
    turn = any(pod.labels["app.kubernetes.io/component"] == "turn" for pod in stack.pods())
    present = {"object-store": own, "registration": webhook, "calling": calling, "turn": turn}
    return [reader for reader in secret.readers if present.get(reader.service, True)]


def in_files(stack: Stack) -> list[Secret]:
    """Those that the stack has a reader of."""
    return [secret for secret in IN_FILES if readers(stack, secret)]


@cache
def texts(stack: Stack) -> frozenset[str]:
    """Every secret of a stack, in every form in which it exists somewhere."""
    found = {read(stack, reader) for secret in in_files(stack) for reader in readers(stack, secret)}
    for resource in stack.resources:
        if resource.type == "random:index/randomPassword:RandomPassword":
            found.add(resource.outputs["result"])
        if resource.type == "tls:index/privateKey:PrivateKey":
            found |= {resource.outputs["privateKeyPem"], resource.outputs["privateKeyPemPkcs8"]}
    found.add(stack.get("Secret", "certificate")["stringData"]["tls.key"])
    return frozenset(text.strip() for text in found if "known after creation" not in text)


def leaks(objects: list[Object], secrets: Set[str]) -> list[str]:
    """Objects other than Secrets that hold one of the secrets, whole or as a part of a line."""
    pieces = {
        piece for text in secrets for piece in (text, json.dumps(text)[1:-1], base64.b64encode(text.encode()).decode())
    }
    others = ((found, json.dumps(found, ensure_ascii=False)) for found in objects if found["kind"] != "Secret")
    return [
        f"{found['kind']}/{found['metadata']['name']}"
        for found, written in others
        if any(piece in written for piece in pieces)
    ]


def test_readers_of_a_secret_agree_and_no_two_secrets_are_equal(stack: Stack) -> None:
    values = {secret.name: material(stack, secret) for secret in in_files(stack)}
    assert len(set(values.values())) == len(values)
    assert all(len(set(value)) > 5 for value in values.values())


@pytest.mark.parametrize(("kind", "length"), [("server-params", 2721), ("generic-params", 385), ("curve25519", 32)])
def test_key_material_has_its_form(stack: Stack, kind: Any, length: int) -> None:
    for secret in in_files(stack):
        if secret.kind == kind:
            value = material(stack, secret)
            assert len(value) == length
            public_half(kind, value)


def test_storage_and_whisper_share_what_they_must(stack: Stack) -> None:
    """The values that made the services refuse each other, spelt out without the schema."""
    bundle = tree_of(stack.file("whisper", BUNDLE))
    storage = tree_of(stack.file("storage", CONFIG))
    shared = bundle["storageService.userAuthenticationTokenSharedSecret"]
    assert base64.b64decode(shared) == bytes.fromhex(storage["authentication"]["key"])
    assert bundle["zkConfig-libsignal-0.42.serverSecret"] == storage["zkConfig"]["serverSecret"]
    assert bundle["tus.userAuthenticationTokenSharedSecret"] == stack.file("cdn3", "/etc/flatline/attachments.key")
    assert len(bytes.fromhex(storage["group"]["externalServiceSecret"])) == 32


def test_every_reference_is_in_the_bundle_and_every_key_of_it_is_referenced(stack: Stack) -> None:
    def names(tree: Any) -> set[str]:
        if isinstance(tree, dict):
            return {name for value in tree.values() for name in names(value)}
        if isinstance(tree, list):
            return {name for value in tree for name in names(value)}
        return {tree.removeprefix("secret://")} if isinstance(tree, str) and tree.startswith("secret://") else set()

    bundle = tree_of(stack.file("whisper", BUNDLE))
    assert names(tree_of(stack.file("whisper", CONFIG))) == set(bundle)
    assert all(isinstance(value, str) and value.strip() for value in bundle.values())
    assert not [key for key, value in bundle.items() if "\n" in value and not value.startswith("-----BEGIN")]


def test_what_workers_parse_is_real_in_form(stack: Stack) -> None:
    bundle = tree_of(stack.file("whisper", BUNDLE))
    for key in ("apn.signingKey", "appleAppStore.encodedKey"):
        parsed = load_pem_private_key(bundle[key].encode(), None)
        assert isinstance(parsed, ec.EllipticCurvePrivateKey)
        assert parsed.curve.name == "secp256r1"
        assert bundle[key].startswith("-----BEGIN PRIVATE KEY-----")
    for key in ("fcm.credentials", "googlePlayBilling.credentialsJson"):
        account = json.loads(bundle[key])
        assert account["type"] == "service_account"
        parsed = load_pem_private_key(account["private_key"].encode(), None)
        assert isinstance(parsed, rsa.RSAPrivateKey)
        assert parsed.key_size == 2048


def test_no_secret_is_outside_of_a_secret(stack: Stack) -> None:
    assert leaks(stack.objects, texts(stack)) == []


def test_no_secret_is_in_an_output_or_an_id(stack: Stack) -> None:
    shown = json.dumps([stack.recording.outputs, [r.id for r in stack.resources], [r.urn for r in stack.resources]])
    assert not [text[:3] for text in texts(stack) if json.dumps(text)[1:-1] in shown]
    assert stack.recording.secret_outputs == frozenset()


@pytest.mark.parametrize("kind", ["ConfigMap", "Deployment", "IngressRoute"])
def test_a_planted_leak_is_found(stack: Stack, kind: str) -> None:
    secrets = texts(stack)
    for secret in sorted(secrets):
        planted = {**stack.of(kind)[0], "planted": f"prefix {secret} suffix"}
        assert leaks([planted], secrets)


def test_the_key_of_a_webhook_is_in_its_file_and_nowhere_else() -> None:
    stack = Stack(recorded({**configuration("dev"), **WEBHOOK}))
    (secret,) = (secret for secret in SECRETS if secret.name == "registration-webhook")
    assert secret in in_files(stack)
    assert len(material(stack, secret)) == 32
    assert leaks(stack.objects, {read(stack, secret.readers[0])}) == []


def test_two_stacks_share_no_secret() -> None:
    config = configuration("dev")
    one, other = (texts(Stack(recorded(config, stack="dev", seed=seed))) for seed in ("one", "other"))
    assert len(one) == len(other) > 40
    assert not one & other


def test_a_rotated_secret_changes_its_readers_and_nothing_else() -> None:
    before = load("dev")
    after = Stack(recorded({**configuration("dev"), "flatline:secrets": '{"attachments": {"epoch": 2}}'}))
    changed = {secret.name for secret in in_files(before) if material(before, secret) != material(after, secret)}
    assert changed == {"attachments"}
    assert before.file("storage", CONFIG) == after.file("storage", CONFIG)
    old, new = ({r.urn for r in stack.resources} for stack in (before, after))
    assert old < new, "the earlier seed stays"


def test_a_rotation_is_taken_back_without_a_seed_leaving_the_program() -> None:
    """A protected resource that leaves the program stops every later update."""
    rotated = Stack(recorded({**configuration("dev"), "flatline:secrets": '{"turn": {"epoch": 2}}'}))
    settings = '{"turn": {"epoch": 2, "activeEpoch": 1}}'
    back = Stack(recorded({**configuration("dev"), "flatline:secrets": settings}))
    (secret,) = (secret for secret in SECRETS if secret.name == "turn")
    assert material(back, secret) == material(load("dev"), secret) != material(rotated, secret)
    assert {r.urn for r in back.resources} == {r.urn for r in rotated.resources}


@pytest.mark.parametrize(
    "change",
    [
        {
            "flatline:secrets": json.dumps({"turn": {"value": "ab" * 32}}),
            "flatline:certificates": '{"authority": {"epoch": 2, "signingEpoch": 1}}',
            "flatline:domain": "chat.example.org",
            "flatline:redis": '{"masters": 5}',
            "flatline:registration": '{"kind": "development"}',
        },
        {
            "flatline:secrets": '{"turn": {"epoch": 3, "activeEpoch": 1}}',
            "flatline:certificates": '{"authority": {"validityDays": 1000}}',
            "flatline:registration": '{"kind": "external", "service": "x", "namespace": "y", "podLabels": {"a": "b"}}',
        },
    ],
    ids=["some", "others"],
)
def test_no_setting_makes_something_protected_leave_the_program(change: dict[str, str]) -> None:
    lasting = {r.urn for r in load("dev").resources if r.protect}
    after = {r.urn for r in recorded({**configuration("dev"), **change}).resources if r.protect}
    assert lasting <= after


def test_a_value_of_the_operators_reaches_every_reader() -> None:
    value = base64.b64encode(bytes(range(32))).decode()
    config = {**configuration("dev"), "flatline:secrets": json.dumps({"storage-authentication": {"value": value}})}
    stack = Stack(recorded(config))
    (secret,) = (secret for secret in SECRETS if secret.name == "storage-authentication")
    assert material(stack, secret) == bytes(range(32))


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_namespaces_say_who_made_them_and_with_which_secrets(name: str) -> None:
    """What must outlive everything can be recognised; a later run compares it with the secrets that it has."""
    stack = load(name)
    namespaces = [namespace["metadata"] for namespace in stack.of("Namespace")]
    assert {namespace["labels"][STACK_LABEL] for namespace in namespaces} == {f"flatline.{name}"}
    (digests,) = (
        json.loads(namespace["annotations"][SECRETS_ANNOTATION])
        for namespace in namespaces
        if SECRETS_ANNOTATION in namespace.get("annotations", {})
    )
    values = ("random:index/randomPassword:RandomPassword", "tls:index/selfSignedCert:SelfSignedCert")
    lasting = {each.name for each in stack.resources if each.protect and each.type in values}
    assert lasting
    assert lasting <= digests.keys()
    assert len(set(digests.values())) == len(digests)


def test_a_digest_follows_its_value() -> None:
    config = configuration("dev")
    one, other = (Stack(recorded(config, seed=seed)) for seed in ("one", "other"))
    same = Stack(recorded_anew(config, seed="one"))
    first, again, different = (
        json.loads(stack.get("Namespace", "flatline")["metadata"]["annotations"][SECRETS_ANNOTATION])
        for stack in (one, same, other)
    )
    assert first == again
    assert not set(first.values()) & set(different.values())
