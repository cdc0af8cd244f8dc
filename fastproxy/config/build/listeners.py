"""`Listener` to settings (envoy.config.listener.v3)."""

from fastproxy.config.build.address import build_address, check_ip
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.filter_chains import build_filter_chain, build_filter_chains
from fastproxy.config.build.listener_filters import build_listener_filters
from fastproxy.config.view import View
from fastproxy.listener.settings import ListenerSettings, TlsInspectorSettings

_DEFAULT_BUFFER_BYTES = 1024 * 1024
_DEFAULT_BACKLOG = 1024
#: Envoy's, for listener filters that wait for a peer.
_DEFAULT_FILTERS_TIMEOUT_S = 15.0


def build_listener(view: View, context: BuildContext) -> ListenerSettings | None:
    """Build one listener; None when it cannot serve anything (reported)."""
    filters = build_listener_filters(view)
    if not view.flag_or("bind_to_port", default=True):
        view.error("bind_to_port: false is not supported", "Remove it", field="bind_to_port")
    chains = build_filter_chains(view, context)
    default = view.child("default_filter_chain")
    default_chain = None if default is None else build_filter_chain(default, context)
    name = view.text("name")
    ignores_global = view.flag("ignore_global_conn_limit")
    timeout_s = view.duration_s("listener_filters_timeout", _DEFAULT_FILTERS_TIMEOUT_S)
    continues = view.flag("continue_on_listener_filters_timeout")
    buffer_bytes = view.integer_or("per_connection_buffer_limit_bytes", _DEFAULT_BUFFER_BYTES)
    backlog = view.integer_or("tcp_backlog_size", _DEFAULT_BACKLOG)
    address = build_address(view)
    if address is None:
        if not view.has("address"):
            view.error(
                "a listener needs an address",
                "Add address: {socket_address: {address: 0.0.0.0, port_value: 8080}}",
            )
        return None
    host, port, socket = address
    ipv4_compat = socket.flag("ipv4_compat")
    if not check_ip(socket, host) or (not chains and default_chain is None):
        return None
    # Envoy makes up a random name; this one is the same in every worker.
    name = name or f"listener_{host}_{port}"
    settings = ListenerSettings(
        name=name,
        host=host,
        port=port,
        filter_chains=chains,
        default_filter_chain=default_chain,
        listener_filters=filters,
        listener_filters_timeout_s=timeout_s,
        continues_on_listener_filters_timeout=continues,
        max_connections=context.runtime.read_count(f"envoy.resource_limits.listener.{name}.connection_limit"),
        counts_globally=not ignores_global,
        buffer_limit_bytes=buffer_bytes,
        tcp_backlog=backlog,
        ipv4_compat=ipv4_compat,
        config_path=view.path,
    )
    _warn_of_blind_matches(view, settings)
    return settings


def _warn_of_blind_matches(view: View, settings: ListenerSettings) -> None:
    """Without the inspector nobody knows a server name, and a chain that asks for one serves nothing (as in Envoy)."""
    if any(isinstance(one, TlsInspectorSettings) for one in settings.listener_filters):
        return
    for index, chain in enumerate(settings.filter_chains):
        match = chain.match
        if match.server_names or match.transport_protocol or match.application_protocols:
            view.warn(
                f"filter_chains[{index}] never matches: server names and protocols are unknown without tls_inspector",
                "Add the listener filter envoy.filters.listener.tls_inspector",
                field="filter_chains",
            )
