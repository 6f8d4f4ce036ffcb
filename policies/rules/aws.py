"""Other services of AWS: keys rotate, caches are encrypted and authenticate clients, every resource has tags."""

import ipaddress
from collections.abc import Iterator, Mapping

from policies.model import Properties, Resource, Stack, items, mapping, members, number, objects, parsed, text
from policies.rule import Settings, Violation, resource_rule, stack_rule, strings, whole_number
from policies.rules.iam import account_of, allowing, own_account, statements_of, strings_of
from policies.secret_text import bits

KEY = "aws:kms/key:Key"


@resource_rule(of=[KEY], remedy="Set enableKeyRotation to true.", frameworks=("Security Hub KMS.4", "CKV_AWS_7"))
def kms_rotation(resource: Resource, settings: Settings) -> Iterator[str]:
    """AWS replaces the material of each symmetric key every year."""
    symmetric = resource.properties.get("customerMasterKeySpec") in (None, "SYMMETRIC_DEFAULT")
    if symmetric and resource.properties.get("enableKeyRotation") is not True:
        yield "enableKeyRotation is not true"


KEY_POLICY = "aws:kms/keyPolicy:KeyPolicy"


@stack_rule(
    remedy="Name principals of the account in the key's policy, or leave the policy out, so that AWS sets its default.",
    frameworks=("FSBP KMS.5", "CKV2_AWS_64"),
)
def kms_policy(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Only the stack's own account can use its keys, and it stays able to manage them."""
    stack_account = own_account(stack)
    for resource in stack.typed(KEY, KEY_POLICY):
        if resource.properties.get("bypassPolicyLockoutSafetyCheck") not in (None, False):
            yield Violation("bypassPolicyLockoutSafetyCheck allows a policy that only AWS support can undo", resource)
        policy = resource.properties.get("policy")
        if policy is None:
            continue  # AWS' default policy is for the key's own account only
        if not statements_of(policy):
            yield Violation("policy is not a policy document", resource)
        for index, statement in allowing(policy):
            if not is_for_account(statement, stack_account):
                yield Violation(f"policy: statement {index} allows principals outside of the account", resource)
    for grant in stack.typed("aws:kms/grant:Grant"):
        if account_of(text(grant.properties.get("granteePrincipal"))) != stack_account or not stack_account:
            yield Violation("granteePrincipal is not a principal of the account", grant)


def is_for_account(statement: Properties, account: str) -> bool:
    """True if a statement is for principals of one account only, or for a service of AWS on behalf of that account."""
    principal = statement.get("Principal")
    if "NotPrincipal" in statement or not isinstance(principal, Mapping) or not principal:
        return False
    for kind, value in principal.items():
        for principal_id in strings_of(value) or [""]:
            if kind == "Service":
                conditions = [mapping(entry) for entry in mapping(statement.get("Condition")).values()]
                if not any(key in entry for entry in conditions for key in ("aws:SourceAccount", "aws:SourceArn")):
                    return False
            elif kind != "AWS" or "*" in principal_id or account not in ("", account_of(principal_id) or principal_id):
                return False
    return True


@resource_rule(
    of=[KEY],
    remedy="Leave isEnabled true and deletionWindowInDays at 30.",
    frameworks=("FSBP KMS.3",),
    settings={"days": whole_number("the shortest waiting period before a key is deleted, in days", 14)},
)
def kms_available(resource: Resource, settings: Settings) -> Iterator[str]:
    """A key is enabled, and its deletion takes long enough for someone to notice."""
    if resource.properties.get("isEnabled") not in (None, True):
        yield "isEnabled is not true: data that the key encrypted cannot be read"
    days = resource.properties.get("deletionWindowInDays")
    if days is not None and (number(days) or 0) < settings["days"]:  # AWS' default is 30 days
        yield "deletionWindowInDays is too short to notice a mistake"
    if resource.properties.get("keyUsage") not in (None, "ENCRYPT_DECRYPT"):
        yield "keyUsage is not ENCRYPT_DECRYPT: tables and buckets cannot use the key"


KEY_PROPERTIES = ("kmsKeyArn", "kmsKeyId", "kmsMasterKeyId", "kmsMasterKeyArn", "kmsKeyName")


@stack_rule(remedy="Use a key of the stack's own account.", frameworks=("Well-Architected SEC08",))
def kms_account(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Encrypted data uses keys of the stack's own account, so that no other account can make it unreadable."""
    stack_account = own_account(stack)
    for resource in stack:
        if stack_account and resource.type.startswith("aws:"):
            for where, name, value in members(resource.properties):
                if name in KEY_PROPERTIES and account_of(text(value)) not in ("", stack_account):
                    yield Violation(f"{where} names a key of another account", resource)


GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
CLUSTER = "aws:elasticache/cluster:Cluster"
SERVERLESS = "aws:elasticache/serverlessCache:ServerlessCache"


@resource_rule(
    remedy="Set transitEncryptionEnabled to true, and transitEncryptionMode to required.",
    frameworks=("FSBP ElastiCache.5", "CKV_AWS_30"),
)
def elasticache_transit(resource: Resource, settings: Settings) -> Iterator[str]:
    """Clients and nodes of a cache communicate over TLS."""
    if resource.type in (GROUP, CLUSTER) and not _is_member(resource):
        if resource.properties.get("transitEncryptionEnabled") is not True:
            yield "transitEncryptionEnabled is not true"
        elif resource.properties.get("transitEncryptionMode") == "preferred":
            yield "transitEncryptionMode allows clients to connect without TLS"


def _is_member(resource: Resource) -> bool:
    """True for a cluster of a replication group; the group has the settings then."""
    return resource.type == CLUSTER and bool(text(resource.properties.get("replicationGroupId")))


@resource_rule(
    remedy="Use a ReplicationGroup with atRestEncryptionEnabled true.", frameworks=("FSBP ElastiCache.4", "CKV_AWS_29")
)
def elasticache_rest(resource: Resource, settings: Settings) -> Iterator[str]:
    """A cache encrypts the data that it writes to disk."""
    if resource.type == GROUP and resource.properties.get("atRestEncryptionEnabled") is not True:
        yield "atRestEncryptionEnabled is not true"
    if resource.type == CLUSTER and not _is_member(resource):
        yield "a cluster without a replication group cannot be encrypted at rest"


@resource_rule(
    remedy="Set authToken, or userGroupIds with users that have passwords.",
    frameworks=("FSBP ElastiCache.6", "CKV_AWS_31"),
)
def elasticache_authentication(resource: Resource, settings: Settings) -> Iterator[str]:
    """A cache authenticates clients by a random password or by users."""
    properties = resource.properties
    if resource.type == GROUP and not (
        _given(resource, "authToken") or _given(resource, "authTokenWo") or items(properties.get("userGroupIds"))
    ):
        yield "has neither authToken nor userGroupIds: any client that reaches the cache can use it"
    for name in ("authToken", "authTokenWo"):
        token = properties.get(name) if resource.type == GROUP else None
        if isinstance(token, str) and token and not _is_strong(token):
            yield f"{name} is not a random string of 32 or more characters"
    if resource.type == SERVERLESS and not text(properties.get("userGroupId")):
        yield "has no userGroupId: any client that reaches the cache can use it"
    if resource.type == CLUSTER and not _is_member(resource):
        yield "a cluster without a replication group cannot authenticate clients"


def _is_strong(token: str) -> bool:
    return len(token) >= 32 and len(token) * bits(token) >= 100


def _given(resource: Resource, name: str) -> bool:
    return resource.properties.get(name) not in (None, "")


PARAMETERS = "aws:elasticache/parameterGroup:ParameterGroup"


@resource_rule(
    of=[GROUP],
    remedy="Set automaticFailoverEnabled and multiAzEnabled to true, with a replica.",
    frameworks=("FSBP ElastiCache.3", "Well-Architected REL10"),
)
def elasticache_failover(resource: Resource, settings: Settings) -> Iterator[str]:
    """A cache survives the failure of an availability zone."""
    for name in ("automaticFailoverEnabled", "multiAzEnabled"):
        if resource.properties.get(name) is not True:
            yield f"{name} is not true"
    replicas = number(resource.properties.get("replicasPerNodeGroup"))
    nodes = number(resource.properties.get("numCacheClusters"))
    if (replicas or 0) < 1 and (nodes or 0) < 2:
        yield "has no replica for a failover"


def _parameters(group: Resource) -> dict[str, str]:
    return {text(p.get("name")): text(p.get("value")) for p in objects(group.properties.get("parameters"))}


@stack_rule(
    remedy="Set parameterGroupName to a ParameterGroup of the stack with maxmemory-policy noeviction.",
    frameworks=("Well-Architected REL05",),
)
def elasticache_eviction(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """A full cache rejects writes instead of evicting data."""
    for group in stack.typed(PARAMETERS):
        parameters = _parameters(group)
        policy = parameters.get("maxmemory-policy", "volatile-lru")  # AWS' default
        if policy.startswith("allkeys") or (parameters.get("cluster-enabled") == "yes" and policy != "noeviction"):
            yield Violation("maxmemory-policy evicts messages when the memory is full", group)
    names = {text(group.properties.get("name")) or group.name for group in stack.typed(PARAMETERS)}
    for cache in stack.typed(GROUP):
        depends = any(cache.depends_on("parameterGroupName", group.urn) for group in stack.typed(PARAMETERS))
        if not depends and text(cache.properties.get("parameterGroupName")) not in names:
            yield Violation("parameterGroupName is missing, or names a parameter group outside of the stack", cache)


RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
OLD_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
SECURITY_GROUP = "aws:ec2/securityGroup:SecurityGroup"


def _openings(resource: Resource) -> Iterator[Properties]:
    """The ingress of a security group in a common form: protocol, fromPort, toPort and a list of networks."""
    properties = resource.properties
    if resource.type == RULE:
        networks = [text(properties.get(name)) for name in ("cidrIpv4", "cidrIpv6") if properties.get(name)]
        yield {**properties, "protocol": properties.get("ipProtocol"), "networks": networks}
    elif resource.type == OLD_RULE and properties.get("type") != "egress":
        yield {**properties, "networks": _cidr_blocks(properties)}
    elif resource.type == SECURITY_GROUP:
        for entry in objects(properties.get("ingress")):
            yield {**entry, "networks": _cidr_blocks(entry)}


def _cidr_blocks(entry: Properties) -> list[str]:
    return strings_of(entry.get("cidrBlocks")) + strings_of(entry.get("ipv6CidrBlocks"))


@stack_rule(
    remedy="Set ipProtocol to tcp, fromPort and toPort to the port, and the CIDR to the network of the nodes or pods.",
    frameworks=("FSBP EC2.18", "FSBP EC2.19", "CKV_AWS_24", "CKV_AWS_25", "CKV_AWS_260"),
    settings={
        "ipv4": whole_number("the shortest allowed prefix of an IPv4 network", 16),
        "ipv6": whole_number("the shortest allowed prefix of an IPv6 network", 48),
    },
)
def security_group_wide(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """A security group allows only its cache's port, from a small private network."""
    ports = {number(cache.properties.get("port")) or 6379 for cache in stack.typed(GROUP)}
    for resource in stack:
        for opening in _openings(resource):
            for message in _wide_opening(opening, ports, settings):
                yield Violation(message, resource)


def _wide_opening(opening: Properties, ports: set[float], settings: Settings) -> Iterator[str]:
    if text(opening.get("protocol")).lower() not in ("tcp", "udp", "6", "17"):
        yield "allows other protocols than TCP and UDP"
    first, last = number(opening.get("fromPort")), number(opening.get("toPort"))
    if first is None or first != last:
        yield "allows more than one port"
    elif ports and first not in ports:
        yield "allows a port that no cache of the stack uses"
    for cidr in opening["networks"]:
        try:
            network = ipaddress.ip_network(cidr, strict=False)
        except ValueError:
            yield "allows a value that is not a network"
            continue
        is_wide = network.prefixlen < settings["ipv4" if network.version == 4 else "ipv6"]
        if is_wide or not network.is_private:
            yield "allows more than a small private network"
    for name in ("prefixListId", "prefixListIds"):
        if opening.get(name):
            yield f"{name} allows networks that are defined elsewhere"


PROTECTED = {
    "aws:dynamodb/table:Table": "a table",
    "aws:kms/key:Key": "a key",
    "aws:s3/bucket:Bucket": "a bucket",
    "aws:s3/bucketV2:BucketV2": "a bucket",
    "gcp:bigtable/instance:Instance": "an instance",
    "gcp:bigtable/table:Table": "a table",
}


@resource_rule(
    remedy="Set protect (and retain_on_delete) on the resource; remove forceDestroy.",
    frameworks=("Well-Architected REL09", "Pulumi: protect"),
)
def cloud_data_protected(resource: Resource, settings: Settings) -> Iterator[str]:
    """Cloud resources that hold data, and keys that encrypt data, are protected against deletion."""
    is_backed_up = resource.type == GROUP and (number(resource.properties.get("snapshotRetentionLimit")) or 0) > 0
    if (resource.type in PROTECTED or is_backed_up) and not resource.protect:
        noun = PROTECTED.get(resource.type, "a cache with backups")
        yield f"is {noun} without protect"
    if resource.properties.get("forceDestroy") not in (None, False) and resource.type.startswith("aws:"):
        yield "forceDestroy allows deletion together with all content"


PROVIDERS = "pulumi:providers:"
SWITCHES = {
    "insecure": "the provider accepts any certificate",
    "skipCredentialsValidation": "the provider does not validate its credentials",
    "skipRequestingAccountId": "the provider does not verify its account",
    "skipTlsVerify": "the provider accepts any certificate",
    "deleteUnreachable": "the provider drops unreachable resources from the state",
}
INLINE = ("accessKey", "secretKey", "token", "accessToken", "credentials", "password")
ELSEWHERE = ("endpoints", "httpProxy", "httpsProxy", "customCaBundle", "ec2MetadataServiceEndpoint", "stsRegion")


@resource_rule(
    remedy="Remove the option; pass credentials in the environment; set allowedAccountIds.",
    frameworks=("CWE-295", "CWE-798"),
)
def provider_options(resource: Resource, settings: Settings) -> Iterator[str]:
    """A provider uses the cloud's own endpoints, verifies their certificates, and accepts one account only."""
    if not resource.type.startswith(PROVIDERS):
        return
    options = resource.properties
    for name, effect in SWITCHES.items():
        if text(options.get(name)).lower() == "true" or options.get(name) is True:
            yield f"{name}: {effect}"
    for name in INLINE:
        if options.get(name) not in (None, ""):
            yield f"{name} is a credential in the program"
    for name in (*ELSEWHERE, *(key for key in options if key.endswith("CustomEndpoint"))):
        if options.get(name) not in (None, "", "[]", "{}", []):
            yield f"{name} redirects requests away from the cloud's own endpoints"
    if "insecure-skip-tls-verify: true" in text(options.get("kubeconfig")).replace('"', ""):
        yield "kubeconfig accepts any certificate"
    if resource.type == f"{PROVIDERS}aws" and options.get("allowedAccountIds") in (None, "", "[]", []):
        yield "allowedAccountIds is missing: the provider accepts credentials of any account"


TAGGED = frozenset(
    {
        "aws:dynamodb/table:Table",
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "aws:elasticache/serverlessCache:ServerlessCache",
        "aws:elasticache/subnetGroup:SubnetGroup",
        "aws:iam/policy:Policy",
        "aws:iam/role:Role",
        "aws:iam/user:User",
        "aws:kms/key:Key",
        "aws:s3/bucket:Bucket",
        "aws:s3/bucketV2:BucketV2",
        "aws:secretsmanager/secret:Secret",
        "aws:cloudfront/distribution:Distribution",
    }
)


@stack_rule(
    remedy="Set defaultTags on the provider.",
    frameworks=("FSBP Tagging", "Well-Architected COST03"),
    settings={"tags": strings("required tags", ("project", "stack"))},
)
def aws_tags(stack: Stack, settings: Settings) -> Iterator[Violation]:
    """Tags on each AWS resource name its project and stack."""
    providers = {resource.urn: _default_tags(resource) for resource in stack if resource.type == "pulumi:providers:aws"}
    for resource in stack:
        if resource.type in TAGGED:
            tags = {
                **providers.get(resource.provider or "", {}),
                **mapping(resource.properties.get("tagsAll")),
                **mapping(resource.properties.get("tags")),
            }
            for name in settings["tags"]:
                if not text(tags.get(name)):
                    yield Violation(f"the tag {name} is missing", resource)


def _default_tags(provider: Resource) -> dict[str, object]:
    """The tags that a provider adds to every resource."""
    return dict(mapping(mapping(parsed(provider.properties.get("defaultTags"))).get("tags")))
