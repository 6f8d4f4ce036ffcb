"""Errors in the logs of the last hour, by known cause. No line of a log is repeated: it may tell of people."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from cli.doctor.model import Check, Evidence, Finding

CAUSES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (symptom, re.compile(pattern))
    for symptom, pattern in (
        ("log-upload-space", r'"status":\s*507'),
        ("log-no-space", r"No space left on device|ENOSPC|Disk quota exceeded"),
        ("log-heap", r"java\.lang\.OutOfMemoryError"),
        ("log-library", r"failed to map segment|UnsatisfiedLinkError"),
        ("log-cpu", r"the CPU of this node has no AVX2"),
        ("log-certificate", r"PKIX path building failed|CertificateException|SSLHandshakeException"),
        ("log-name", r"UnknownHostException|UnresolvedAddressException|ENOTFOUND|EAI_AGAIN|Failed to resolve"),
        ("log-page-lost", r"NoSuchKeyException|removed \d+ rows"),
        ("log-table", r"ResourceNotFoundException"),
        ("log-registration", r"StatusRuntimeException: UNAVAILABLE"),
        ("log-credentials", r"credentials-error|SignatureDoesNotMatch|InvalidAccessKeyId|ExpiredToken"),
        ("log-redis", r"RedisConnectionException|RedisCommandTimeoutException|RedisException|CLUSTERDOWN|MISCONF"),
    )
)
"""Symptom → what stands in a line of that cause; the first that matches counts."""
WAITS = re.compile(r'"event":\s*"(?:waiting|missing)"')
"""A program of ours that waits for something says so, with the reason: that is how every start looks."""
ORDINARY = {
    "localstack": {"log-table"},
    "redis": {"log-name", "log-redis"},
    "redis-membership": {"log-name", "log-redis"},
}
"""Errors of a start that end by themselves: LocalStack's seed asks for tables before it makes them, Redis for nodes."""
ERROR = re.compile(r"(?:^|\s)(?:ERROR|FATAL|SEVERE)\b|\"level\":\s*\"(?:error|fatal)\"|^error:", re.IGNORECASE)
LEAST_UNKNOWN = 5
"""Fewer errors of no known cause are not worth a person's time."""


def logs(evidence: Evidence) -> Iterator[Finding]:
    """Each cause once for each pod, with the number of its lines."""
    for log in evidence.readings["logs"]:
        found = Counter(cause for line in log["text"].splitlines() if (cause := _cause(line)))
        for symptom, times in found.items():
            few = symptom == "log-errors" and times < LEAST_UNKNOWN
            if few or symptom in ORDINARY.get(log["app"], ()):
                continue
            lines = "one line" if times == 1 else f"{times} lines"
            yield Finding(
                symptom=symptom,
                about=f"pod {log['namespace']}/{log['name']}",
                found=f"{lines} in the last hour",
                names={"namespace": log["namespace"], "name": log["name"]},
            )


def _cause(line: str) -> str | None:
    if WAITS.search(line):
        return None
    for symptom, pattern in CAUSES:
        if pattern.search(line):
            return symptom
    return "log-errors" if ERROR.search(line) else None


CHECKS: Iterable[Check] = (Check("logs", "errors in the logs of the last hour", ("logs",), logs, running=True),)
