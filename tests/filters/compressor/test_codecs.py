"""Encoders: what was given is out at once, and the whole is what any decoder expects."""

import os

import pytest

from fastproxy.filters.compressor.codecs import Codec
from fastproxy.filters.compressor.settings import BrotliSettings, CodecSettings, GzipSettings, ZstdSettings
from tests.filters.compressor.support import CODECS, Decoder


@pytest.mark.parametrize(
    "settings",
    [
        *CODECS.values(),
        GzipSettings(level=9, memory_level=9, window_bits=15, strategy=4),
        GzipSettings(level=1, memory_level=1, window_bits=9, strategy=2),
        BrotliSettings(quality=11, mode=1, window_bits=24, input_block_bits=16),
        ZstdSettings(level=19, writes_checksum=True, strategy=9),
    ],
    ids=repr,
)
def test_every_piece_can_be_read_when_it_was_written(settings: CodecSettings) -> None:
    """A stream of events would otherwise arrive when it is over."""
    codec = Codec(settings)
    encoder, decoder = codec.make(), Decoder(codec.encoding)
    pieces = [b"first", b"x" * 100_000, os.urandom(5000), "ü".encode() * 3000]
    for piece in pieces:
        assert decoder.decode(encoder.encode([piece[:7], piece[7:]], complete=False)) == piece
    assert not decoder.is_complete
    assert decoder.decode(encoder.encode([b"last"], complete=True)) == b"last"
    assert decoder.is_complete


@pytest.mark.parametrize("encoding", CODECS)
def test_streams_are_independent(encoding: bytes) -> None:
    """One filter serves many responses at a time."""
    codec = Codec(CODECS[encoding])
    one, other = codec.make(), codec.make()
    first = one.encode([b"one"], complete=False)
    second = other.encode([b"other"], complete=True)
    assert Decoder(encoding).decode(first + one.encode([], complete=True)) == b"one"
    assert Decoder(encoding).decode(second) == b"other"
