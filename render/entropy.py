"""Sources of randomness for generated values: the operating system, or a seed for tests and redacted output."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Protocol


class Entropy(Protocol):
    """A source of uniform randomness."""

    def token_bytes(self, count: int) -> bytes:
        """Returns ``count`` random bytes."""

    def below(self, limit: int) -> int:
        """Returns a uniform integer in ``0 <= n < limit``."""


class SystemEntropy:
    """The operating system's generator."""

    def token_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def below(self, limit: int) -> int:
        return secrets.randbelow(limit)


class SeededEntropy:
    """HMAC-SHA256 in counter mode: equal keys give equal streams. For tests and redacted output, not for secrets."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._counter = 0
        self._buffer = b""

    def token_bytes(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._buffer += hmac.digest(self.key, self._counter.to_bytes(8, "big"), hashlib.sha256)
            self._counter += 1
        result, self._buffer = self._buffer[:count], self._buffer[count:]
        return result

    def below(self, limit: int) -> int:
        size = (limit.bit_length() + 7) // 8
        mask = (1 << limit.bit_length()) - 1
        while True:
            candidate = int.from_bytes(self.token_bytes(size), "big") & mask
            if candidate < limit:
                return candidate
