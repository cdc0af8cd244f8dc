"""The compressor filter as the configuration fixes it (Envoy `Compressor`). Built by `fastproxy.config`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GzipSettings:
    """`envoy.compression.gzip.compressor` (RFC 1952)."""

    level: int = -1
    """-1 leaves it to zlib, which takes 6."""
    memory_level: int = 5
    window_bits: int = 12
    strategy: int = 0
    """zlib's number: default, filtered, Huffman only, RLE, fixed."""


@dataclass(frozen=True, slots=True)
class BrotliSettings:
    """`envoy.compression.brotli.compressor` (RFC 7932)."""

    quality: int = 3
    mode: int = 0
    """Brotli's number: generic, text, font."""
    window_bits: int = 18
    input_block_bits: int = 24


@dataclass(frozen=True, slots=True)
class ZstdSettings:
    """`envoy.compression.zstd.compressor` (RFC 8878)."""

    level: int = 3
    writes_checksum: bool = False
    strategy: int = 0
    """zstd's number; 0 leaves it to the level."""


CodecSettings = GzipSettings | BrotliSettings | ZstdSettings


@dataclass(frozen=True, slots=True)
class CompressorSettings:
    """One compressor: a codec, and the responses that it is for."""

    codec: CodecSettings
    name: str
    """The filter's own name in `http_filters`, by which routes speak of it."""
    library_name: str = ""
    """For statistics."""
    is_off_by_default: bool = False
    """`disabled` in `http_filters`: only routes that say so have it."""
    enabled: bool = True
    """`common_config.enabled`."""
    min_content_length: int = 30
    content_types: frozenset[bytes] = frozenset()
    """Lower case."""
    disable_on_etag_header: bool = False
    remove_accept_encoding_header: bool = False
    uncompressible_statuses: frozenset[int] = frozenset()
    tells_status: bool = False
    """`status_header_enabled`: say in `x-envoy-compression-status` why a response was not compressed."""
    choose_first: bool = False
    """Wins over others that the client likes as well."""
    has_response_prefix: bool = False
    """Names of statistics have `response.` in them, as Envoy's with `response_direction_config`."""


@dataclass(frozen=True, slots=True)
class CompressorPerRoute:
    """What a route says about a compressor (Envoy `CompressorPerRoute`)."""

    enabled: bool | None = None
    """None leaves it to the filter."""
    remove_accept_encoding_header: bool | None = None
    is_skipped: bool = False
    """`disabled` of a `FilterConfig`: as if the filter was not there."""
