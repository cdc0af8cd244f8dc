"""Where a request comes in: the listener, and the filter chain that serves its connection."""

from dataclasses import dataclass

from fastproxy.config.settings import ProxySettings
from fastproxy.explain.asked import BadQuestion
from fastproxy.http.connection_info import ConnectionInfo, TlsInfo
from fastproxy.listener.chain_match import FilterChainMatcher
from fastproxy.listener.settings import (
    FilterChainSettings,
    HttpConnectionManagerSettings,
    ListenerSettings,
    TlsInspectorSettings,
)

# Whoever asks is on this machine, and speaks what FastProxy speaks.
_CLIENT = ("127.0.0.1", 50000)
_ALPN = ("http/1.1",)
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Arrival:
    """A listener, and what of it serves the connection."""

    listener: ListenerSettings
    chain: FilterChainSettings
    http: HttpConnectionManagerSettings
    """What serves the chain."""
    server_name: str = ""
    """What the client says in its TLS handshake (SNI), lower case; empty: nothing, or it speaks no TLS."""

    def make_info(self) -> ConnectionInfo:
        """What would be known about the connection."""
        info = _describe(self.listener, self.server_name)
        info.filter_chain_name = self.chain.name
        if self.chain.tls is not None:
            info.tls = TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256")
        return info


def choose_arrival(settings: ProxySettings, name: str, port: int | None, server_name: str) -> Arrival:
    """Find what serves a request.

    The listener is the named one, the only one, or the one with this port; the chain is the one that a TLS client with
    this server name gets, or without one the first that serves HTTP.

    Raises:
        BadQuestion: that is not clear, or it is nothing that serves HTTP.
    """
    listener = _choose_listener(settings, name, port)
    if server_name:
        return _choose_chain(listener, server_name.lower())
    chain = next(one for one in listener.chains() if isinstance(one.network, HttpConnectionManagerSettings))
    assert isinstance(chain.network, HttpConnectionManagerSettings)
    return Arrival(listener, chain, chain.network)


def _choose_listener(settings: ProxySettings, name: str, port: int | None) -> ListenerSettings:
    serving = [one for one in settings.listeners if one.http_managers()]
    names = ", ".join(repr(one.name) for one in serving) or "none"
    if name:
        found = [one for one in serving if one.name == name]
        if not found:
            raise BadQuestion(f"there is no listener for HTTP of this name; there are: {names}")
        return found[0]
    by_port = [one for one in serving if port is not None and one.port == port]
    if len(by_port) == 1:
        return by_port[0]
    if len(serving) == 1:
        return serving[0]
    if not serving:
        raise BadQuestion("the configuration has no listener for HTTP")
    raise BadQuestion(f"say by which listener the request comes in, with --listener: {names}")


def _choose_chain(listener: ListenerSettings, server_name: str) -> Arrival:
    index = FilterChainMatcher([one.match for one in listener.filter_chains]).select(
        _describe(listener, server_name)
    )
    chain = listener.default_filter_chain if index is None else listener.filter_chains[index]
    known = sorted({name for one in listener.filter_chains for name in one.match.server_names})
    if chain is None:
        hint = (
            "" if _inspects(listener) else "; without the listener filter tls_inspector nobody reads the name"
        )
        names = ", ".join(repr(name) for name in known[:_SHOWN]) or "none"
        raise BadQuestion(f"no filter chain is for --sni {server_name!r}: its names are {names}{hint}")
    if not isinstance(chain.network, HttpConnectionManagerSettings):
        raise BadQuestion(
            f"connections with --sni {server_name!r} are passed on as they are (tcp_proxy): no request is read"
        )
    return Arrival(listener, chain, chain.network, server_name)


def _describe(listener: ListenerSettings, server_name: str) -> ConnectionInfo:
    info = ConnectionInfo(_CLIENT, (listener.host, listener.port))
    if _inspects(listener):
        info.transport_protocol = "tls" if server_name else "raw_buffer"
        info.requested_server_name = server_name
        info.application_protocols = _ALPN if server_name else ()
    return info


def _inspects(listener: ListenerSettings) -> bool:
    return any(isinstance(one, TlsInspectorSettings) for one in listener.listener_filters)
