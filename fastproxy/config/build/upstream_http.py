"""`HttpProtocolOptions` of a cluster, the older places of its fields, and the options of its connections."""

from dataclasses import dataclass, field

from fastproxy.config.build.address import check_ip
from fastproxy.config.build.name_case import NameCaseOptions, build_name_case
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.upstream.settings import ConnectionSettings, HappyEyeballsSettings, TcpKeepaliveSettings

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_DEFAULT_IDLE_S = 3600.0
# Linux, net/ipv4/tcp.c: MAX_TCP_KEEPCNT, MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL. Above them every connection would fail.
_KEEPALIVE_LIMITS = {"keepalive_probes": 127, "keepalive_time": 32767, "keepalive_interval": 32767}
NO_HTTP2 = "HTTP/2 to upstreams is not supported yet"


@dataclass(frozen=True, slots=True)
class NameOptions:
    """`upstream_http_protocol_options`: which name TLS sends."""

    auto_sni: bool = False
    auto_san: bool = False
    header: bytes = b""


@dataclass(frozen=True, slots=True)
class UpstreamHttpOptions:
    """What a cluster says about HTTP and its connections."""

    idle_timeout_s: float = _DEFAULT_IDLE_S
    connections: ConnectionSettings = field(default_factory=ConnectionSettings)
    names: NameOptions = field(default_factory=NameOptions)
    case: NameCaseOptions = field(default_factory=NameCaseOptions)
    """`header_key_format`."""
    enable_trailers: bool = False


@dataclass(frozen=True, slots=True)
class _Http1Options:
    """What is read of `Http1ProtocolOptions`."""

    case: NameCaseOptions
    enable_trailers: bool


def build_upstream_http(cluster: View) -> UpstreamHttpOptions:
    """Build the options; whatever is wrong with them is reported."""
    cluster.unsupported("http2_protocol_options", NO_HTTP2)
    cluster.without_effect("protocol_selection", "HTTP/1.1 is spoken to upstreams")
    http1 = _read_http1(cluster)
    # The newest place comes last, and replaces what older ones say.
    places = [cluster.child("common_http_protocol_options")]
    names = _build_names(cluster.child("upstream_http_protocol_options"))
    for name, options in cluster.typed_entries("typed_extension_protocol_options").items():
        if name != _HTTP_OPTIONS or options.type_name != _HTTP_OPTIONS:
            options.error(
                f"protocol options {quote(name)} are not supported", f"FastProxy has {_HTTP_OPTIONS}"
            )
            continue
        places.append(options.child("common_http_protocol_options"))
        names = _build_names(options.child("upstream_http_protocol_options")) or names
        http1 = _read_protocol(options) or http1
    idle_s, connections = _DEFAULT_IDLE_S, ConnectionSettings()
    limit = cluster.integer_or("max_requests_per_connection", 0)
    duration_s, stream_s, count, kilobytes = 0.0, 0.0, connections.max_response_headers, 0
    for common in places:
        if common is not None:
            common.without_effect("headers_with_underscores_action", "it is about headers of downstreams")
            idle_s = common.duration_s("idle_timeout", idle_s)
            limit = common.integer_or("max_requests_per_connection", limit)
            duration_s = common.duration_s("max_connection_duration", duration_s)
            stream_s = common.duration_s("max_stream_duration", stream_s)
            count = common.integer_or("max_headers_count", count)
            kilobytes = common.integer_or("max_response_headers_kb", kilobytes)
    return UpstreamHttpOptions(
        idle_s,
        ConnectionSettings(
            max_requests=limit,
            max_duration_s=duration_s,
            max_stream_s=stream_s,
            max_response_headers=count,
            max_response_head_bytes=kilobytes * 1024,
            keepalive=_build_keepalive(cluster),
            sources=_build_sources(cluster),
            happy_eyeballs=_build_happy_eyeballs(cluster),
            per_downstream=cluster.flag("connection_pool_per_downstream_connection"),
            close_on_set_change=cluster.child_or_empty("common_lb_config").flag(
                "close_connections_on_host_set_change"
            ),
        ),
        names or NameOptions(),
        NameCaseOptions() if http1 is None else http1.case,
        enable_trailers=http1 is not None and http1.enable_trailers,
    )


def _build_names(view: View | None) -> NameOptions | None:
    if view is None:
        return None
    header = view.text("override_auto_sni_header").lower()
    # `:authority` is what `auto_sni` goes by anyway.
    header = "" if header == ":authority" else header
    return NameOptions(
        view.flag("auto_sni") or bool(header), view.flag("auto_san_validation"), header.encode()
    )


def _build_keepalive(cluster: View) -> TcpKeepaliveSettings | None:
    options = cluster.child("upstream_connection_options")
    keepalive = None if options is None else options.child("tcp_keepalive")
    if keepalive is None:
        return None
    for name, most in _KEEPALIVE_LIMITS.items():
        if keepalive.integer_or(name, 0) > most:
            keepalive.error(
                f"the system takes no more than {most}", f"Write a number from 1 to {most}", field=name
            )
    return TcpKeepaliveSettings(
        keepalive.integer_or("keepalive_probes", 0),
        keepalive.integer_or("keepalive_time", 0),
        keepalive.integer_or("keepalive_interval", 0),
    )


def _build_happy_eyeballs(cluster: View) -> HappyEyeballsSettings:
    options = cluster.child("upstream_connection_options")
    config = None if options is None else options.child("happy_eyeballs_config")
    if config is None:
        return HappyEyeballsSettings()
    family = config.choice("first_address_family_version")
    return HappyEyeballsSettings(
        {"V4": False, "V6": True}.get(family), config.integer_or("first_address_family_count", 1)
    )


def _build_sources(cluster: View) -> tuple[tuple[str, int], ...]:
    bind = cluster.child("upstream_bind_config")
    if bind is None:
        return ()
    found = []
    addresses = [bind.child("source_address")]
    addresses += [one.child("address") for one in bind.children("extra_source_addresses")]
    for address in addresses:
        if address is None:
            continue
        # Connections are made by TCP, whatever is written.
        address.accept("protocol")
        host, port = address.text("address"), address.integer("port_value")
        if check_ip(address, host):
            found.append((host, port))
    return tuple(found)


def _read_protocol(options: View) -> _Http1Options | None:
    http1 = None
    explicit = options.child("explicit_http_config")
    if explicit is not None:
        explicit.unsupported("http2_protocol_options", NO_HTTP2, "Use http_protocol_options: {}")
        http1 = _read_http1(explicit)
    for name in ("use_downstream_protocol_config", "auto_config"):
        chosen = options.child(name)
        if chosen is not None:
            chosen.without_effect("http2_protocol_options", "HTTP/1.1 is spoken to upstreams")
            chosen.without_effect("http3_protocol_options", "HTTP/1.1 is spoken to upstreams")
            if name == "auto_config":
                chosen.without_effect("alternate_protocols_cache_options", "HTTP/1.1 is spoken to upstreams")
            http1 = _read_http1(chosen) or http1
    return http1


def _read_http1(owner: View) -> _Http1Options | None:
    """`http_protocol_options`; None if there are none. Nobody reads its other settings."""
    http1 = owner.child("http_protocol_options")
    if http1 is None:
        return None
    http1.without_effect("allow_custom_methods", "requests to upstreams have whatever method they came with")
    return _Http1Options(build_name_case(http1), http1.flag("enable_trailers"))
