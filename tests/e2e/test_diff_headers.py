"""Request headers on their way to the upstream: removed, kept, joined, added and trusted as Envoy does."""

import pytest

from tests.e2e.support.cases import CONTENDER, Case, Pair, parametrize_cases
from tests.e2e.support.differences import FORWARDED_PROTO_CHECKED, HEADER_ORDER, HTTP2_SETTINGS, Difference
from tests.e2e.support.wire import Downstream
from tests.e2e.support.wire import encode_request as req

_TRUST_HEADERS = (
    ("x-forwarded-for", "203.0.113.5, 198.51.100.7"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "my-own-id"),
    ("x-envoy-external-address", "203.0.113.9"),
    ("x-envoy-internal", "true"),
    ("x-envoy-decorator-operation", "op"),
    ("x-envoy-downstream-service-cluster", "c"),
    ("x-envoy-downstream-service-node", "n"),
    ("x-envoy-original-path", "/forged"),
    ("x-envoy-original-host", "forged.test"),
    ("x-envoy-upstream-rq-timeout-ms", "1"),
    ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
    ("x-envoy-upstream-rq-timeout-alt-response", "204"),
    ("x-envoy-max-retries", "9"),
    ("x-envoy-retry-on", "5xx"),
    ("x-envoy-retry-grpc-on", "cancelled"),
    ("x-envoy-retriable-status-codes", "503"),
    ("x-envoy-retriable-header-names", "a"),
    ("x-envoy-hedge-on-per-try-timeout", "true"),
    ("x-envoy-expected-rq-timeout-ms", "1"),
    ("x-envoy-force-trace", "1"),
    ("x-envoy-ip-tags", "a"),
    ("x-envoy-upstream-alt-stat-name", "a"),
    ("x-envoy-original-url", "/a"),
    ("x-envoy-unknown-name", "kept"),
    ("x-forwarded-host", "kept.test"),
    ("x-forwarded-port", "444"),
    ("x-forwarded-client-cert", "By=forged"),
)


def case(
    id_: str,
    *headers: tuple[str, str],
    listener: str = "plain",
    status: int = 200,
    method: str = "GET",
    differs: Difference | None = None,
) -> Case:
    """One request with these headers."""
    return Case(
        id_,
        (req(method, "/h", *headers),),
        (status,),
        listener=listener,
        reaches_upstream=status == 200,
        differs=differs,
        order_only=differs is HEADER_ORDER,
    )


#: On these listeners the proxy replaces what the downstream sent.
_REPLACED = {
    **{(listener, "forwarded-proto"): HEADER_ORDER for listener in ("edge", "tight")},
    **{(listener, "forwarded-proto-garbage"): HEADER_ORDER for listener in ("edge", "tight")},
    **{
        (listener, name): HEADER_ORDER
        for listener in ("edge", "hops")
        for name in ("request-id", "request-id-uuid")
    },
    ("hops", "forwarded-proto-garbage"): FORWARDED_PROTO_CHECKED,
}


PASSING = [
    case("no-headers"),
    case(
        "user-agent-and-accept", ("User-Agent", "curl/8"), ("Accept", "*/*"), ("Accept-Encoding", "gzip, br")
    ),
    case("mixed-case-names", ("X-CamelCase", "Value"), ("AUTHORIZATION", "Basic eDp5")),
    case("order-is-kept", ("z-last", "1"), ("a-first", "2"), ("m-middle", "3")),
    case("duplicates-stay-lines", ("x-a", "1"), ("x-b", "2"), ("x-a", "3"), differs=HEADER_ORDER),
    case("duplicate-accept-is-joined", ("accept", "a/b"), ("x-b", "2"), ("accept", "c/d")),
    case("duplicate-authorization-is-joined", ("authorization", "a"), ("authorization", "b")),
    case("duplicate-cookie-stays", ("cookie", "a=1"), ("cookie", "b=2")),
    case("duplicate-user-agent", ("user-agent", "a"), ("user-agent", "b")),
    case("duplicate-via-and-origin", ("via", "1.1 a"), ("via", "1.1 b"), ("origin", "a"), ("origin", "b")),
    case("duplicate-forwarded", ("forwarded", "for=a"), ("forwarded", "for=b")),
    case("duplicate-content-type", ("content-type", "a/b"), ("content-type", "c/d")),
    case("empty-value", ("x-empty", ""), ("accept", "")),
    case("white-space-around-value", ("x-pad", "  a b\t")),
    case("latin-1-value", ("x-latin", "caf\xe9")),
    case("long-value", ("x-long", "v" * 20000)),
    case("underscore-name", ("x_under_score", "1")),
    case("token-characters-in-name", ("x!#$%&'*+.^`|~", "1")),
    case("ninety-headers", *((f"x-{number}", "v") for number in range(90))),
    case("cookie-and-referer", ("cookie", "a=b; c=d"), ("referer", "http://a.test/x?y")),
    case("referer-with-user-info", ("referer", "http://user@a.test/x")),
    case("referer-relative", ("referer", "/x")),
    case("proxy-authorization", ("proxy-authorization", "Basic eDp5")),
    case("via-is-kept", ("via", "1.1 edge")),
    case(
        "range-and-conditions", ("range", "bytes=0-1"), ("if-none-match", '"a"'), ("if-modified-since", "x")
    ),
    case("upgrade-insecure-requests", ("upgrade-insecure-requests", "1")),
    case("trailer-header", ("trailer", "x-a")),
    case("max-forwards", ("max-forwards", "3")),
    case("grpc-timeout", ("grpc-timeout", "1S")),
    case("x-b3", ("x-b3-traceid", "1"), ("traceparent", "00-0-0-0")),
]

