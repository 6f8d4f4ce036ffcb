"""Where generated values take their randomness from: the system, or a seed for tests and golden files."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Protocol


class Entropy(Protocol):
    """A source of uniform randomness."""

    def bytes(self, count: int) -> bytes:
        """``count`` random bytes."""

    def below(self, limit: int) -> int:
        """A uniform integer in ``0 <= n < limit``."""


class SystemEntropy:
    """The operating system's generator."""

    def bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def below(self, limit: int) -> int:
        return secrets.randbelow(limit)


class SeededEntropy:
    """HMAC-SHA256 in counter mode under a key: equal keys give equal streams. For tests, not for secrets."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._counter = 0
        self._left = b""

    def bytes(self, count: int) -> bytes:
        while len(self._left) < count:
            self._left += hmac.digest(self.key, self._counter.to_bytes(8, "big"), hashlib.sha256)
            self._counter += 1
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def below(self, limit: int) -> int:
        size = (limit.bit_length() + 7) // 8
        mask = (1 << limit.bit_length()) - 1
        while True:
            candidate = int.from_bytes(self.bytes(size), "big") & mask
            if candidate < limit:
                return candidate
