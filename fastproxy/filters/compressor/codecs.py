"""Streaming encoders: what is given comes out at once, so that a client sees it when the upstream sends it."""

import importlib
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from fastproxy.filters.compressor.settings import BrotliSettings, CodecSettings, GzipSettings


class Encoder(Protocol):
    """Compresses one body."""

    def encode(self, pieces: list[bytes], *, complete: bool) -> bytes:
        """Compress all of the pieces, and end the stream if the body is complete."""


class _Zlib:
    __slots__ = ("_stream",)

    def __init__(self, settings: GzipSettings) -> None:
        # 16 makes zlib write the header and the trailer of gzip.
        self._stream: Any = zlib.compressobj(
            settings.level,
            zlib.DEFLATED,
            settings.window_bits | 16,
            settings.memory_level,
            settings.strategy,
        )

    def encode(self, pieces: list[bytes], *, complete: bool) -> bytes:
        stream = self._stream
        written: list[bytes] = [stream.compress(piece) for piece in pieces]
        written.append(stream.flush(zlib.Z_FINISH if complete else zlib.Z_SYNC_FLUSH))
        return b"".join(written)


class _Brotli:
    __slots__ = ("_stream",)

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def encode(self, pieces: list[bytes], *, complete: bool) -> bytes:
        stream = self._stream
        written: list[bytes] = [stream.process(piece) for piece in pieces]
        written.append(stream.finish() if complete else stream.flush())
        return b"".join(written)


class _Zstd:
    __slots__ = ("_block", "_stream")

    def __init__(self, stream: Any, block: int) -> None:
        self._stream = stream
        self._block = block

    def encode(self, pieces: list[bytes], *, complete: bool) -> bytes:
        stream = self._stream
        written: list[bytes] = [stream.compress(piece) for piece in pieces]
        written.append(stream.flush() if complete else stream.flush(self._block))
        return b"".join(written)


class Codec:
    """One way to compress: its name in `content-encoding`, and a factory of encoders."""

    __slots__ = ("encoding", "make", "stat_name")

    def __init__(self, settings: CodecSettings) -> None:
        """Load the library; files without compression do not pay for it."""
        self.make: Callable[[], Encoder]
        if isinstance(settings, GzipSettings):
            gzip = settings
            self.encoding, self.stat_name = b"gzip", "gzip"
            self.make = lambda: _Zlib(gzip)
        elif isinstance(settings, BrotliSettings):
            self.encoding, self.stat_name = b"br", "brotli"
            self.make = _brotli_factory(settings)
        else:
            self.encoding, self.stat_name = b"zstd", "zstd"
            library: Any = importlib.import_module("zstandard")
            options: dict[str, int] = {"write_checksum": int(settings.writes_checksum)}
            if settings.strategy:
                options["strategy"] = settings.strategy
            parameters = library.ZstdCompressionParameters.from_level(settings.level, **options)
            # One for each body: an object of the library serves one stream at a time.
            self.make = lambda: _Zstd(
                library.ZstdCompressor(compression_params=parameters).compressobj(),
                library.COMPRESSOBJ_FLUSH_BLOCK,
            )


def _brotli_factory(settings: BrotliSettings) -> Callable[[], Encoder]:
    library: Any = importlib.import_module("brotli")
    return lambda: _Brotli(
        library.Compressor(
            mode=settings.mode,
            quality=settings.quality,
            lgwin=settings.window_bits,
            lgblock=settings.input_block_bits,
        )
    )
