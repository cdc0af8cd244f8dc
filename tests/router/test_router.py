"""Routes that answer, rewrite or forward, through the whole data path."""

import pytest

from fastproxy.match.settings import PathKind
from fastproxy.router.settings import DirectResponseAction, ForwardAction, RedirectAction
from fastproxy.upstream.settings import Address
from tests.listener.support import CLUSTER, GET, OK, Proxy, head_of, route, status_of, to_service


def test_no_route_is_404_with_an_empty_body() -> None:
    """NR route_not_found (spec/http.md section 12)."""
    with Proxy(routes=[to_service("/a")]) as proxy:
        proxy.send(GET)
        line, headers = head_of(proxy.take())
        assert line == b"HTTP/1.1 404 Not Found"
        assert headers[b"content-length"] == b"0"
        assert b"content-type" not in headers
        assert proxy.log.lines == ["404 NR route_not_found"]
        assert proxy.stats().counters["http.ingress.no_route"] == 1


@pytest.mark.parametrize("status", [503, 404, 500])
def test_an_unknown_cluster_has_its_own_status(status: int) -> None:
    """`cluster_not_found_response_code`."""
    with Proxy(routes=[route("/", ForwardAction("other", cluster_not_found_status=status))]) as proxy:
        proxy.send(GET)
        assert status_of(proxy.take()) == status
        assert proxy.log.lines == [f"{status} NC cluster_not_found"]
        assert proxy.stats().counters["http.ingress.no_cluster"] == 1


def test_direct_response_and_its_head() -> None:
    """HEAD has the headers of GET and no body (spec/http.md sections 9.3 and 12)."""
    with Proxy(routes=[route("/", DirectResponseAction(418, b"teapot"))]) as proxy:
        proxy.send(GET)
        received = proxy.take()
        assert received.startswith(b"HTTP/1.1 418 Unknown\r\n")
        assert received.endswith(b"\r\n\r\nteapot")
        proxy.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        _line, headers = head_of(received := proxy.take())
        assert headers[b"content-length"] == b"6"
        assert headers[b"content-type"] == b"text/plain"
        assert received.endswith(b"\r\n\r\n")
        assert proxy.stats().counters["http.ingress.rq_direct_response"] == 2


def test_redirect_on_the_wire() -> None:
    """No body, no content-type."""
    with Proxy(routes=[route("/", RedirectAction(https_redirect=True))]) as proxy:
        proxy.send(b"GET /x?y HTTP/1.1\r\nhost: a:80\r\n\r\n")
        line, headers = head_of(proxy.take())
        assert line == b"HTTP/1.1 301 Moved Permanently"
        assert headers[b"location"] == b"https://a/x?y"
        assert headers[b"content-length"] == b"0"
        assert proxy.stats().counters["http.ingress.rq_redirect"] == 1


def test_rewritten_path_leaves_the_old_one_behind() -> None:
    """`x-envoy-original-path`; the log shows the old one in Envoy's default format."""
    with Proxy(
        routes=[to_service("/old/", prefix_rewrite="/")],
        log_format="%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %REQ(:PATH)%",
    ) as proxy:
        proxy.send(b"GET /old/x?q HTTP/1.1\r\nhost: a\r\n\r\n")
        line, headers = head_of(proxy.upstream.take())
        assert line == b"GET /x?q HTTP/1.1"
        assert headers[b"x-envoy-original-path"] == b"/old/x?q"
        proxy.upstream.respond(OK)
        assert proxy.log.lines == ["/old/x?q /x?q"]


def test_host_rewrites() -> None:
    """`host_rewrite_literal`, and `auto_host_rewrite` with the endpoint's name."""
    for action, host in (
        ({"host_rewrite_literal": "inner"}, b"inner"),
        ({"auto_host_rewrite": True}, b"service.example"),
    ):
        with Proxy(routes=[to_service(**action)]) as proxy:
            proxy.send(GET)
            headers = head_of(proxy.upstream.take())[1]
            assert headers[b"host"] == host
            assert headers[b"x-envoy-original-host"] == b"a"


def test_suppressed_envoy_headers() -> None:
    """`suppress_envoy_headers` of the router filter: nothing of them in either direction."""
    action = {"prefix_rewrite": "/x", "host_rewrite_literal": "inner"}
    with Proxy(routes=[to_service(**action)], suppress_envoy_headers=True) as proxy:
        proxy.send(GET)
        assert b"x-envoy" not in proxy.upstream.take()
        proxy.upstream.respond(OK)
        assert b"x-envoy" not in proxy.take()


def test_the_log_knows_cluster_endpoint_and_route() -> None:
    """What an operator looks for first."""
    with Proxy(log_format="%UPSTREAM_CLUSTER% %UPSTREAM_HOST% %ROUTE_NAME%") as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        assert proxy.log.lines == ["service 198.51.100.1:8080 -"]


def test_regex_route_never_sees_the_query() -> None:
    """Matching works on the path part."""
    with Proxy(routes=[route("/r[0-9]", ForwardAction(CLUSTER), PathKind.REGEX)]) as proxy:
        proxy.send(b"GET /x?/r1 HTTP/1.1\r\nhost: a\r\n\r\n")
        assert status_of(proxy.take()) == 404
        proxy.send(b"GET /r1?x HTTP/1.1\r\nhost: a\r\n\r\n")
        assert proxy.upstream.take().startswith(b"GET /r1?x ")


def test_auto_host_rewrite_without_a_name_changes_nothing() -> None:
    """A static endpoint has none."""
    with Proxy(routes=[to_service(auto_host_rewrite=True)], warm=False) as proxy:
        proxy.cluster.update_endpoints([Address("198.51.100.2", 80)])
        proxy.offer()
        proxy.send(GET)
        assert head_of(proxy.upstream.take())[1][b"host"] == b"a"
