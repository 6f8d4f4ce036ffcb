"""Seeds LocalStack with the DynamoDB tables, S3 buckets and S3 objects that one JSON file lists.

Creates what is missing, mends what differs, deletes no more than `pages` says; a second run changes nothing. It runs
where it is mounted as `/etc/localstack/init/ready.d/seed.py`, and as `python3 seed/localstack.py`.

Environment: FLATLINE_SEED_FILE, the path of the JSON file, and FLATLINE_SEED_PROGRAM, the folder of this program, since
as a hook it has no path of its own. There are no flags, because LocalStack starts it. The file's keys, all needed:

    endpoint         "http://127.0.0.1:4566"
    region           "us-east-1"
    tables           requests of DynamoDB's CreateTable, as its API reference describes them
    ttl              {table: attribute}, the attribute that holds the expiry in seconds since 1970
    buckets          names
    objects          {"bucket", "key", "text", "contentType"}; the text is stored as UTF-8
    pages            null, or the other S3 server, with the pages that rows of a table name: {"table", "endpoint",
                     "bucket", "credentialsFile", "deadlineSeconds"}
    deadlineSeconds  how long to wait, in all, for LocalStack and for tables to become ACTIVE

Of a table that exists: the key schema and the local indexes are compared and cannot be mended, so a difference is
an error; a missing global index is added; an index may project more than is asked for; TTL is switched to the
attribute. Surplus tables and indexes are reported and left alone.

Logs one JSON line for each thing made or changed, for what is surplus, and for the total. localstack_seed/pages.py
tells what becomes of rows whose page was lost.

LocalStack executes a `.py` hook inside its own process, in an empty namespace (so `__name__` is that of builtins
and `__file__` is missing), and takes an Exception, but not a SystemExit, as the hook's failure: then
`GET /_localstack/init/ready` shows the script's state as ERROR, though "completed" is true all the same.
"""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

FOLDER = os.environ.get("FLATLINE_SEED_PROGRAM") or os.path.dirname(globals().get("__file__", ""))
sys.path.insert(0, FOLDER)

from localstack_seed.client import Client  # noqa: E402 - found only from here on
from localstack_seed.errors import SeedError  # noqa: E402
from localstack_seed.plan import parse_plan  # noqa: E402
from localstack_seed.seeder import Seed  # noqa: E402

FILE_VARIABLE = "FLATLINE_SEED_FILE"


def report(message: str) -> None:
    """Writes one line of progress to standard output."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    print(json.dumps({"time": now, "event": "seed", "message": message}), flush=True)


def main() -> None:
    """Carries out the plan of the seed file. Raises SeedError."""
    path = os.environ.get(FILE_VARIABLE)
    if not path:
        raise SeedError(f"{FILE_VARIABLE} is not set")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SeedError(f"seed file {path}: {error.strerror}") from None
    plan = parse_plan(text)
    Seed(plan, Client(plan.endpoint, plan.region, plan.deadline_seconds), report).run()


if __name__ == "__main__":
    try:
        main()
    except SeedError as error:
        sys.exit(f"localstack-seed: failed: {error}")
elif __name__ == "builtins":
    main()
