"""`FilterChain` and its match to settings (envoy.config.listener.v3)."""

from collections.abc import Callable
from ipaddress import ip_network

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.downstream_tls import DOWNSTREAM_TLS, build_downstream_tls
from fastproxy.config.build.filter_metadata import build_filter_metadata
from fastproxy.config.build.http_manager import HTTP_CONNECTION_MANAGER, build_http_manager
from fastproxy.config.build.tcp_proxy import TCP_PROXY, build_tcp_proxy
from fastproxy.config.build.upstream_tls import RAW_BUFFER
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.listener.chain_match import AmbiguousChains, FilterChainMatcher
from fastproxy.listener.settings import (
    MATCHES_ALL,
    FilterChainMatchSettings,
    FilterChainSettings,
    NetworkFilterSettings,
    SourceType,
)
from fastproxy.listener.tls.settings import DownstreamTlsSettings

_TRANSPORTS = ("tls", "raw_buffer")


def build_filter_chains(view: View, context: BuildContext) -> tuple[FilterChainSettings, ...]:
    """Build the chains of a listener; those that cannot serve anything are missing (reported)."""
    chains = view.children("filter_chains")
    if not chains and not view.has("default_filter_chain"):
        view.error("no filter chains specified", "Add filter_chains with an HTTP connection manager")
    built = [build_filter_chain(chain, context) for chain in chains]
    found = tuple(one for one in built if one is not None)
    if len(found) == len(chains):
        try:
            FilterChainMatcher([one.match for one in found])
        except AmbiguousChains as error:
            chains[error.second].error(
                f"filter_chains[{error.first}] and this one match the same connections",
                "Make their filter_chain_match differ",
                field="filter_chain_match",
            )
        except ValueError:
            # An address range: reported where it stands.
            return found
    return found


def build_filter_chain(chain: View, context: BuildContext) -> FilterChainSettings | None:
    """Build one chain; None when it cannot serve anything (reported)."""
    match = chain.child("filter_chain_match")
    settings = MATCHES_ALL if match is None else _build_match(match)
    tls = _build_transport(chain, context)
    name = chain.text("name")
    timeout_s = chain.duration_s("transport_socket_connect_timeout", 0.0)
    metadata = build_filter_metadata(chain)
    network = _build_filters(chain, context)
    if network is None:
        return None
    return FilterChainSettings(
        network, name, match=settings, tls=tls, handshake_timeout_s=timeout_s, metadata=metadata
    )


def _build_match(view: View) -> FilterChainMatchSettings:
    names = tuple(name.lower() for name in view.texts("server_names"))
    for name in names:
        if not name or "*" in name.removeprefix("*.") or name == "*.":
            view.error(
                f"{quote(name)} is no server name to match by",
                "Use a whole name, or *.example.com for all names below one",
                field="server_names",
            )
    transport = view.text("transport_protocol")
    if transport and transport not in _TRANSPORTS:
        view.warn(
            f"no connection is ever {quote(transport)}, so this chain serves none",
            f"Use {' or '.join(_TRANSPORTS)}",
            field="transport_protocol",
        )
    return FilterChainMatchSettings(
        destination_port=view.integer_or("destination_port", 0),
        prefix_ranges=_ranges(view, "prefix_ranges"),
        server_names=names,
        transport_protocol=transport,
        application_protocols=view.texts("application_protocols"),
        direct_source_prefix_ranges=_ranges(view, "direct_source_prefix_ranges"),
        source_type=SourceType[view.choice("source_type")],
        source_prefix_ranges=_ranges(view, "source_prefix_ranges"),
        source_ports=tuple(view.integers("source_ports")),
    )


def _ranges(view: View, field: str) -> tuple[str, ...]:
    found = []
    for entry in view.children(field):
        text = f"{entry.text('address_prefix')}/{entry.integer_or('prefix_len', 0)}"
        try:
            # Envoy takes an address with bits behind the prefix, too.
            found.append(str(ip_network(text, strict=False)))
        except ValueError:
            entry.error(f"{quote(text)} is no network", "Use address_prefix: 192.0.2.0, prefix_len: 24")
    return tuple(found)


def _build_transport(chain: View, context: BuildContext) -> DownstreamTlsSettings | None:
    socket = chain.child("transport_socket")
    if socket is None:
        return None
    name = socket.text("name")
    config = socket.typed("typed_config")
    kind = config.type_name if config is not None else name
    if kind == RAW_BUFFER or (config is None and name.endswith("raw_buffer")):
        return None
    if config is not None and kind == DOWNSTREAM_TLS:
        assert context.tls is not None
        return build_downstream_tls(config, context.tls)
    if config is not None:
        config.accept(*(field.name for field, _ in config.message.ListFields()))
    if config is not None or not socket.has("typed_config"):
        chain.error(
            f"the transport socket {quote(kind)} is not supported on a listener",
            f'TLS needs typed_config: {{"@type": type.googleapis.com/{DOWNSTREAM_TLS}, ...}}',
            field="transport_socket",
        )
    return None


#: What a chain may end in.
_BUILDERS: dict[str, Callable[[View, BuildContext], NetworkFilterSettings | None]] = {
    HTTP_CONNECTION_MANAGER: build_http_manager,
    TCP_PROXY: build_tcp_proxy,
}


def _build_filters(chain: View, context: BuildContext) -> NetworkFilterSettings | None:
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
            continue
        build = _BUILDERS.get(config.type_name)
        if build is not None and index == len(filters) - 1:
            found = build(config, context)
        else:
            config.accept(*(field.name for field, _ in config.message.ListFields()))
            entry.error(
                f"the network filter {config.type_name} is not supported"
                if build is None
                else f"nothing may follow {config.type_name}",
                f"FastProxy has {' and '.join(_BUILDERS)}",
            )
    return found
