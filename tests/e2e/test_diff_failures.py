"""Upstreams that fail and downstreams that talk nonsense: the same status, body and end of the connection."""

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import (
    BARE_CR,
    BARE_LF,
    HOST_WITH_USER_INFO,
    OBS_FOLD,
    TWO_HOSTS,
    UNKNOWN_VERSION,
)
from tests.e2e.support.wire import encode_request as req


def upstream_case(
    script: str, status: int, *, path: str = "/f", method: str = "GET", body: bytes | None = None
) -> Case:
    """One request to an upstream that fails as `script` says."""
    return Case(
        f"{script}-{method.lower()}{path.replace('/', '-')}",
        (req(method, path, script=script, body=body),),
        (status,),
    )


UPSTREAM = [
    upstream_case("close-at-once", 503),
    upstream_case("reset-at-once", 503),
    upstream_case("close-at-once", 503, method="POST", body=b"abc"),
    upstream_case("close-at-once", 503, method="HEAD"),
    upstream_case("half-head", 502),
    upstream_case("garbage", 502),
    upstream_case("garbage", 502, method="HEAD"),
    upstream_case("bad-status-line", 502),
    upstream_case("bad-header-name", 502),
    upstream_case("nul-in-value", 502),
    upstream_case("length-and-chunked", 502),
    upstream_case("two-lengths", 502),
    upstream_case("bad-length", 502),
    upstream_case("bad-coding", 502),
    upstream_case("body-after-204", 502),
    upstream_case("too-many-headers", 502),
    upstream_case("short-body", 200),
    upstream_case("short-chunk", 200),
    upstream_case("no-last-chunk", 200),
    upstream_case("bad-chunk", 200),
    upstream_case("no-answer", 504, path="/short"),
    upstream_case("no-answer", 504, path="/short", method="POST", body=b"abc"),
    upstream_case("no-answer", 504, path="/short", method="HEAD"),
    upstream_case("body-then-silence", 200, path="/short"),
    Case("refused", (req("GET", "/refused"),), (503,)),
    Case("refused-post", (req("POST", "/refused", body=b"abc"),), (503,)),
    Case("refused-head", (req("HEAD", "/refused"),), (503,)),
    Case("no-endpoint", (req("GET", "/nobody"),), (503,)),
    Case("no-timeout-header-when-off", (req("GET", "/endless"),), (200,)),
    Case("short-timeout-header", (req("GET", "/short", script="length"),), (200,)),
    Case(
        "after-a-short-body-the-connection-ends",
        (req("GET", "/f", script="short-body"), req("GET", "/")),
        (200,),
    ),
    Case("quiet-504", (req("GET", "/short", script="no-answer"),), (504,), listener="quiet"),
    Case("quiet-200", (req("GET", "/rewrite/x", script="length"),), (200,), listener="quiet"),
    Case("quiet-502", (req("GET", "/", script="garbage"),), (502,), listener="quiet"),
]


def raw(id_: str, wire: bytes, status: int = 400, **more: object) -> Case:
    """Bytes that no well-behaved client sends."""
    return Case(id_, (wire,), (status,), reaches_upstream=status == 200, **more)  # type: ignore[arg-type]  # passed on as they are


