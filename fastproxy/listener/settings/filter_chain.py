"""What serves a connection, and which connections (Envoy `FilterChain`)."""

from dataclasses import dataclass
from enum import Enum

from fastproxy.listener.settings.http import HttpConnectionManagerSettings
from fastproxy.listener.settings.tcp_proxy import TcpProxySettings
from fastproxy.listener.tls.settings import DownstreamTlsSettings

#: What serves the connections of a filter chain: its last network filter.
NetworkFilterSettings = HttpConnectionManagerSettings | TcpProxySettings


class SourceType(Enum):
    """Where a connection comes from (Envoy `FilterChainMatch.ConnectionSourceType`)."""

    ANY = "any"
    SAME_IP_OR_LOOPBACK = "same_ip_or_loopback"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class FilterChainMatchSettings:
    """Which connections a filter chain serves (Envoy `FilterChainMatch`); what is empty fits everything."""

    destination_port: int = 0
    prefix_ranges: tuple[str, ...] = ()
    """Networks of the local address, `192.0.2.0/24`."""
    server_names: tuple[str, ...] = ()
    """Lower case; `*.example.com` fits every name below."""
    transport_protocol: str = ""
    """`tls`, `raw_buffer`."""
    application_protocols: tuple[str, ...] = ()
    direct_source_prefix_ranges: tuple[str, ...] = ()
    """Networks of the TCP peer; `source_prefix_ranges` are of the peer that a PROXY header names."""
    source_type: SourceType = SourceType.ANY
    source_prefix_ranges: tuple[str, ...] = ()
    source_ports: tuple[int, ...] = ()


MATCHES_ALL = FilterChainMatchSettings()


@dataclass(frozen=True, slots=True)
class FilterChainSettings:
    """One way to serve a connection (Envoy `FilterChain`)."""

    network: NetworkFilterSettings
    name: str = ""
    match: FilterChainMatchSettings = MATCHES_ALL
    tls: DownstreamTlsSettings | None = None
    """None: what comes is served as it is."""
    handshake_timeout_s: float = 0.0
    """`transport_socket_connect_timeout`; 0: the listener's own bound."""
    metadata: str = ""
    """`filter_metadata` as a JSON object, for formats; empty if there is none."""
