"""`Cluster.health_checks`, and what else a cluster and its endpoints say about active checks (core.v3.HealthCheck)."""

from fastproxy.config.build.address import build_address, check_ip
from fastproxy.config.build.header_rules import check_header_name
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.upstream.health.settings import (
    SAME_TARGET,
    CheckIntervals,
    CheckTarget,
    GrpcCheckSettings,
    HealthCheckSettings,
    HealthSettings,
    HttpCheckSettings,
    StatusRange,
    TcpCheckSettings,
)

_FILE_SINK = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
_OK = (StatusRange(200, 201),)
_DEFAULT_NO_TRAFFIC_S = 60.0
# What Envoy reads of a body to look for `receive`, and the most that FastProxy ever does.
_DEFAULT_BUFFER_BYTES, _MAX_BUFFER_BYTES = 1024, 1024 * 1024

#: What gRPC is spoken over.
_HTTP2 = ("h2",)
_Checker = HttpCheckSettings | TcpCheckSettings | GrpcCheckSettings


def build_health(cluster: View) -> HealthSettings:
    """Everything that a cluster says about its active checks; what is wrong with it is reported."""
    checks = [_build_check(view) for view in cluster.children("health_checks")]
    common = cluster.child_or_empty("common_lb_config")
    return HealthSettings(
        tuple(check for check in checks if check is not None),
        ignore_on_removal=cluster.flag("ignore_health_on_host_removal"),
        close_connections_on_failure=cluster.flag("close_connections_on_host_health_failure"),
        exclude_unchecked=common.flag("ignore_new_hosts_until_first_hc"),
    )


def build_check_target(endpoint: View) -> CheckTarget:
    """`Endpoint.health_check_config`: where the checks of this endpoint go."""
    config = endpoint.child("health_check_config")
    if config is None:
        return SAME_TARGET
    host, port = "", config.integer("port_value")
    if config.has("address"):
        address = build_address(config)
        if address is not None and check_ip(address[2], address[0]):
            host, port = address[0], port or address[1]
    return CheckTarget(host, port, config.text("hostname"), config.flag("disable_active_health_check"))


def _build_check(view: View) -> HealthCheckSettings | None:
    interval_s = view.duration_s("interval", 0.0)
    unhealthy_s = view.duration_s("unhealthy_interval", interval_s)
    no_traffic_s = view.duration_s("no_traffic_interval", _DEFAULT_NO_TRAFFIC_S)
    intervals = CheckIntervals(
        interval_s,
        unhealthy_s,
        view.duration_s("healthy_edge_interval", interval_s),
        view.duration_s("unhealthy_edge_interval", unhealthy_s),
        no_traffic_s,
        view.duration_s("no_traffic_healthy_interval", no_traffic_s),
        view.duration_s("initial_jitter", 0.0),
        view.duration_s("interval_jitter", 0.0),
        view.integer("interval_jitter_percent"),
    )
    checker = _build_checker(view)
    if checker is None:
        # Reported; what else it says does not matter.
        view.accept(*(field.name for field, _ in view.message.ListFields()))
        return None
    alpn = _build_alpn(view, checker)
    return HealthCheckSettings(
        checker,
        view.duration_s("timeout", 0.0),
        intervals,
        view.integer_or("unhealthy_threshold", 1),
        view.integer_or("healthy_threshold", 1),
        reuse_connection=view.flag_or("reuse_connection", default=True),
        alt_port=view.integer_or("alt_port", 0),
        event_log_paths=_build_event_logs(view),
        always_log_failures=view.flag("always_log_health_check_failures"),
        always_log_successes=view.flag("always_log_health_check_success"),
        alpn=alpn,
    )


def find_check_alpn(cluster: View) -> tuple[tuple[str, ...], ...]:
    """The lists of protocols that the cluster's checks offer (ALPN) when they connect by TLS; none that is empty."""
    found = {
        tuple(one.tls_options.alpn_protocols) or (_HTTP2 if one.HasField("grpc_health_check") else ())
        for one in cluster.message.health_checks
    }
    return tuple(sorted(one for one in found if one and all(map(_is_protocol, one))))


def _is_protocol(name: str) -> bool:
    return name.isascii() and 0 < len(name) <= 255


def _build_alpn(view: View, checker: _Checker) -> tuple[str, ...]:
    options = view.child("tls_options")
    offered = () if options is None else options.texts("alpn_protocols")
    needs_http2 = isinstance(checker, GrpcCheckSettings)
    if options is not None and offered:
        if not all(map(_is_protocol, offered)):
            options.error("a protocol name must have 1 to 255 ASCII characters", field="alpn_protocols")
        if needs_http2 and "h2" not in offered:
            options.error("gRPC needs HTTP/2", "Add h2", field="alpn_protocols")
        if isinstance(checker, HttpCheckSettings) and "h2" in offered:
            options.error("health checks speak HTTP/1.1", "Remove h2", field="alpn_protocols")
    return offered or (_HTTP2 if needs_http2 else ())


