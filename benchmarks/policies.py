"""The policy pack over many objects and over long lines, against the same amount in pieces, in one process.

Measured is the time of the processor. Whatever looks at each pair of objects, or at a line again from each of its
places, shows as a ratio that grows with the size: 8 for what is quadratic.
"""

import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.sample import Ratio
from policies import manifests
from policies.check import check_manifests
from policies.config import load
from policies.secret_text import in_file

PIECES: Final = 8
PODS: Final = 2_000
CHARACTERS: Final = 100_000
NAMESPACES: Final = 20

LINES: Final = {
    "letters": "a",
    "letters and hyphens": "a-",
    "letters and dots": "a.",
    "begun tokens": "eyJ-",
    "begun addresses": "a://b:",
    "blanks": " ",
    "blanks after words": "a  ",
    "wide columns": "a" + " " * 500 + "b c\n",
    "empty lines": "\n",
    "words on lines": "a \n",
    "open quotes": 'a="',
    "colons": "a:",
    "digests": "sha256:" + "0123456789abcdef" * 4 + " ",
    "random text": "aB3+",
    "brackets": "[",
    "braces": "{",
    "openings of objects": '{"a":',
    "lists": "- ",
    "documents": "{}\n",
    "separators": "---\n",
    "broken documents": "%a\n---\n",
    "headers": "-----BEGIN A ",
}
"""Texts that minified and mistaken files repeat, and beginnings of expressions for secrets."""


def measure(rounds: int) -> list[Ratio]:
    """One large thing, and the pieces of it."""
    ratios = []
    with tempfile.TemporaryDirectory() as scratch:
        large, small = Path(scratch) / "large.yaml", Path(scratch) / "small.yaml"
        large.write_text(objects(PODS))
        small.write_text(objects(PODS // PIECES))
        name = f"check {PODS:,} pods with as many network policies"
        ratios.append(_ratio(name, lambda: _check(large), lambda: _check(small), rounds))
    texts = [unit * (CHARACTERS // len(unit)) for unit in LINES.values()]
    pieces = [text[: len(text) // PIECES] for text in texts]
    name = f"look for secrets in {CHARACTERS:,} characters of each of {len(texts)} repeated texts"
    ratios.append(_ratio(name, lambda: _search(texts), lambda: _search(pieces), rounds))
    return ratios


def objects(pods: int) -> str:
    """Pods in several namespaces, each with a policy that names two others."""
    return "".join(_pod(number, pods) for number in range(pods))


def _pod(number: int, pods: int) -> str:
    namespace, following = f"place-{number % NAMESPACES}", (number + 1) % pods
    return f"""---
apiVersion: v1
kind: Pod
metadata: {{name: pod-{number}, namespace: {namespace}, labels: {{app: app-{number}, tier: web}}}}
spec:
  containers:
  - name: main
    image: example.org/app:1.0.0
    ports: [{{name: http, containerPort: 8080}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: policy-{number}, namespace: {namespace}}}
spec:
  podSelector: {{matchLabels: {{app: app-{number}}}}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{{podSelector: {{matchLabels: {{app: app-{(number + NAMESPACES) % pods}}}}}}}]
    ports: [{{port: http}}]
  egress:
  - to:
    - namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: place-{following % NAMESPACES}}}}}
      podSelector: {{matchLabels: {{app: app-{following}}}}}
    ports: [{{port: 8080}}]
"""


def _check(file: Path) -> None:
    report = check_manifests(manifests.read(file), load(profile="manifests"))
    if report.unread or not report.findings:
        raise RuntimeError("the objects were not read")


def _search(texts: Sequence[str]) -> None:
    for text in texts:
        for name in ("a.conf", "a.js"):
            list(in_file(name, text))


def _ratio(name: str, whole: Callable[[], None], piece: Callable[[], None], rounds: int) -> Ratio:
    seconds, minimum = [], []
    for _ in range(rounds):
        seconds.append(_seconds(whole))
        minimum.append(sum(_seconds(piece) for _ in range(PIECES)))
    return Ratio(name, f"{PIECES} times an eighth of it", tuple(seconds), tuple(minimum))


def _seconds(run: Callable[[], None]) -> float:
    gc.freeze()  # what the process has already is not searched again: it can be most of the time
    gc.collect()
    began = time.process_time()
    run()
    seconds = time.process_time() - began
    gc.unfreeze()
    return seconds
