"""Statistics that Envoy always shows and that cannot move here, for dashboards that ask for them.

Each stands for a part that there is not: HTTP/2 and HTTP/3, zone-aware routing, tracing, overload actions, internal
redirects, OCSP stapling, watchdogs, a management server. They are added when somebody asks, so that no worker has to
report them.
"""

from fastproxy.config.settings import ProxySettings
from fastproxy.listener.settings import ListenerSettings, TcpProxySettings
from fastproxy.stats import StatsSink

_MANAGER_COUNTERS = (
    "downstream_cx_http2_total",
    "downstream_cx_http3_total",
    "downstream_cx_overload_disable_keepalive",
    "downstream_rq_http2_total",
    "downstream_rq_http3_total",
    "downstream_rq_overload_close",
    "downstream_rq_rejected_via_ip_detection",
    "downstream_rq_too_large",
    "downstream_rq_too_many_premature_resets",
    "passthrough_internal_redirect_bad_location",
    "passthrough_internal_redirect_no_route",
    "passthrough_internal_redirect_predicate",
    "passthrough_internal_redirect_too_many_redirects",
    "passthrough_internal_redirect_unsafe_scheme",
    "rq_overload_local_reply",
    # 0 in Envoy, too, whatever happens to a response that has begun: it is in `downstream_rq_tx_reset`.
    "rq_reset_after_downstream_response_started",
    "rs_too_large",
)
_TRACING_COUNTERS = (
    "tracing.client_enabled",
    "tracing.health_check",
    "tracing.not_traceable",
    "tracing.random_sampling",
    "tracing.service_forced",
)
#: The admin interface is served by a library, which answers what is wrong by itself, and has no timeouts.
_ADMIN_COUNTERS = (
    *_MANAGER_COUNTERS,
    "downstream_cx_delayed_close_timeout",
    "downstream_cx_destroy_active_rq",
    "downstream_cx_destroy_local_active_rq",
    "downstream_cx_destroy_remote_active_rq",
    "downstream_cx_drain_close",
    "downstream_cx_idle_timeout",
    "downstream_cx_max_duration_reached",
    "downstream_cx_max_requests_reached",
    "downstream_cx_protocol_error",
    "downstream_cx_ssl_total",
    "downstream_cx_upgrades_total",
    "downstream_flow_control_paused_reading_total",
    "downstream_flow_control_resumed_reading_total",
    "downstream_rq_failed_path_normalization",
    "downstream_rq_header_timeout",
    "downstream_rq_idle_timeout",
    "downstream_rq_max_duration_reached",
    "downstream_rq_non_relative_path",
    "downstream_rq_redirected_with_normalized_path",
    "downstream_rq_response_before_rq_complete",
    "downstream_rq_rx_reset",
    "downstream_rq_timeout",
    "downstream_rq_tx_reset",
    "downstream_rq_ws_on_non_ws_route",
)
_ADMIN_GAUGES = (
    "downstream_cx_rx_bytes_buffered",
    "downstream_cx_ssl_active",
    "downstream_cx_tx_bytes_buffered",
    "downstream_cx_upgrades_active",
)
_MANAGER_GAUGES = (
    "downstream_cx_http1_soft_drain",
    "downstream_cx_http2_active",
    "downstream_cx_http3_active",
)
_TCP_COUNTERS = (
    "downstream_cx_drain_close",
    "downstream_cx_overload_close",
    "early_data_received_count_total",
    "route_delayed_total",
)
_CODEC_COUNTERS = (
    "http1.dropped_headers_with_underscores",
    "http1.metadata_not_supported_error",
    "http1.requests_rejected_with_underscores_in_headers",
    "http1.response_flood",
)
_LISTENER_COUNTERS = (
    "downstream_cx_overload_reject",
    "downstream_cx_transport_socket_connect_timeout",
    "extension_config_missing",
    "network_extension_config_missing",
)
_LISTENER_TLS_COUNTERS = (
    "server_ssl_socket_factory.downstream_context_secrets_not_ready",
    "server_ssl_socket_factory.ssl_context_update_by_sds",
    "server_ssl_socket_factory.upstream_context_secrets_not_ready",
    "ssl.ocsp_staple_failed",
    "ssl.ocsp_staple_omitted",
    "ssl.ocsp_staple_requests",
    "ssl.ocsp_staple_responses",
)
_CLUSTER_COUNTERS = (
    *_CODEC_COUNTERS,
    "assignment_stale",
    "assignment_timeout_received",
    "assignment_use_cached",
    "lb_local_cluster_not_ok",
    "lb_recalculate_zone_structures",
    "lb_zone_cluster_too_small",
    "lb_zone_no_capacity_left",
    "lb_zone_routing_all_directly",
    "lb_zone_routing_cross_zone",
    "lb_zone_routing_sampled",
    "original_dst_host_invalid",
    "upstream_cx_connect_with_0_rtt",
    "upstream_cx_http2_total",
    "upstream_cx_preconnect_skipped",
    "upstream_queue_overloaded",
    "upstream_cx_http3_total",
    "upstream_http3_broken",
    "upstream_internal_redirect_failed_total",
    "upstream_internal_redirect_succeeded_total",
    "upstream_rq_0rtt",
    "upstream_rq_rx_reset_no_error",
)
_CLUSTER_GAUGES = (
    # Of a subscription, where there is one.
    "version",
    # Listeners wait for clusters, so that no request ever finds one that warms.
    "warming_state",
)
_SERVER_COUNTERS = (
    *_CODEC_COUNTERS,
    "cluster_manager.cluster_updated",
    "cluster_manager.cluster_updated_via_merge",
    "cluster_manager.update_merge_cancelled",
    "cluster_manager.update_out_of_merge_window",
    "listener_manager.listener_in_place_updated",
    "main_thread.watchdog_mega_miss",
    "main_thread.watchdog_miss",
    "server.debug_assertion_failures",
    "server.dropped_stat_flushes",
    "server.dynamic_unknown_fields",
    "server.envoy_bug_failures",
    "server.envoy_notifications",
    "server.main_thread.watchdog_mega_miss",
    "server.main_thread.watchdog_miss",
    "server.static_unknown_fields",
    "server.wip_protos",
    "workers.watchdog_mega_miss",
    "workers.watchdog_miss",
)
_SERVER_GAUGES = (
    "listener_manager.total_filter_chains_draining",
    "listener_manager.workers_pinned",
    "server.compilation_settings.fips_mode",
    "server.parent_connections",
    "server.seconds_until_first_ocsp_response_expiring",
    "server.stats_recent_lookups",
    "server.total_connections",
)


