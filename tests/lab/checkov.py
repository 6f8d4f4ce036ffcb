"""The scanner of ./flatline scan, fetched before the tests that have no network."""

from policies import scan
from tests.lab.fetch import Missing, retried
from tests.lab.namespace import why_not_private


def require() -> None:
    """Makes sure that it is there. Raises `Missing` where it is not and cannot be fetched."""
    if not scan.installed() and not why_not_private():
        raise Missing("needs checkov, which python -m tests.lab.run fetches before its tests")
    prepare()


def prepare() -> None:
    """Fetches it."""
    retried("checkov", scan.environment, on=(scan.ScanError,))
