"""Listeners, connection managers, HTTP filters and access logs."""

import json

import pytest

from fastproxy.listener.settings import (
    AccessLogSettings,
    ListenAddress,
    ListenerSettings,
    SocketOption,
    SocketState,
)
from tests.config.support import HCM, ROUTER, load, minimal, problem, problems, warnings

FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
STDOUT_LOG = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
ADDRESS = "address: {socket_address: {address: 127.0.0.1, port_value: 1}}"
LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
PROXY = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
TCP_TYPE = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
TCP = f"{{'@type': {TCP_TYPE}, stat_prefix: a, cluster: b}}"
TCP_FILTER = f"{{name: t, typed_config: {TCP}}}"


def second_listener(port: int) -> str:
    text = minimal().replace("port_value: 0", f"port_value: {port}", 1)
    head, _, rest = text.partition("  listeners:\n")
    entry, clusters, tail = rest.partition("  clusters:\n")
    return head + "  listeners:\n" + entry + entry + clusters + tail


def test_every_connection_manager_setting_arrives() -> None:
    """A field that is read into the wrong attribute is a wrong limit."""
    http = (
        load(
            minimal(
                manager="""
codec_type: HTTP1
server_name: edge
use_remote_address: true
xff_num_trusted_hops: 2
skip_xff_append: true
generate_request_id: false
preserve_external_request_id: true
max_request_headers_kb: 96
common_http_protocol_options: {idle_timeout: 30s, max_headers_count: 50}
stream_idle_timeout: 10s
request_timeout: 20s
request_headers_timeout: 5s
http_protocol_options: {accept_http_10: true, default_host_for_http_10: a.example, allow_absolute_url: true}
normalize_path: true
merge_slashes: true
path_with_escaped_slashes_action: KEEP_UNCHANGED
"""
            ).replace(f'{{"@type": {ROUTER}}}', f'{{"@type": {ROUTER}, suppress_envoy_headers: true}}')
        )
        .settings.listeners[0]
        .http
    )

    assert (http.stat_prefix, http.server_name) == ("ingress", "edge")
    assert (http.use_remote_address, http.xff_num_trusted_hops, http.skip_xff_append) == (True, 2, True)
    assert (http.generate_request_id, http.preserve_external_request_id) == (False, True)
    assert (http.max_request_headers_bytes, http.max_headers_count) == (96 * 1024, 50)
    assert (http.idle_timeout_s, http.stream_idle_timeout_s) == (30.0, 10.0)
    assert (http.request_timeout_s, http.request_headers_timeout_s) == (20.0, 5.0)
    assert (http.accept_http_10, http.default_host_for_http_10) == (True, "a.example")
    assert (http.normalize_path, http.merge_slashes, http.suppress_envoy_headers) == (True, True, True)


def test_listener_settings_arrive() -> None:
    """Dual stack, water mark and backlog."""
    text = minimal(listener="name: front\nper_connection_buffer_limit_bytes: 4096\ntcp_backlog_size: 5\n")
    listener = load(
        text.replace(
            "address: 127.0.0.1, port_value: 0", 'address: "::", port_value: 80, ipv4_compat: true', 1
        )
    )
    found = listener.settings.listeners[0]

    assert (found.name, found.host, found.port, found.ipv4_compat) == ("front", "::", 80, True)
    assert (found.buffer_limit_bytes, found.tcp_backlog) == (4096, 5)


def test_limits_above_what_the_system_can_count_are_its_largest() -> None:
    """Envoy takes any number; a larger one than an `int` holds would end each connection, or the worker."""
    text = "per_connection_buffer_limit_bytes: 4294967295\ntcp_backlog_size: 4294967295\n"
    found = load(minimal(listener=text)).settings.listeners[0]

    assert (found.buffer_limit_bytes, found.tcp_backlog) == (2**31 - 1, 2**31 - 1)


@pytest.mark.parametrize("field", ["level", "name", "int_value"])
def test_a_socket_option_that_does_not_fit_is_refused(field: str) -> None:
    """Python would end with an error of its own, and not say which option it was."""
    option = {"level": 1, "name": 9, "int_value": 1, field: 2**40}
    found = problem(minimal(listener=f"socket_options: [{json.dumps(option)}]\n"))

    assert found.path.endswith(f"socket_options[0].{field}")
    assert "32 bits" in found.problem