def write_constants(sink: StatsSink, settings: ProxySettings, concurrency: int) -> None:
    """Add nothing to each of them, under the names of a configuration; who counts one after all adds to it."""
    _write(sink, "", _SERVER_COUNTERS, _SERVER_GAUGES)
    _write(sink, "http.admin.", _ADMIN_COUNTERS, (*_MANAGER_GAUGES, *_ADMIN_GAUGES))
    for worker in range(concurrency):
        _write(sink, f"server.worker_{worker}.", ("watchdog_mega_miss", "watchdog_miss"))
    for listener in settings.listeners:
        _write_listener(sink, listener)
    for cluster in settings.clusters:
        _write(sink, f"cluster.{cluster.stat_name or cluster.name}.", _CLUSTER_COUNTERS, _CLUSTER_GAUGES)


def _write_listener(sink: StatsSink, listener: ListenerSettings) -> None:
    prefix = f"listener.{listener.stat_address}."
    chains = listener.chains()
    _write(sink, prefix, _LISTENER_COUNTERS)
    if any(chain.tls is not None for chain in chains):
        _write(sink, prefix, _LISTENER_TLS_COUNTERS)
    for chain in chains:
        network = chain.network
        if isinstance(network, TcpProxySettings):
            _write(sink, f"tcp.{network.stat_prefix}.", _TCP_COUNTERS)
        else:
            prefix = f"http.{network.stat_prefix}."
            _write(sink, prefix, (*_MANAGER_COUNTERS, *_TRACING_COUNTERS), _MANAGER_GAUGES)


def _write(sink: StatsSink, prefix: str, counters: tuple[str, ...], gauges: tuple[str, ...] = ()) -> None:
    for name in counters:
        sink.counter(prefix + name, 0)
    for name in gauges:
        sink.gauge(prefix + name, 0)
