"""From the settings of a filter to the filter: the registry of the data plane.

A new filter has its settings in `filters.settings`, its place here, and its reading from the file in
`config/build/filter_kinds.py`. `jwt_authn` is not here: the runtime makes it, for it needs keys.
"""

from fastproxy.farewell import Farewell
from fastproxy.filters.base import HttpFilter
from fastproxy.filters.buffer.filter import BufferFilter
from fastproxy.filters.buffer.settings import BufferSettings
from fastproxy.filters.compressor.filter import CompressorFilter
from fastproxy.filters.compressor.settings import CompressorSettings
from fastproxy.filters.cors.filter import CorsFilter
from fastproxy.filters.cors.settings import CorsSettings
from fastproxy.filters.header_mutation.filter import HeaderMutationFilter
from fastproxy.filters.health_check.filter import HealthCheckFilter, Membership
from fastproxy.filters.health_check.settings import HealthCheckSettings
from fastproxy.filters.settings import PlainFilterSettings


def _all_healthy(_cluster: str) -> tuple[int, int]:
    return 1, 1


def build_filter(
    name: str,
    settings: PlainFilterSettings,
    *,
    farewell: Farewell | None = None,
    membership: Membership = _all_healthy,
) -> HttpFilter:
    """Build a filter that needs little more than its settings.

    Args:
        name: its name in `http_filters`.
        settings: the filter.
        farewell: what the operator has said about the end of the proxy.
        membership: how many endpoints a cluster has, and how many of them are healthy.

    Raises:
        ValueError: a format or an expression is invalid (the configuration has checked this before).
    """
    if isinstance(settings, BufferSettings):
        return BufferFilter(name, settings)
    if isinstance(settings, CompressorSettings):
        return CompressorFilter(settings)
    if isinstance(settings, CorsSettings):
        return CorsFilter(name, settings)
    if isinstance(settings, HealthCheckSettings):
        return HealthCheckFilter(name, settings, farewell or Farewell(), membership)
    return HeaderMutationFilter(name, settings)