def test_two_listeners_on_one_address_are_refused_unless_the_port_is_free() -> None:
    """SO_REUSEPORT would let both bind, and half of the connections reach either."""
    assert "another listener" in problem(second_listener(8080)).problem
    assert len(load(second_listener(0)).settings.listeners) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{name: a, address: {socket_address: {address: 127.0.0.1, port_value: 1}}}", "no filter chains"),
        ("{name: a, filter_chains: [{filters: []}]}", "needs an address"),
        ("{address: {pipe: {path: x}}, filter_chains: [{filters: []}]}", "is not an absolute path"),
        ("{address: {pipe: {path: '@'}}, filter_chains: [{filters: []}]}", "is not an absolute path"),
        (
            "{address: {pipe: {path: /run/}}, filter_chains: [{filters: []}]}",
            "cannot be the path of a socket",
        ),
        (
            f"{{address: {{pipe: {{path: /{'x' * 107}}}}}, filter_chains: [{{filters: []}}]}}",
            "at most 107 bytes, this one 108",
        ),
        (
            "{address: {pipe: {path: '@a', mode: 384}}, filter_chains: [{filters: []}]}",
            "an abstract socket has no file",
        ),
        (
            "{address: {socket_address: {address: 127.0.0.1, ipv4_compat: true}}, filter_chains: [{filters: []}]}",
            "can be one of both families",
        ),
        (
            f"{{{ADDRESS}, additional_addresses: [{{}}], filter_chains: [{{filters: []}}]}}",
            "needs an address",
        ),
        (
            "{address: {socket_address: {protocol: UDP, address: 127.0.0.1, port_value: 1}}}",
            "UDP is not supported",
        ),
        ("{address: {socket_address: {address: 127.0.0.1, named_port: http}}}", "not supported"),
        (
            f"{{{ADDRESS}, filter_chains: {{filters: [{TCP_FILTER}, {TCP_FILTER}]}}}}",
            "nothing may follow",
        ),
        (
            f"{{{ADDRESS}, filter_chains: [{{filters: [{{name: hcm}}]}}]}}",
            "has no typed_config",
        ),
    ],
)
def test_listeners_that_cannot_serve_are_refused(text: str, words: str) -> None:
    """Each with words that say what to do."""
    assert any(words in entry.problem for entry in problems(f"static_resources: {{listeners: [{text}]}}"))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("default_filter_chain: {}", "no filters"),
        (
            "listener_filters: [{name: p, typed_config: {'@type': PROXY, rules: [{tlv_type: 2}]}}]",
            "not supported",
        ),
        ("listener_filters: [{name: envoy.filters.listener.proxy_protocol}]", "not supported"),
        ("use_original_dst: true", "not supported"),
        (
            "additional_addresses: [{address: {envoy_internal_address: {server_listener_name: a}}}]",
            "not supported",
        ),
    ],
)
def test_listener_features_that_change_traffic_are_refused(extra: str, words: str) -> None:
    """Without PROXY protocol, for example, every client address would be wrong."""
    assert any(words in str(entry) for entry in problems(minimal(listener=extra.replace("PROXY", PROXY))))


def test_tls_without_a_certificate_is_refused_and_not_served_in_the_clear() -> None:
    """Ignoring it would serve plain HTTP on a port meant for HTTPS."""
    text = minimal().replace(
        "    - filters:",
        "    - transport_socket: {name: t, typed_config: {'@type': type.googleapis.com/"
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}}\n      filters:",
    )

    assert "needs a certificate" in problem(text).problem


@pytest.mark.parametrize(
    "extra",
    [
        "codec_type: HTTP2",
    ],
)
def test_connection_manager_features_that_change_requests_are_refused(extra: str) -> None:
    """Security and routing must be as written, or not at all."""
    assert "not supported" in problem(minimal(manager=extra)).problem


def test_routes_from_elsewhere_are_refused_by_name() -> None:
    """RDS needs a management server."""
    text = minimal()
    start, end = text.index("          route_config:"), text.index("          http_filters:")
    found = problem(
        text[:start] + "          rds: {route_config_name: a, config_source: {ads: {}}}\n" + text[end:]
    )

    assert "management server" in found.problem


def test_an_unknown_filter_is_refused_by_name_with_the_known_ones() -> None:
    """Running without an authorisation filter would open every door."""
    rbac = "- name: z\n  typed_config: {'@type': RBAC, rules: {}}".replace("RBAC", RBAC)
    found = problem(minimal(filters=rbac))

    assert "envoy.extensions.filters.http.rbac.v3.RBAC" in found.problem
    assert "jwt_authn" in found.fix


def test_an_optional_unknown_filter_is_a_warning() -> None:
    """That is what `is_optional` says."""
    lua = "- name: z\n  is_optional: true\n  typed_config: {'@type': LUA}".replace("LUA", LUA)

    assert any("it is optional" in entry for entry in warnings(minimal(filters=lua)))


