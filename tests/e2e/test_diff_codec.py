"""Heads, framing and connection headers of requests, byte for byte, as Envoy reads them."""

# ruff: noqa: E501 - tables of cases

from collections.abc import Iterator

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import (
    ABSOLUTE_QUERY,
    BARE_LF,
    CHUNK_SYNTAX,
    EMPTY_UPGRADE,
    EXPECT_WITHOUT_BODY,
    HOST_SYNTAX,
    HTTP2_SETTINGS,
    OLD_VERSIONS,
    TE_TOKENS,
    TWO_HOSTS,
    Difference,
)
from tests.e2e.support.pairs import managers_template, running_pair
from tests.e2e.support.proxies import Config
from tests.e2e.support.templates import direct, forward, virtual_host

_HEAD = b"GET /x HTTP/1.1\r\nHost: h.test\r\n"
_HOSTS = [virtual_host("any", ["*"], [direct({"prefix": "/direct"}, 200, "made"), forward({"prefix": "/"})])]
MANAGERS: dict[str, Config] = {
    "plain": {},
    "old": {"http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "default.test"}},
}


def _same(
    group: str, wires: dict[bytes, bytes], statuses: dict[bytes, int], listener: str = "plain"
) -> Iterator[Case]:
    """Cases in which both do the same; 200, unless `statuses` says otherwise."""
    for number, (text, wire) in enumerate(wires.items()):
        label = text.decode("latin-1").encode("unicode_escape").decode()[:30]
        yield Case(
            f"{group}-{number}-{label}",
            (wire,),
            (statuses.get(text, 200),),
            listener=listener,
            any_order=True,
        )


def _differs(group: str, wire: bytes, theirs: int, ours: int, difference: Difference) -> Case:
    return Case(f"differs-{group}", (wire,), (theirs,), differs=difference, fastproxy_statuses=(ours,))


# -- connection and te -----------------------------------------------------------------------------------------

_FIELDS = (
    b"x-a: 1\r\nx-b: 2\r\nx-envoy-foo: 3\r\nauthorization: z\r\ncookie: c\r\nte: trailers\r\nvia: v\r\n"
    b"user-agent: u\r\ncontent-type: t\r\nx-forwarded-port: 5\r\ntrailer: x\r\n"
)
_NOMINATED = [
    b"host", b"Host", b"x-forwarded-for", b"X-Forwarded-Host", b"x-forwarded-proto", b":path", b":method", b":",
    b"x-envoy-foo", b"content-length", b"authorization", b"cookie", b"te", b"te, close", b"connection", b"keep-alive",
    b"upgrade", b"x-request-id", b"transfer-encoding", b"x-a, x-b", b"x-a,,x-b", b"x-a;q=1", b'"x-a"', b"X-A",
    b"x-forwarded-port", b"x-a x-b", b",", b"", b"close, x-a", b"via", b"user-agent", b"content-type", b"trailer",
]  # fmt: skip
_REFUSED = dict.fromkeys(
    [
        b"host", b"Host", b"x-forwarded-for", b"X-Forwarded-Host", b"x-forwarded-proto", b":path", b":method", b":",
    ],
    400,
)  # fmt: skip
_TE = [
    b"trailers",
    b"trailers;q=0.5",
    b"deflate",
    b"trailers, deflate",
    b"deflate,trailers",
    b"trailers\r\nte: gzip",
]
_REPEATED = (
    b"accept authorization cache-control cdn-loop content-type expect grpc-timeout if-match if-none-match origin pragma "
    b"referer user-agent via x-forwarded-host x-forwarded-port x-request-id x-envoy-external-address "
    b"x-envoy-decorator-operation range date cookie accept-language forwarded x-a priority proxy-authorization traceparent "
    b"x-envoy-original-path x-envoy-attempt-count server keep-alive max-forwards grpc-status sec-websocket-key"
).split()
CONNECTION = [
    *_same("nominated", {one: _HEAD + b"Connection: " + one + b"\r\n" + _FIELDS + b"\r\n" for one in _NOMINATED}, _REFUSED),
    *_same("te", {one: _HEAD + b"TE: " + one + b"\r\n\r\n" for one in _TE}, {}),
    *_same("twice", {one: _HEAD + one + b": http://a/\r\n" + one + b": http://b/\r\n\r\n" for one in _REPEATED}, {}),
    *_same("twice-empty", {one: _HEAD + one + b":\r\n" + one + b": a\r\n\r\n" for one in _REPEATED}, {}),
]  # fmt: skip

# -- targets and hosts -----------------------------------------------------------------------------------------

_TARGETS = [
    b"http://a/x", b"http://a", b"HTTP://A/x", b"https://a/x", b"http://u:p@a/x", b"http://a:80/x", b"http://[::1]/x",
    b"//a/x", b"/%00", b"/\\x", b"/<x>", b'/x"y', b"/{x}", b"/x|y", b"/x^y", b"/x`y", b"/;x", b"/..", b"/%2e%2e/x",
    b"http://a/../x", b"hTTp://a/", b"http://a//b",
]  # fmt: skip
_BAD_TARGETS = [
    b"http://u@a@b/x", b"http:///x", b"http://", b"http:/a/x", b"http:a", b"http://a b/x", b"http://a\\b/x", b"http://a/x#f",
    b"http://a#f", b"http://a:/x", b"http://a:65536/x", b"http://*/x", b"http://a%41/x", b"http://a_b/x", b"http://a;b/x",
    b"http://[::1/x", b"http://[:::1]/x", b"ws://a/x", b"/x#f", b"/x?#", b"/x\x7f", b"/x?a=\x80", b"*", b"*/x", b"x", b"?x",
    b"a:80", b"/x y",
]  # fmt: skip
_CONNECTS = {
    b"a:80": 404, b"a:0": 404, b"[::1]:80": 404, b"a": 400, b"a:": 400, b"a:99999": 400, b"*": 400, b"/x": 400,
    b"http://a/x": 400, b":80": 400, b"u@a:80": 400, b"a_b:80": 400, b"[::1]": 400,
}  # fmt: skip
_GOOD_HOSTS = [
    b"", b"h:80", b"h:", b"h:99999", b"H.Test", b"h_h", b"[::1]", b"[::1]:80", b"h;x", b"h%41", b"h.", b"-", b"*", b"h'",
]  # fmt: skip
_BAD_HOSTS = [
    b"h h", b"h/x", b"h?x", b"h#x", b"\xe4", b"h\\x", b"h|x", b"a\tb", b"<h>", b'h"', b"{h}", b"h^", b"h`",
]  # fmt: skip


def _get(target: bytes, host: bytes = b"h.test", method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, target, host)


TARGETS = [
    *_same("target", {one: _get(one) for one in _TARGETS}, {}),
    *_same("bad-target", {one: _get(one) for one in _BAD_TARGETS}, dict.fromkeys(_BAD_TARGETS, 400)),
    *_same("connect", {one: _get(one, method=b"CONNECT") for one in _CONNECTS}, _CONNECTS),
    *_same(
        "options", {one: _get(one, method=b"OPTIONS") for one in (b"*", b"/x", b"a")}, {b"*": 404, b"a": 400}
    ),
    *_same("host", {one: _get(b"/x", one) for one in _GOOD_HOSTS}, {}),
    *_same("bad-host", {one: _get(b"/x", one) for one in _BAD_HOSTS}, dict.fromkeys(_BAD_HOSTS, 400)),
]

# -- fields and framing ----------------------------------------------------------------------------------------

_LINES = [
    b"x-a:", b"x-a: \t b\t ", b"x-a: \x80\xff", b"x-a:b", b"x!#$%&'*+-.^_`|~: b", b"x-a: b\tc", b"upgrade: websocket",
    b"x-a: a\r\nX-A: b\r\nx-a: c", b"connection: close\r\nconnection: keep-alive", b"connection: upgrade",
    b"upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: x", b"proxy-connection: keep-alive",
    b"keep-alive: 5", b"expect: other", b"referer: http://u:p@h/", b"referer: /x", b"referer: x", b"referer: http://h/a b",
    b"referer: http://h/#f", b"referer: HTTP://H/", b"referer: ftp://h/", b"referer: http://", b"referer: http://h:99999/",
]  # fmt: skip
_BAD_LINES = [
    b"x(a: b", b'x"a: b', b"x[a: b", b"x\\a: b", b"x{a: b", b"x@a: b", b"x=a: b", b"x,a: b", b"x;a: b", b"x?a: b",
    b"\xe9: b", b"x-a\t: b", b":x: b", b"x-a: b\x0bc", b"x-a: b\x1bc", b"x-a: b\x7fc",
]  # fmt: skip
_CHUNKS = [
    b"5\r\nhello\r\n0\r\n\r\n", b"00000000000000005\r\nhello\r\n0\r\n\r\n", b"5;a\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n00\r\n\r\n", b"5\r\nhello\r\n0;x\r\n\r\n",
]  # fmt: skip
_BAD_CHUNKS = [
    b"0x5\r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n",
    b"10000000000000000\r\nhello\r\n0\r\n\r\n", b"g\r\n0\r\n\r\n", b"\r\n0\r\n\r\n",
]  # fmt: skip
_CODINGS = {
    b"Chunked": 200, b" chunked ": 200, b"\tchunked": 200, b"chunked,": 501, b",chunked": 501, b"chunked;q=1": 501,
    b'"chunked"': 501, b"chunk": 501, b"identity, chunked": 501,
}  # fmt: skip
_LENGTHS = {b"5,5": 400, b"5, 5": 400, b"5.0": 400, b"5e0": 400, b"": 400, b"18446744073709551616": 400}


def _chunked(body: bytes, coding: bytes = b"chunked") -> bytes:
    return b"POST /x HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: " + coding + b"\r\n\r\n" + body


def _sized(length: bytes) -> bytes:
    return b"POST /x HTTP/1.1\r\nHost: h.test\r\nContent-Length: " + length + b"\r\n\r\nhello"


_OLD = {
    b"GET /x HTTP/1.0\r\n\r\n": 200,
    b"GET /x HTTP/1.0\r\nHost: h\r\n\r\n": 200,
    b"GET /x HTTP/1.0\r\nhost:\r\n\r\n": 200,
    b"POST /x HTTP/1.0\r\ncontent-length: 2\r\n\r\nab": 200,
    b"POST /x HTTP/1.0\r\n\r\n": 200,
    b"GET http://a/x HTTP/1.0\r\n\r\n": 200,
    b"HEAD /x HTTP/1.0\r\n\r\n": 200,
    b"OPTIONS * HTTP/1.0\r\n\r\n": 404,
    b"CONNECT a:80 HTTP/1.0\r\n\r\n": 404,
    b"GET /x HTTP/1.0\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n": 403,
    b"GET /x HTTP/1.1\r\n\r\n": 400,
}
FRAMING = [
    *_same("line", {one: _HEAD + one + b"\r\n\r\n" for one in _LINES}, {}),
    *_same(
        "bad-line", {one: _HEAD + one + b"\r\n\r\n" for one in _BAD_LINES}, dict.fromkeys(_BAD_LINES, 400)
    ),
    *_same("chunks", {one: _chunked(one) for one in _CHUNKS}, {}),
    *_same("coding", {one: _chunked(_CHUNKS[0], one) for one in _CODINGS}, _CODINGS),
    *_same("length", {one: _sized(one) for one in (b"5", b"5 ", b"05", b"0005", b"5\t")}, {}),
    *_same("bad-length", {one: _sized(one) for one in _LENGTHS}, _LENGTHS),
    *_same("old", {one: one for one in _OLD}, _OLD, "old"),
]

DIFFERENT = [
    _differs("te-case", _HEAD + b"TE: TRAILERS\r\n\r\n", 200, 200, TE_TOKENS),
    _differs("te-empty", _HEAD + b"TE:\r\n\r\n", 200, 200, TE_TOKENS),
    *(
        _differs(f"host-{number}", _get(b"/x", host), 200, 400, HOST_SYNTAX)
        for number, host in enumerate(
            [b"h:123456", b"[::1", b"[fe80::1%25eth0]", b"h:8a", b":80", b"h:80:80"]
        )
    ),
    _differs("host-twice", _HEAD + b"Host: other\r\n\r\n", 200, 400, TWO_HOSTS),
    _differs("absolute-query", _get(b"http://a?q"), 404, 200, ABSOLUTE_QUERY),
    _differs("http2-settings", _HEAD + b"http2-settings: a\r\n\r\n", 200, 200, HTTP2_SETTINGS),
    _differs("expect", _HEAD + b"expect: 100-continue\r\n\r\n", 200, 200, EXPECT_WITHOUT_BODY),
    _differs("empty-upgrade", _HEAD + b"connection: upgrade\r\nupgrade:\r\n\r\n", 403, 200, EMPTY_UPGRADE),
    *(
        _differs(f"chunk-{number}", _chunked(body), 200, 400, CHUNK_SYNTAX)
        for number, body in enumerate(
            [
                b"5 \r\nhello\r\n0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"5;a=\x01\r\nhello\r\n0\r\n\r\n",
                b'5;a="b\r\nhello\r\n0\r\n\r\n', b"5;\r\nhello\r\n0\r\n\r\n", b"5 ;a\r\nhello\r\n0\r\n\r\n",
            ]
        )
    ),
    _differs("chunk-lf", _chunked(b"5\r\nhello\n0\r\n\r\n"), 200, 400, BARE_LF),
    _differs("coding-tab", _chunked(_CHUNKS[0], b"chunked\t"), 200, 501, CHUNK_SYNTAX),
    *(
        Case(f"differs-old-{number}", (wire,), (200,), listener="old", differs=OLD_VERSIONS, fastproxy_statuses=(ours,))
        for number, (wire, ours) in enumerate(
            [
                (b"GET /x\r\n\r\n", 426),
                (b"GET /x HTTP/0.9\r\n\r\n", 426),
                (b"POST /x HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ]
        )
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies over both listeners."""
    template = managers_template(MANAGERS, _HOSTS)
    with running_pair(template, (*MANAGERS, "closed"), tmp_path_factory.mktemp("codec")) as running:
        yield running


@parametrize_cases(CONNECTION)
def test_connection_headers(pair: Pair, case: Case) -> None:
    """What is removed, what must not be, and what becomes of repeated names."""
    pair.check(case)


@parametrize_cases(TARGETS)
def test_targets_and_hosts(pair: Pair, case: Case) -> None:
    """Of every form."""
    pair.check(case)


@parametrize_cases(FRAMING)
def test_s51_fields_and_framing(pair: Pair, case: Case) -> None:
    """Two parsers that disagree are a request smuggled."""
    pair.check(case)


@parametrize_cases(DIFFERENT)
def test_what_differs_is_listed(pair: Pair, case: Case) -> None:
    """And nowhere is it laxer about where a message ends."""
    pair.check(case)
