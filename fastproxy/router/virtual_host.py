"""A virtual host at run time: the routes of some domains (spec/http.md section 8)."""

import json
from collections.abc import Mapping, Sequence

from fastproxy.http.messages import Request
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.counting import GroupStats, RouteCounting, VirtualClusters
from fastproxy.router.index import MIN_ROUTES, IndexTooLargeError, RouteIndex
from fastproxy.router.redirect import redirect_to_https
from fastproxy.router.route import Route
from fastproxy.router.settings import RedirectAction, RouteSettings, TlsRequirement, VirtualHostSettings


class VirtualHost:
    """The routes of one virtual host, compiled."""

    __slots__ = (
        "_connect_routes",
        "_index",
        "_metadata",
        "_redirects_external_only",
        "_routes",
        "_to_https",
        "stats",
    )

    def __init__(self, settings: VirtualHostSettings, *, envoy_headers: bool = True) -> None:
        routes = [Route(one, envoy_headers=envoy_headers) for one in settings.routes]
        self.stats = _count(settings, routes)
        """Of its virtual clusters, and of its routes that have some of their own."""
        connect = [one.conditions.connect_only for one in settings.routes]
        # CONNECT has no path: no route but those with a `connect_matcher` is for it, and they are for nothing else.
        self._connect_routes = tuple(route for route, only in zip(routes, connect, strict=True) if only)
        self._routes = tuple(route for route, only in zip(routes, connect, strict=True) if not only)
        self._index = _build_index(self._routes)
        self._metadata: Mapping[str, object] | None = (
            json.loads(settings.metadata) if settings.metadata else None
        )
        needs_tls = settings.require_tls is not TlsRequirement.NONE
        self._to_https = _build_tls_redirect() if needs_tls else None
        self._redirects_external_only = settings.require_tls is TlsRequirement.EXTERNAL_ONLY

    def select_route(self, request: Request) -> Route | None:
        """The first route whose path and conditions hold. Hot path: once per request."""
        if self._metadata is not None:
            request.host_metadata = self._metadata
        if self._to_https is not None and request.scheme != b"https" and self._must_be_tls(request):
            return self._to_https
        routes = self._routes
        path = request.path
        if request.method == b"CONNECT":
            routes = self._connect_routes
        elif self._index is not None:
            routes = self._index.candidates(path)
        for route in routes:
            if route.matches(path):
                conditions = route.conditions
                if conditions is None or conditions(request):
                    return route
        return None

    def _must_be_tls(self, request: Request) -> bool:
        return not self._redirects_external_only or request.headers.get(b"x-envoy-internal") != b"true"


def _count(settings: VirtualHostSettings, routes: Sequence[Route]) -> tuple[GroupStats, ...]:
    """Let the routes that lead to clusters be counted, as far as the configuration asks for it."""
    virtual_clusters = None
    if settings.virtual_clusters:
        virtual_clusters = VirtualClusters(settings.name, settings.virtual_clusters)
    stats = [] if virtual_clusters is None else [*virtual_clusters.stats]
    for one, route in zip(settings.routes, routes, strict=True):
        own = GroupStats(f"vhost.{settings.name}.route.{one.stat_prefix}.") if one.stat_prefix else None
        if own is not None:
            stats.append(own)
        if route.forward is not None and (own is not None or virtual_clusters is not None):
            route.count_by(RouteCounting(virtual_clusters, own))
    return tuple(stats)


def _build_tls_redirect() -> Route:
    route = Route(RouteSettings(PathMatch(PathKind.PREFIX, ""), RedirectAction()))
    route.reply = redirect_to_https
    return route


def _build_index(routes: Sequence[Route]) -> RouteIndex | None:
    """An index, where it is worth it; None where a scan is as good."""
    if len(routes) < MIN_ROUTES:
        return None
    try:
        return RouteIndex(routes)
    except IndexTooLargeError:
        return None
