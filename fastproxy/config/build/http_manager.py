"""`HttpConnectionManager` to settings."""

from dataclasses import replace

from fastproxy.config.build.access_log import build_access_log
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.http_filters import build_http_filters
from fastproxy.config.build.http_options import add_http_options
from fastproxy.config.build.local_reply import build_local_replies
from fastproxy.config.build.log_moments import build_log_moments
from fastproxy.config.build.per_filter import FilterViews
from fastproxy.config.build.request_line import take_host
from fastproxy.config.build.routes import build_route_config
from fastproxy.config.build.upgrades import build_upgrades
from fastproxy.config.view import View
from fastproxy.listener.settings import ForwardClientCert, HttpConnectionManagerSettings
from fastproxy.router.settings import RouteConfigurationSettings

HTTP_CONNECTION_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_DEFAULT_SERVER_NAME = "fastproxy"
_DEFAULT_HEADERS_KB = 60
_DEFAULT_MAX_HEADERS = 100
_DEFAULT_IDLE_S = 3600.0
_DEFAULT_STREAM_IDLE_S = 300.0
_DEFAULT_DRAIN_S = 5.0
_DEFAULT_DELAYED_CLOSE_S = 1.0


def build_http_manager(manager: View, context: BuildContext) -> HttpConnectionManagerSettings | None:
    """Build what serves HTTP on a listener; None when it has no route table (reported)."""
    _check_choices(manager)
    filters = build_http_filters(manager, context)
    logs = [build_access_log(entry, context) for entry in manager.children("access_log")]
    common = manager.child_or_empty("common_http_protocol_options")
    http1 = manager.child_or_empty("http_protocol_options")
    upgrades = build_upgrades(manager, context, filters)
    routes = _build_routes(manager, context, filters.views)
    settings = HttpConnectionManagerSettings(
        stat_prefix=manager.text("stat_prefix"),
        route_config=routes or RouteConfigurationSettings("", ()),
        http_filters=tuple(filters.settings),
        access_logs=tuple(log for log in logs if log is not None),
        log_moments=build_log_moments(manager),
        server_name=manager.text("server_name") or _DEFAULT_SERVER_NAME,
        use_remote_address=manager.flag_or("use_remote_address", default=False),
        xff_num_trusted_hops=manager.integer("xff_num_trusted_hops"),
        skip_xff_append=manager.flag("skip_xff_append"),
        generate_request_id=manager.flag_or("generate_request_id", default=True),
        preserve_external_request_id=manager.flag("preserve_external_request_id"),
        max_request_headers_bytes=manager.integer_or("max_request_headers_kb", _DEFAULT_HEADERS_KB) * 1024,
        max_headers_count=common.integer_or("max_headers_count", _DEFAULT_MAX_HEADERS),
        idle_timeout_s=common.duration_s("idle_timeout", _DEFAULT_IDLE_S),
        stream_idle_timeout_s=manager.duration_s("stream_idle_timeout", _DEFAULT_STREAM_IDLE_S),
        request_timeout_s=manager.duration_s("request_timeout", 0.0),
        request_headers_timeout_s=manager.duration_s("request_headers_timeout", 0.0),
        drain_timeout_s=manager.duration_s("drain_timeout", _DEFAULT_DRAIN_S),
        delayed_close_timeout_s=manager.duration_s("delayed_close_timeout", _DEFAULT_DELAYED_CLOSE_S),
        accept_http_10=http1.flag("accept_http_10"),
        default_host_for_http_10=take_host(http1, "default_host_for_http_10"),
        normalize_path=manager.flag_or("normalize_path", default=False),
        merge_slashes=manager.flag("merge_slashes"),
        forward_client_cert=ForwardClientCert[manager.choice("forward_client_cert_details")],
        client_cert_details=_build_cert_details(manager),
        suppress_envoy_headers=filters.suppress_envoy_headers,
        upgrades=upgrades,
        config_path=manager.path,
    )
    settings = replace(
        add_http_options(settings, manager, context), local_replies=build_local_replies(manager, context)
    )
    return None if routes is None else settings


def _build_cert_details(manager: View) -> frozenset[str]:
    details = manager.child("set_current_client_cert_details")
    if details is None:
        return frozenset()
    found = {name for name in ("cert", "chain", "dns", "uri") if details.flag(name)}
    if details.flag_or("subject", default=False):
        found.add("subject")
    return frozenset(found)


def _check_choices(manager: View) -> None:
    """Enums of which only some values are supported."""
    manager.only("codec_type", ("AUTO", "HTTP1"), "HTTP/1 is served; use AUTO or HTTP1")


def _build_routes(
    manager: View, context: BuildContext, filters: FilterViews
) -> RouteConfigurationSettings | None:
    manager.unsupported("scoped_routes", "scoped routes are not supported yet", "Use route_config")
    config = manager.child("route_config")
    return None if config is None else build_route_config(config, context, filters)
