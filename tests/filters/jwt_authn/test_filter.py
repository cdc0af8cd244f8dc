"""The filter: rule order, identity headers, redaction, and the whole path from wire to wire."""

import logging
from dataclasses import replace

import pytest

from fastproxy.http.messages import LocalReply
from fastproxy.match.settings import PathKind, RequestConditions
from fastproxy.router.settings import DirectResponseAction, RedirectAction, RouteUpgrade
from fastproxy.stats import StatsSink
from fastproxy.upstream.settings import ClusterSettings
from tests.filters.jwt_authn.support import (
    PAYLOAD_HEADER,
    bearer,
    denial,
    jwt_filter,
    provider,
    request,
    rule,
    token,
)
from tests.jwt.support import public_jwk
from tests.listener.support import CLUSTER, OK, Proxy, head_of, route, status_of, to_service

GOOD = token()
PAYLOAD = GOOD.split(b".")[1]
MISSING = (401, "Jwt is missing")


def test_first_matching_rule_decides() -> None:
    """An open path before a closed one is open; the other way round it is not (spec/jwt_authn.md 3.1)."""
    open_first = jwt_filter(rule("/a/open", None), rule("/a", "p"))
    assert open_first.on_request(request(b"/a/open/x")) is None
    assert denial(open_first.on_request(request(b"/a/x"))) == MISSING
    assert open_first.on_request(request(b"/b")) is None
    closed_first = jwt_filter(rule("/a", "p"), rule("/a/open", None))
    assert denial(closed_first.on_request(request(b"/a/open/x"))) == MISSING


@pytest.mark.parametrize(
    "path", [b"/admin", b"/administrator", b"/admin?x", b"/admin;x", b"/admin%2Fx", b"/admin/"]
)
def test_a_rule_covers_what_its_form_says(path: bytes) -> None:
    """spec/jwt_authn.md 5.1."""
    assert denial(jwt_filter(rule("/admin", "p")).on_request(request(path))) == MISSING


def test_the_query_is_no_part_of_the_path() -> None:
    """`/open?/admin` is `/open`, and an exact rule sees no query."""
    assert jwt_filter(rule("/admin", "p")).on_request(request(b"/x?/admin")) is None
    exact = jwt_filter(rule("/p", "p", PathKind.EXACT))
    assert denial(exact.on_request(request(b"/p?x=1"))) == MISSING


@pytest.mark.parametrize(
    "name",
    [b"x-jwt-payload", b"x_jwt_payload", b"x-jwt_payload", b"x_jwt-payload"],
)
@pytest.mark.parametrize("path", [b"/open", b"/unmatched", b"/guarded"])
def test_s46_a_forged_identity_header_is_removed_from_every_request(path: bytes, name: bytes) -> None:
    """On open, unmatched and denied paths too: an upstream that sees it believes it, in each spelling."""
    made = request(path, (name, b"forged"), (name, b"again"), (b"x-jwt-payloads", b"other"))
    jwt_filter(rule("/open", None), rule("/guarded", "p")).on_request(made)
    assert made.headers == {b"x-jwt-payloads": b"other"}


def test_s46_headers_of_unused_providers_are_removed_too() -> None:
    """All providers of the filter, used or not."""
    made = request(b"/", (b"x-a", b"forged"), (b"x-b", b"forged"))
    providers = (provider("a", forward_payload_header="X-A"), provider("b", forward_payload_header="x-b"))
    assert jwt_filter(rule("/x", "a"), providers=providers).on_request(made) is None
    assert made.headers == {}


def test_s46_the_verified_payload_replaces_the_forged_one() -> None:
    """Exactly one value is left, and it is ours."""
    made = request(b"/", (b"x-jwt-payload", b"forged"), (b"x_jwt_payload", b"forged"), bearer(GOOD))
    assert jwt_filter().on_request(made) is None
    assert made.headers == {b"x-jwt-payload": PAYLOAD}


