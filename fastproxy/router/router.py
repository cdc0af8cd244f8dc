"""The terminal filter: turns a routed request into a reply of the route, or into an exchange with a cluster."""

from collections.abc import Mapping

from fastproxy.http.forwarding import rewrite_host
from fastproxy.http.messages import LocalReply, Request
from fastproxy.router.forward import Downstream, Exchange
from fastproxy.router.settings import RouteConfigurationSettings
from fastproxy.router.stats import RouterStats
from fastproxy.router.table import NO_ROUTE, Route, RouteTable
from fastproxy.upstream.cluster import Cluster


class Router:
    """Routes and clusters of one connection manager."""

    def __init__(
        self,
        settings: RouteConfigurationSettings,
        clusters: Mapping[str, Cluster],
        *,
        suppress_envoy_headers: bool = False,
    ) -> None:
        self._table = RouteTable(settings, envoy_headers=not suppress_envoy_headers)
        self._clusters = clusters
        self._envoy_headers = not suppress_envoy_headers
        self.stats = RouterStats()

    def select_route(self, request: Request) -> Route | None:
        """Resolve the request's route, before the filters; again if one asks for it. Hot path: once per request."""
        if request.method == b"CONNECT":
            # Only a `connect_matcher` matches it, whatever its target looks like; there is none (8.2).
            return None
        route = self._table.select_route(request.authority, request.path)
        if route is not None:
            request.filter_configs = route.filter_configs
            request.response_rules = route.response_rules
        return route

    def forward(self, request: Request, route: Route | None, downstream: Downstream) -> LocalReply | Exchange:
        """Apply the route: a reply of its own, or an exchange that the caller starts. Hot path."""
        if route is None:
            self.stats.no_route += 1
            return NO_ROUTE
        request.route_name = route.name
        action = route.forward
        if action is None:
            return self._reply(request, route)
        cluster = self._clusters.get(action.cluster)
        if cluster is None:
            self.stats.no_cluster += 1
            return LocalReply(action.cluster_not_found_status, details="cluster_not_found", flag="NC")
        self.stats.rq_total += 1
        request.upstream_cluster = cluster.name
        if self._envoy_headers and route.expected_timeout_ms:
            request.headers[b"x-envoy-expected-rq-timeout-ms"] = route.expected_timeout_ms
        if route.request_rules is not None:
            route.request_rules.apply_to_request(request)
        if route.rewrite_path is not None:
            self._rewrite_path(request, route)
        if action.host_rewrite_literal:
            rewrite_host(request, action.host_rewrite_literal.encode(), tell=self._envoy_headers)
        return Exchange(request, route, cluster, downstream)

    def _reply(self, request: Request, route: Route) -> LocalReply:
        assert route.reply is not None
        reply = route.reply(request)
        if reply.status in (301, 302, 303, 307, 308):
            self.stats.rq_redirect += 1
        else:
            self.stats.rq_direct_response += 1
        return reply

    def _rewrite_path(self, request: Request, route: Route) -> None:
        assert route.rewrite_path is not None
        request.original_path = request.target
        if self._envoy_headers:
            request.headers[b"x-envoy-original-path"] = request.target
        request.set_target(route.rewrite_path(request.target))
