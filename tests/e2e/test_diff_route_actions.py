"""What becomes of a routed request: rewrites, redirects, shares, copies, timeouts."""

import re

import pytest

from tests.e2e.conftest import RoutingWorld
from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import HOST_HEADER_CHECKED, REWRITTEN_PATH_ROOTED
from tests.e2e.support.proxies import RunningProxy
from tests.e2e.support.upstream import SeenRequest
from tests.e2e.support.wire import Downstream
from tests.e2e.support.wire import encode_request as req

Header = tuple[str, str]


def case(
    id_: str, target: str, *headers: Header, host: str, status: int = 200, listener: str = "plain"
) -> Case:
    """GET one target."""
    return Case(id_, (req("GET", target, *headers, host=host),), (status,), listener=listener)


REWRITES = [
    case("regex-rewrite-every-match", "/all-a/aXa?a=a", host="rewrite.test"),
    case("regex-rewrite-groups", "/swap/1/2?x", host="rewrite.test"),
    case("regex-rewrite-no-match", "/swap/1/2/3?x", host="rewrite.test"),
    Case(
        "regex-rewrite-without-slash",
        (req("GET", "/empty-matches/xx/y", host="rewrite.test"),),
        (200,),
        differs=REWRITTEN_PATH_ROOTED,
    ),
    case("regex-rewrite-empty-matches", "/slash-empty/xxy", host="rewrite.test"),
    Case(
        "host-from-header-that-is-none",
        (req("GET", "/header/x", ("x-new-host", "user@new.test"), host="rewrite.test"),),
        (200,),
        differs=HOST_HEADER_CHECKED,
    ),
    case("regex-rewrite-whole", "/whole/x?y", host="rewrite.test"),
    case("host-from-header", "/header/x", ("x-new-host", "new.test:8080"), host="rewrite.test"),
    case("host-from-absent-header", "/header/x", host="rewrite.test"),
    case("host-from-path", "/from-path/tenant/x?y", host="rewrite.test"),
    case("append-forwarded-host", "/append", host="rewrite.test:81"),
    case("append-forwarded-host-again", "/append", ("x-forwarded-host", "a.test"), host="rewrite.test"),
    case(
        "append-forwarded-host-same",
        "/append",
        ("x-forwarded-host", "a.test,rewrite.test"),
        host="rewrite.test",
    ),
    case("host-that-stays-the-same", "/same", host="rewrite.test"),
    case(
        "host-from-header-that-is-the-same", "/header/x", ("x-new-host", "rewrite.test"), host="rewrite.test"
    ),
    case("separated-prefix-rewrite", "/sep/x?y", host="rewrite.test"),
    case("separated-prefix-rewrite-whole", "/sep", host="rewrite.test"),
    case("folded-prefix-rewrite", "/fOLDED/x", host="rewrite.test"),
]
REDIRECTS = [
    case(f"redirect-{number}-{target}", target, host=host, status=301)
    for number, (target, host) in enumerate(
        [
            ("/regex/a/b?q=1", "redirect.test"),
            ("/regex-query/a?a", "redirect.test"),
            ("/whole/x?y", "redirect.test"),
            ("/path?y", "redirect.test"),
            ("/host-with-port/x", "redirect.test:80"),
            ("/port-80", "redirect.test"),
            ("/port-80", "redirect.test:80"),
            ("/https-443", "redirect.test:80"),
            ("/scheme-http", "redirect.test:80"),
            ("/scheme-HTTPS", "redirect.test:80"),
            ("/path-strip?x=y", "redirect.test"),
            ("/?x", "redirect.test"),
            ("/secure?x", "secure.test"),
            ("/secure", "secure.test:8080"),
            ("/secure", "Secure.test"),
            ("/external", "external.test"),
        ]
    )
]
TLS = [
    case("require-tls-forwarded", "/x", ("x-forwarded-proto", "https"), host="secure.test"),
    case("require-tls-external-forwarded", "/x", ("x-forwarded-proto", "https"), host="external.test"),
    case(
        "require-tls-edge",
        "/x",
        ("x-forwarded-proto", "https"),
        host="secure.test",
        status=301,
        listener="edge",
    ),
    case(
        "require-tls-claims-to-be-internal",
        "/x",
        ("x-envoy-internal", "true"),
        host="external.test",
        status=301,
    ),
]
WEIGHTED = [
    *(
        case(f"weighted-{path}-{number}", f"/{path}", ("x-pick", number), host="weighted.test")
        for path in ("by-header", "literal")
        for number in ("0", "29", "30", "99", "100", "129", "130", "18446744073709551615")
    ),
    case("weighted-by-runtime", "/runtime", host="weighted.test"),
    case("weighted-named", "/named", ("x-cluster", "echo"), host="weighted.test"),
    case("weighted-named-unknown", "/named", ("x-cluster", "nobody"), host="weighted.test", status=503),
    case("weighted-named-absent", "/named", host="weighted.test", status=503),
    case("weight-zero-is-never-chosen", "/zero", host="weighted.test"),
]
NAMED = [
    case("cluster-header", "/", ("x-cluster", "echo"), host="named.test"),
    case("cluster-header-unknown", "/", ("x-cluster", "nobody"), host="named.test", status=503),
    case("cluster-header-absent", "/", host="named.test", status=503),
    case("cluster-header-twice", "/", ("x-cluster", "echo"), ("x-cluster", "nobody"), host="named.test"),
    case("cluster-header-404", "/404", host="named.test", status=404),
    case("cluster-header-500", "/500", ("x-cluster", "nobody"), host="named.test", status=500),
]
DIRECT = [
    *(
        case(f"direct-formatted-{path}", f"/{path}?q", host="direct.test")
        for path in ("text", "around", "json", "html", "typed-by-the-route", "nothing")
    ),
    case("direct-formatted-grpc", "/around", ("content-type", "application/grpc"), host="direct.test"),
    case("direct-bytes", "/bytes", host="direct.test"),
    case("direct-empty", "/empty", host="direct.test", status=204),
    case("direct-599", "/599", host="direct.test", status=599),
    case("direct-file", "/file", host="direct.test"),
    case("direct-environment", "/environment", host="direct.test"),
]
TEMPLATES = [
    *(
        case(f"template-{number}-{target}", target, host="templates.test")
        for number, target in enumerate(
            [
                "/new/1?q=2",
                "/new/a%2Fb?",
                "/new/$&",
                "/swap/1/2/3?q",
                "/swap/1/",
                "/regex/1",
                "/one/1",
                "/one/a;b=c",
                "/one/%zz",
                "/lit/x/b",
                "/rest/",
                "/rest/a//b",
                "/ts/a/b.ts",
                "/ts/.ts",
                "/dot/a.json",
                "/in/a/2/z",
                "/v/1/",
                "/p/v1",
            ]
        )
    ),
    *(
        case(f"no-template-{number}-{target}", target, host="templates.test", status=404)
        for number, target in enumerate(
            [
                "/one/",
                "/one",
                "/one/1/2",
                "/one/1/",
                '/one/"',
                "/One/1",
                "/lit//b",
                "/rest",
                "/ts/b.tsx",
                "/dot/.json",
                "/in/b/2/z",
                "/v/1",
                "/p/v",
                "/swap/1",
            ]
        )
    ),
]
SILENT = ("x-script", "no-answer")
TIMEOUTS = [
    case("idle-timeout", "/idle", SILENT, host="timeouts.test", status=504),
    case("idle-timeout-unused", "/idle", host="timeouts.test"),
    case("max-stream-duration", "/duration", SILENT, host="timeouts.test", status=504),
    case("max-stream-duration-unused", "/duration", host="timeouts.test"),
    case("grpc-timeout", "/grpc", SILENT, ("grpc-timeout", "100m"), host="timeouts.test", status=504),
    case("grpc-timeout-capped", "/grpc", SILENT, ("grpc-timeout", "1H"), host="timeouts.test", status=504),
    case("grpc-timeout-absent", "/grpc", host="timeouts.test"),
    case("grpc-timeout-nonsense", "/grpc", ("grpc-timeout", "soon"), host="timeouts.test"),
    case("max-stream-duration-off", "/off", host="timeouts.test"),
    case("timeout-in-fractions", "/fraction", SILENT, host="timeouts.test", status=504),
    case(
        "timeout-by-untrusted-header", "/off", ("x-envoy-upstream-rq-timeout-ms", "1"), host="timeouts.test"
    ),
]


