"""The `buffer` filter as the configuration fixes it (envoy.extensions.filters.http.buffer.v3)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BufferSettings:
    """`Buffer`."""

    max_request_bytes: int
    is_off_by_default: bool = False
    """`disabled: true` in `http_filters`: off but for routes that speak of the filter."""


@dataclass(frozen=True, slots=True)
class BufferRouteSettings:
    """What a route says about the filter (`BufferPerRoute`)."""

    max_request_bytes: int | None = None
    """None: as the filter has it."""
    is_off: bool = False
