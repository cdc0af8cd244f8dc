"""The `health_check` filter to settings (envoy.extensions.filters.http.health_check.v3)."""

from math import ceil

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.matchers import build_header_matches
from fastproxy.config.view import View
from fastproxy.filters.health_check.settings import HealthCheckSettings

HEALTH_CHECK = "envoy.extensions.filters.http.health_check.v3.HealthCheck"


def build_health_check(
    config: View, context: BuildContext, *, name: str = "", disabled: bool = False
) -> HealthCheckSettings:
    """Build the filter; the file's rules have checked that `pass_through_mode` is there."""
    del name
    is_pass_through = config.flag_or("pass_through_mode", default=False)
    if config.has("cache_time") and not is_pass_through:
        config.error(
            "only an upstream's answer can be kept",
            "Remove cache_time, or set pass_through_mode: true",
            field="cache_time",
        )
    percentages = {
        cluster: ceil(percent.number("value"))
        for cluster, percent in config.entries("cluster_min_healthy_percentages").items()
    }
    if is_pass_through and percentages:
        config.warn(
            "has no effect: with pass_through_mode the upstream decides",
            field="cluster_min_healthy_percentages",
        )
    return HealthCheckSettings(
        headers=build_header_matches(config, "headers"),
        is_pass_through=is_pass_through,
        cache_time_s=config.duration_s("cache_time", 0.0),
        min_healthy_percentages=() if is_pass_through else tuple(percentages.items()),
        service_cluster=context.service_cluster,
        is_off_by_default=disabled,
    )


def build_no_route_settings(config: View, _filter_config: View, _context: BuildContext) -> None:
    """Refuse settings for single routes: the filter has none, in Envoy neither."""
    config.accept(*(field.name for field, _ in config.message.ListFields()))
    config.error("the filter has no settings for single routes but disabled: true", "Use a FilterConfig")
