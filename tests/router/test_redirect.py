"""The `redirect` action as a table (spec/http.md section 9.2)."""

from typing import Any

import pytest

from fastproxy.http.messages import Request
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.redirect import build_redirect
from fastproxy.router.settings import DirectResponseAction, RedirectAction
from tests.listener.support import Proxy, route

ROOT = PathMatch(PathKind.PREFIX, "/")


def location(
    action: RedirectAction,
    match: PathMatch = ROOT,
    *,
    host: bytes = b"h.com",
    target: bytes = b"/a/b?q=1",
    scheme: bytes = b"http",
) -> bytes:
    request = Request(b"GET", b"/", {})
    request.authority = host
    request.scheme = scheme
    request.set_target(target)
    reply = build_redirect(action, match)(request)
    assert reply.status == action.status
    assert reply.body == b""
    assert reply.details == "direct_response"
    ((name, value),) = reply.headers
    assert name == b"location"
    return value


@pytest.mark.parametrize(
    ("action", "request_", "expected"),
    [
        ({"https_redirect": True}, {}, b"https://h.com/a/b?q=1"),
        ({"https_redirect": True}, {"host": b"h.com:80"}, b"https://h.com/a/b?q=1"),
        ({"https_redirect": True}, {"host": b"h.com:8080"}, b"https://h.com:8080/a/b?q=1"),
        ({"https_redirect": True}, {"host": b"h.com:443", "scheme": b"https"}, b"https://h.com:443/a/b?q=1"),
        (
            {"https_redirect": True, "port_redirect": 8443},
            {"host": b"h.com:80"},
            b"https://h.com:8443/a/b?q=1",
        ),
        ({"https_redirect": True}, {"host": b"[::1]:80"}, b"https://[::1]/a/b?q=1"),
        ({"https_redirect": True}, {"host": b"[::1]"}, b"https://[::1]/a/b?q=1"),
        ({"scheme_redirect": "http"}, {"host": b"h.com:443", "scheme": b"https"}, b"http://h.com/a/b?q=1"),
        ({"host_redirect": "n.com"}, {"host": b"h.com:8080"}, b"http://n.com/a/b?q=1"),
        ({"host_redirect": "n.com", "port_redirect": 81}, {}, b"http://n.com:81/a/b?q=1"),
        ({"path_redirect": "/n"}, {}, b"http://h.com/n?q=1"),
        ({"path_redirect": "/n?own=1"}, {}, b"http://h.com/n?own=1"),
        ({"path_redirect": "/n", "strip_query": True}, {}, b"http://h.com/n"),
        ({"strip_query": True}, {}, b"http://h.com/a/b"),
        ({"status": 308}, {"target": b"/a"}, b"http://h.com/a"),
    ],
)
def test_location(action: dict[str, Any], request_: dict[str, bytes], expected: bytes) -> None:
    """Scheme, host, port, path and query each have their own rule."""
    assert location(RedirectAction(**action), **request_) == expected  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (PathMatch(PathKind.PREFIX, "/a"), b"http://h.com/n/b?q=1"),
        (PathMatch(PathKind.SEPARATED_PREFIX, "/a"), b"http://h.com/n/b?q=1"),
        (PathMatch(PathKind.EXACT, "/a/b"), b"http://h.com/n?q=1"),
        (PathMatch(PathKind.REGEX, "/a.*"), b"http://h.com/n?q=1"),
    ],
)
def test_prefix_rewrite_replaces_what_matched(match: PathMatch, expected: bytes) -> None:
    """As the rewrite of a forwarded path."""
    assert location(RedirectAction(prefix_rewrite="/n"), match) == expected


@pytest.mark.parametrize(
    ("status", "says"), [(200, False), (201, True), (204, False), (300, True), (307, True), (404, False)]
)
def test_a_direct_response_says_where_if_its_status_asks_for_it(status: int, says: bool) -> None:
    """The address that was asked for, as Envoy has it; a header rule may say otherwise."""
    routes = [route("/", DirectResponseAction(status))]
    with Proxy(routes=routes) as proxy:
        proxy.send(b"GET /a?b=c HTTP/1.1\r\nhost: h.test:81\r\n\r\n")
        assert (b"\r\nlocation: http://h.test:81/a?b=c\r\n" in proxy.take()) is says