@parametrize_cases(REWRITES)
def test_rewrites(routing_pair: Pair, case: Case) -> None:
    """Path and host, and what tells of the old ones."""
    routing_pair.check(case)


@parametrize_cases(TEMPLATES)
def test_templates(routing_pair: Pair, case: Case) -> None:
    """Which paths URI templates match, and what they make of them."""
    routing_pair.check(case)


@parametrize_cases(REDIRECTS + TLS)
def test_redirects(routing_pair: Pair, case: Case) -> None:
    """Every field of a redirect, and `require_tls`."""
    routing_pair.check(case)


@parametrize_cases(WEIGHTED + NAMED)
def test_choice_of_cluster(routing_pair: Pair, case: Case) -> None:
    """`weighted_clusters` with their own settings, and `cluster_header`."""
    routing_pair.check(case)


@parametrize_cases(DIRECT)
def test_direct_responses(routing_pair: Pair, case: Case) -> None:
    """Every source of a body."""
    routing_pair.check(case)


@parametrize_cases(TIMEOUTS)
def test_timeouts(routing_pair: Pair, case: Case) -> None:
    """`idle_timeout`, `max_stream_duration` and what gRPC asks for."""
    routing_pair.check(case)


# -- cookies -----------------------------------------------------------------------------------------------

