"""RSA keys that are a function of a seed, for tests and redacted output. They must never protect anything.

Primality is probable only, and the computation does not take constant time.
"""

from __future__ import annotations

import functools
import math
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from render.entropy import SeededEntropy

_EXPONENT: Final = 65537


@functools.lru_cache(maxsize=64)
def private_key(seed: bytes, bits: int) -> rsa.RSAPrivateKey:
    """The key of ``bits`` bits that belongs to ``seed``."""
    entropy = SeededEntropy(seed)
    while True:
        p, q = _prime(entropy, bits // 2), _prime(entropy, bits - bits // 2)
        if p != q and math.gcd((p - 1) * (q - 1), _EXPONENT) == 1:
            break
    d = pow(_EXPONENT, -1, math.lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p,
        q,
        d,
        rsa.rsa_crt_dmp1(d, p),
        rsa.rsa_crt_dmq1(d, q),
        rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(_EXPONENT, p * q),
    )
    return numbers.private_key()


def _prime(entropy: SeededEntropy, bits: int) -> int:
    top_two_and_odd = 3 << (bits - 2) | 1
    candidate = int.from_bytes(entropy.token_bytes(bits // 8), "big") | top_two_and_odd
    while not _probably_prime(candidate):
        candidate += 2
    return candidate


def _probably_prime(n: int) -> bool:
    if math.gcd(n, _small_primes_product()) != 1:
        return False
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes_miller_rabin(n, odd, twos, base) for base in (2, 3, 5, 7))


@functools.cache
def _small_primes_product() -> int:
    candidates = range(3, 10_000, 2)
    return math.prod(n for n in candidates if all(n % d for d in range(3, math.isqrt(n) + 1, 2)))


def _passes_miller_rabin(n: int, odd: int, twos: int, base: int) -> bool:
    x = pow(base, odd, n)
    if x in (1, n - 1):
        return True
    for _ in range(twos - 1):
        x = x * x % n
        if x == n - 1:
            return True
    return False
