"""Fields that FastProxy may ignore, each with the reason that the warning gives.

The bar (spec/http.md section 2.6): only what tunes or observes something. A field whose absence would let a
request through, send it elsewhere or weaken TLS does not belong here, however rare it is; leave it out, and a
configuration that sets it is refused.
"""

from collections.abc import Mapping

_STATS = "statistics are not configurable"
_NO_RUNTIME = "there is no such part in FastProxy"
_NO_HTTP2 = "HTTP/2 is not served"
_NO_XDS = "there is no management server"
_SCHEDULING = "the event loop schedules this itself"
_TRACING = "there is no tracing"
_LABEL = "nothing reads it"
_BALANCING = "it tunes a load balancing policy that is not in use"

_BOOTSTRAP = {
    "flags_path": _NO_RUNTIME,
    "stats_sinks": _STATS,
    "stats_config": _STATS,
    "stats_flush_interval": _STATS,
    "stats_flush_on_admin": _STATS,
    "stats_server_version_override": _STATS,
    "deferred_stat_options": _STATS,
    "enable_dispatcher_stats": _STATS,
    "watchdog": _NO_RUNTIME,
    "watchdogs": _NO_RUNTIME,
    "tracing": _TRACING,
    "default_regex_engine": "the regex engine is always RE2",
    "fatal_actions": _NO_RUNTIME,
    "node_context_params": _NO_XDS,
    "perf_tracing_file_path": _TRACING,
    "application_log_config": "the log format is fixed",
    "grpc_async_client_manager_config": _NO_XDS,
    "memory_allocator_manager": _NO_RUNTIME,
}

_LISTENER = {
    "deprecated_v1": _NO_RUNTIME,
    "drain_type": "there is one way to drain",
    "connection_balance_config": "the kernel spreads connections over the workers",
    "max_connections_to_accept_per_socket_event": _SCHEDULING,
    "enable_mptcp": "TCP is used",
    "bypass_overload_manager": "there is no overload manager",
}

_CONNECTION_MANAGER = {
    "tracing": _TRACING,
    "http2_protocol_options": _NO_HTTP2,
    "http3_protocol_options": "HTTP/3 is not served",
}

_CLUSTER = {
    "round_robin_lb_config": _BALANCING,
    "least_request_lb_config": _BALANCING,
    "ring_hash_lb_config": _BALANCING,
    "maglev_lb_config": _BALANCING,
    "wait_for_warm_on_init": "every cluster is resolved before listeners accept",
    "cleanup_interval": _NO_RUNTIME,
    "track_timeout_budgets": _STATS,
    "track_cluster_stats": _STATS,
}

_HARMLESS: Mapping[str, Mapping[str, str]] = {
    "envoy.config.bootstrap.v3.Bootstrap": _BOOTSTRAP,
    "envoy.config.bootstrap.v3.Admin": {
        "profile_path": _NO_RUNTIME,
    },
    "envoy.config.bootstrap.v3.ClusterManager": {
        "local_cluster_name": "there is no zone-aware routing",
        "load_stats_config": _NO_XDS,
        "enable_deferred_cluster_creation": "a cluster without traffic costs next to nothing",
    },
    "envoy.config.core.v3.Node": {
        "metadata": _NO_XDS,
        "dynamic_parameters": _NO_XDS,
        "user_agent_name": _NO_XDS,
        "user_agent_version": _NO_XDS,
        "user_agent_build_version": _NO_XDS,
        "client_features": _NO_XDS,
        "extensions": _NO_XDS,
        "listening_addresses": _NO_XDS,
    },
    "envoy.config.listener.v3.Listener": _LISTENER,
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": _CONNECTION_MANAGER,
    "envoy.config.route.v3.RouteConfiguration": {
        "metadata": _LABEL,
    },
    "envoy.config.route.v3.Route": {
        "decorator": _TRACING,
        "tracing": _TRACING,
    },
    "envoy.config.route.v3.RouteAction": {
        "early_data_policy": "no TLS early data is accepted",
        "flush_timeout": "a client that takes nothing is given up after the stream's idle timeout",
    },
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy": {"trace_sampled": _TRACING},
    "envoy.extensions.filters.http.router.v3.Router": {
        "dynamic_stats": _STATS,
        "start_child_span": _TRACING,
        "upstream_log": "requests are logged once, by the listener",
        "upstream_log_options": "requests are logged once, by the listener",
        "suppress_grpc_request_failure_code_stats": _STATS,
    },
    "envoy.config.core.v3.SubstitutionFormatString": {
        "json_format_options": "keys are always sorted",
    },
    "envoy.config.cluster.v3.Cluster": _CLUSTER,
    "envoy.config.cluster.v3.Cluster.CommonLbConfig": {
        "update_merge_window": "changed endpoints take effect at once",
        "override_host_status": "no filter chooses an endpoint",
    },
    "envoy.config.endpoint.v3.ClusterLoadAssignment": {"named_endpoints": _NO_XDS},
    "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy": {
        "endpoint_stale_after": _NO_XDS,
    },
    "envoy.config.endpoint.v3.LocalityLbEndpoints": {
        "proximity": "there is no zone-aware routing",
        "metadata": _LABEL,
    },
    "envoy.config.endpoint.v3.LbEndpoint": {"endpoint_name": _LABEL},
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": {
        "max_session_keys": "sessions are resumed by the TLS library",
        "allow_renegotiation": "TLS renegotiation is never done",
        "enforce_rsa_key_usage": "the TLS library checks key usage itself",
    },
    "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext": {
        "key_log": "session keys are never logged",
    },
    "envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks": {
        "retry_policy": "failed fetches are repeated in the background, with growing pauses",
    },
    "envoy.extensions.filters.http.jwt_authn.v3.JwksAsyncFetch": {
        "fast_listener": "listeners open at once, and requests wait a bounded time for the first keys",
        "failed_refetch_duration": "failed fetches are repeated in the background, with growing pauses",
    },
    "envoy.config.core.v3.DataSource": {
        "watched_directory": "files are read when the configuration is loaded",
    },
}


def why_harmless(message_name: str, field_name: str) -> str | None:
    """Why a field may be ignored, or None when ignoring it would be wrong."""
    return _HARMLESS.get(message_name, {}).get(field_name)


def harmless_fields() -> list[tuple[str, str]]:
    """Every (message, field) that is ignored with a warning; for the tests and the documentation."""
    return [(message, field) for message, fields in sorted(_HARMLESS.items()) for field in sorted(fields)]
