"""The compressor filter, read from a file."""

import pytest

from fastproxy.filters.compressor.settings import (
    BrotliSettings,
    CodecSettings,
    CompressorPerRoute,
    CompressorSettings,
    GzipSettings,
    ZstdSettings,
)
from tests.config.support import load, minimal, problem, warnings

_TYPE = "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor"
_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.CompressorPerRoute"


def compressor(more: str = "", kind: str = "gzip", options: str = "", entry: str = "") -> str:
    """A filter for the `filters` argument of `minimal`."""
    library = f"type.googleapis.com/envoy.extensions.compression.{kind}.compressor.v3.{kind.capitalize()}"
    return f"""
- name: c
  {entry}
  typed_config:
    "@type": {_TYPE}
    compressor_library: {{name: lib, typed_config: {{"@type": {library}{options}}}}}
    {more}
"""


def settings(text: str) -> CompressorSettings:
    (one,) = load(minimal(filters=text)).settings.listeners[0].http.http_filters
    assert isinstance(one.config, CompressorSettings)
    return one.config


def test_defaults_are_those_of_envoy() -> None:
    """30 bytes, text types, gzip with a window of 4 KiB."""
    found = settings(compressor())
    assert found.codec == GzipSettings(level=-1, memory_level=5, window_bits=12, strategy=0)
    assert (found.min_content_length, found.enabled, found.choose_first) == (30, True, False)
    assert {b"text/html", b"application/json", b"image/svg+xml"} <= found.content_types
    assert len(found.content_types) == 18
    assert (found.name, found.library_name) == ("c", "lib")


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("gzip", ", compression_level: BEST_SPEED, memory_level: 9, window_bits: 15", GzipSettings(1, 9, 15)),
        (
            "gzip",
            ", compression_level: COMPRESSION_LEVEL_7, compression_strategy: FIXED",
            GzipSettings(7, strategy=4),
        ),
        ("brotli", "", BrotliSettings(3, 0, 18, 24)),
        ("brotli", ", quality: 5, encoder_mode: TEXT, window_bits: 22", BrotliSettings(5, 1, 22)),
        ("brotli", ", encoder_mode: GENERIC", BrotliSettings()),
        ("zstd", ", compression_level: 6, enable_checksum: true, strategy: LAZY", ZstdSettings(6, True, 4)),
    ],
)
def test_codecs_have_their_options(kind: str, options: str, expected: CodecSettings) -> None:
    """Numbers are those of the libraries."""
    assert settings(compressor(kind=kind, options=options)).codec == expected


def test_the_response_direction_replaces_the_fields_of_old() -> None:
    """Both forms are found in files."""
    old = settings(
        compressor("content_length: 100\n    content_type: [Text/X]\n    disable_on_etag_header: true")
    )
    assert (old.min_content_length, old.content_types, old.disable_on_etag_header) == (
        100,
        frozenset((b"text/x",)),
        True,
    )
    assert not old.has_response_prefix
    new = settings(
        compressor(
            "response_direction_config: {common_config: {min_content_length: 50, enabled: {default_value: false,"
            " runtime_key: x}}, uncompressible_response_codes: [500, 503], status_header_enabled: true}"
        )
    )
    assert (new.min_content_length, new.enabled, new.tells_status) == (50, False, True)
    assert new.uncompressible_statuses == frozenset((500, 503))
    assert new.has_response_prefix
    both = compressor("content_length: 100\n    response_direction_config: {}")
    assert any("response_direction_config is there" in text for text in warnings(minimal(filters=both)))
    assert settings(both).min_content_length == 30


def test_a_runtime_key_switches_it() -> None:
    """In a static layer of `layered_runtime`."""
    top = "layered_runtime: {layers: [{name: s, static_layer: {squeeze: false}}]}"
    text = compressor(
        "response_direction_config: {common_config: {enabled: {default_value: true, runtime_key: squeeze}}}"
    )
    (one,) = load(minimal(filters=text, top=top)).settings.listeners[0].http.http_filters
    assert isinstance(one.config, CompressorSettings)
    assert not one.config.enabled


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("disabled: true", CompressorPerRoute(enabled=False)),
        ("overrides: {}", CompressorPerRoute()),
        ("overrides: {response_direction_config: {}}", CompressorPerRoute(enabled=True)),
        (
            "overrides: {response_direction_config: {remove_accept_encoding_header: false}}",
            CompressorPerRoute(enabled=True, remove_accept_encoding_header=False),
        ),
    ],
)
def test_routes_speak_of_it(override: str, expected: CompressorPerRoute) -> None:
    """`CompressorPerRoute`."""
    routes = f"""
- match: {{prefix: /}}
  route: {{cluster: backend}}
  typed_per_filter_config: {{c: {{"@type": {_PER_ROUTE}, {override}}}}}
"""
    loaded = load(minimal(filters=compressor(), routes=routes))
    (route,) = loaded.settings.listeners[0].http.route_config.virtual_hosts[0].routes
    assert route.filter_configs == {"c": expected}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (compressor("request_direction_config: {}"), "the compression of requests is not supported"),
        (
            compressor(kind="zstd", options=", dictionary: {inline_string: x}"),
            "dictionaries are not supported",
        ),
    ],
)
def test_what_is_not_there_is_refused(text: str, words: str) -> None:
    """Not silently left out."""
    assert words in problem(minimal(filters=text)).problem


def test_a_request_direction_that_is_off_asks_for_nothing() -> None:
    """It is common in files that were generated."""
    off = "request_direction_config: {common_config: {enabled: {default_value: false, runtime_key: x}}}"
    assert settings(compressor(off)).enabled


def test_another_codec_and_the_decompressor_are_refused() -> None:
    """By name."""
    other = compressor().replace("gzip.compressor.v3.Gzip", "gzip.decompressor.v3.Gzip")
    assert "has no compressor" in problem(minimal(filters=other)).problem
    types = "type.googleapis.com/envoy.extensions"
    library = f"{{name: lib, typed_config: {{'@type': {types}.compression.gzip.decompressor.v3.Gzip}}}}"
    decompressor = f"""
- name: d
  typed_config:
    "@type": {types}.filters.http.decompressor.v3.Decompressor
    decompressor_library: {library}
"""
    assert "has no HTTP filter" in problem(minimal(filters=decompressor)).problem


def test_slow_settings_are_a_warning() -> None:
    """A worker does nothing else meanwhile."""
    (text,) = warnings(minimal(filters=compressor(kind="brotli", options=", quality: 11")))
    assert "compresses so hard" in text
