"""The terminal filter: turns a routed request into a reply of the route, or into an exchange with a cluster."""

import asyncio
from collections.abc import Callable, Mapping

from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.request import header_values
from fastproxy.router.downstream import UpgradableDownstream
from fastproxy.router.forward import IDEMPOTENT, Exchange
from fastproxy.router.limits import take_alternative_header, take_timeout_header
from fastproxy.router.mirror import ActiveMirrors, Mirror, MirroredExchange, MirrorPlan
from fastproxy.router.replies import ALTERNATIVE_TIMEOUT
from fastproxy.router.retry import NO_RETRIES, RetryPolicy, take_retry_headers
from fastproxy.router.retrying import RetryingExchange, RetryPlan
from fastproxy.router.rewrite import Edit, PathRefused
from fastproxy.router.route import Route, encode_expected_timeout
from fastproxy.router.settings import ForwardAction, RouteConfigurationSettings
from fastproxy.router.stats import RouterStats
from fastproxy.router.table import NO_ROUTE, RouteTable
from fastproxy.router.upgrade import TcpTunnel, UpgradeExchange
from fastproxy.stats import StatsSink
from fastproxy.upstream.cluster import Cluster

PATH_REFUSED = LocalReply(400, details="path_rewrite_refused")


class Router:
    """Routes and clusters of one connection manager."""

    def __init__(
        self,
        settings: RouteConfigurationSettings,
        clusters: Mapping[str, Cluster],
        *,
        suppress_envoy_headers: bool = False,
        identity_headers: frozenset[bytes] = frozenset(),
        loop: asyncio.AbstractEventLoop | None = None,
        buffer_limit_bytes: int = 1024 * 1024,
    ) -> None:
        """Compile the routes.

        Args:
            settings: the checked configuration.
            clusters: by name; may grow and shrink while the router lives.
            suppress_envoy_headers: from the router filter's configuration.
            identity_headers: names that only filters may set. A downstream's are removed before routes look at headers.
            loop: whose timers retries use; None: the one that runs when they need it.
            buffer_limit_bytes: how much of a body is kept for a retry, where its route does not say.
        """
        self._table = RouteTable(settings, envoy_headers=not suppress_envoy_headers)
        self._clusters = clusters
        self._envoy_headers = not suppress_envoy_headers
        self._loop = loop
        self._buffer_limit_bytes = buffer_limit_bytes
        # Routes that look at no header cannot be misled by one; the filters remove it before they add their own.
        self._forgeable = identity_headers if _looks_at_headers(settings) else frozenset()
        self.select_first_route: Callable[[Request], None] = (
            self._select_guarded if self._forgeable else self.select_route
        )
        """Resolves the request's route before any filter has seen it. Only verified claims drive routing (S57):
        identity headers that came with the request are no claims, and are removed where a route could look at them."""
        self._mirrors = ActiveMirrors()
        # Made when they are first needed, for a route cannot know of mirrors: those are exchanges of their own.
        self._mirror_plans: dict[Route, MirrorPlan] = {}
        self.stats = RouterStats()

    def _select_guarded(self, request: Request) -> None:
        """Select a route by nothing that only a filter may say."""
        if not self._forgeable.isdisjoint(request.headers):
            for name in self._forgeable.intersection(request.headers):
                del request.headers[name]
        self.select_route(request)

    def select_route(self, request: Request) -> None:
        """Resolve the request's route; again if a filter asks for it. Hot path: once per request.

        Sets `request.route`, and `request.filter_configs` to what the route says about filters.
        """
        if request.route_is_stale:
            request.route_is_stale = False
            request.filter_configs = None
            request.response_rules = None
            request.route_metadata = None
            request.host_metadata = None
        route = self._table.select_route(request)
        if route is not None and route.marks_requests:
            if route.choose is not None:
                route = route.choose(request)
            request.filter_configs = route.filter_configs
            request.response_rules = route.response_rules
            request.route_metadata = route.metadata
        request.route = route

    def forward(self, request: Request, downstream: UpgradableDownstream) -> LocalReply | Exchange:
        """Apply the request's route: a reply of its own, or an exchange that the caller starts. Hot path."""
        route = request.route
        if route is None:
            self.stats.no_route += 1
            return NO_ROUTE
        assert isinstance(route, Route)
        request.route_name = route.name
        action = route.forward
        if action is None:
            return self._reply(request, route)
        cluster = self._clusters.get(route.cluster or _named_by_header(request, action.cluster_header))
        if cluster is None:
            self.stats.no_cluster += 1
            return LocalReply(action.cluster_not_found_status, details="cluster_not_found", flag="NC")
        self.stats.rq_total += 1
        request.upstream_cluster = cluster.shown_name
        request.cluster_metadata = cluster.filter_metadata
        if self._envoy_headers and route.expected_timeout_ms:
            request.headers[b"x-envoy-expected-rq-timeout-ms"] = route.expected_timeout_ms
        if route.is_simple and request.is_plain and not (request.has_body and request.method in IDEMPOTENT):
            return Exchange(request, route, cluster, downstream)
        return self._forward_by_rules(request, route, action, cluster, downstream)

    def _forward_by_rules(
        self,
        request: Request,
        route: Route,
        action: ForwardAction,
        cluster: Cluster,
        downstream: UpgradableDownstream,
    ) -> LocalReply | Exchange:
        """What routes and requests may want besides being forwarded."""
        if route.counting is not None:
            downstream = route.counting.begin(request, downstream)
        grpc_timeout_s = None if route.grpc_timeout is None else self._select_timeout(request, route)
        retry = route.retry
        timeout_s: float | None = None
        timeout_reply: LocalReply | None = None
        if not request.is_plain:
            # A trusted caller may have sent headers about retries and timeouts.
            retry = take_retry_headers(request, retry)
            timeout_s = take_timeout_header(request)
            if timeout_s is not None or retry is not route.retry:
                left_s = grpc_timeout_s if timeout_s is None else timeout_s
                self._tell_timeout(request, route.timeout_s if left_s is None else left_s, retry)
            timeout_reply = ALTERNATIVE_TIMEOUT if take_alternative_header(request) else None
        if route.tells_upstream_attempts:
            request.headers[b"x-envoy-attempt-count"] = b"1"
        if route.request_rules is not None:
            # They see and may change what was said about timeouts, and may ask for retries themselves.
            route.request_rules.apply_to_request(request)
            retry = take_retry_headers(request, retry)
        if route.edits is not None and not _apply(route.edits, request):
            return PATH_REFUSED
        exchange: Exchange
        if request.upgrade:
            # Without copies: nobody would talk to them.
            kind = TcpTunnel if route.connects_tcp and request.method == b"CONNECT" else UpgradeExchange
            exchange = kind(request, route, cluster, downstream, self._build_plan(route, retry))
        elif action.mirrors:
            copies = self._build_copies(request, route)
            plan = self._build_plan(route, retry)
            exchange = MirroredExchange(request, route, cluster, downstream, plan, copies)
        elif route.is_retrying or retry is not None or (request.has_body and request.method in IDEMPOTENT):
            exchange = RetryingExchange(request, route, cluster, downstream, self._build_plan(route, retry))
        else:
            exchange = Exchange(request, route, cluster, downstream)
        if timeout_s is not None:
            exchange.timeout_s = timeout_s
        elif grpc_timeout_s is not None:
            exchange.timeout_s = grpc_timeout_s
        if timeout_reply is not None:
            exchange.timeout_reply = timeout_reply
        return exchange

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add all numbers to a snapshot; `prefix` is "http.STAT_PREFIX."."""
        self.stats.write(sink, prefix)
        self._table.write_stats(sink)

    @property
    def is_idle(self) -> bool:
        """No copy of a request is under way."""
        return not self._mirrors

    def check_idle(self, now: float) -> None:
        """Give up copies of requests that take too long; called about once a second."""
        if self._mirrors:
            self._mirrors.give_up_late(now)

    def _build_copies(self, request: Request, route: Route) -> tuple[Mirror, ...]:
        plan = self._mirror_plans.get(route)
        if plan is None:
            assert route.forward is not None
            plan = self._mirror_plans[route] = MirrorPlan(route.forward.mirrors, route.timeout_s)
        return plan.copies_of(request, self._clusters, self._mirrors)

    def _build_plan(self, route: Route, retry: RetryPolicy | None) -> RetryPlan:
        limit = route.replay_limit_bytes
        return RetryPlan(
            NO_RETRIES if retry is None else retry,
            asyncio.get_running_loop() if self._loop is None else self._loop,
            self._buffer_limit_bytes if limit is None else limit,
        )

    def _select_timeout(self, request: Request, route: Route) -> float | None:
        """The timeout that a gRPC request has asked for, as far as the route lets it; None: the usual one."""
        assert route.grpc_timeout is not None
        timeout_s = route.grpc_timeout(request)
        if timeout_s is not None:
            self._tell_timeout(request, timeout_s, route.retry)
        return timeout_s

    def _tell_timeout(self, request: Request, timeout_s: float, retry: RetryPolicy | None) -> None:
        if not self._envoy_headers:
            return
        per_try_s = 0.0 if retry is None else retry.settings.per_try_timeout_s
        expected_ms = encode_expected_timeout(timeout_s, per_try_s)
        if expected_ms:
            request.headers[b"x-envoy-expected-rq-timeout-ms"] = expected_ms
        else:
            request.headers.pop(b"x-envoy-expected-rq-timeout-ms", None)

    def _reply(self, request: Request, route: Route) -> LocalReply:
        assert route.reply is not None
        reply = route.reply(request)
        if reply.status in (301, 302, 303, 307, 308):
            self.stats.rq_redirect += 1
        else:
            self.stats.rq_direct_response += 1
        return reply


def _apply(edits: tuple[Edit, ...], request: Request) -> bool:
    """Change path and host; says whether the request may be sent so."""
    try:
        for edit in edits:
            edit(request)
    except PathRefused:
        return False
    return True


def _named_by_header(request: Request, name: str) -> str:
    """The cluster that a header names (`cluster_header`); empty, and so unknown, if there is no such header."""
    found = header_values(request, name.encode()) if name else []
    return found[0].decode("utf-8", "replace") if found else ""


def _looks_at_headers(settings: RouteConfigurationSettings) -> bool:
    if settings.vhost_header:
        return True
    for host in settings.virtual_hosts:
        for route in host.routes:
            weighted = route.action.weighted_clusters if isinstance(route.action, ForwardAction) else None
            if route.conditions.headers or (weighted is not None and weighted.header_name):
                return True
    return False
