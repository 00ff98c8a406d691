"""Random numbers from keys: a request's draws depend on its key and the place in its output, nothing else."""

from collections.abc import Sequence
from hashlib import blake2b

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FORK = 0xD1B54A32D192ED03  # another odd constant: streams of forks are not those of tokens
_RETRY = 0xA0761D6478BD642F  # and another


def mix(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom generators, 2014)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def uniform(key: int, index: int) -> float:
    """A number in [0, 1) for generated token `index` of the stream `key`; integers only, so it is portable."""
    return (mix((mix(key) + (index + 1) * _GOLDEN) & _MASK) >> 11) * 2.0**-53


def retry_key(key: int) -> int:
    """The key of the draw that follows one with this key, where what that came to was refused."""
    return mix(key ^ _RETRY)


def fork_key(key: int, fork: int) -> int:
    """The key of one of several generations from one prompt; fork 0 keeps the key."""
    return key if fork == 0 else mix((mix(key ^ _FORK) + fork * _FORK) & _MASK)


def prompt_key(seed: int, ids: Sequence[int]) -> int:
    """A 64-bit key from a seed and a prompt's token ids: equal prompts draw alike, different ones apart."""
    digest = blake2b(f"{seed}\0".encode(), digest_size=8)
    digest.update(" ".join(map(str, ids)).encode())
    return int.from_bytes(digest.digest(), "big")
