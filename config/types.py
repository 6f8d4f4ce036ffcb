"""Forms of single values in a stack's configuration. A value of another form gets one line that says what to write."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from config.schema.hosts import ADMIN_HOSTS, PUBLIC_HOSTS

_WEB_PORTS = {"http": 80, "https": 443}
_WEB_URL = re.compile(r"https?://[^\s\x00-\x20/?#\\]+(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _host(value: str, minimum_labels: int) -> str:
    labels = value.split(".")
    try:
        ipaddress.ip_address(value)
    except ValueError:
        pass
    else:
        raise ValueError("is an IP address; write a host name, such as chat.example.org")
    if value != value.lower():
        raise ValueError(f"has capital letters; write {value.lower()}")
    if "//" in value or "/" in value or ":" in value:
        raise ValueError("is a URL, a port or a path; write the bare host name, such as chat.example.org")
    if value.startswith("*."):
        raise ValueError(f"is a wildcard; write {value[2:]}: the certificate covers its sub-domains by itself")
    if value.endswith("."):
        raise ValueError(f"ends with a dot; write {value.rstrip('.')}")
    if len(labels) < minimum_labels or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            f"is no host name; write {minimum_labels} or more labels of a-z, 0-9 and inner hyphens "
            "(an internationalised name in its xn-- form), such as chat.example.org"
        )
    return value


def _domain(value: str) -> str:
    _host(value, 2)
    longest = 64 - max(len(f"{host}.") for host in (*PUBLIC_HOSTS, *ADMIN_HOSTS))
    if len(value) > longest:
        raise ValueError(f"has {len(value)} characters; write at most {longest}: certificate names end at 64")
    if value.split(".")[-1].isdigit():
        raise ValueError("ends in a number; write a domain name, such as chat.example.org")
    return value


def _namespace(value: str) -> str:
    if not _LABEL.fullmatch(value) or len(value) > 50:
        raise ValueError("is no Kubernetes name; write at most 50 of a-z, 0-9 and inner hyphens, such as flatline")
    if value == "default" or value.startswith("kube-"):
        raise ValueError("belongs to the cluster; write a namespace of its own, such as flatline")
    return value


_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity_bytes(value: str) -> int:
    """The bytes of a Kubernetes quantity with a binary suffix (`128Mi`)."""
    return int(value[:-2]) * _UNITS[value[-2:]]


def _cidr(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("is no network; write it in CIDR form, such as 203.0.113.0/24") from None
    return value


def _reference(value: str) -> str:
    if "@sha256:" not in value and not re.search(r":[^/:]*[0-9][^/:]*$", value):
        raise ValueError(
            "names no exact version; write registry/repository:version or registry/repository@sha256:<digest>"
        )
    return value


def _web_url(value: str) -> str:
    example = "write http(s)://host[:port][/path], such as https://sms.example.org/codes"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(f"is no URL; {example}") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(f"has a user, a query or a fragment, which logs would show; {example}")
    if parts.scheme not in _WEB_PORTS or not parts.hostname or port == 0 or not _WEB_URL.fullmatch(value):
        raise ValueError(f"is no URL; {example}")
    return value


def web_port(url: str) -> int:
    """The TCP port of a `WebUrl`."""
    parts = urlsplit(url)
    return parts.port or _WEB_PORTS[parts.scheme]


def matching(pattern: str, what: str) -> AfterValidator:
    """A text that matches `pattern` as a whole; `what` is what the error says otherwise."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(what)
        return value

    return AfterValidator(check)


Domain = Annotated[str, AfterValidator(_domain)]
HostName = Annotated[str, AfterValidator(lambda value: _host(value, 1))]
Namespace = Annotated[str, AfterValidator(_namespace)]
Quantity = Annotated[
    str,
    matching(r"[1-9][0-9]{0,5}(Ki|Mi|Gi|Ti)", "is no size; write a whole number with Ki, Mi, Gi or Ti, such as 2Gi"),
    Field(json_schema_extra={"examples": ["2Gi"]}),
]
Cidr = Annotated[str, AfterValidator(_cidr)]
Digest = Annotated[str, matching(r"sha256:[0-9a-f]{64}", "is no image digest; write sha256: and 64 hexadecimal digits")]
Reference = Annotated[str, AfterValidator(_reference)]
Registry = Annotated[
    str,
    matching(
        r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]*[a-z0-9._-])?",
        "is no registry; write host[:port][/path] without a scheme, such as registry.example.org/mirror",
    ),
]
WebUrl = Annotated[str, AfterValidator(_web_url)]
Port = Annotated[int, Field(ge=1, le=65535)]
Epoch = Annotated[int, Field(ge=1, le=1000)]


AwsRegion = Annotated[
    str,
    matching(
        # ARNs are made for the partitions aws and aws-us-gov; China's, the isolated and the sovereign ones are others
        r"(?!cn-|us-iso|eu-iso|eusc-)[a-z]{2}(-[a-z]+)+-[1-9]",
        "is not an AWS region that Flatline can use; write one of aws or aws-us-gov, such as eu-central-1",
    ),
]
AwsAccount = Annotated[str, matching(r"[0-9]{12}", "is no AWS account; write its 12 digits in quotes")]
NamePrefix = Annotated[
    str,
    matching(
        r"(?=.{3,20}$)(?!sg-|sthree-|amzn-)[a-z][a-z0-9]*(-[a-z0-9]+)*",
        "is no prefix of names; write 3 to 20 of a-z, 0-9 and inner hyphens, such as flatline-prod (AWS keeps sg-, "
        "sthree- and amzn- for itself)",
    ),
]
KeyArn = Annotated[
    str,
    matching(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+",
        "is no key of KMS; write its ARN, arn:aws:kms:<region>:<account>:key/<id>",
    ),
]
VpcId = Annotated[str, matching(r"vpc-[0-9a-f]{8,17}", "is no VPC; write its id, vpc-...")]
SubnetId = Annotated[str, matching(r"subnet-[0-9a-f]{8,17}", "is no subnet; write its id, subnet-...")]
HostedZone = Annotated[str, matching(r"Z[A-Z0-9]{5,31}", "is no hosted zone of Route 53; write its id, Z...")]
Issuer = Annotated[
    str,
    matching(
        r"https://[a-z0-9.-]+(/[A-Za-z0-9._/-]*[A-Za-z0-9_-])?",
        "is no issuer; write the https:// address of the cluster's service account issuer, without a slash at its end",
    ),
]
GcpProject = Annotated[
    str, matching(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", "is no project id of Google Cloud; write it, not name or number")
]
GcpZone = Annotated[str, matching(r"[a-z]+-[a-z]+[0-9]+-[a-f]", "is no zone; write one such as europe-west3-a")]
BigtableInstanceId = Annotated[
    str,
    matching(r"[a-z][a-z0-9-]{4,31}[a-z0-9]", "is no instance id; write 6 to 33 of a-z, 0-9 and inner hyphens"),
]
