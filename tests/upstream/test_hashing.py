"""The hashes, against published values, the C library and libstdc++."""

import random

import pytest

from fastproxy.upstream.hashing import murmur2, plain_xxh64, xxh64


@pytest.mark.parametrize(
    ("data", "seed", "expected"),
    [
        (b"", 0, 0xEF46DB3751D8E999),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 0, 0x44BC2CF5AD770999),
        (b"", 1, 0xD5AFBA1336A3BE4B),
    ],
)
def test_xxh64_has_the_published_values(data: bytes, seed: int, expected: int) -> None:
    """What a ring is made of must never change."""
    assert xxh64(data, seed) == plain_xxh64(data, seed) == expected


def test_plain_and_fast_xxh64_agree_for_every_length() -> None:
    """Workers with and without the C library would disagree otherwise."""
    xxhash = pytest.importorskip("xxhash")
    chance = random.Random(1)
    for length in range(130):
        data = chance.randbytes(length)
        seed = chance.getrandbits(64)
        assert plain_xxh64(data, seed) == xxhash.xxh64_intdigest(data, seed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 6142509188972423790),
        ("a", 4993892634952068459),
        ("1234567", 7888703982793837558),
        ("12345678", 10113836418918046885),
        ("127.0.0.1:80_17", 2741697841402946398),
        ("a somewhat longer text, of 37 bytes ...", 7594645904352344405),
    ],
)
def test_murmur2_is_std_hash_of_libstdcpp(text: str, expected: int) -> None:
    """Computed with g++ 12; Envoy's MURMUR_HASH_2."""
    assert murmur2(text.encode()) == expected