def test_a_type_without_a_host_is_shown_with_one() -> None:
    """Envoy wants a slash, so a file that leaves it out would run here only."""
    found = problem(
        minimal(filters="- name: z\n  typed_config: {'@type': envoy.extensions.filters.http.cors.v3.Cors}")
    )

    assert "no type URL" in found.problem
    assert "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors" in found.fix


@pytest.mark.parametrize(
    ("type_url", "words"),
    [
        ("type.googleapis.com/envoy.extensions.filters.http.rooter.v3.Router", "did you mean"),
        ("type.googleapis.com/envoy.config.filter.http.router.v2.Router", "v2 API no longer exists"),
        ("type.googleapis.com/os.path", "Check the spelling"),
        ("type.googleapis.com/envoy._main.Main", "Check the spelling"),
        ("", "Check the spelling"),
    ],
)
def test_an_unknown_type_is_refused_with_a_suggestion(type_url: str, words: str) -> None:
    """And a type URL never decides which Python module is imported."""
    found = problem(minimal(filters=f"- name: z\n  typed_config: {{'@type': '{type_url}'}}"))

    assert "unknown type" in found.problem
    assert words in found.fix


def test_a_missing_type_says_what_to_add() -> None:
    """`@type` is what people forget first."""
    assert "@type" in problem(minimal(filters="- name: z\n  typed_config: {}")).problem


@pytest.mark.parametrize("name", ["envoy.filters.http.router", "envoy.filters.http.jwt_authn", "my.filter"])
def test_a_filter_without_config_says_what_to_add(name: str) -> None:
    """The name alone no longer selects a filter, in Envoy neither."""
    found = problem(minimal(filters=f"- name: {name}"))

    assert "has no typed_config" in found.problem
    assert "envoy.extensions.filters.http" in found.fix


def test_a_typed_struct_of_an_envoy_filter_means_that_filter() -> None:
    """Control planes that lack the schema write filters this way."""
    inner = f"{{type_url: {ROUTER}, value: {{suppress_envoy_headers: true}}}}"
    struct = f"{{'@type': type.googleapis.com/xds.type.v3.TypedStruct, {inner[1:]}"
    text = minimal().replace(f'{{"@type": {ROUTER}}}', struct)

    assert load(text).settings.listeners[0].http.suppress_envoy_headers is True


def test_our_own_extensions_are_reserved_and_checked() -> None:
    """`fastproxy.` in a TypedStruct is the door for them; a typing error there must not pass."""
    struct = (
        "{'@type': type.googleapis.com/xds.type.v3.TypedStruct, type_url: fastproxy.no_such, value: {a: 1}}"
    )
    found = problem(minimal(filters=f"- name: z\n  typed_config: {struct}"))

    assert "fastproxy.no_such" in found.problem
    assert "FastProxy has none" in found.fix


@pytest.mark.parametrize("order", ["missing", "not last"])
def test_the_router_is_required_and_last(order: str) -> None:
    """What stands behind it would never run."""
    router = f'          - name: router\n            typed_config: {{"@type": {ROUTER}}}\n'
    text = minimal().replace(
        router, "" if order == "missing" else router + router.replace("router", "again", 1)
    )

    assert "the last of the http_filters" in problem(text).problem


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (f"'@type': {FILE_LOG}, path: /tmp/a", AccessLogSettings("/tmp/a")),
        (f"'@type': {FILE_LOG}, path: a, format: '%PROTOCOL%'", AccessLogSettings("a", "%PROTOCOL%")),
        (f"'@type': {FILE_LOG}, path: a, json_format: {{a: 1}}", AccessLogSettings("a", None, {"a": 1})),
        (
            f"'@type': {FILE_LOG}, path: a, log_format: {{text_format: '%PROTOCOL%'}}",
            AccessLogSettings("a", "%PROTOCOL%"),
        ),
        (
            f"'@type': {FILE_LOG}, path: a, log_format: {{json_format: {{b: x, a: [1, true, null, {{c: 0.5}}]}}}}",
            AccessLogSettings("a", None, {"a": [1, True, None, {"c": "0.5"}], "b": "x"}),
        ),
        (
            f"'@type': {STDOUT_LOG}, log_format: {{text_format_source: {{inline_string: x}}}}",
            AccessLogSettings("/dev/stdout", "x"),
        ),
        (
            "'@type': type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
            AccessLogSettings("/dev/stderr"),
        ),
    ],
)
def test_access_log_formats(entry: str, expected: AccessLogSettings) -> None:
    """All the places where Envoy lets a format stand."""
    text = minimal(manager=f"access_log: [{{name: log, typed_config: {{{entry}}}}}]")

    assert load(text).settings.listeners[0].http.access_logs == (expected,)


