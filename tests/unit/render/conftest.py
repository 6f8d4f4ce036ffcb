import pytest

from render import passphrase


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key derivation with few iterations, for tests that derive many keys."""
    monkeypatch.setattr(passphrase, "ITERATIONS", 10)