HOP_BY_HOP = [
    case("connection-keep-alive", ("connection", "keep-alive"), ("keep-alive", "timeout=9")),
    case("proxy-connection", ("proxy-connection", "keep-alive")),
    case("connection-names-a-header", ("connection", "x-secret"), ("x-secret", "1"), ("x-other", "2")),
    case("connection-names-several", ("connection", "x-a, X-B"), ("x-a", "1"), ("x-b", "2"), ("x-c", "3")),
    case("connection-names-authorization", ("connection", "authorization"), ("authorization", "Basic eDp5")),
    case("connection-names-cookie", ("connection", "cookie"), ("cookie", "a=b")),
    case("connection-names-absent", ("connection", "x-absent")),
    case("connection-twice", ("connection", "x-a"), ("connection", "x-b"), ("x-a", "1"), ("x-b", "2")),
    case("connection-names-host", ("connection", "host"), status=400),
    case("connection-names-forwarded-for", ("connection", "x-forwarded-for"), status=400),
    case("connection-names-forwarded-proto", ("connection", "x-forwarded-proto"), status=400),
    case("connection-names-forwarded-host", ("connection", "x-forwarded-host"), status=400),
    case("connection-names-pseudo-header", ("connection", ":path"), status=400),
    case("connection-names-request-id", ("connection", "x-request-id"), ("x-request-id", "mine")),
    case("connection-names-envoy-header", ("connection", "x-envoy-unknown"), ("x-envoy-unknown", "1")),
    case("te-trailers", ("te", "trailers")),
    case("te-trailers-and-more", ("te", "trailers, deflate")),
    case("te-deflate", ("te", "deflate")),
    case("te-nominated", ("te", "trailers"), ("connection", "te")),
    case("upgrade-without-connection", ("upgrade", "websocket")),
    case(
        "upgrade-h2c",
        ("connection", "Upgrade, HTTP2-Settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
    ),
    case("upgrade-websocket-not-enabled", ("connection", "upgrade"), ("upgrade", "websocket"), status=403),
    case("http2-settings-alone", ("http2-settings", "AAMAAABk"), differs=HTTP2_SETTINGS),
]

TRUST = [
    case(f"trust-{listener}-{name}", *headers, listener=listener, differs=_REPLACED.get((listener, name)))
    for listener in ("plain", "edge", "hops", "quiet", "tight")
    for name, headers in [
        ("nothing", ()),
        ("forwarded-for", (("x-forwarded-for", "203.0.113.5"),)),
        ("forwarded-for-list", (("x-forwarded-for", "203.0.113.5,198.51.100.7"),)),
        ("forwarded-for-twice", (("x-forwarded-for", "203.0.113.5"), ("x-forwarded-for", "198.51.100.7"))),
        ("forwarded-for-garbage", (("x-forwarded-for", "unknown"),)),
        ("forwarded-proto", (("x-forwarded-proto", "https"),)),
        ("forwarded-proto-garbage", (("x-forwarded-proto", "gopher"),)),
        ("request-id", (("x-request-id", "my-own-id"),)),
        ("request-id-uuid", (("x-request-id", "7b0dd2a0-0b7b-4d5c-9d8b-2a3b4c5d6e7f"),)),
    ]
] + [
    case(f"trust-all-{name.removeprefix('x-')}-{listener}", (name, value), listener=listener)
    for listener in ("plain", "edge", "hops")
    for name, value in _TRUST_HEADERS
    if name not in {"x-forwarded-for", "x-forwarded-proto", "x-request-id"}
]

BODYLESS = [
    case(f"length-zero-is-added-{method.lower()}", method=method)
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
]


@parametrize_cases(PASSING)
def test_end_to_end_headers_pass(http_pair: Pair, case: Case) -> None:
    """Headers that are not the proxy's business arrive as Envoy would deliver them, in the same order."""
    http_pair.check(case)


@parametrize_cases(HOP_BY_HOP)
def test_hop_by_hop_headers_end_here(http_pair: Pair, case: Case) -> None:
    """A header for this hop must not steer the next (RFC 9110 section 7.6.1)."""
    http_pair.check(case)


@parametrize_cases([*TRUST, *BODYLESS])
def test_forwarding_headers(http_pair: Pair, case: Case) -> None:
    """What an upstream may believe depends on `use_remote_address` and trusted hops, exactly as in Envoy."""
    http_pair.check(case)


@pytest.mark.skipif(CONTENDER == "envoy", reason="states the difference itself")
def test_forwarded_for_names_the_real_peer(http_pair: Pair) -> None:
    """The listed difference `x-forwarded-for`: FastProxy names the peer, Envoy a neighbour, when the peer is local."""
    request = Case("xff", (req("GET", "/", ("x-forwarded-for", "203.0.113.5")),), (200,), listener="edge")
    with Downstream(http_pair.contender.ports["edge"]) as downstream:
        downstream.send(request.requests[0])
        assert downstream.read_response().status == 200

    (seen,) = http_pair.upstream.take_requests()

    assert seen.values(b"x-forwarded-for") == [b"203.0.113.5,127.0.0.1"]


@pytest.mark.skipif(CONTENDER == "envoy", reason="states the difference itself")
def test_server_header_names_the_product(http_pair: Pair) -> None:
    """The listed difference `server`: the default is `fastproxy`; with `server_name` both say the same."""
    found = []
    for proxy in (http_pair.envoy, http_pair.contender):
        with Downstream(proxy.ports["plain"]) as downstream:
            downstream.send(req("GET", "/direct/418"))
            found.append(downstream.read_response().value(b"server"))

    assert found == [b"envoy", b"fastproxy"]