def test_an_access_logger_that_is_missing_is_a_warning() -> None:
    """Observability only: the requests are served the same."""
    grpc = "type.googleapis.com/envoy.extensions.access_loggers.wasm.v3.WasmAccessLog"
    text = minimal(manager=f"access_log: [{{name: log, typed_config: {{'@type': {grpc}}}}}]")

    assert any("no access logger" in entry for entry in warnings(text))


def test_only_one_connection_manager_and_nothing_behind_it() -> None:
    """A second filter would be ignored."""
    hcm = (
        f'      - name: again\n        typed_config: {{"@type": {HCM}, stat_prefix: a, route_config: {{}}}}\n'
    )
    text = minimal().replace("  clusters:\n", hcm + "  clusters:\n")

    assert any("nothing may follow" in entry.problem for entry in problems(text))


def _listener(extra: str) -> ListenerSettings:
    (found,) = load(minimal(listener=extra)).settings.listeners
    return found


def test_a_listener_has_all_its_addresses_in_order() -> None:
    """`address` first, then `additional_addresses`; socket options are those of the listener, or their own."""
    found = _listener(
        """additional_addresses:
- address: {pipe: {path: /run/a.sock, mode: 432}}
- address: {socket_address: {address: "::", port_value: 8081, ipv4_compat: true}}
  socket_options: {socket_options: [{level: 1, name: 9, int_value: 0}]}
freebind: true
socket_options:
- {level: 6, name: 9, int_value: 3, state: STATE_BOUND}
- {level: 1, name: 8, buf_value: AAABAA==, state: STATE_LISTENING}
- {level: 17, name: 1, int_value: 1, type: {datagram: {}}}
"""
    )
    first, pipe, both = found.addresses()
    own = (
        SocketOption(6, 9, 3, SocketState.BOUND),
        SocketOption(1, 8, b"\0\0\1\0", SocketState.LISTENING),
    )

    assert first == ListenAddress("127.0.0.1", 0, options=(SocketOption(0, 15, 1), *own))
    assert pipe == ListenAddress("/run/a.sock", 0, mode=0o660, options=own), "which has no IP options"
    assert both == ListenAddress(
        "::", 8081, ipv4_compat=True, options=(SocketOption(41, 78, 1), SocketOption(1, 9, 0))
    )


def test_fields_about_the_socket_are_read() -> None:
    """None of them may be lost in silence."""
    found = _listener(
        "bind_to_port: false\nenable_reuse_port: false\nstat_prefix: edge\n"
        "transparent: true\ntcp_fast_open_queue_length: 7\ntcp_backlog_size: 5\n"
    )

    assert (found.binds, found.shares_socket, found.stat_address, found.tcp_backlog) == (
        False,
        True,
        "edge",
        5,
    )
    assert found.places() == ()
    assert found.socket_options == (SocketOption(0, 19, 1), SocketOption(6, 23, 7, SocketState.LISTENING))


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("", False),
        ("reuse_port: true", False),
        ("reuse_port: false", False),
        ("enable_reuse_port: true", False),
    ],
)
def test_workers_have_sockets_of_their_own_by_default(text: str, shares: bool) -> None:
    """The deprecated `reuse_port` says nothing when it is false: that is its default."""
    assert _listener(text).shares_socket is shares


@pytest.mark.parametrize(
    "second",
    [
        "address: {pipe: {path: /run/a.sock}}",
        "additional_addresses: [{address: {pipe: {path: /run/a.sock}}}]",
    ],
)
def test_the_same_path_twice_is_refused(second: str) -> None:
    """One of the two would never get a connection."""
    text = minimal(listener="additional_addresses: [{address: {pipe: {path: /run/a.sock}}}]")
    other = minimal(listener=second).split("  listeners:\n")[1].split("  clusters:")[0]
    if second.startswith("address"):
        other = other.replace("address: {socket_address: {address: 127.0.0.1, port_value: 0}}", "name: two")

    found = problems(text.replace("  listeners:\n", "  listeners:\n" + other))
    assert any("another listener has the address /run/a.sock" in one.problem for one in found)


def test_the_admin_interface_takes_a_path_with_a_mode() -> None:
    """The file's permissions say who may stop the proxy."""
    admin = load("admin: {address: {pipe: {path: /run/admin.sock, mode: 384}}}").settings.admin

    assert admin is not None
    assert admin.address == ListenAddress("/run/admin.sock", 0, mode=0o600)