@pytest.mark.parametrize("name", ["a", "x-jwt", "x_jwt", "a-b-c-d-e-f-g-h-i-j"])
def test_s46_the_plain_spellings_of_any_name_are_removed(name: str) -> None:
    """Also of names with many separators."""
    plain = {name.replace("_", "-"), name.replace("-", "_"), name}
    made = request(b"/", *((one.encode(), b"forged") for one in plain))
    jwt_filter(rule("/x", "p"), forward_payload_header=name).on_request(made)
    assert made.headers == {}


@pytest.mark.parametrize("path", [b"/open", b"/unmatched", b"/guarded"])
@pytest.mark.parametrize("name", [b"access_token", b"%61ccess_token", b"access%5Ftoken"])
def test_s53_a_query_token_never_reaches_the_log(path: bytes, name: bytes) -> None:
    """Whatever becomes of the request: the log is read by more people than the token is for."""
    made = request(path + b"?a=1&" + name + b"=" + GOOD + b"&b=2")
    jwt_filter(rule("/open", None), rule("/guarded", "p")).on_request(made)
    assert made.log_target == path + b"?a=1&b=2&access_token=redacted"


def test_counters() -> None:
    """spec/jwt_authn.md section 13."""
    made = jwt_filter()
    made.on_request(request())
    made.on_request(request(b"/", bearer(GOOD)))
    made.on_request(request(b"/", bearer(GOOD)))
    sink = StatsSink()
    made.write_stats(sink, "http.x.")
    assert sink.counters == {
        "http.x.jwt_authn.allowed": 2,
        "http.x.jwt_authn.denied": 1,
        "http.x.jwt_authn.denied_missing": 1,
        "http.x.jwt_authn.cors_preflight_bypassed": 0,
        "http.x.jwt_authn.jwt_cache_hit": 1,
        "http.x.jwt_authn.jwt_cache_miss": 1,
    }


# -- from wire to wire -------------------------------------------------------------------------------------


