"""Files as people have them: each loads, or is refused with a sentence that says what to do."""

from pathlib import Path

import pytest

from fastproxy.config import load_config
from tests.config.support import cluster, load, minimal, problem, problems, warnings

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"

_CONNECTIONS = (
    "type.googleapis.com/"
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
)
#: What Envoy's advice for a proxy at the edge of a network sets, with TLS left to a balancer before it.
_EDGE = """
overload_manager:
  refresh_interval: 0.25s
  resource_monitors:
  - name: envoy.resource_monitors.fixed_heap
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig
      max_heap_size_bytes: 1073741824
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": DOWNSTREAM_CONNECTIONS
      max_active_downstream_connections: 40000
  actions:
  - name: envoy.overload_actions.shrink_heap
    triggers: [{name: envoy.resource_monitors.fixed_heap, threshold: {value: 0.90}}]
  - name: envoy.overload_actions.stop_accepting_requests
    triggers: [{name: envoy.resource_monitors.fixed_heap, threshold: {value: 0.95}}]
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9090}}}
static_resources:
  listeners:
  - name: listener_https
    address: {socket_address: {protocol: TCP, address: 0.0.0.0, port_value: 10000}}
    listener_filters:
    - name: tls_inspector
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}
    per_connection_buffer_limit_bytes: 32768
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress_http
          use_remote_address: true
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
          common_http_protocol_options: {idle_timeout: 3600s, headers_with_underscores_action: REJECT_REQUEST}
          http2_protocol_options:
            max_concurrent_streams: 100
            initial_stream_window_size: 65536
            initial_connection_window_size: 1048576
          stream_idle_timeout: 300s
          request_timeout: 300s
          route_config:
            name: local_route
            virtual_hosts:
            - name: local_service
              domains: ["*"]
              routes: [{match: {prefix: /}, route: {cluster: service_foo, idle_timeout: 15s}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: service_foo
    per_connection_buffer_limit_bytes: 32768
    load_assignment:
      cluster_name: some_service
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8080}}}}]}]
layered_runtime:
  layers:
  - name: static_layer_0
    static_layer:
      envoy: {resource_limits: {listener: {listener_https: {connection_limit: 10000}}}}
      overload: {global_downstream_max_connections: 50000}
"""


def test_the_advice_for_the_edge_loads_and_takes_effect(tmp_path: Path) -> None:
    """It is what a careful operator starts from; its limits must be the limits here."""
    path = tmp_path / "edge.yaml"
    path.write_text(_EDGE.replace("DOWNSTREAM_CONNECTIONS", _CONNECTIONS))

    loaded = load_config(path)

    (listener,) = loaded.settings.listeners
    assert listener.buffer_limit_bytes == 32768
    assert listener.max_connections == 10000
    assert listener.http.use_remote_address is True
    assert [entry.path.rpartition(".")[2] for entry in loaded.warnings if "HTTP/2" in entry.problem] == [
        "http2_protocol_options"
    ]


def _filter(kind: str, fields: str = "") -> str:
    return f'- name: f\n  typed_config: {{"@type": {_FILTERS}.{kind}{fields}}}'


@pytest.mark.parametrize(
    "kind",
    [
        "lua.v3.Lua", "ext_authz.v3.ExtAuthz", "fault.v3.HTTPFault", "grpc_web.v3.GrpcWeb", "wasm.v3.Wasm",
        "grpc_http1_bridge.v3.Config", "dynamic_forward_proxy.v3.FilterConfig", "ext_proc.v3.ExternalProcessor",
    ],
)  # fmt: skip
def test_a_filter_that_is_not_there_stops_the_start_and_names_those_that_are(kind: str) -> None:
    """Without an authorization filter everybody gets in; the way out, `is_optional`, has to be written."""
    found = [entry for entry in problems(minimal(filters=_filter(kind))) if "no HTTP filter" in entry.problem]

    assert len(found) == 1
    assert kind in found[0].problem
    assert "is_optional: true" in found[0].fix
    assert "jwt_authn, " in found[0].fix
    assert "envoy.extensions" not in found[0].fix
    assert found[0].line is not None


@pytest.mark.parametrize(
    ("text", "field", "advice"),
    [
        (minimal(clusters=cluster("hosts: []")), "hosts", "load_assignment"),
        (minimal(clusters=cluster("tls_context: {sni: a}")), "tls_context", "transport_socket"),
        (minimal(routes="- match: {regex: /a}\n  route: {cluster: backend}"), "regex", "safe_regex"),
        (minimal(filters="- name: a\n  config: {}"), "config", "typed_config"),
        (minimal(top="runtime: {symlink_root: /x}"), "runtime", "layered_runtime"),
        (minimal(virtual_host="per_filter_config: {}"), "per_filter_config", "typed_per_filter_config"),
    ],
)
def test_a_field_of_the_old_api_says_what_took_its_place(text: str, field: str, advice: str) -> None:
    """Most of what a search finds was written for Envoy's second API."""
    found = problems(text)[0]

    assert found.path.endswith(field)
    assert "unknown field" in found.problem
    assert "v2 API" in found.fix
    assert advice in found.fix


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("connect_timout", "connect_timeout"),
        ("connectTimout", "connectTimeout"),
        ("conect_timeout", "connect_timeout"),
    ],
)
def test_a_misspelt_field_is_corrected_in_its_own_spelling(written: str, advice: str) -> None:
    """A file in snake_case gets a field in snake_case to copy."""
    assert problem(minimal(clusters=cluster(f"{written}: 1s"))).fix == f'Did you mean "{advice}"?'


