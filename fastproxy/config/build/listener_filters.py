"""`listener_filters`: what looks at the first bytes of a connection."""

from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.listener.client_hello import MAX_CLIENT_HELLO_BYTES
from fastproxy.listener.settings import (
    ListenerFilterSettings,
    ProxyProtocolSettings,
    TlsInspectorSettings,
)

_PACKAGE = "envoy.extensions.filters.listener."
TLS_INSPECTOR = f"{_PACKAGE}tls_inspector.v3.TlsInspector"
PROXY_PROTOCOL = f"{_PACKAGE}proxy_protocol.v3.ProxyProtocol"
_HTTP_INSPECTOR = f"{_PACKAGE}http_inspector.v3.HttpInspector"
_KNOWN = (TLS_INSPECTOR, PROXY_PROTOCOL)


def build_listener_filters(listener: View) -> tuple[ListenerFilterSettings, ...]:
    """Build the filters in order; problems are reported."""
    found = (_build_one(entry) for entry in listener.children("listener_filters"))
    return tuple(one for one in found if one is not None)


def _build_one(entry: View) -> ListenerFilterSettings | None:
    name = entry.text("name")
    config = entry.typed("typed_config")
    kind = config.type_name if config is not None else name
    if config is not None and kind == TLS_INSPECTOR:
        return _build_tls_inspector(config)
    if config is not None and kind == PROXY_PROTOCOL:
        return _build_proxy_protocol(config)
    if config is not None:
        config.accept(*(field.name for field, _ in config.message.ListFields()))
    if kind == _HTTP_INSPECTOR:
        entry.accept("filter_disabled")
        entry.warn("has no effect: no filter chain can be chosen by the protocol of a plain connection")
    elif not entry.has("config_discovery") and (config is not None or not entry.has("typed_config")):
        entry.error(
            f"the listener filter {quote(kind)} is not supported",
            f"The name is only a label; typed_config says which it is: {', '.join(_KNOWN)}",
        )
    return None


def _build_tls_inspector(config: View) -> TlsInspectorSettings:
    for field in ("enable_ja3_fingerprinting", "enable_ja4_fingerprinting"):
        if config.flag_or(field, default=False):
            config.error("fingerprints of TLS clients are not supported", "Remove the field", field=field)
    config.accept("initial_read_buffer_size")
    limit = config.integer_or("max_client_hello_size", MAX_CLIENT_HELLO_BYTES)
    return TlsInspectorSettings(
        max_client_hello_bytes=min(limit, MAX_CLIENT_HELLO_BYTES),
        refuses_malformed=config.flag("close_connection_on_client_hello_parsing_errors"),
    )


def _build_proxy_protocol(config: View) -> ProxyProtocolSettings:
    config.without_effect("stat_prefix", "statistics are not configurable")
    disallowed = {1 if one == "V1" else 2 for one in config.choices("disallowed_versions")}
    if disallowed == {1, 2}:
        config.error("no version of the PROXY protocol is left", field="disallowed_versions")
    return ProxyProtocolSettings(
        optional=config.flag("allow_requests_without_proxy_protocol"),
        versions=frozenset((1, 2)) - disallowed,
    )
