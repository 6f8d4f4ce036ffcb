"""A certificate of the operator's: what a client refuses is refused here, by key; OpenSSL is the reference."""

import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from config.loading import SettingsError, load
from config.schema.hosts import PUBLIC_HOSTS
from tests.unit.authority import DAY, NOW, SERVER, Issued, issue, leaf

DOMAIN = "chat.example.org"
ROOT = issue("root")
MIDDLE = ROOT.signs("middle")
LOWER = MIDDLE.signs("lower")
LEAF = leaf(LOWER, DOMAIN)
OTHER = issue("other root")

Block = tuple[list[Issued], Issued, list[Issued]]
"""The list of certificates, whose key is given, and the authorities."""


def problems(block: Block) -> list[str]:
    certificates, owner, authorities = block
    provided = {
        "certificate": "".join(each.pem for each in certificates),
        "privateKey": owner.private_pem,
        "authority": "".join(each.pem for each in authorities),
    }
    try:
        load({"flatline:domain": DOMAIN, "flatline:certificates": json.dumps({"provided": provided})})
    except SettingsError as error:
        return error.problems
    return []


def served(block: Block, folder: Path, host: str) -> bool:
    """Whether OpenSSL, trusting the authorities alone, finishes a handshake with a server that has this chain."""
    certificates, owner, authorities = block
    file = folder / "chain.pem"
    file.write_text("".join(each.pem for each in certificates) + owner.private_pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata="".join(each.pem for each in authorities))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return True


def lower(**options: object) -> Block:
    """The good chain with another lowest intermediate certificate."""
    signer = MIDDLE.signs("lower", **options)
    last = leaf(signer, DOMAIN)
    return [last, signer, MIDDLE], last, [ROOT]


def server(**options: object) -> Block:
    """The good chain with another leaf."""
    last = leaf(LOWER, DOMAIN, **options)
    return [last, LOWER, MIDDLE], last, [ROOT]


def anchored(authority: Issued) -> Block:
    last = leaf(authority, DOMAIN)
    return [last], last, [authority]


def path_too_long() -> Block:
    top = issue("root", path_length=0)
    low = top.signs("low")
    last = leaf(low, DOMAIN)
    return [last, low], last, [top]


HOSTS = tuple(f"{name}.{DOMAIN}" for name in PUBLIC_HOSTS)
GOOD: dict[str, Block] = {
    "a leaf and its intermediates": ([LEAF, LOWER, MIDDLE], LEAF, [ROOT]),
    "with the root": ([LEAF, LOWER, MIDDLE, ROOT], LEAF, [ROOT]),
    "signed by the root": anchored(ROOT),
    "an intermediate as the authority": ([LEAF, LOWER], LEAF, [MIDDLE]),
    "two authorities": ([LEAF, LOWER, MIDDLE], LEAF, [OTHER, ROOT]),
    "a name for each host": server(names=HOSTS),
    "names in capitals": server(names=tuple(host.upper() for host in HOSTS)),
    "more usages": server(usages=(ExtendedKeyUsageOID.CLIENT_AUTH, *SERVER)),
    "an RSA key": server(key=rsa.generate_private_key(65537, 2048)),
}
CONSTRAINTS = x509.NameConstraints(permitted_subtrees=[x509.DNSName("example.net")], excluded_subtrees=None)
NO_SIGNING = x509.KeyUsage(*[True, *[False] * 8])
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")