def _build_checker(view: View) -> _Checker | None:
    kind = view.selected("health_checker")
    if kind == "custom_health_check":
        view.unsupported(kind, fix="Use http_health_check, tcp_health_check or grpc_health_check")
        return None
    if kind is None:
        view.error("no checker is given", "Add http_health_check, tcp_health_check or grpc_health_check")
        return None
    checker = view.child_or_empty(kind)
    if kind == "http_health_check":
        return _build_http(checker)
    if kind == "tcp_health_check":
        return _build_tcp(checker)
    return _build_grpc(checker)


def _build_http(http: View) -> HttpCheckSettings:
    http.only("codec_client_type", ("HTTP1",), "Health checks speak HTTP/1.1")
    path = http.text("path")
    if path and not path.startswith("/"):
        http.error(f"{quote(path)} does not begin with a slash", field="path")
    method = http.choice("method")
    send = http.child("send")
    body = b"" if send is None else _build_payload(send)
    if method == "METHOD_UNSPECIFIED":
        method = "GET"
    if method == "CONNECT":
        http.error("CONNECT is no method for a health check", field="method")
    if body and method not in {"POST", "PUT", "PATCH", "OPTIONS"}:
        http.error(f"a request with the method {method} has no body", "Use method: POST", field="send")
    return HttpCheckSettings(
        path,
        host=http.text("host"),
        method=method,
        send=body,
        receive=tuple(_build_payload(one) for one in http.children("receive")),
        response_buffer_bytes=_build_buffer_size(http),
        headers_to_add=_build_headers(http, "request_headers_to_add"),
        headers_to_remove=tuple(name.lower() for name in http.texts("request_headers_to_remove")),
        expected=_build_ranges(http, "expected_statuses") or _OK,
        retriable=_build_ranges(http, "retriable_statuses"),
    )


def _build_buffer_size(http: View) -> int:
    size = http.integer_or("response_buffer_size", _DEFAULT_BUFFER_BYTES)
    if size > _MAX_BUFFER_BYTES:
        http.error(f"must not be above {_MAX_BUFFER_BYTES}", field="response_buffer_size")
    # 0 is "the whole body" in Envoy.
    return size or _MAX_BUFFER_BYTES


def _build_ranges(http: View, field: str) -> tuple[StatusRange, ...]:
    found = []
    for view in http.children(field):
        start, end = view.integer("start"), view.integer("end")
        if not 100 <= start < end <= 600:
            view.error(
                f"[{start}, {end}) is no range of HTTP statuses",
                "100 <= start < end <= 600; the end is not part of it",
            )
        found.append(StatusRange(start, end))
    return tuple(found)


def _build_headers(owner: View, field: str) -> tuple[tuple[str, str], ...]:
    found = []
    for option in owner.children(field):
        header = option.child_or_empty("header")
        name, value = header.text("key").lower(), header.text("value")
        option.only(
            "append_action",
            ("APPEND_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS_OR_ADD"),
            "A health check has no other headers",
        )
        option.accept("append", "keep_empty_value")
        # `host` has a field of its own, and `user-agent` may be replaced.
        if not check_header_name(header, name, field="key"):
            continue
        if "%" in value.replace("%%", ""):
            header.error("health checks have no request", "Write a percent sign as %%", field="value")
        found.append((name, value.replace("%%", "%")))
    return tuple(found)


def _build_tcp(tcp: View) -> TcpCheckSettings:
    send = tcp.child("send")
    return TcpCheckSettings(
        b"" if send is None else _build_payload(send),
        tuple(_build_payload(one) for one in tcp.children("receive")),
    )


def _build_grpc(grpc: View) -> GrpcCheckSettings:
    return GrpcCheckSettings(
        grpc.text("service_name"), grpc.text("authority"), _build_headers(grpc, "initial_metadata")
    )


def _build_payload(payload: View) -> bytes:
    if payload.selected("payload") != "text":
        return payload.blob("binary")
    text = payload.text("text")
    try:
        return bytes.fromhex(text)
    except ValueError:
        payload.error(
            f"{quote(text)} is not hexadecimal", "Two digits per byte: 50494e47 is PING", field="text"
        )
        return b""


def _build_event_logs(view: View) -> tuple[str, ...]:
    found = [path for path in (view.text("event_log_path"),) if path]
    for sink in view.children("event_logger"):
        sink.accept("name", "typed_config")
        config = sink.typed("typed_config")
        if config is None:
            continue
        if config.type_name != _FILE_SINK:
            sink.error(f"the event sink {config.type_name} is not supported", f"FastProxy has {_FILE_SINK}")
            config.accept(*(field.name for field, _ in config.message.ListFields()))
            continue
        found.append(config.text("event_log_path"))
    return tuple(found)