@pytest.mark.parametrize("field", ["forward_proto_config: {}", "drain_timeout_jitter: {value: 5}", "zz: 1"])
def test_a_field_that_is_newer_than_the_schema_is_told_from_a_mistake(field: str) -> None:
    """Envoy 1.40 has the first two, the schema package has not: nobody should look for a typing error."""
    found = problem(minimal(manager=field))

    assert "unknown field" in found.problem
    assert "newer than the schema in use (xds-protos " in found.fix


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (
            minimal(
                routes="- match: {prefix: /, headers: [{name: a, exact_match: b}]}\n  route: {cluster: backend}"
            ),
            "exact_match",
        ),
        (
            minimal(routes="- match: {safe_regex: {google_re2: {}, regex: /a}}\n  route: {cluster: backend}"),
            "google_re2",
        ),
        ("admin: {access_log_path: /dev/null}", "access_log_path"),
    ],
)
def test_deprecated_fields_load_with_a_warning(text: str, field: str) -> None:
    """Envoy still takes them, and says so."""
    assert any(f"{field}: " in entry for entry in warnings(text))


def test_what_only_observes_loads_with_a_warning() -> None:
    """Tracing, statistics sinks and labels of a service mesh stop nobody."""
    text = minimal(
        top="""
node: {id: "sidecar~1", cluster: gateway, metadata: {ISTIO_VERSION: "1.20"}}
stats_config: {use_all_default_tags: false, stats_tags: [{tag_name: cluster_name, regex: "^cluster"}]}
stats_flush_interval: 5s
watchdog: {megamiss_timeout: 1s}
stats_sinks:
- name: envoy.stat_sinks.statsd
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink
    address: {socket_address: {address: 127.0.0.1, port_value: 8125}}
layered_runtime:
  layers:
  - {name: deprecation, static_layer: {re2.max_program_size.error_level: 32768}}
  - {name: global config, static_layer: {overload.global_downstream_max_connections: "2147483647"}}
  - {name: admin, admin_layer: {}}
""",
        manager="""
generate_request_id: true
tracing:
  provider:
    name: envoy.tracers.zipkin
    typed_config:
      "@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig
      collector_cluster: backend
      collector_endpoint: /api/v2/spans
      collector_endpoint_version: HTTP_JSON
""",
    )
    silent = {"stats_config", "stats_sinks", "stats_flush_interval", "watchdog", "node.metadata", "tracing"}

    said = warnings(text)

    assert {name for name in silent if not any(name in entry for entry in said)} == set()
    assert load(text).settings.node.id == "sidecar~1"


_LATER = "- match: {prefix: /}\n  route: {cluster: backend, %s}\n"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (minimal(routes=_LATER % "internal_redirect_policy: {}"), "internal_redirect_policy"),
        (minimal(routes=_LATER % "hedge_policy: {hedge_on_per_try_timeout: true}"), "hedge_policy"),
        (minimal(virtual_host="hedge_policy: {hedge_on_per_try_timeout: true}"), "hedge_policy"),
        (minimal(manager="proxy_status_config: {}"), "proxy_status_config"),
        (minimal(manager="codec_type: HTTP3"), "codec_type"),
        (minimal(manager="codec_type: HTTP2"), "codec_type"),
        (minimal(clusters=cluster("http2_protocol_options: {}")), "http2_protocol_options"),
        (
            minimal(
                manager="typed_header_validation_config: {name: a, typed_config: "
                '{"@type": type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig}}'
            ),
            "typed_header_validation_config",
        ),
        ("hds_config: {api_type: GRPC}", "hds_config"),
        (
            "dynamic_resources: {ads_config: {api_type: GRPC, grpc_services: {envoy_grpc: {cluster_name: a}}}}",
            "ads_config",
        ),
    ],
)
def test_what_is_left_out_is_refused_by_its_name(text: str, field: str) -> None:
    """Each of these changes where a request goes, or what it is allowed to be: reading past it is no choice."""
    found = problems(text)

    assert [entry.path.rpartition(".")[2] for entry in found] == [field]
    assert found[0].line is not None
    assert found[0].fix or "not supported" in found[0].problem
