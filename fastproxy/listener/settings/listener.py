"""A listener as a whole (Envoy `Listener`). Durations are seconds."""

from dataclasses import dataclass, field

from fastproxy.addresses import format_address
from fastproxy.listener.settings.access_log import AccessLogSettings
from fastproxy.listener.settings.address import ListenAddress, Place, SocketOption, place_of
from fastproxy.listener.settings.filter_chain import FilterChainSettings
from fastproxy.listener.settings.http import HttpConnectionManagerSettings
from fastproxy.listener.settings.tcp_proxy import TcpProxySettings


@dataclass(frozen=True, slots=True)
class TlsInspectorSettings:
    """The listener filter that looks at a ClientHello (Envoy `TlsInspector`)."""

    max_client_hello_bytes: int = 16 * 1024
    refuses_malformed: bool = False
    """`close_connection_on_client_hello_parsing_errors`; False: such a connection counts as plain."""


@dataclass(frozen=True, slots=True)
class ProxyProtocolSettings:
    """The listener filter that takes a PROXY header off a connection (Envoy `ProxyProtocol`)."""

    optional: bool = False
    """`allow_requests_without_proxy_protocol`."""
    versions: frozenset[int] = frozenset((1, 2))
    """Without `disallowed_versions`."""


ListenerFilterSettings = TlsInspectorSettings | ProxyProtocolSettings


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One listening address and what serves it (Envoy `Listener`)."""

    name: str
    host: str
    """IP literal, or the path of a Unix domain socket; see `ListenAddress`."""
    port: int
    """0 lets the system choose; a Unix domain socket has none."""
    filter_chains: tuple[FilterChainSettings, ...]
    default_filter_chain: FilterChainSettings | None = None
    """Serves what no chain matches; None: such a connection is cut."""
    listener_filters: tuple[ListenerFilterSettings, ...] = ()
    """What looks at the first bytes, in order."""
    listener_filters_timeout_s: float = 15.0
    """How long the peer may take to send what they wait for; 0 = any time."""
    continues_on_listener_filters_timeout: bool = False
    max_connections: int | None = None
    """`envoy.resource_limits.listener.NAME.connection_limit`, of all workers together; None: no limit."""
    counts_globally: bool = True
    """False (`ignore_global_conn_limit`): the limit of the whole proxy does not hold here."""
    buffer_limit_bytes: int = 1024 * 1024
    """`per_connection_buffer_limit_bytes`: high-water mark of the downstream write buffer."""
    tcp_backlog: int = 4096
    ipv4_compat: bool = False
    pipe_mode: int = 0
    """`pipe.mode`: permissions of the file; 0: what the process's umask leaves."""
    additional_addresses: tuple[ListenAddress, ...] = ()
    socket_options: tuple[SocketOption, ...] = ()
    """Of the first address; those of the others are theirs."""
    binds: bool = True
    """`bind_to_port`; False: it is there, and nothing reaches it."""
    shares_socket: bool = False
    """`enable_reuse_port: false`: the workers accept from one socket."""
    stat_prefix: str = ""
    """Instead of the address in names of statistics."""
    access_logs: tuple[AccessLogSettings, ...] = ()
    """Of connections, one line at the end of each; those of requests are the connection manager's."""
    metadata: str = ""
    """`filter_metadata` as a JSON object, for formats; empty if there is none."""
    is_inbound: bool = False
    """`traffic_direction: INBOUND`: `/drain_listeners?inboundonly` stops it."""
    config_path: str = field(default="", compare=False, repr=False)
    """Where it stands in the configuration, for messages: `static_resources.listeners[0]`..."""

    def chains(self) -> tuple[FilterChainSettings, ...]:
        """Every filter chain; their positions here name them in messages between processes."""
        return (
            self.filter_chains
            if self.default_filter_chain is None
            else (*self.filter_chains, self.default_filter_chain)
        )

    def addresses(self) -> tuple[ListenAddress, ...]:
        """Every address, the first one first."""
        first = ListenAddress(self.host, self.port, self.ipv4_compat, self.pipe_mode, self.socket_options)
        return (first, *self.additional_addresses)

    def places(self) -> tuple[tuple[ListenAddress, Place], ...]:
        """The addresses where it listens, each with what names it; none if it does not bind."""
        found = self.addresses() if self.binds else ()
        return tuple((one, place_of(self.name, one, position)) for position, one in enumerate(found))

    def http_managers(self) -> tuple[HttpConnectionManagerSettings, ...]:
        """What serves HTTP here, in the order of the chains."""
        networks = (chain.network for chain in self.chains())
        return tuple(one for one in networks if isinstance(one, HttpConnectionManagerSettings))

    def tcp_proxies(self) -> tuple[TcpProxySettings, ...]:
        """What passes connections on as they are, in the order of the chains."""
        return tuple(chain.network for chain in self.chains() if isinstance(chain.network, TcpProxySettings))

    @property
    def http(self) -> HttpConnectionManagerSettings:
        """What serves HTTP in the first chain that does; most listeners have one chain."""
        return self.http_managers()[0]

    @property
    def stat_address(self) -> str:
        """What Envoy writes in names of statistics: the prefix, or as in `127.0.0.1_8080`, `[__1]_8080`."""
        return (self.stat_prefix or format_address(self.host, self.port)).replace(":", "_")
