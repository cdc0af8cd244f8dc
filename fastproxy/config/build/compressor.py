"""`envoy.filters.http.compressor` to settings (envoy.extensions.filters.http.compressor.v3)."""

from fastproxy.config.build.context import BuildContext
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.filters.compressor.settings import (
    BrotliSettings,
    CodecSettings,
    CompressorPerRoute,
    CompressorSettings,
    GzipSettings,
    ZstdSettings,
)

COMPRESSOR = "envoy.extensions.filters.http.compressor.v3.Compressor"
COMPRESSOR_PER_ROUTE = "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute"
_GZIP = "envoy.extensions.compression.gzip.compressor.v3.Gzip"
_BROTLI = "envoy.extensions.compression.brotli.compressor.v3.Brotli"
_ZSTD = "envoy.extensions.compression.zstd.compressor.v3.Zstd"
_BUFFERS = "buffers have the size of what is read"

#: Envoy's, when the file names none.
_CONTENT_TYPES = (
    "application/ecmascript",
    "application/javascript",
    "application/json",
    "application/x-javascript",
    "application/x-json",
    "application/xhtml+xml",
    "application/xml",
    "image/svg+xml",
    "text/css",
    "text/ecmascript",
    "text/html",
    "text/javascript",
    "text/js",
    "text/jscript",
    "text/plain",
    "text/x-javascript",
    "text/x-js",
    "text/xml",
)
_DEFAULT_MIN_LENGTH = 30
#: Above it one read of the body can keep a worker busy for hundreds of milliseconds.
_MAX_QUICK_QUALITY = 9


def build_compressor(
    config: View, context: BuildContext, *, name: str = "", disabled: bool = False
) -> CompressorSettings:
    """Build the filter; a codec that is not supported is reported."""
    library = config.child_or_empty("compressor_library")
    codec = _build_codec(library)
    _check_request_direction(config, context)
    response = config.child("response_direction_config")
    if response is None:
        # The fields of old: they count only without the new one.
        enabled_in, length_field, old = config, "content_length", config
        enabled_field = "runtime_enabled"
    else:
        enabled_in, length_field, old = (
            response.child_or_empty("common_config"),
            "min_content_length",
            response,
        )
        enabled_field = "enabled"
        for field in (
            "content_length",
            "content_type",
            "disable_on_etag_header",
            "remove_accept_encoding_header",
        ):
            config.without_effect(field, "response_direction_config is there")
        config.without_effect("runtime_enabled", "response_direction_config is there")
    types = enabled_in.texts("content_type") or _CONTENT_TYPES
    return CompressorSettings(
        codec=codec or GzipSettings(),
        name=name,
        library_name=library.text("name"),
        is_off_by_default=disabled,
        enabled=_is_enabled(enabled_in, enabled_field, context),
        min_content_length=enabled_in.integer_or(length_field, _DEFAULT_MIN_LENGTH),
        content_types=frozenset(one.lower().encode() for one in types),
        disable_on_etag_header=old.flag("disable_on_etag_header"),
        remove_accept_encoding_header=old.flag("remove_accept_encoding_header"),
        uncompressible_statuses=_read_statuses(response),
        tells_status=response is not None and response.flag("status_header_enabled"),
        choose_first=config.flag("choose_first"),
        has_response_prefix=response is not None,
    )


def build_compressor_per_route(config: View, _filter: View, _context: BuildContext) -> CompressorPerRoute:
    """Build a `CompressorPerRoute`."""
    if config.selected("override") == "disabled":
        return CompressorPerRoute(enabled=not config.flag("disabled"))
    overrides = config.child_or_empty("overrides")
    response = overrides.child("response_direction_config")
    if response is None:
        return CompressorPerRoute()
    removes = None
    if response.has("remove_accept_encoding_header"):
        removes = response.flag_or("remove_accept_encoding_header", default=False)
    return CompressorPerRoute(enabled=True, remove_accept_encoding_header=removes)


def _read_statuses(response: View | None) -> frozenset[int]:
    if response is None:
        return frozenset()
    response.accept("uncompressible_response_codes")
    return frozenset(int(code) for code in response.message.uncompressible_response_codes)


def _is_enabled(view: View, field: str, context: BuildContext) -> bool:
    flag = view.child(field)
    if flag is None:
        return True
    enabled = flag.flag_or("default_value", default=True)
    key = flag.text("runtime_key")
    value = context.runtime.read(key) if key else None
    if value is None:
        return enabled
    if not isinstance(value, bool):
        flag.error(f"the runtime key {quote(key)} is neither true nor false", field="runtime_key")
        return enabled
    return value


def _check_request_direction(config: View, context: BuildContext) -> None:
    request = config.child("request_direction_config")
    if request is None:
        return
    common = request.child("common_config")
    if common is not None and common.has("enabled") and not _is_enabled(common, "enabled", context):
        common.accept("min_content_length", "content_type")
        return
    if common is not None:
        common.accept("enabled", "min_content_length", "content_type")
    config.error(
        "the compression of requests is not supported",
        "Remove request_direction_config; responses are compressed without it",
        field="request_direction_config",
    )


def _build_codec(library: View) -> CodecSettings | None:
    config = library.typed("typed_config")
    if config is None:
        if not library.has("typed_config"):
            library.error("compressor_library has no typed_config", "Name gzip, brotli or zstd")
        return None
    if config.type_name == _GZIP:
        config.without_effect("chunk_size", _BUFFERS)
        return GzipSettings(
            level=int(config.message.compression_level) or -1
            if _accepted(config, "compression_level", "compression_strategy")
            else -1,
            memory_level=config.integer_or("memory_level", 5),
            window_bits=config.integer_or("window_bits", 12),
            strategy=int(config.message.compression_strategy),
        )
    if config.type_name == _BROTLI:
        config.without_effect("chunk_size", _BUFFERS)
        config.without_effect("disable_literal_context_modeling", "the library decides it by the quality")
        _accepted(config, "encoder_mode")
        quality = config.integer_or("quality", 3)
        if quality > _MAX_QUICK_QUALITY:
            config.warn(
                "a worker does nothing else while it compresses so hard",
                f"Use {_MAX_QUICK_QUALITY} or less for answers that are made on the way",
                field="quality",
            )
        # Envoy: DEFAULT and GENERIC are one; text and font follow.
        return BrotliSettings(
            quality=quality,
            mode=max(int(config.message.encoder_mode) - 1, 0),
            window_bits=config.integer_or("window_bits", 18),
            input_block_bits=config.integer_or("input_block_bits", 24),
        )
    if config.type_name == _ZSTD:
        config.without_effect("chunk_size", _BUFFERS)
        config.unsupported("dictionary", "dictionaries are not supported", "Remove it")
        _accepted(config, "strategy")
        return ZstdSettings(
            level=config.integer_or("compression_level", 3),
            writes_checksum=config.flag("enable_checksum"),
            strategy=int(config.message.strategy),
        )
    config.accept(*(one.name for one, _ in config.message.ListFields()))
    library.error(
        f"FastProxy has no compressor {quote(config.type_name)}",
        "Use gzip, brotli or zstd",
        field="typed_config",
    )
    return None


def _accepted(view: View, *names: str) -> bool:
    """Consume enums that are used as the numbers that they are."""
    view.accept(*names)
    return True
