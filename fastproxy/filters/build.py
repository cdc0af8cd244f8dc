"""From the settings of a filter to the filter: the registry of the data plane.

A new filter has its settings in `filters.settings`, its place here, and its reading from the file in
`config/build/filter_kinds.py`. `jwt_authn` is not here: the runtime makes it, for it needs keys.
"""

from fastproxy.filters.base import HttpFilter
from fastproxy.filters.buffer.filter import BufferFilter
from fastproxy.filters.buffer.settings import BufferSettings
from fastproxy.filters.compressor.filter import CompressorFilter
from fastproxy.filters.compressor.settings import CompressorSettings
from fastproxy.filters.cors.filter import CorsFilter
from fastproxy.filters.cors.settings import CorsSettings
from fastproxy.filters.header_mutation.filter import HeaderMutationFilter
from fastproxy.filters.settings import PlainFilterSettings


def build_filter(name: str, settings: PlainFilterSettings) -> HttpFilter:
    """Build a filter that needs nothing but its settings; `name` is its name in `http_filters`.

    Raises:
        ValueError: a format or an expression is invalid (the configuration has checked this before).
    """
    if isinstance(settings, BufferSettings):
        return BufferFilter(name, settings)
    if isinstance(settings, CompressorSettings):
        return CompressorFilter(settings)
    if isinstance(settings, CorsSettings):
        return CorsFilter(name, settings)
    return HeaderMutationFilter(name, settings)
