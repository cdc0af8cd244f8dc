"""The route table: host to virtual host, path to route (spec/http.md section 8)."""

from collections.abc import Callable

from fastproxy.format.header_rules import build_header_rules
from fastproxy.http.messages import LocalReply, Request, ResponseHook
from fastproxy.match.path import PathMatcher, build_path_matcher
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.redirect import build_redirect
from fastproxy.router.settings import (
    DirectResponseAction,
    ForwardAction,
    RedirectAction,
    RouteConfigurationSettings,
    RouteSettings,
    VirtualHostSettings,
)

NO_ROUTE = LocalReply(404, details="route_not_found", flag="NR")

#: Hosts are remembered up to this number, so that a flood of made-up ones cannot grow the table.
_MAX_REMEMBERED_HOSTS = 1024


class Route:
    """One compiled route. `forward` is None if the route answers by itself through `reply`."""

    __slots__ = (
        "auto_host_rewrite",
        "envoy_headers",
        "expected_timeout_ms",
        "filter_configs",
        "forward",
        "matches",
        "name",
        "reply",
        "request_rules",
        "response_rules",
        "rewrite_path",
        "timeout_s",
    )

    def __init__(self, settings: RouteSettings, *, envoy_headers: bool) -> None:
        self.envoy_headers = envoy_headers
        self.auto_host_rewrite = False
        self.name = settings.name
        self.filter_configs = settings.filter_configs or None
        self.request_rules = build_header_rules(settings.request_headers)
        response_rules = build_header_rules(settings.response_headers)
        self.response_rules: ResponseHook | None = (
            None if response_rules is None else response_rules.apply_to_response
        )
        self.matches: PathMatcher = build_path_matcher(settings.match)
        self.forward: ForwardAction | None = None
        self.reply: Callable[[Request], LocalReply] | None = None
        self.rewrite_path: Callable[[bytes], bytes] | None = None
        self.timeout_s = 0.0
        self.expected_timeout_ms = b""
        action = settings.action
        if isinstance(action, ForwardAction):
            self.forward = action
            self.auto_host_rewrite = action.auto_host_rewrite
            self.timeout_s = action.timeout_s
            self.expected_timeout_ms = b"%d" % round(action.timeout_s * 1000) if action.timeout_s else b""
            if action.prefix_rewrite:
                self.rewrite_path = _build_prefix_rewrite(settings.match, action.prefix_rewrite)
        elif isinstance(action, RedirectAction):
            self.reply = build_redirect(action, settings.match)
        else:
            self.reply = _build_direct_response(action)


class RouteTable:
    """All virtual hosts of one route configuration."""

    __slots__ = ("_any", "_envoy_headers", "_exact", "_ignore_port", "_known", "_prefixes", "_suffixes")

    def __init__(self, settings: RouteConfigurationSettings, *, envoy_headers: bool = True) -> None:
        self._envoy_headers = envoy_headers
        self._ignore_port = settings.ignore_port_in_host_matching
        self._exact: dict[bytes, tuple[Route, ...]] = {}
        self._suffixes: list[tuple[bytes, tuple[Route, ...]]] = []
        self._prefixes: list[tuple[bytes, tuple[Route, ...]]] = []
        self._any: tuple[Route, ...] = ()
        for host in settings.virtual_hosts:
            self._add(host)
        # The longest wildcard wins; a stable sort keeps the file's order among equals.
        self._suffixes.sort(key=lambda entry: -len(entry[0]))
        self._prefixes.sort(key=lambda entry: -len(entry[0]))
        self._known: dict[bytes, tuple[Route, ...]] = {}

    def _add(self, host: VirtualHostSettings) -> None:
        routes = tuple(Route(one, envoy_headers=self._envoy_headers) for one in host.routes)
        for domain in host.domains:
            name = domain.lower().encode()
            if name == b"*":
                self._any = routes
            elif name.startswith(b"*"):
                self._suffixes.append((name[1:], routes))
            elif name.endswith(b"*"):
                self._prefixes.append((name[:-1], routes))
            else:
                self._exact[name] = routes

    def select_route(self, authority: bytes, path: bytes) -> Route | None:
        """The first route of the request's virtual host whose condition holds. Hot path: once per request."""
        routes = self._known.get(authority)
        if routes is None:
            routes = self._select_virtual_host(authority)
            if len(self._known) >= _MAX_REMEMBERED_HOSTS:
                self._known.clear()
            self._known[authority] = routes
        for route in routes:
            if route.matches(path):
                return route
        return None

    def _select_virtual_host(self, authority: bytes) -> tuple[Route, ...]:
        """Exact name, then longest `*suffix`, then longest `prefix*`, then `*`; a wildcard is never empty."""
        host = authority.lower()
        if self._ignore_port:
            host = _without_port(host)
        exact = self._exact.get(host)
        if exact is not None:
            return exact
        for suffix, routes in self._suffixes:
            if len(host) > len(suffix) and host.endswith(suffix):
                return routes
        for prefix, routes in self._prefixes:
            if len(host) > len(prefix) and host.startswith(prefix):
                return routes
        return self._any


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() and not name.endswith(b":") else host


def _build_prefix_rewrite(match: PathMatch, replacement: str) -> Callable[[bytes], bytes]:
    """Replace what the route matched: the prefix, or for `path` and `safe_regex` the whole path (Envoy)."""
    new = replacement.encode()
    cut = len(match.value.encode()) if match.kind in (PathKind.PREFIX, PathKind.SEPARATED_PREFIX) else None

    def rewrite(target: bytes) -> bytes:
        path, mark, query = target.partition(b"?")
        return new + (path[cut:] if cut is not None else b"") + mark + query

    return rewrite


def _build_direct_response(action: DirectResponseAction) -> Callable[[Request], LocalReply]:
    reply = LocalReply(action.status, action.body, details="direct_response", is_of_route=True)
    return lambda _request: reply