def wire(path: bytes = b"/", *headers: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join((method + b" " + path + b" HTTP/1.1", b"host: h.test", *headers, b"", b""))


AUTHORIZATION = b"authorization: Bearer " + GOOD


def test_the_denial_on_the_wire() -> None:
    """spec/jwt_authn.md 4.1, byte for byte."""
    with Proxy(filters=[jwt_filter()]) as proxy:
        proxy.send(wire(b"/x?y=1"))
        line, headers = head_of(received := proxy.take())
        assert line == b"HTTP/1.1 401 Unauthorized"
        assert headers[b"www-authenticate"] == b'Bearer realm="http://h.test/x?y=1"'
        assert headers[b"content-length"] == b"14"
        assert headers[b"content-type"] == b"text/plain"
        assert received.endswith(b"\r\n\r\nJwt is missing")
        assert not proxy.is_closed()
        assert proxy.log.lines == ["401 - jwt_authn_access_denied{Jwt_is_missing}"]


def test_the_denial_of_head_and_grpc() -> None:
    """HEAD: the same headers, no body. gRPC: status 16 in a 200, the challenge still there."""
    with Proxy(filters=[jwt_filter()]) as proxy:
        proxy.send(wire(method=b"HEAD"))
        assert (received := proxy.take()).endswith(b"\r\n\r\n")
        assert head_of(received)[1][b"content-length"] == b"14"
        proxy.send(wire(b"/", b"content-type: application/grpc", method=b"POST"))
        line, headers = head_of(proxy.take())
        assert line == b"HTTP/1.1 200 OK"
        assert headers[b"grpc-status"] == b"16"
        assert headers[b"grpc-message"] == b"Jwt is missing"
        assert b"www-authenticate" in headers


def test_a_good_token_passes_and_is_taken_out() -> None:
    """`forward: false` is the default; the payload header tells the upstream who it is."""
    with Proxy(filters=[jwt_filter()]) as proxy:
        proxy.send(wire(b"/", AUTHORIZATION))
        headers = head_of(proxy.upstream.take())[1]
        assert headers[b"x-jwt-payload"] == PAYLOAD
        assert b"authorization" not in headers
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200


@pytest.mark.parametrize(
    "nominated", [b"x-jwt-payload", b"X-JWT-Payload", b"close, x-jwt-payload", b"x_jwt_payload"]
)
def test_s46_connection_cannot_delete_what_the_filter_adds(nominated: bytes) -> None:
    """The upstream would take an authenticated request for an anonymous one."""
    with Proxy(filters=[jwt_filter()]) as proxy:
        proxy.send(wire(b"/", b"connection: " + nominated, AUTHORIZATION, b"x-jwt-payload: forged"))
        assert head_of(proxy.upstream.take())[1][b"x-jwt-payload"] == PAYLOAD


@pytest.mark.parametrize("step", [0, 1])
def test_s46_a_trailer_cannot_forge_an_identity(step: int) -> None:
    """It arrives after the filter has run (RFC 9110 section 6.5.1)."""
    body = b"2\r\nok\r\n0\r\nx-jwt-payload: forged\r\n\r\n"
    with Proxy(filters=[jwt_filter(rule("/x", "p"))]) as proxy:
        proxy.send(wire(b"/", b"transfer-encoding: chunked", method=b"POST") + body, step)
        assert b"forged" not in proxy.upstream.take()


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("name", [b"x-jwt-payload", b"X-JWT-Payload", b"x_jwt_payload", b"authorization"])
def test_s46_nor_can_a_trailer_that_is_passed_on(name: bytes, step: int) -> None:
    """Also an upstream that merges trailers into headers believes what the filter says, and nobody else."""
    body = b"2\r\nok\r\n0\r\n" + name + b": forged\r\nx-sum: 1\r\n\r\n"
    cluster = ClusterSettings(CLUSTER, enable_trailers=True)
    with Proxy(filters=[jwt_filter()], enable_trailers=True, cluster=cluster) as proxy:
        proxy.send(wire(b"/", b"transfer-encoding: chunked", AUTHORIZATION, method=b"POST") + body, step)
        sent = proxy.upstream.take()
        assert sent.endswith(b"0\r\nx-sum: 1\r\n\r\n")
        assert b"forged" not in sent


@pytest.mark.parametrize("nominated", [b"authorization", b"Authorization, close"])
def test_a_nominated_authorization_is_gone_before_the_filter(nominated: bytes) -> None:
    """Fail closed: no token, no entry."""
    with Proxy(filters=[jwt_filter()]) as proxy:
        proxy.send(wire(b"/", b"connection: " + nominated, AUTHORIZATION))
        assert status_of(proxy.take()) == 401


def test_s52_no_byte_reaches_the_upstream_before_the_verdict() -> None:
    """Neither head nor body, and no connection is taken."""
    with Proxy(filters=[jwt_filter()]) as proxy:
        proxy.send(wire(b"/", b"content-length: 5", method=b"POST") + b"hello")
        assert status_of(proxy.take()) == 401
        assert proxy.upstream.take() == b""
        assert proxy.stats().counters["cluster.service.upstream_rq_total"] == 0
        assert not proxy.is_closed()


def test_a_denied_upload_closes_unless_it_was_complete() -> None:
    """Nobody reads the rest; 100 comes first if it was asked for (Envoy)."""
    with Proxy(filters=[jwt_filter()]) as proxy:
        proxy.send(wire(b"/", b"content-length: 5", b"expect: 100-continue", method=b"POST"))
        received = proxy.take()
        assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 ")
        assert proxy.is_closed()


def test_the_filter_comes_before_every_route_action() -> None:
    """Redirects, direct responses and 404 are behind the door, too."""
    routes = [
        route("/direct", DirectResponseAction(200, b"secret")),
        route("/redirect", RedirectAction(host_redirect="inner")),
    ]
    with Proxy(routes=routes, filters=[jwt_filter()]) as proxy:
        for path in (b"/direct", b"/redirect", b"/nowhere"):
            proxy.send(wire(path))
            assert status_of(proxy.take()) == 401


def test_connect_is_denied_like_any_other_request_that_a_rule_covers() -> None:
    """spec/jwt_authn.md 4.1; its realm is empty."""
    connect = replace(
        to_service("", upgrades=(RouteUpgrade("connect"),)), conditions=RequestConditions(connect_only=True)
    )
    with Proxy(routes=[connect], filters=[jwt_filter(rule("", "p"))]) as proxy:
        proxy.send(wire(b"h.test:443", method=b"CONNECT"))
        line, headers = head_of(proxy.take())
        assert line == b"HTTP/1.1 401 Unauthorized"
        assert headers[b"www-authenticate"] == b'Bearer realm=""'
        assert proxy.is_closed()


@pytest.mark.parametrize("forward", [False, True])
def test_s53_a_query_token_is_cut_out_of_path_and_log(forward: bool) -> None:
    """`forward: true` keeps it for the upstream, and for the upstream alone."""
    log_format = "%REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH)% %REQ(AUTHORIZATION)%"
    with Proxy(
        filters=[jwt_filter(forward=forward)],
        routes=[to_service("/old", prefix_rewrite="/new")],
        log_format=log_format,
    ) as proxy:
        proxy.send(wire(b"/old?a=%26b&access_token=" + GOOD + b"&c"))
        sent = proxy.upstream.take()
        target = b"/new?a=%26b&access_token=" + GOOD + b"&c" if forward else b"/new?a=%26b&c"
        assert sent.startswith(b"GET " + target + b" HTTP/1.1\r\n")
        assert (GOOD in sent) is forward
        proxy.upstream.respond(OK)
        (line,) = proxy.log.lines
        assert GOOD.decode() not in line
        assert "access_token=redacted" in line


def test_s53_a_query_token_does_not_come_back_in_the_challenge() -> None:
    """Logs and caches of the downstream's side would keep it."""
    expired = token(exp=1)
    with Proxy(filters=[jwt_filter()]) as proxy:
        proxy.send(wire(b"/x?access_token=" + expired))
        received = proxy.take()
        assert status_of(received) == 401
        assert expired not in received


@pytest.mark.parametrize(
    "bad",
    [
        b"GET /x?access_token=%b HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"GET /x?access_token=%b HTTP/1.1\r\n\r\n",
        b"GET /x?access_token=%b HTTP/1.0\r\nhost: a\r\n\r\n",
        b"GET /x?access_token=%b HTTP/1.1\r\nhost: a b\r\n\r\n",
        b"GET /x?access_token=%b#f HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /x?access_token=%b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
    ],
    ids=["upgrade", "no-host", "http-1.0", "bad-host", "fragment", "bad-framing"],
)
def test_s53_requests_refused_before_the_filter_leave_no_token_in_the_log(bad: bytes) -> None:
    """A WebSocket that cannot set headers puts its token into the query: just those are refused early."""
    log_format = "%RESPONSE_CODE% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %REQ(:METHOD)%"
    with Proxy(filters=[jwt_filter()], log_format=log_format) as proxy:
        proxy.send(bad % GOOD)
        assert status_of(proxy.take()) >= 400
        (line,) = proxy.log.lines
        assert GOOD.decode() not in line
        assert "/x" in line


@pytest.mark.interpreted_only
def test_s56_a_failing_filter_denies(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any exception on the way to a verdict is a refusal, and is seen in the log."""
    made = jwt_filter()

    def fail(_request: object) -> LocalReply:
        raise RuntimeError("broken")

    monkeypatch.setattr(made, "on_request", fail)
    with caplog.at_level(logging.ERROR), Proxy(filters=[made]) as proxy:
        proxy.send(wire(b"/", AUTHORIZATION))
        assert status_of(proxy.take()) == 500
        assert proxy.upstream.take() == b""
    assert "the request is refused" in caplog.text
    assert GOOD.decode() not in caplog.text


def test_the_names_used_here_are_the_filter_s() -> None:
    """A change of the default header would make the tests above vacuous."""
    assert provider().forward_payload_header == PAYLOAD_HEADER
    assert public_jwk("ES256")["kid"] == "k1"
