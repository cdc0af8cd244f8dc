"""Hashes that place endpoints and requests on a ring or in a table: Envoy's, so that both proxies choose alike.

XXH64 comes from the `xxhash` package, which is C. The plain versions here are what it is tested against, and what runs
where the package cannot be had; the numbers are the same.
"""

from collections.abc import Callable

try:
    import xxhash
except ModuleNotFoundError:
    _fast_xxh64: Callable[[bytes, int], int] | None = None
else:
    _fast_xxh64 = xxhash.xxh64_intdigest

_MASK = (1 << 64) - 1
_P1 = 0x9E3779B185EBCA87
_P2 = 0xC2B2AE3D27D4EB4F
_P3 = 0x165667B19E3779F9
_P4 = 0x85EBCA77C2B2AE63
_P5 = 0x27D4EB2F165667C5

#: libstdc++'s seed, which Envoy's MURMUR_HASH_2 takes.
_MURMUR_SEED = 0xC70F6907
_MURMUR_MUL = 0xC6A4A7935BD1E995


def xxh64(data: bytes, seed: int = 0) -> int:
    """XXH64 of `data`: 64 bits, the same everywhere and for ever."""
    if _fast_xxh64 is not None:
        return _fast_xxh64(data, seed)
    return plain_xxh64(data, seed)


def plain_xxh64(data: bytes, seed: int = 0) -> int:
    """XXH64 in Python (github.com/Cyan4973/xxHash, doc/xxhash_spec.md)."""
    length = len(data)
    at = 0
    if length >= 32:
        v1, v2, v3, v4 = (seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK, seed, (seed - _P1) & _MASK
        while at <= length - 32:
            v1 = _round(v1, _word(data, at, 8))
            v2 = _round(v2, _word(data, at + 8, 8))
            v3 = _round(v3, _word(data, at + 16, 8))
            v4 = _round(v4, _word(data, at + 24, 8))
            at += 32
        found = (_rotate(v1, 1) + _rotate(v2, 7) + _rotate(v3, 12) + _rotate(v4, 18)) & _MASK
        for lane in (v1, v2, v3, v4):
            found = ((found ^ _round(0, lane)) * _P1 + _P4) & _MASK
    else:
        found = (seed + _P5) & _MASK
    found = (found + length) & _MASK
    while at <= length - 8:
        found = (_rotate(found ^ _round(0, _word(data, at, 8)), 27) * _P1 + _P4) & _MASK
        at += 8
    if at <= length - 4:
        found = (_rotate(found ^ (_word(data, at, 4) * _P1 & _MASK), 23) * _P2 + _P3) & _MASK
        at += 4
    while at < length:
        found = _rotate(found ^ (data[at] * _P5 & _MASK), 11) * _P1 & _MASK
        at += 1
    found = ((found ^ (found >> 33)) * _P2) & _MASK
    found = ((found ^ (found >> 29)) * _P3) & _MASK
    return found ^ (found >> 32)


def murmur2(data: bytes) -> int:
    """MurmurHash64A with libstdc++'s seed: what `std::hash<std::string>` is there, and Envoy's MURMUR_HASH_2."""
    length = len(data)
    found = _MURMUR_SEED ^ (length * _MURMUR_MUL & _MASK)
    whole = length - length % 8
    for at in range(0, whole, 8):
        word = _word(data, at, 8) * _MURMUR_MUL & _MASK
        word = (word ^ (word >> 47)) * _MURMUR_MUL & _MASK
        found = (found ^ word) * _MURMUR_MUL & _MASK
    if whole < length:
        found = (found ^ _word(data, whole, length - whole)) * _MURMUR_MUL & _MASK
    found = (found ^ (found >> 47)) * _MURMUR_MUL & _MASK
    return found ^ (found >> 47)


def _word(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _MASK


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * _P2) & _MASK, 31) * _P1 & _MASK
