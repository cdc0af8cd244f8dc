"""The configuration as rules look at it: who serves what, and what would happen to a request.

The one place that knows how listeners hold connection managers and filters. `ManagerSurvey.access` plays a request
through the settings with the data plane's own matchers; what depends on more than the path it calls unknown.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import ip_address

from fastproxy.addresses import is_pipe
from fastproxy.config.settings import ProxySettings
from fastproxy.filters.jwt_authn.settings import (
    JwtAuthnSettings,
    PerRouteSettings,
    ProviderSettings,
    RequirementSettings,
    RuleSettings,
)
from fastproxy.lint.paths import matcher_of
from fastproxy.lint.requirements import needs_token
from fastproxy.listener.settings import FilterChainSettings, HttpConnectionManagerSettings, ListenerSettings
from fastproxy.match.settings import RequestConditions
from fastproxy.router.settings import ForwardAction, RouteSettings, VirtualHostSettings
from fastproxy.upstream.settings import ClusterSettings

_NO_CONDITIONS = RequestConditions()


class Access(Enum):
    """What happens to a request without a token."""

    NO_ROUTE = auto()
    """Nothing is served, or the proxy answers by itself."""
    OPEN = auto()
    """It reaches an upstream."""
    CLOSED = auto()
    UNKNOWN = auto()
    """It depends on more than host and path."""


def is_conditional(rule: RuleSettings) -> bool:
    """Whether it asks for more than a path."""
    return rule.conditions != _NO_CONDITIONS


def is_route_conditional(route: RouteSettings) -> bool:
    """Whether it asks for more than a path."""
    return route.conditions != _NO_CONDITIONS


def forwards(route: RouteSettings) -> bool:
    """Whether it leads to an upstream, be it one that the request names."""
    return isinstance(route.action, ForwardAction)


def clusters_of(route: RouteSettings) -> tuple[str, ...]:
    """Names of the clusters that a route sends requests to, or copies of them; one that a header names is unknown."""
    action = route.action
    if not isinstance(action, ForwardAction):
        return ()
    weighted = action.weighted_clusters.clusters if action.weighted_clusters is not None else ()
    names = [action.cluster, *(one.cluster for one in weighted), *(one.cluster for one in action.mirrors)]
    return tuple(dict.fromkeys(name for name in names if name))


@dataclass(frozen=True, slots=True)
class ManagerSurvey:
    """One connection manager, and the filter chain and listener that it serves."""

    listener: ListenerSettings
    chain: FilterChainSettings
    manager: HttpConnectionManagerSettings

    @property
    def filters(self) -> tuple[JwtAuthnSettings, ...]:
        """Its `jwt_authn` filters, in order."""
        return self.manager.jwt_authn

    @property
    def hosts(self) -> tuple[VirtualHostSettings, ...]:
        """Its virtual hosts."""
        return self.manager.route_config.virtual_hosts

    def routes(self) -> Iterator[tuple[VirtualHostSettings, RouteSettings]]:
        """Every route with its virtual host."""
        for host in self.hosts:
            for route in host.routes:
                yield host, route

    def access(
        self,
        host: VirtualHostSettings,
        path: str,
        *,
        without_route: RouteSettings | None = None,
        without_rule: RuleSettings | None = None,
    ) -> Access:
        """Say what happens to a tokenless request for `path`, as if a route or rule were not there."""
        raw = path.encode("utf-8", "surrogateescape")
        route = self._route(host, raw, without_route)
        if isinstance(route, Access):
            return route
        outcome = Access.OPEN
        for jwt in self.filters:
            verdict = self._filter_access(jwt, route, raw, without_rule)
            if verdict is Access.CLOSED:
                return verdict
            if verdict is Access.UNKNOWN:
                outcome = verdict
        return outcome

    def _route(
        self, host: VirtualHostSettings, path: bytes, without: RouteSettings | None
    ) -> RouteSettings | Access:
        for route in host.routes:
            if route is without or not matcher_of(route.match)(path):
                continue
            if is_route_conditional(route):
                return Access.UNKNOWN
            return route if forwards(route) else Access.NO_ROUTE
        return Access.NO_ROUTE

    def _filter_access(
        self, jwt: JwtAuthnSettings, route: RouteSettings, path: bytes, without: RuleSettings | None
    ) -> Access:
        says = route_says(jwt, route)
        if says is not None:
            return _access_of(says.requirement)
        for rule in jwt.rules:
            if rule is without or not matcher_of(rule.match)(path):
                continue
            return Access.UNKNOWN if is_conditional(rule) else _access_of(rule.requires)
        return Access.OPEN


@dataclass(frozen=True, slots=True)
class RouteSays:
    """What a route decides for a filter, instead of the filter's rules."""

    requirement: RequirementSettings | None
    """None: no token is needed."""
    is_explicit: bool = True
    """False: the filter is off by default, and the route does not mention it."""


