"""`Listener` to settings (envoy.config.listener.v3)."""

from dataclasses import replace

from fastproxy.config.build.access_log import build_access_log
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.filter_chains import build_filter_chain, build_filter_chains
from fastproxy.config.build.filter_metadata import build_filter_metadata
from fastproxy.config.build.listen_address import (
    build_listen_address,
    build_shorthand_options,
    build_socket_options,
)
from fastproxy.config.build.listener_filters import build_listener_filters
from fastproxy.config.view import View
from fastproxy.listener.settings import ListenAddress, ListenerSettings, TlsInspectorSettings

_DEFAULT_BUFFER_BYTES = 1024 * 1024
#: Envoy leaves it to the kernel (net.core.somaxconn), whose own default this is.
_DEFAULT_BACKLOG = 4096
#: Envoy's, for listener filters that wait for a peer.
_DEFAULT_FILTERS_TIMEOUT_S = 15.0


def build_listener(view: View, context: BuildContext) -> ListenerSettings | None:
    """Build one listener; None when it cannot serve anything (reported)."""
    filters = build_listener_filters(view)
    chains = build_filter_chains(view, context)
    default = view.child("default_filter_chain")
    default_chain = None if default is None else build_filter_chain(default, context)
    name = view.text("name")
    ignores_global = view.flag("ignore_global_conn_limit")
    timeout_s = view.duration_s("listener_filters_timeout", _DEFAULT_FILTERS_TIMEOUT_S)
    continues = view.flag("continue_on_listener_filters_timeout")
    buffer_bytes = view.system_integer_or("per_connection_buffer_limit_bytes", _DEFAULT_BUFFER_BYTES)
    backlog = view.system_integer_or("tcp_backlog_size", _DEFAULT_BACKLOG)
    stat_prefix = view.text("stat_prefix")
    is_inbound = view.choice("traffic_direction") == "INBOUND"
    binds = view.flag_or("bind_to_port", default=True)
    shares_socket = not view.flag_or(
        "enable_reuse_port", default=not view.has("reuse_port") or view.flag("reuse_port")
    )
    logs = [build_access_log(entry, context) for entry in view.children("access_log")]
    metadata = build_filter_metadata(view)
    addresses = _build_addresses(view)
    if not addresses or (not chains and default_chain is None):
        return None
    first = addresses[0]
    # Envoy makes up a random name; this one is the same in every worker.
    name = name or f"listener_{first.host}" + ("" if first.is_pipe else f"_{first.port}")
    settings = ListenerSettings(
        name=name,
        host=first.host,
        port=first.port,
        filter_chains=chains,
        default_filter_chain=default_chain,
        listener_filters=filters,
        listener_filters_timeout_s=timeout_s,
        continues_on_listener_filters_timeout=continues,
        max_connections=context.runtime.read_count(f"envoy.resource_limits.listener.{name}.connection_limit"),
        counts_globally=not ignores_global,
        buffer_limit_bytes=buffer_bytes,
        tcp_backlog=backlog,
        ipv4_compat=first.ipv4_compat,
        pipe_mode=first.mode,
        additional_addresses=addresses[1:],
        socket_options=first.options,
        binds=binds,
        shares_socket=shares_socket,
        stat_prefix=stat_prefix,
        is_inbound=is_inbound,
        access_logs=tuple(log for log in logs if log is not None),
        metadata=metadata,
        config_path=view.path,
    )
    _warn_of_blind_matches(view, settings)
    return settings


def _build_addresses(view: View) -> tuple[ListenAddress, ...]:
    """Build every address of a listener, the first one first; empty when one cannot be used (reported)."""
    options = build_socket_options(view)
    first = build_listen_address(view)
    found = []
    if first is not None:
        found.append(replace(first, options=(*build_shorthand_options(view, first.host), *options)))
    elif not view.has("address"):
        view.error(
            "a listener needs an address",
            "Add address: {socket_address: {address: 0.0.0.0, port_value: 8080}}",
        )
    others = view.children("additional_addresses")
    for other in others:
        override = other.child("socket_options")
        own = options if override is None else build_socket_options(override)
        address = build_listen_address(other)
        if address is not None:
            found.append(replace(address, options=(*build_shorthand_options(view, address.host), *own)))
        elif not other.has("address"):
            other.error("needs an address", "Add address: {socket_address: ...}")
    return tuple(found) if len(found) == 1 + len(others) else ()


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