_COOKIE = re.compile(rb'sid="?([0-9a-f]+)"?(.*)')


def _cookie_of(proxy: RunningProxy, target: str, *headers: Header) -> tuple[str, bytes]:
    """The value of the cookie that the answer makes, and its attributes; empty if it makes none."""
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(req("GET", target, *headers, host="hashed.test"))
        (response,) = downstream.read_responses([b"GET"])
    assert response.status == 200
    cookies = response.values(b"set-cookie")
    if not cookies:
        return "", b""
    (cookie,) = cookies
    found = _COOKIE.fullmatch(cookie)
    assert found is not None, cookie
    return found[1].decode(), found[2]


@pytest.mark.parametrize(
    ("target", "is_made"),
    [("/", True), ("/path/x", True), ("/session", True), ("/none", False), ("/unhashed", False)],
)
def test_a_hash_cookie_is_made_for_who_has_none(routing_pair: Pair, target: str, is_made: bool) -> None:
    """With the same attributes; who brings it back gets no other one."""
    attributes = []
    for proxy in (routing_pair.envoy, routing_pair.contender):
        value, rest = _cookie_of(proxy, target)
        assert bool(value) is is_made
        attributes.append(rest)
        assert _cookie_of(proxy, target, ("cookie", f"a=b; sid={value or 'mine'}")) == ("", b"")
    assert attributes[0] == attributes[1]


# -- copies ------------------------------------------------------------------------------------------------


def _copies(world: RoutingWorld, proxy: RunningProxy, wire: bytes, count: int) -> list[SeenRequest]:
    """The copies of one request, when all of them have arrived."""
    world.copies.take_requests()
    world.pair.upstream.take_requests()
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(wire)
        (response,) = downstream.read_responses([b"GET"])
    assert response.status == 200
    world.copies.wait_until(lambda: sum(seen.complete for seen in world.copies.requests) >= count)
    return world.copies.take_requests()


def _view(seen: SeenRequest) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    varying = {b"x-request-id": b"<id>", b"x-forwarded-for": b"<addresses>"}
    headers = sorted((name.lower(), varying.get(name.lower(), value)) for name, value in seen.headers)
    return seen.request_line, headers, seen.body


@pytest.mark.parametrize(
    "wire",
    [
        req("GET", "/x?y", host="mirror.test"),
        req("GET", "/x?y", host="mirror.test:81"),
        req("POST", "/body", host="mirror.test", body=b"a" * 5000),
        req("POST", "/chunked", host="mirror.test", chunks=(b"one", b"two")),
        req("GET", "/keep-host", host="mirror.test"),
        req("GET", "/rewritten/x", host="mirror.test"),
        req("GET", "/by-header", ("x-copy-to", "copies"), host="mirror.test"),
        req("GET", "/other-host", host="mirror.test"),
        req("GET", "/changed?y", ("x-test", "1"), ("x-drop", "2"), host="mirror.test:81"),
    ],
    ids=lambda wire: re.sub(rb"[^a-z0-9/:]+", b"-", wire[:40]).decode(),
)
def test_copies_are_the_same(routing_world: RoutingWorld, wire: bytes) -> None:
    """Head and body of what the second cluster gets, but for the order of headers."""
    expected = [_view(seen) for seen in _copies(routing_world, routing_world.pair.envoy, wire, 1)]
    found = [_view(seen) for seen in _copies(routing_world, routing_world.pair.contender, wire, 1)]
    assert found == expected


@pytest.mark.parametrize(
    "wire",
    [
        req("GET", "/never", host="mirror.test"),
        req("GET", "/by-header", host="mirror.test"),
        req("GET", "/by-header", ("x-copy-to", "nobody"), host="mirror.test"),
        req("GET", "/refused", host="mirror.test"),
    ],
    ids=["fraction", "no-header", "unknown-cluster", "refused"],
)
def test_without_a_copy_the_request_is_served(routing_world: RoutingWorld, wire: bytes) -> None:
    """Whatever is the matter with the copy."""
    for proxy in (routing_world.pair.envoy, routing_world.pair.contender):
        # The copy of the second request shows that there was none of the first.
        _copies(routing_world, proxy, wire, 0)
        (seen,) = _copies(routing_world, proxy, req("GET", "/witness", host="mirror.test"), 1)
        assert seen.request_line.startswith(b"GET /witness ")
