"""The `buffer` filter to settings (envoy.extensions.filters.http.buffer.v3)."""

from fastproxy.config.build.context import BuildContext
from fastproxy.config.view import View
from fastproxy.filters.buffer.settings import BufferRouteSettings, BufferSettings

BUFFER = "envoy.extensions.filters.http.buffer.v3.Buffer"
BUFFER_PER_ROUTE = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"


def build_buffer(
    config: View, _context: BuildContext, *, name: str = "", disabled: bool = False
) -> BufferSettings:
    """Build the filter; the file's rules have checked that there is a limit."""
    del name
    return BufferSettings(config.integer_or("max_request_bytes", 0), disabled)


def build_buffer_per_route(config: View, _filter_config: View, _context: BuildContext) -> BufferRouteSettings:
    """Build a `BufferPerRoute`."""
    if config.selected("override") == "disabled":
        return BufferRouteSettings(is_off=config.flag("disabled"))
    buffer = config.child_or_empty("buffer")
    return BufferRouteSettings(buffer.integer_or("max_request_bytes", 0))
