"""All rules, in the order of reports and of the documentation."""

from types import ModuleType

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


def _rules_of(*modules: ModuleType) -> tuple[Rule, ...]:
    return tuple(value for module in modules for value in vars(module).values() if isinstance(value, Rule))


CONCERNS: dict[str, tuple[Rule, ...]] = {
    "Pod Security Standards": _rules_of(pod_security),
    "Pods": _rules_of(pods, identities),
    "Configuration of programs": _rules_of(programs),
    "Secrets": _rules_of(secrets),
    "Objects and namespaces": _rules_of(identity),
    "Network": _rules_of(network),
    "Services and availability": _rules_of(services),
    "Volumes": _rules_of(volumes),
    "Permissions in the cluster": _rules_of(rbac),
    "Public edge": _rules_of(ingress, routes, middlewares),
    "Emulators": _rules_of(emulators),
    "DynamoDB": _rules_of(dynamodb),
    "S3": _rules_of(s3),
    "IAM": _rules_of(iam),
    "Keys, caches and tags of AWS": _rules_of(aws),
    "Bigtable": _rules_of(bigtable),
    "Certificates": _rules_of(certificates),
    "Random secrets": _rules_of(randomness),
}
RULES: tuple[Rule, ...] = tuple(rule for rules in CONCERNS.values() for rule in rules)
BY_NAME: dict[str, Rule] = {rule.name: rule for rule in RULES}
