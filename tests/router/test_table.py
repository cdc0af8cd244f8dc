"""Host to virtual host, path to route (spec/http.md section 8)."""

import pytest

from fastproxy.http.messages import Request
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.route import Route
from fastproxy.router.settings import (
    DirectResponseAction,
    ForwardAction,
    RouteConfigurationSettings,
    RouteSettings,
    VirtualHostSettings,
)
from fastproxy.router.table import RouteTable


def named_route(name: str, prefix: str = "/") -> RouteSettings:
    return RouteSettings(PathMatch(PathKind.PREFIX, prefix), ForwardAction("c"), name)


def table(*domains: str, ignore_port: bool = False) -> RouteTable:
    """One virtual host a domain, its route named after it."""
    hosts = tuple(VirtualHostSettings(domain, (domain,), (named_route(domain),)) for domain in domains)
    settings = RouteConfigurationSettings("r", hosts, ignore_port_in_host_matching=ignore_port)
    return RouteTable(settings)


def chosen(routes: RouteTable, host: bytes, path: bytes = b"/") -> str | None:
    request = Request(b"GET", path, {})
    request.set_target(path)
    request.authority = host
    route = routes.select_route(request)
    return None if route is None else route.name


DOMAINS = (
    "*", "foo.*", "foo.b*", "*.foo.com", "*-bar.foo.com", "www.foo.com", "a.com:8443", "www.foo.*", "[::1]",
)  # fmt: skip


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        (b"www.foo.com", "www.foo.com"),
        (b"WWW.Foo.COM", "www.foo.com"),
        (b"www.foo.com:80", "www.foo.*"),
        (b"x.foo.com", "*.foo.com"),
        (b"a.b.foo.com", "*.foo.com"),
        (b"x-bar.foo.com", "*-bar.foo.com"),
        (b"-bar.foo.com", "*.foo.com"),
        (b".foo.com", "*"),
        (b"foo.com", "foo.*"),
        (b"foo.bar", "foo.b*"),
        (b"foo.b", "foo.*"),
        (b"foo.", "*"),
        (b"a.com:8443", "a.com:8443"),
        (b"a.com", "*"),
        (b"[::1]", "[::1]"),
        (b"", "*"),
    ],
)
def test_exact_then_longest_suffix_then_longest_prefix_then_any(host: bytes, domain: str) -> None:
    """The order of spec/http.md section 8.1; a wildcard never stands for nothing."""
    routes = table(*DOMAINS)
    assert chosen(routes, host) == domain
    assert chosen(routes, host) == domain, "remembered hosts give the same answer"


def test_the_order_in_the_file_does_not_matter_for_domains() -> None:
    """Only for routes it does."""
    assert chosen(table(*reversed(DOMAINS)), b"x-bar.foo.com") == "*-bar.foo.com"


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        (b"a.com:1234", "a.com"),
        (b"a.com", "a.com"),
        (b"a.com:8443", "a.com"),
        (b"a.com:", "a.com"),
        (b"[::1]:80", "[::1]"),
        (b"[::1]", "[::1]"),
    ],
)
def test_the_port_can_be_ignored(host: bytes, domain: str) -> None:
    """`ignore_port_in_host_matching`; a domain with a port then never matches."""
    assert chosen(table("a.com", "a.com:8443", "[::1]", ignore_port=True), host) == domain


@pytest.mark.parametrize("kind", [PathKind.PREFIX, PathKind.EXACT, PathKind.REGEX])
def test_the_star_of_options_has_no_route(kind: PathKind) -> None:
    """Envoy: what does not begin with a slash is no path, whatever would match it."""
    value = {PathKind.PREFIX: "", PathKind.EXACT: "*", PathKind.REGEX: ".*"}[kind]
    routes = (RouteSettings(PathMatch(kind, value), ForwardAction("c"), "any"),) * 10
    made = RouteTable(RouteConfigurationSettings("r", (VirtualHostSettings("v", ("*",), routes),)))
    assert chosen(made, b"h", b"*") is None
    assert chosen(made, b"h", b"") is None
    assert chosen(made, b"h", b"/x") == (None if kind is PathKind.EXACT else "any")


def test_no_virtual_host_is_no_route() -> None:
    """404 NR."""
    assert chosen(table("a.com"), b"b.com") is None
    assert chosen(table(), b"b.com") is None


def test_first_matching_route_wins() -> None:
    """Whatever else would match better."""
    routes = (named_route("long", "/a/b"), named_route("short", "/a"), named_route("never", "/a/b/c"))
    host = VirtualHostSettings("v", ("*",), routes)
    made = RouteTable(RouteConfigurationSettings("r", (host,)))
    assert chosen(made, b"h", b"/a/b/c") == "long"
    assert chosen(made, b"h", b"/a/x") == "short"
    assert chosen(made, b"h", b"/x") is None


def test_a_flood_of_hosts_does_not_grow_the_table() -> None:
    """The downstream chooses the host; what is remembered of it is bounded."""
    routes = table("*")
    for n in range(5000):
        assert chosen(routes, b"h%d" % n) == "*"
    assert len(routes._known) <= 1024


def test_timeouts_are_told_in_whole_milliseconds() -> None:
    """`x-envoy-expected-rq-timeout-ms`; none if there is no timeout."""
    for timeout, text in ((15.0, b"15000"), (0.0015, b"1"), (0.29, b"290"), (0.0, b"")):
        settings = RouteSettings(PathMatch(PathKind.PREFIX, "/"), ForwardAction("c", timeout_s=timeout))
        assert Route(settings).expected_timeout_ms == text


def test_direct_response_has_no_upstream() -> None:
    """It answers from the configuration."""
    settings = RouteSettings(PathMatch(PathKind.PREFIX, "/"), DirectResponseAction(200, b"x"))
    route = Route(settings)
    assert route.forward is None
    assert route.reply is not None


def test_header_may_name_the_virtual_host() -> None:
    """Its first value, in any case; without it there is none, whatever the host is (`vhost_header`)."""
    hosts = tuple(VirtualHostSettings(one, (one,), (named_route(one),)) for one in ("a.test", "*"))
    routes = RouteTable(RouteConfigurationSettings("r", hosts, vhost_header="x-vhost"))
    request = Request(b"GET", b"/", {})
    request.set_target(b"/")
    request.authority = b"a.test"
    assert routes.select_route(request) is None
    for value, name in ((b"A.Test", "a.test"), ([b"a.test", b"b.test"], "a.test"), (b"", "*")):
        request.headers[b"x-vhost"] = value
        route = routes.select_route(request)
        assert route is not None
        assert route.name == name


def test_names_that_are_too_long_for_a_host_are_not_remembered() -> None:
    """A header may hold much more than a host, and a thousand of them would be a lot."""
    hosts = (VirtualHostSettings("*", ("*",), (named_route("*"),)),)
    routes = RouteTable(RouteConfigurationSettings("r", hosts, vhost_header="x-vhost"))
    request = Request(b"GET", b"/", {})
    request.set_target(b"/")
    for size in (10, 10_000):
        request.headers[b"x-vhost"] = b"a" * size
        assert routes.select_route(request) is not None
    assert list(routes._known) == [b"a" * 10]
