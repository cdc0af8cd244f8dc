"""From the settings of a listener's filter chains to what serves their connections."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from itertools import chain as chained

from fastproxy.farewell import Farewell
from fastproxy.filters.base import HttpFilter
from fastproxy.filters.build import build_filter
from fastproxy.filters.chain import FilterChain
from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings
from fastproxy.listener.access_log import AccessLog, AccessLogFile
from fastproxy.listener.connection_log import ConnectionLog
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.listener.network_filter import NetworkFilter
from fastproxy.listener.settings import (
    HttpConnectionManagerSettings,
    HttpFilterSettings,
    ListenerSettings,
    NetworkFilterSettings,
    TcpProxySettings,
)
from fastproxy.listener.tcp_proxy.proxy import TcpProxy
from fastproxy.listener.tcp_proxy.pump import PumpTools
from fastproxy.router.router import Router
from fastproxy.runtime.log_files import AccessLogFiles
from fastproxy.upstream.cluster import Cluster


class NetworkBuilder:
    """Builds the network filters of one runtime, and notes what they use.

    Args:
        clusters: the runtime's, by name.
        inherited: providers of the previous runtime by key source; an equal one takes their keys and verdicts.
        log_files: the worker's access log files.
        ask: tells the control plane that a request needs fresher keys of a source.
        tools: what all TCP proxies of the worker share.
        loop: serves the connections.
        farewell: what the operator has said about the end of the proxy.
    """

    def __init__(
        self,
        clusters: Mapping[str, Cluster],
        inherited: Mapping[str, Collection[Provider]],
        *,
        log_files: AccessLogFiles,
        ask: Callable[[str], None],
        tools: PumpTools,
        loop: asyncio.AbstractEventLoop,
        farewell: Farewell,
    ) -> None:
        self._farewell = farewell
        self._clusters = clusters
        self._inherited = {source_id: list(providers) for source_id, providers in inherited.items()}
        self._log_files = log_files
        self._ask = ask
        self._tools = tools
        self._loop = loop
        self.providers: dict[str, list[Provider]] = {}
        """By key source; those of one source get the same keys."""
        self.log_paths: set[str] = set()

    def build(self, listener: ListenerSettings, network: NetworkFilterSettings) -> NetworkFilter:
        """Build what serves the connections of a filter chain.

        Raises:
            OSError: an access log cannot be opened.
        """
        if isinstance(network, TcpProxySettings):
            return TcpProxy(
                listener,
                network,
                clusters=self._clusters,
                access_logs=[AccessLog(one, self._log_file(one.path)) for one in network.access_logs],
                tools=self._tools,
            )
        return self._build_manager(listener, network)

    def build_connection_log(self, listener: ListenerSettings) -> ConnectionLog | None:
        """Open what the listener's connections are logged to; None: nothing.

        Raises:
            OSError: an access log cannot be opened.
        """
        if not listener.access_logs:
            return None
        return ConnectionLog([AccessLog(one, self._log_file(one.path)) for one in listener.access_logs])

    def _build_manager(
        self, listener: ListenerSettings, http: HttpConnectionManagerSettings
    ) -> HttpConnectionManager:
        filters = [self._build_filter(one) for one in http.http_filters]
        upgrade_filters = {
            upgrade.type.encode(): [self._build_filter(one) for one in upgrade.filters]
            for upgrade in http.upgrades
            if upgrade.filters is not None
        }
        token_headers: frozenset[bytes] = frozenset()
        identity_headers: frozenset[bytes] = frozenset()
        for one in (*filters, *chained.from_iterable(upgrade_filters.values())):
            if isinstance(one, JwtAuthnFilter):
                token_headers |= one.token_headers
                identity_headers |= one.identity_headers
        router = Router(
            http.route_config,
            self._clusters,
            suppress_envoy_headers=http.suppress_envoy_headers,
            identity_headers=identity_headers,
            loop=self._loop,
            buffer_limit_bytes=listener.buffer_limit_bytes,
        )
        return HttpConnectionManager(
            listener,
            http,
            router=router,
            filters=FilterChain(filters, router.select_route),
            access_logs=[
                AccessLog(one, self._log_file(one.path), secret_headers=token_headers)
                for one in http.access_logs
            ],
            loop=self._loop,
            upgrade_filters={
                kind: FilterChain(own, router.select_route) for kind, own in upgrade_filters.items()
            },
            identity_headers=identity_headers,
            farewell=self._farewell,
        )

    def _build_filter(self, settings: HttpFilterSettings) -> HttpFilter:
        if not isinstance(settings.config, JwtAuthnSettings):
            return build_filter(
                settings.name, settings.config, farewell=self._farewell, membership=self._membership_of
            )
        jwt_authn = JwtAuthnFilter(settings.config, ask=self._ask)
        for provider in jwt_authn.providers.values():
            self._inherit(provider)
            self.providers.setdefault(provider.keys.source_id, []).append(provider)
        return jwt_authn

    def _membership_of(self, cluster: str) -> tuple[int, int] | None:
        known = self._clusters.get(cluster)
        if known is None:
            return None
        endpoints = known.endpoints
        return len(endpoints), sum(one.is_healthy or one.is_degraded for one in endpoints)

    def _log_file(self, path: str) -> AccessLogFile:
        self.log_paths.add(path)
        return self._log_files.open(path)

    def _inherit(self, provider: Provider) -> None:
        """Give a provider the keys and verdicts of an equal one; each is passed on once."""
        candidates = self._inherited.get(provider.keys.source_id, [])
        for position, known in enumerate(candidates):
            if known.settings == provider.settings:
                provider.inherit(candidates.pop(position))
                return