BAD: dict[str, tuple[Block, str, str]] = {
    "no intermediate": (([LEAF], LEAF, [ROOT]), "certificate", 'write the intermediate certificate "lower"'),
    "one intermediate of two": (([LEAF, LOWER], LEAF, [ROOT]), "certificate", '"middle"'),
    "the first intermediate is missing": (([LEAF, MIDDLE], LEAF, [ROOT]), "certificate", '"lower"'),
    "intermediates in another order": (([LEAF, MIDDLE, LOWER], LEAF, [ROOT]), "certificate", "not in order"),
    "the leaf last": (([LOWER, MIDDLE, LEAF], LOWER, [ROOT]), "certificate", "write"),
    "a stranger at the end": (([LEAF, LOWER, MIDDLE, OTHER], LEAF, [ROOT]), "certificate", "did not sign number 3"),
    "two leaves": (([LEAF, leaf(LOWER, DOMAIN)], LEAF, [ROOT]), "certificate", "may not sign"),
    "an expired leaf": (server(begins=NOW - 9 * DAY, ends=NOW - DAY), "certificate", "expired on"),
    "a leaf of tomorrow": (server(begins=NOW + DAY), "certificate", "valid from"),
    "an expired intermediate": (lower(begins=NOW - 9 * DAY, ends=NOW - DAY), "certificate", "number 2"),
    "an expired authority": (anchored(issue("root", begins=NOW - 9 * DAY, ends=NOW - DAY)), "authority", "expired on"),
    "an authority that signed nothing": (([LEAF, LOWER, MIDDLE], LEAF, [OTHER]), "certificate", "does not lead"),
    "an authority of the same name": (([LEAF, LOWER, MIDDLE], LEAF, [issue("root")]), "authority", "another key"),
    "the leaf as its authority": (([LEAF, LOWER, MIDDLE], LEAF, [LEAF]), "authority", "own certificate"),
    "an authority that may not sign": (anchored(issue("root", authority=False)), "authority", "may not sign"),
    "no name": (server(names=()), "certificate", "it covers none"),
    "another domain": (server(names=("*.example.net",)), "certificate", f"whisper.{DOMAIN}"),
    "the bare domain alone": (server(names=(DOMAIN,)), "certificate", f"*.{DOMAIN}"),
    "a wildcard one level up": (server(names=("*.example.org",)), "certificate", f"*.{DOMAIN}"),
    "three hosts of four": (server(names=HOSTS[:3]), "certificate", HOSTS[3]),
    "not for servers": (server(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "certificate", "serverAuth"),
    "no usage": (server(usages=()), "certificate", "serverAuth"),
    "an intermediate that is none": (lower(authority=False), "certificate", "number 2"),
    "an intermediate with a weak key": (lower(key=rsa.generate_private_key(65537, 1024)), "certificate", "number 2"),
    "too long a path": (path_too_long(), "certificate", "a client would refuse it"),
    "another domain's authority": (lower(extensions=((CONSTRAINTS, True),)), "certificate", "a client would refuse it"),
    "an authority whose key may not sign": (
        lower(extensions=((NO_SIGNING, True),)),
        "certificate",
        "a client would refuse",
    ),
    "an unknown critical extension": (server(extensions=((UNKNOWN, True),)), "certificate", "a client would refuse"),
}


@pytest.mark.parametrize("block", GOOD.values(), ids=GOOD)
def test_what_a_client_takes_is_taken(block: Block, tmp_path: Path) -> None:
    assert all(served(block, tmp_path, host) for host in HOSTS)
    assert problems(block) == []


STRICTER = {
    "intermediates in another order",
    "no name",
    "the leaf as its authority",
    "no usage",
    "an intermediate with a weak key",
    "a stranger at the end",
    "two leaves",
    "an unknown critical extension",
}
"""OpenSSL takes these; another client of the system (Java, Apple's, BoringSSL) does not, or they are mistakes."""


@pytest.mark.parametrize(("block", "key", "text"), BAD.values(), ids=BAD)
def test_what_a_client_refuses_is_refused_by_its_key(block: Block, key: str, text: str) -> None:
    (line,) = problems(block)
    assert line.startswith((f"flatline:certificates.provided.{key}: ", f"flatline:certificates.provided.{key} "))
    assert text in line
    assert "write" in line
    assert "BEGIN" not in line
    assert "\n" not in line


@pytest.mark.parametrize("name", sorted(set(BAD) - STRICTER))
def test_openssl_refuses_it_too(name: str, tmp_path: Path) -> None:
    assert not all(served(BAD[name][0], tmp_path, host) for host in HOSTS)


@given(st.permutations([LEAF, LOWER, MIDDLE, ROOT]), st.integers(1, 4))
def test_one_order_is_taken(order: list[Issued], length: int) -> None:
    chain = order[:length]
    good = chain in ([LEAF, LOWER, MIDDLE], [LEAF, LOWER, MIDDLE, ROOT])
    assert (problems((chain, chain[0], [ROOT])) == []) is good
