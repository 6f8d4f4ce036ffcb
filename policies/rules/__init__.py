"""All rules, in the order of reports and of the documentation."""

from policies.rule import Rule
from policies.rules import (
    aws,
    bigtable,
    certificates,
    dynamodb,
    emulators,
    iam,
    identities,
    identity,
    ingress,
    middlewares,
    network,
    pod_security,
    pods,
    programs,
    randomness,
    rbac,
    routes,
    s3,
    secrets,
    services,
    volumes,
)

CONCERNS: dict[str, tuple[Rule, ...]] = {
    "Pod Security Standards": pod_security.RULES,
    "Pods": (*pods.RULES, *identities.RULES),
    "Configuration of programs": programs.RULES,
    "Secrets": secrets.RULES,
    "Objects and namespaces": identity.RULES,
    "Network": network.RULES,
    "Services and availability": services.RULES,
    "Volumes": volumes.RULES,
    "Permissions in the cluster": rbac.RULES,
    "Public edge": (*ingress.RULES, *routes.RULES, *middlewares.RULES),
    "Emulators": emulators.RULES,
    "DynamoDB": dynamodb.RULES,
    "S3": s3.RULES,
    "IAM": iam.RULES,
    "Keys, caches and tags of AWS": aws.RULES,
    "Bigtable": bigtable.RULES,
    "Certificates": certificates.RULES,
    "Random secrets": randomness.RULES,
}
RULES: tuple[Rule, ...] = tuple(rule for rules in CONCERNS.values() for rule in rules)
BY_NAME: dict[str, Rule] = {rule.name: rule for rule in RULES}