def route_configs(jwt: JwtAuthnSettings, route: RouteSettings) -> list[PerRouteSettings | None]:
    """What a route says about a filter: once, or once for each of its weighted clusters."""
    action = route.action
    levels = [route.filter_configs]
    if isinstance(action, ForwardAction) and action.weighted_clusters is not None:
        levels = [one.filter_configs for one in action.weighted_clusters.clusters]
    configs = [level.get(jwt.name) for level in levels]
    return [config if isinstance(config, PerRouteSettings) else None for config in configs]


def route_says(jwt: JwtAuthnSettings, route: RouteSettings) -> RouteSays | None:
    """What decides instead of the filter's rules, the laxest if weighted clusters differ; None: the rules do."""
    says = [_says(jwt, config) for config in route_configs(jwt, route)]
    return min(says, key=_strictness, default=None)


def _says(jwt: JwtAuthnSettings, config: PerRouteSettings | None) -> RouteSays | None:
    if config is None:
        return RouteSays(None, is_explicit=False) if jwt.is_off_by_default else None
    if config.is_skipped or config.disabled:
        return RouteSays(None)
    if config.requirement_name:
        return RouteSays(jwt.requirement_map.get(config.requirement_name))
    return None


def _strictness(says: RouteSays | None) -> int:
    if says is None:
        return 1
    return 2 if needs_token(says.requirement) else 0


def _access_of(requirement: RequirementSettings | None) -> Access:
    return Access.CLOSED if needs_token(requirement) else Access.OPEN


@dataclass(frozen=True, slots=True)
class Survey:
    """A whole configuration, and where things stand in it."""

    settings: ProxySettings
    is_written: Callable[[str], bool] = field(default=lambda _path: False)
    """Whether a field path stands in the text, rather than being a default."""
    line_of: Callable[[str], str] = field(default=lambda _path: "")
    """` (line 12)` for a field path, or nothing."""

    @property
    def managers(self) -> tuple[ManagerSurvey, ...]:
        """Every connection manager."""
        found = []
        for listener in self.settings.listeners:
            for chain in listener.chains():
                network: object = chain.network
                if isinstance(network, HttpConnectionManagerSettings):
                    found.append(ManagerSurvey(listener, chain, network))
        return tuple(found)

    @property
    def clusters(self) -> dict[str, ClusterSettings]:
        """Every cluster by its name."""
        return {cluster.name: cluster for cluster in self.settings.clusters}

    def filters(self) -> Iterator[tuple[ManagerSurvey, JwtAuthnSettings]]:
        """Every `jwt_authn` filter, with the manager that runs it."""
        for manager in self.managers:
            for jwt in manager.filters:
                yield manager, jwt

    def providers(self) -> Iterator[tuple[ManagerSurvey, JwtAuthnSettings, ProviderSettings]]:
        """Every provider of every filter."""
        for manager, jwt in self.filters():
            for provider in jwt.providers.values():
                yield manager, jwt, provider


def is_loopback(host: str) -> bool:
    """Whether an address stays on this machine. `localhost` and what is below it do (RFC 6761 section 6.3)."""
    try:
        # A Unix domain socket is reached from this machine alone.
        return is_pipe(host) or ip_address(host).is_loopback
    except ValueError:
        if host.startswith(("/", "@")):
            # A Unix domain socket.
            return True
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")


def leaves_machine(cluster: ClusterSettings | None) -> bool:
    """Whether a cluster has an endpoint beyond loopback; one without endpoints is given the benefit of the doubt."""
    return cluster is not None and any(not is_loopback(endpoint.host) for endpoint in cluster.endpoints)


def listed(items: Iterable[str], limit: int = 3) -> str:
    """Some of many, for a sentence: `a, b, c and 4 more`."""
    every = list(items)
    shown = ", ".join(every[:limit])
    return shown if len(every) <= limit else f"{shown} and {len(every) - limit} more"