_HEAD = b"GET / HTTP/1.1\r\nHost: h.test\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: h.test\r\n"
DOWNSTREAM = [
    raw("no-host", b"GET / HTTP/1.1\r\n\r\n"),
    raw("empty-host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 200),
    raw("two-hosts", _HEAD + b"Host: other.test\r\n\r\n", 200, differs=TWO_HOSTS, fastproxy_statuses=(400,)),
    raw("host-with-slash", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    raw("host-with-space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    raw(
        "host-with-at",
        b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        200,
        differs=HOST_WITH_USER_INFO,
        fastproxy_statuses=(400,),
    ),
    raw("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    raw("no-target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("two-spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    raw("space-in-target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("control-in-target", b"GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("non-ascii-target", b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("relative-target", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("other-scheme", b"GET ftp://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("lower-case-method", b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("unknown-method", b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("method-with-colon", b"G:T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    raw("lower-case-version", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    raw(
        "version-1.2",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        426,
        differs=UNKNOWN_VERSION,
        fastproxy_statuses=(400,),
    ),
    raw("version-2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 426),
    raw("rtsp", b"GET / RTSP/1.0\r\nHost: a\r\n\r\n"),
    raw("rtsp-method", b"DESCRIBE / RTSP/1.0\r\nHost: a\r\n\r\n"),
    raw("ice", b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n"),
    raw("version-9", b"GET / HTTP/9\r\nHost: a\r\n\r\n"),
    raw("space-before-colon", _HEAD + b"X-A : b\r\n\r\n"),
    raw("space-before-name", _HEAD + b" X-A: b\r\n\r\n"),
    raw("no-colon", _HEAD + b"X-A\r\n\r\n"),
    raw("empty-name", _HEAD + b": b\r\n\r\n"),
    raw("name-with-space", _HEAD + b"X A: b\r\n\r\n"),
    raw("name-with-nul", _HEAD + b"X\x00A: b\r\n\r\n"),
    raw("name-with-slash", _HEAD + b"X/A: b\r\n\r\n"),
    raw("name-not-ascii", _HEAD + b"X-\xe9: b\r\n\r\n"),
    raw("value-with-nul", _HEAD + b"X-A: b\x00c\r\n\r\n"),
    raw("value-with-control", _HEAD + b"X-A: b\x01c\r\n\r\n"),
    raw("value-with-del", _HEAD + b"X-A: b\x7fc\r\n\r\n"),
    raw("bare-lf", b"GET / HTTP/1.1\nHost: h.test\n\n", 200, differs=BARE_LF, fastproxy_statuses=(400,)),
    raw(
        "bare-lf-in-headers",
        _HEAD + b"X-A: b\nX-B: c\r\n\r\n",
        200,
        differs=BARE_LF,
        fastproxy_statuses=(400,),
    ),
    raw("obs-fold", _HEAD + b"X-A: b\r\n c\r\n\r\n", 200, differs=OBS_FOLD, fastproxy_statuses=(400,)),
    raw("obs-fold-tab", _HEAD + b"X-A: b\r\n\tc\r\n\r\n", 200, differs=OBS_FOLD, fastproxy_statuses=(400,)),
    raw("bare-cr-in-value", _HEAD + b"X-A: b\rc\r\n\r\n", 200, differs=BARE_CR, fastproxy_statuses=(400,)),
    raw("length-and-chunked", _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    raw("chunked-and-length", _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    raw("two-lengths-equal", _POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    raw("two-lengths", _POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    raw("length-list", _POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    raw("length-plus", _POST + b"Content-Length: +3\r\n\r\nabc"),
    raw("length-negative", _POST + b"Content-Length: -3\r\n\r\nabc"),
    raw("length-hex", _POST + b"Content-Length: 0x3\r\n\r\nabc"),
    raw("length-empty", _POST + b"Content-Length:\r\n\r\nabc"),
    raw("length-overflow", _POST + b"Content-Length: 18446744073709551617\r\n\r\na"),
    raw("length-with-space", _POST + b"Content-Length: 1 2\r\n\r\nabc"),
    raw("coding-gzip-chunked", _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    raw(
        "coding-chunked-gzip",
        _POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        501,
    ),
    raw("coding-identity", _POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    raw("coding-xchunked", _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    raw(
        "coding-twice",
        _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    raw(
        "coding-chunked-chunked",
        _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    raw("headers-too-large", _HEAD + b"X-A: " + b"v" * 61440 + b"\r\n\r\n", 431),
    raw(
        "many-large-headers",
        _HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"v" * 1000) for n in range(70)) + b"\r\n",
        431,
    ),
    raw("target-too-large", b"GET /" + b"a" * 61440 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
    raw("headers-just-fit", _HEAD + b"X-A: " + b"v" * 60000 + b"\r\n\r\n", 200),
    raw("100-headers", _HEAD + b"".join(b"X-%d: v\r\n" % n for n in range(99)) + b"\r\n", 200),
    raw("101-headers", _HEAD + b"".join(b"X-%d: v\r\n" % n for n in range(100)) + b"\r\n", 431),
    raw("tight-headers-too-large", _HEAD + b"X-A: " + b"v" * 2048 + b"\r\n\r\n", 431, listener="tight"),
    raw("tight-headers-fit", _HEAD + b"X-A: " + b"v" * 1800 + b"\r\n\r\n", 200, listener="tight"),
    raw(
        "tight-10-headers",
        _HEAD + b"".join(b"X-%d: v\r\n" % n for n in range(9)) + b"\r\n",
        200,
        listener="tight",
    ),
    raw(
        "tight-11-headers",
        _HEAD + b"".join(b"X-%d: v\r\n" % n for n in range(10)) + b"\r\n",
        431,
        listener="tight",
    ),
    Case("good-then-bad", (req("GET", "/1"), b"BAD\r\n\r\n"), (200, 400)),
    Case(
        "good-then-bad-pipelined",
        (req("GET", "/1"), b"BAD\r\n\r\n"),
        (200, 400),
        pipelined=True,
    ),
    Case("half-a-head-then-fin", (b"GET / HTTP/1.1\r\nHost: a\r\n",), (), half_close=True),
    Case("nothing-then-fin", (b"",), (), half_close=True),
]


@parametrize_cases(UPSTREAM)
def test_upstream_failures(http_pair: Pair, case: Case) -> None:
    """An operator who knows Envoy's 502, 503 and 504 knows FastProxy's."""
    # On a connection that served somebody before, some of these failures are worth another try (`stale-connection`).
    http_pair.upstream.close_connections()
    http_pair.upstream.wait_until(lambda: not http_pair.upstream.open_connections)
    http_pair.check(case)


@parametrize_cases(DOWNSTREAM)
def test_malformed_requests(http_pair: Pair, case: Case) -> None:
    """What Envoy refuses FastProxy refuses too, in the same words; where it is stricter the case says why (S51)."""
    http_pair.check(case)
