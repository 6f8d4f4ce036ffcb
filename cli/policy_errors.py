"""Errors of the policy pack, which imports nothing of this program, as errors of a command."""

from collections.abc import Iterator
from contextlib import contextmanager

from errors import FlatlineError, MistakesError
from policies.config import ConfigError
from policies.manifests import ManifestError
from policies.scan import ScanError


@contextmanager
def as_command_errors() -> Iterator[None]:
    """Raises the errors of the policy pack as FlatlineError, with the same text."""
    try:
        yield
    except ConfigError as error:
        raise MistakesError(error.problems) from None
    except (ManifestError, ScanError) as error:
        raise FlatlineError(str(error)) from None
