"""`Listener` to settings (envoy.config.listener.v3)."""

from fastproxy.config.build.address import build_address, check_ip
from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.http_manager import HTTP_CONNECTION_MANAGER, build_http_manager
from fastproxy.config.build.tls import RAW_BUFFER
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.listener.settings import FilterChainSettings, HttpConnectionManagerSettings, ListenerSettings

_DEFAULT_BUFFER_BYTES = 1024 * 1024
_DEFAULT_BACKLOG = 1024
_LISTENER_FILTERS = "envoy.extensions.filters.listener."
# They only look at the first bytes of a connection, for filter chains to be chosen by.
_INSPECTORS = frozenset(
    {
        f"{_LISTENER_FILTERS}tls_inspector.v3.TlsInspector",
        f"{_LISTENER_FILTERS}http_inspector.v3.HttpInspector",
    }
)
_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def build_listener(view: View, context: BuildContext) -> ListenerSettings | None:
    """Build one listener; None when it cannot serve anything (reported)."""
    for entry in view.children("listener_filters"):
        _check_listener_filter(entry)
    if not view.flag_or("bind_to_port", default=True):
        view.error("bind_to_port: false is not supported", "Remove it", field="bind_to_port")
    chain = _build_chain(view, context)
    name = view.text("name")
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
    if not check_ip(socket, host) or chain is None:
        return None
    return ListenerSettings(
        # Envoy makes up a random name; this one is the same in every worker.
        name=name or f"listener_{host}_{port}",
        host=host,
        port=port,
        filter_chains=(chain,),
        buffer_limit_bytes=buffer_bytes,
        tcp_backlog=backlog,
        ipv4_compat=ipv4_compat,
        config_path=view.path,
    )


def _build_chain(view: View, context: BuildContext) -> FilterChainSettings | None:
    view.unsupported("default_filter_chain", "only one filter chain is supported yet", "Use filter_chains")
    chains = view.children("filter_chains")
    if not chains:
        if not view.has("default_filter_chain"):
            view.error("no filter chains specified", "Add filter_chains with an HTTP connection manager")
        return None
    for chain in chains[1:]:
        chain.error("only one filter chain per listener is supported yet", "Use another listener for it")
        chain.accept(*(field.name for field, _ in chain.message.ListFields()))
    chain = chains[0]
    name = chain.text("name")
    # Matching everything is what an empty one says; a condition inside is reported, for nobody reads it.
    chain.child("filter_chain_match")
    _check_transport(chain)
    network = _build_filters(chain, context)
    return None if network is None else FilterChainSettings(network, name)


def _check_transport(chain: View) -> None:
    socket = chain.child("transport_socket")
    if socket is None:
        return
    name = socket.text("name")
    config = socket.typed("typed_config")
    kind = config.type_name if config is not None else name
    if kind == RAW_BUFFER or (config is None and name.endswith("raw_buffer")):
        return
    if config is not None:
        config.accept(*(field.name for field, _ in config.message.ListFields()))
    chain.error(
        f"TLS on a listener is not supported yet ({quote(kind)})",
        "Remove transport_socket, and let something in front of FastProxy end TLS",
        field="transport_socket",
    )


def _build_filters(chain: View, context: BuildContext) -> HttpConnectionManagerSettings | None:
    filters = chain.children("filters")
    if not filters:
        chain.error("the filter chain has no filters", f"Add {HTTP_CONNECTION_MANAGER}", field="filters")
        return None
    found = None
    for index, entry in enumerate(filters):
        name = entry.text("name")
        config = entry.typed("typed_config")
        if config is None:
            if not entry.has("typed_config"):
                entry.error(
                    f"the network filter {quote(name)} has no typed_config",
                    f'Add typed_config: {{"@type": type.googleapis.com/{HTTP_CONNECTION_MANAGER}, ...}}',
                )
        elif config.type_name == HTTP_CONNECTION_MANAGER and index == len(filters) - 1:
            found = build_http_manager(config, context)
        else:
            config.accept(*(field.name for field, _ in config.message.ListFields()))
            entry.error(
                "nothing may follow the HTTP connection manager"
                if config.type_name == HTTP_CONNECTION_MANAGER
                else f"the network filter {config.type_name} is not supported"
                + (" yet" if config.type_name == _TCP_PROXY else ""),
                f"FastProxy has {HTTP_CONNECTION_MANAGER}",
            )
    return found


def _check_listener_filter(entry: View) -> None:
    name = entry.text("name")
    config = entry.typed("typed_config")
    kind = config.type_name if config is not None else name
    if config is not None:
        config.accept(*(field.name for field, _ in config.message.ListFields()))
    if kind in _INSPECTORS:
        entry.accept("filter_disabled")
        entry.warn("has no effect: there is one filter chain, and nothing to choose by")
    elif not entry.has("config_discovery"):
        entry.error(f"the listener filter {quote(kind)} is not supported", "Remove it")
