"""Compressors, and what undoes them."""

import zlib
from typing import Any

import brotli
import zstandard

from fastproxy.filters.compressor.filter import CompressorFilter
from fastproxy.filters.compressor.settings import (
    BrotliSettings,
    CodecSettings,
    CompressorSettings,
    GzipSettings,
    ZstdSettings,
)

CODECS: dict[bytes, CodecSettings] = {
    b"gzip": GzipSettings(),
    b"br": BrotliSettings(),
    b"zstd": ZstdSettings(),
}


def compressor(encoding: bytes = b"gzip", **settings: Any) -> CompressorFilter:
    """A filter named like its encoding."""
    settings.setdefault("content_types", frozenset((b"text/html",)))
    return CompressorFilter(CompressorSettings(CODECS[encoding], encoding.decode(), "lib", **settings))


class Decoder:
    """Undoes an encoding as the bytes come."""

    def __init__(self, encoding: bytes) -> None:
        self._stream: Any
        if encoding == b"gzip":
            self._stream = zlib.decompressobj(31)
            self._decode = self._stream.decompress
        elif encoding == b"br":
            self._stream = brotli.Decompressor()
            self._decode = self._decode_brotli
        else:
            self._stream = zstandard.ZstdDecompressor().decompressobj()
            self._decode = self._stream.decompress

    def _decode_brotli(self, data: bytes) -> bytes:
        # The library gives its output in pieces.
        decoded = piece = bytes(self._stream.process(data))
        while piece:
            piece = bytes(self._stream.process(b""))
            decoded += piece
        return decoded

    def decode(self, data: bytes) -> bytes:
        """What these bytes stand for."""
        return bytes(self._decode(data))

    @property
    def is_complete(self) -> bool:
        """Whether the stream has ended, checksum and all."""
        if isinstance(self._stream, brotli.Decompressor):
            return bool(self._stream.is_finished())
        return bool(self._stream.eof)


def unchunk(wire: bytes) -> tuple[bytes, bool]:
    """A chunked body without its frames, and whether it has ended."""
    body = b""
    while wire:
        line, _, wire = wire.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return body, wire == b"\r\n"
        body, wire = body + wire[:size], wire[size + 2 :]
    return body, False
