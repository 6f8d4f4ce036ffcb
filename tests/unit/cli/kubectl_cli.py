"""A stand-in for kubectl and the cluster behind it: objects in a file, which it lists, applies and deletes."""

import json
from pathlib import Path
from typing import Any

from tests.unit.cli.checkout import Checkout

BODY = """
from pathlib import Path

words, cluster = sys.argv[1:], Path(sys.argv[0]).with_name("cluster.json")
objects = json.loads(cluster.read_text())
record(arguments=words)


def resource(found):
    group = found["apiVersion"].rpartition("/")[0]
    return f"{found['kind']}.{group}".lower() if group else found["kind"].lower()


def key(found):
    return resource(found), found["metadata"].get("namespace"), found["metadata"]["name"]


if os.environ.get("FAKE_KUBECTL_REFUSES"):
    sys.exit("error: You must be logged in to the server (Unauthorized)")
if "--raw" in words:
    print("{}")
elif "get" in words:
    kinds = set(words[words.index("get") + 1].replace("namespaces", "namespace").split(","))
    print(json.dumps({"items": [each for each in objects if resource(each) in kinds]}))
elif "apply" in words:
    applied = json.load(sys.stdin)
    applied["metadata"]["uid"] = "second"
    cluster.write_text(json.dumps([*(each for each in objects if key(each) != key(applied)), applied]))
elif "patch" in words and "merge" in words:
    kind, _, name = words[words.index("patch") + 1].partition("/")
    notes = json.load(sys.stdin)["metadata"]["annotations"]
    found = [each for each in objects if resource(each) == kind and each["metadata"]["name"] == name]
    for each in found or sys.exit(f'Error from server (NotFound): {kind} "{name}" not found'):
        each["metadata"].setdefault("annotations", {}).update(notes)
    cluster.write_text(json.dumps(objects))
else:
    sys.exit(f"unexpected call: {words}")
"""


def put(checkout: Checkout) -> Path:
    """Puts it on the PATH, with an empty cluster; the file of its calls."""
    write(checkout, [])
    return checkout.program("kubectl", BODY)


def read(checkout: Checkout) -> list[dict[str, Any]]:
    """The objects of the cluster."""
    objects: list[dict[str, Any]] = json.loads((checkout.programs / "cluster.json").read_text())
    return objects


def write(checkout: Checkout, objects: list[dict[str, Any]]) -> None:
    """Sets them."""
    (checkout.programs / "cluster.json").write_text(json.dumps(objects))


def names(checkout: Checkout, kind: str) -> list[str]:
    """The names of the objects of a kind."""
    return [each["metadata"]["name"] for each in read(checkout) if each["kind"] == kind]
