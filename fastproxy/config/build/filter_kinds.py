"""The registry of HTTP filters: how each is read from a file, for all requests and for those of single routes.

A new filter is one more entry of `FILTER_KINDS` here, and has its place in `filters/settings.py` and
`filters/build.py`, which make it from its settings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fastproxy.config.build.buffer import BUFFER, BUFFER_PER_ROUTE, build_buffer, build_buffer_per_route
from fastproxy.config.build.compressor import (
    COMPRESSOR,
    COMPRESSOR_PER_ROUTE,
    build_compressor,
    build_compressor_per_route,
)
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.cors import CORS, CORS_POLICY, build_cors, build_cors_per_route
from fastproxy.config.build.header_mutation import (
    HEADER_MUTATION,
    HEADER_MUTATION_PER_ROUTE,
    build_header_mutation,
    build_header_mutation_per_route,
)
from fastproxy.config.build.health_check import HEALTH_CHECK, build_health_check, build_no_route_settings
from fastproxy.config.build.jwt_authn import JWT_AUTHN, PER_ROUTE, build_jwt_authn, build_per_route
from fastproxy.config.view import View
from fastproxy.filters.buffer.settings import BufferRouteSettings
from fastproxy.filters.compressor.settings import CompressorPerRoute
from fastproxy.filters.cors.settings import CorsRouteSettings
from fastproxy.filters.header_mutation.settings import HeaderMutationRouteSettings
from fastproxy.filters.health_check.settings import HealthCheckRouteSettings
from fastproxy.filters.jwt_authn.settings import PerRouteSettings
from fastproxy.filters.settings import FilterSettings


class BuildFilter(Protocol):
    """Reads the configuration of a filter; whatever is wrong with it is reported."""

    def __call__(
        self, config: View, context: BuildContext, /, *, name: str = "", disabled: bool = False
    ) -> FilterSettings:
        """Build from `config`; `name` is the filter's in `http_filters`, `disabled`: off but for some routes."""


@dataclass(frozen=True, slots=True)
class FilterKind:
    """One kind of HTTP filter."""

    type_name: str
    """Of its configuration."""
    build: BuildFilter
    route_type_name: str
    """Of what routes say about it (`typed_per_filter_config`)."""
    build_for_route: Callable[[View, View, BuildContext], object]
    """Reads that; the second view is the filter's own configuration."""
    on_for_route: object
    """What a route says that switches the filter on as it is (`FilterConfig` without settings)."""
    off_for_route: object
    """What a route says that switches it off."""
    names: tuple[str, ...] = ()
    """Old style: names that alone said which filter it was."""
    merge: Callable[[object, object], object] | None = None
    """Brings together what a route (first) and what is around it say; None: the route's word replaces the other."""


def _merge_levels(own: object, outer: object) -> object:
    return own.within(outer) if isinstance(own, HeaderMutationRouteSettings | CorsRouteSettings) else own


#: By the type of their configuration; the router is not among them.
FILTER_KINDS = {
    kind.type_name: kind
    for kind in (
        FilterKind(
            JWT_AUTHN,
            build_jwt_authn,
            PER_ROUTE,
            build_per_route,
            PerRouteSettings(),
            PerRouteSettings(is_skipped=True),
            names=("envoy.filters.http.jwt_authn",),
        ),
        FilterKind(
            BUFFER,
            build_buffer,
            BUFFER_PER_ROUTE,
            build_buffer_per_route,
            BufferRouteSettings(),
            BufferRouteSettings(is_off=True),
            names=("envoy.filters.http.buffer", "envoy.buffer"),
        ),
        FilterKind(
            COMPRESSOR,
            build_compressor,
            COMPRESSOR_PER_ROUTE,
            build_compressor_per_route,
            CompressorPerRoute(),
            CompressorPerRoute(is_skipped=True),
            names=("envoy.filters.http.compressor",),
        ),
        FilterKind(
            HEADER_MUTATION,
            build_header_mutation,
            HEADER_MUTATION_PER_ROUTE,
            build_header_mutation_per_route,
            HeaderMutationRouteSettings(),
            HeaderMutationRouteSettings(is_off=True),
            names=("envoy.filters.http.header_mutation",),
            merge=_merge_levels,
        ),
        FilterKind(
            CORS,
            build_cors,
            CORS_POLICY,
            build_cors_per_route,
            CorsRouteSettings(is_off=False),
            CorsRouteSettings(is_off=True),
            names=("envoy.filters.http.cors", "envoy.cors"),
            merge=_merge_levels,
        ),
        FilterKind(
            HEALTH_CHECK,
            build_health_check,
            HEALTH_CHECK,
            build_no_route_settings,
            HealthCheckRouteSettings(),
            HealthCheckRouteSettings(is_off=True),
            names=("envoy.filters.http.health_check", "envoy.health_check"),
        ),
    )
}
