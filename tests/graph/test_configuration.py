"""The services' configuration says the same thing everywhere, and what the settings say."""

import base64
import json
from functools import cache
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from config.schema import bigtable, dynamodb, objects
from tests.graph.stack import Stack, configuration, flags, load, recorded

CONFIG = "/usr/share/signal/dev.yml"


def whisper(stack: Stack) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(stack.file("whisper", CONFIG))
    return loaded


def storage(stack: Stack) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(stack.file("storage", CONFIG))
    return loaded


def seed(stack: Stack, instance: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(stack.file(instance, "/opt/flatline/seed.json"))
    return loaded


def named_tables(tree: dict[str, Any]) -> set[str]:
    return {value for block in tree.values() for key, value in block.items() if key.lower().endswith("tablename")}


def test_tables_are_the_same_31_everywhere(emulated: Stack) -> None:
    schema = {table.name for table in dynamodb.TABLES.values()}
    assert len(schema) == 31
    assert named_tables(whisper(emulated)["dynamoDbTables"]) == schema
    assert {request["TableName"] for request in seed(emulated, "localstack")["tables"]} == schema


def test_time_to_live_is_seeded_for_every_attribute_that_is_written(emulated: Stack) -> None:
    wanted = {table.name: table.ttl for table in dynamodb.TABLES.values() if table.ttl}
    assert seed(emulated, "localstack")["ttl"] == wanted
    assert wanted["Messages"] == "E"


def test_seeded_tables_define_exactly_the_attributes_of_their_keys(emulated: Stack) -> None:
    for request in seed(emulated, "localstack")["tables"]:
        indexes = request.get("GlobalSecondaryIndexes", []) + request.get("LocalSecondaryIndexes", [])
        used = {key["AttributeName"] for owner in (request, *indexes) for key in owner["KeySchema"]}
        assert {definition["AttributeName"] for definition in request["AttributeDefinitions"]} == used
        assert all(index["Projection"] == {"ProjectionType": "KEYS_ONLY"} for index in indexes)
    (messages,) = (r for r in seed(emulated, "localstack")["tables"] if r["TableName"] == "Messages")
    (index,) = messages["LocalSecondaryIndexes"]
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["H", "U"]


def test_buckets_are_seeded_where_they_are_used(emulated: Stack) -> None:
    config, buckets = whisper(emulated), objects.BUCKETS
    assert seed(emulated, "localstack")["buckets"] == [buckets["dynamic-config"]]
    arguments = emulated.pod("object-store").spec["containers"][0]["args"]
    made = dict(argument.split("=") for argument in arguments if "=" in argument)
    assert set(made) == {buckets["pre-keys"], buckets["cdn0"]}
    accounts = json.loads(emulated.file("object-store", "/etc/flatline/object-store/users.json"))["accessAccounts"]
    assert set(made.values()) == set(accounts)
    assert config["dynamicConfig"]["s3Bucket"] == buckets["dynamic-config"]
    assert config["pagedSingleUseKEMPreKeyStore"]["bucket"] == buckets["pre-keys"]
    assert config["cdn"]["bucket"] == storage(emulated)["cdn"]["bucket"] == buckets["cdn0"]


def test_the_dynamic_configuration_is_where_whisper_looks(emulated: Stack) -> None:
    (seeded,) = seed(emulated, "localstack")["objects"]
    config = whisper(emulated)["dynamicConfig"]
    assert (seeded["bucket"], seeded["key"]) == (config["s3Bucket"], config["objectKey"])
    assert yaml.safe_load(seeded["text"])["captcha"]["scoreFloor"] == 0
    assert len(seeded["text"]) < config["maxSize"]


def test_bigtable_tables_are_those_that_storage_reads(emulated: Stack) -> None:
    config = storage(emulated)["bigtable"]
    (container,) = emulated.pod("cbtemulator-seed").spec["containers"]
    seeded = {word.removeprefix("--table=").partition("=")[0] for word in container["args"] if "--table=" in word}
    assert seeded == {config[key] for key in bigtable.TABLES}
    assert flags(container)["project"] == config["projectId"]
    assert flags(container)["instance"] == config["instanceId"]


def test_redis_roles_go_to_the_cluster_and_pubsub_to_the_other(emulated: Stack) -> None:
    config = whisper(emulated)
    uris = {config[key]["configurationUri"] for key in ("cacheCluster", "pushSchedulerCluster", "rateLimitersCluster")}
    uris.add(config["messageCache"]["cluster"]["configurationUri"])
    (cluster,) = uris
    assert "@redis.flatline.svc:6379/" in cluster
    assert "@redis-pubsub.flatline.svc:6379/" in config["pubsub"]["uri"]
    assert "notify-keyspace-events K$" in emulated.file("redis-pubsub", "/opt/flatline/redis/pubsub.conf")


def test_a_busy_machine_does_not_end_whispers_start(stack: Stack) -> None:
    """Redis' client gives up after a second by default, the first exchange of a connection included."""
    config = whisper(stack)
    clients = [config[key] for key in ("cacheCluster", "pushSchedulerCluster", "rateLimitersCluster", "pubsub")]
    for client in (*clients, config["messageCache"]["cluster"]):
        assert client["timeout"] == "PT5S"


def test_whisper_believes_the_proxy_about_addresses(stack: Stack) -> None:
    (connector,) = whisper(stack)["server"]["applicationConnectors"]
    assert connector == {"type": "http", "port": 8080, "useForwardedHeaders": True}


def test_upload_urls_are_public(stack: Stack) -> None:
    assert whisper(stack)["tus"]["uploadUri"] == stack.recording.outputs["urls"]["cdn3"]


def test_without_a_turn_server_clients_get_an_answer_that_leads_nowhere(stack: Stack) -> None:
    """A name that Whisper cannot resolve makes /v2/calling/relays answer 503, and clients then end the call."""
    turn = whisper(stack)["turn"]["coturn"]
    assert turn["hostname"] == "localhost"
    assert turn["urls"] == [url % "localhost" for url in turn["urlsWithIps"]]
    assert "turn:%s:3478" in turn["urlsWithIps"]


def test_a_turn_server_of_the_operators_is_named_consistently() -> None:
    config = {**configuration("dev"), "flatline:turn": '{"host": "turn.example.org", "tlsPort": 5349}'}
    turn = whisper(Stack(recorded(config)))["turn"]["coturn"]
    assert turn["hostname"] == "turn.example.org"
    assert turn["urls"] == [
        "turn:turn.example.org:3478",
        "turn:turn.example.org:3478?transport=tcp",
        "turns:turn.example.org:5349?transport=tcp",
    ]
    assert [url % "192.0.2.1" for url in turn["urlsWithIps"]] == [
        url.replace("turn.example.org", "192.0.2.1") for url in turn["urls"]
    ]


@cache
def logging() -> Stack:
    """With group calls, and logs of requests."""
    calls = {"flatline:calls": json.dumps({"groups": {"addresses": ["8.8.8.8"]}})}
    return Stack(recorded({**configuration("dev"), **calls, "flatline:logRequests": "true"}))


def request_logs(stack: Stack) -> list[list[Any]]:
    """The appenders of every file of Dropwizard's that some pod reads; without a word it has one."""
    servers: list[list[Any]] = []
    for mounted in stack.files():
        loaded = yaml.safe_load(mounted.text) if mounted.path.endswith((".yml", ".yaml")) else None
        if isinstance(loaded, dict) and "applicationConnectors" in loaded.get("server", {}):
            servers.append(loaded["server"].get("requestLog", {"appenders": ["the default"]})["appenders"])
    return servers


def test_no_service_logs_who_writes_to_whom(stack: Stack) -> None:
    """A request log has the client's address, and the recipient's account id in the path of each message."""
    logs = request_logs(stack)
    assert len(logs) >= 9
    assert all(appenders == [] for appenders in logs)
    assert not whisper(stack).get("logMessageDeliveryLoops")
    assert [message.text for message in stack.recording.messages] == []
    collector = yaml.safe_load(stack.file("otel-collector", "/etc/otelcol-contrib/config.yaml"))
    assert set(collector["service"]["pipelines"]["metrics"]["exporters"]) == {"prometheus"}


def test_requests_are_logged_when_asked_for_and_a_warning_says_what_that_shows() -> None:
    stack = logging()
    assert all(appenders == [{"type": "console"}] for appenders in request_logs(stack))
    (message,) = stack.recording.messages
    assert message.severity == "warning"
    assert "flatline:logRequests" in message.text
    assert "addresses of clients" in message.text


def certificates(stack: Stack) -> tuple[x509.Certificate, x509.Certificate]:
    """The served leaf and the pinned authority."""
    leaf = x509.load_pem_x509_certificate(stack.get("Secret", "certificate")["stringData"]["tls.crt"].encode())
    authority = x509.load_pem_x509_certificate(stack.recording.outputs["caCertificates"].encode())
    return leaf, authority


def test_a_client_with_the_pins_trusts_every_host(stack: Stack) -> None:
    leaf, authority = certificates(stack)
    for url in stack.recording.outputs["urls"].values():
        verifier = PolicyBuilder().store(Store([authority])).time(leaf.not_valid_before_utc)
        host = x509.DNSName(url.removeprefix("https://"))
        assert verifier.build_server_verifier(host).verify(leaf, [])
    assert base64.b64decode(stack.recording.outputs["caCertificatesDer"][0]) == authority.public_bytes(Encoding.DER)


def test_certificates_are_strong_and_short_lived(stack: Stack) -> None:
    leaf, authority = certificates(stack)
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days <= 397
    for certificate in (leaf, authority):
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.key_size >= 256
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    assert constraints.value.path_length == 0
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_an_authority_is_replaced_in_two_steps() -> None:
    """First a second authority is pinned while the old one signs, then the new one signs."""
    later = [
        Stack(recorded({**configuration("dev"), "flatline:certificates": json.dumps({"authority": authority})}))
        for authority in ({"epoch": 2, "signingEpoch": 1}, {"epoch": 2})
    ]
    steps = [load("dev"), *later]
    pins = [x509.load_pem_x509_certificates(step.recording.outputs["caCertificates"].encode()) for step in steps]
    assert [len(pinned) for pinned in pins] == [1, 2, 1]
    assert pins[1] == [*pins[0], *pins[2]]
    leaves = [
        x509.load_pem_x509_certificate(s.get("Secret", "certificate")["stringData"]["tls.crt"].encode()) for s in steps
    ]
    assert leaves[0] == leaves[1]
    leaves[2].verify_directly_issued_by(pins[2][0])


def test_a_renewed_leaf_changes_the_certificate_and_nothing_else() -> None:
    before = load("dev")
    after = Stack(recorded({**configuration("dev"), "flatline:certificates": '{"leaf": {"epoch": 2}}'}))
    assert certificates(before)[0] != certificates(after)[0]
    assert certificates(before)[1] == certificates(after)[1]
    assert differing(before, after) <= {"Secret/certificate", "IngressRoute", "Namespace"}  # it has the digests


def differing(before: Stack, after: Stack) -> set[str]:
    """Kinds (and the stem of auto-named objects) of what is not the same in both."""
    old, new = ([json.dumps(o, sort_keys=True) for o in stack.objects] for stack in (before, after))
    changed = [json.loads(text) for text in set(old) ^ set(new)]
    return {
        f"Secret/{o['metadata']['name'].rpartition('-')[0]}" if o["kind"] == "Secret" else o["kind"] for o in changed
    }


@pytest.fixture(scope="module")
def moved() -> Stack:
    return Stack(recorded({**configuration("dev"), "flatline:domain": "chat.example.org"}))


def test_the_domain_changes_certificates_hosts_and_urls_everywhere(moved: Stack) -> None:
    assert "flatline.internal" not in json.dumps(moved.objects)
    assert "flatline.internal" not in json.dumps(moved.recording.outputs)
    leaf, authority = certificates(moved)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["*.chat.example.org", "chat.example.org"]
    assert authority == certificates(load("dev"))[1], "clients keep their pin"
    hosts = {rule["match"].partition("`)")[0] for o in moved.of("IngressRoute") for rule in o["spec"]["routes"]}
    assert all(host.endswith(".chat.example.org") for host in hosts)


def test_the_domain_changes_nothing_else(moved: Stack) -> None:
    """Only the certificate and its digest, the routes, and the workloads that mount Whisper's configuration."""
    before = load("dev")
    changed = differing(before, moved)
    issued = {"Secret/certificate", "Namespace"}
    assert changed == issued | {"Secret/whisper-config", "IngressRoute", "Deployment", "CronJob"}
    old, new = ({o["metadata"]["name"]: o for o in stack.of("Deployment")} for stack in (before, moved))
    assert {name for name in old if old[name] != new[name]} == {"whisper", "whisper-persister"}
    config, other = whisper(before), whisper(moved)
    assert {key for key in config if config[key] != other[key]} == {"tus", "storageService"}
