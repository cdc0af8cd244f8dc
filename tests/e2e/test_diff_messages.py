"""Messages and their framing: the downstream and the upstream see the same through FastProxy as through Envoy."""

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import EARLY_REPLY, EXPECT_WITHOUT_BODY, PROXY_CONNECTION
from tests.e2e.support.wire import encode_request as req

_MIB = 1024 * 1024


def one(id_: str, request: bytes, status: int = 200, **more: object) -> Case:
    """A case with one request."""
    return Case(id_, (request,), (status,), **more)  # type: ignore[arg-type]  # passed on as they are


METHODS = [
    one(f"method-{method.lower()}", req(method, "/m", body=body, script=script), reaches_upstream=True)
    for method, body, script in [
        ("GET", None, "length"),
        ("HEAD", None, "head-length"),
        ("POST", b"abc", "length"),
        ("PUT", b"abc", "length"),
        ("PATCH", b"abc", "length"),
        ("DELETE", None, "length"),
        ("OPTIONS", None, "length"),
        ("TRACE", None, "length"),
        ("PROPFIND", None, "length"),
        ("REPORT", b"<x/>", "length"),
    ]
]

TARGETS = [
    one(f"target-{name}", req("GET", target), reaches_upstream=True)
    for name, target in [
        ("root", "/"),
        ("query", "/a?b=c&d=%20e&&f"),
        ("empty-query", "/a?"),
        ("only-query", "/?a"),
        ("question-in-query", "/a?b?c"),
        ("percent", "/%41%2fb%00%zz"),
        ("dots", "/a/../b/./c//d"),
        ("semicolon", "/a;b=c/d"),
        ("punctuation", "/a:@!$&'()*+,=~_-.b"),
        ("pipe-and-quotes", '/a|"b"^`{c}'),
        ("backslash", "/a\\b"),
        ("absolute", "http://other.test/abs?x=1"),
        ("absolute-no-path", "http://other.test"),
        ("absolute-port", "http://other.test:81/p"),
        ("absolute-https", "https://other.test/p"),
        ("absolute-user", "http://user:pw@other.test/p"),
        ("long", "/" + "l" * 8000),
    ]
]

REQUEST_BODIES = [
    one("body-length", req("POST", "/b", body=b"hello"), reaches_upstream=True),
    one("body-length-zero", req("POST", "/b", body=b""), reaches_upstream=True),
    one("body-none-post", req("POST", "/b"), reaches_upstream=True),
    one("body-none-put", req("PUT", "/b"), reaches_upstream=True),
    one("body-none-patch", req("PATCH", "/b"), reaches_upstream=True),
    one("body-on-get", req("GET", "/b", body=b"x=1"), reaches_upstream=True),
    one("body-on-get-zero", req("GET", "/b", body=b""), reaches_upstream=True),
    one("body-on-delete", req("DELETE", "/b", body=b"x"), reaches_upstream=True),
    one("body-on-head", req("HEAD", "/b", body=b"x", script="head-none"), reaches_upstream=True),
    one("body-chunked", req("POST", "/b", chunks=(b"hello", b" world")), reaches_upstream=True),
    one("body-chunked-empty", req("POST", "/b", chunks=()), reaches_upstream=True),
    one("body-chunked-on-get", req("GET", "/b", chunks=(b"x",)), reaches_upstream=True),
    one(
        "body-chunk-extensions",
        b"POST /b HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'3;a=b\r\nabc\r\n2;q="x y"\r\nde\r\n0\r\n\r\n',
        reaches_upstream=True,
    ),
    one(
        "body-chunk-upper-case-size",
        b"POST /b HTTP/1.1\r\nHost: h.test\r\nTransfer-Encoding: CHUNKED\r\n\r\nA\r\n0123456789\r\n00\r\n\r\n",
        reaches_upstream=True,
    ),
    one(
        "body-trailers",
        b"POST /b HTTP/1.1\r\nHost: h.test\r\nTrailer: x-late\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\nx-late: 1\r\nx-jwt-payload: eve\r\n\r\n",
        reaches_upstream=True,
    ),
    one("body-5mb", req("POST", "/b", body=bytes(5 * _MIB)), reaches_upstream=True),
    one("body-5mb-chunked", req("POST", "/b", chunks=(bytes(_MIB),) * 5), reaches_upstream=True),
    one("body-binary", req("POST", "/b", body=bytes(range(256))), reaches_upstream=True),
]

EXPECT = [
    one("expect-continue", req("POST", "/e", ("Expect", "100-continue"), body=b"abc"), reaches_upstream=True),
    one(
        "expect-continue-case",
        req("POST", "/e", ("Expect", "100-Continue"), body=b"abc"),
        reaches_upstream=True,
    ),
    one("expect-continue-no-body", req("GET", "/e", ("Expect", "100-continue")), differs=EXPECT_WITHOUT_BODY),
    one("expect-other", req("POST", "/e", ("Expect", "miracles"), body=b"abc"), reaches_upstream=True),
]

_ANSWERS: list[tuple[str, int]] = [
    ("length", 200), ("chunked", 200), ("chunked-trailers", 200), ("chunked-empty", 200), ("chunked-pieces", 200),
    ("empty", 200), ("until-close", 200), ("until-close-10", 200), ("http10-length", 200), ("says-close", 200),
    ("204", 204), ("204-length-zero", 204), ("304", 304), ("304-length", 304), ("201", 201), ("302", 302),
    ("401", 401), ("404", 404), ("500", 500), ("503", 503), ("299-odd-reason", 299), ("999", 999), ("no-reason", 200),
    ("100-first", 200), ("103-first", 200), ("two-1xx-first", 200), ("hop-by-hop", 200), ("many-headers", 200),
    ("own-server-date", 200), ("latin1-value", 200), ("gzip-body", 200), ("bytes-after", 200),
    ("5mb", 200), ("5mb-until-close", 200), ("5mb-chunked", 200),
]  # fmt: skip
ANSWERS = [
    one(f"answer-{script}", req("GET", "/a", script=script), status, reaches_upstream=True)
    for script, status in _ANSWERS
]

HEADS = [
    one(f"head-{script}", req("HEAD", "/h", script=script), status, reaches_upstream=True)
    for script, status in [
        ("head-length", 200),
        ("head-chunked", 200),
        ("head-none", 200),
        ("304", 304),
        ("204", 204),
    ]
]

_PING = req("GET", "/ping")
CONNECTIONS = [
    Case("keep-alive", (_PING, _PING, _PING), (200, 200, 200)),
    Case("keep-alive-after-post", (req("POST", "/p", body=b"abc"), _PING), (200, 200)),
    Case("keep-alive-after-chunked", (req("POST", "/p", chunks=(b"abc",)), _PING), (200, 200)),
    Case("keep-alive-after-head", (req("HEAD", "/p", script="head-length"), _PING), (200, 200)),
    Case("keep-alive-after-204", (req("GET", "/p", script="204"), _PING), (204, 200)),
    Case("keep-alive-after-304", (req("GET", "/p", script="304-length"), _PING), (304, 200)),
    Case("keep-alive-after-close-delimited", (req("GET", "/p", script="until-close"), _PING), (200, 200)),
    Case("keep-alive-after-upstream-close", (req("GET", "/p", script="says-close"), _PING), (200, 200)),
    Case("keep-alive-after-404", (req("GET", "/x", host="sparse.test"), _PING), (404, 200)),
    Case("keep-alive-after-direct", (req("GET", "/direct/418"), _PING), (418, 200)),
    Case("keep-alive-after-503", (req("GET", "/refused"), _PING), (503, 200)),
    Case("keep-alive-after-502", (req("GET", "/p", script="garbage"), _PING), (502, 200)),
    Case(
        "keep-alive-after-expect",
        (req("POST", "/p", ("Expect", "100-continue"), body=b"a"), _PING),
        (200, 200),
    ),
    Case("connection-close", (req("GET", "/p", ("Connection", "close")),), (200,)),
    Case("connection-close-upper-case", (req("GET", "/p", ("Connection", "CLOSE")),), (200,)),
    Case("connection-close-in-list", (req("GET", "/p", ("Connection", "x-a, close")),), (200,)),
    Case("connection-close-on-local-reply", (req("GET", "/direct/418", ("Connection", "close")),), (418,)),
    Case("connection-keep-alive", (req("GET", "/p", ("Connection", "keep-alive")), _PING), (200, 200)),
    Case(
        "proxy-connection-close",
        (req("GET", "/p", ("Proxy-Connection", "close")),),
        (200,),
        differs=PROXY_CONNECTION,
    ),
    Case(
        "pipelined",
        (_PING, req("GET", "/2", script="chunked"), req("GET", "/3", script="404")),
        (200, 200, 404),
        pipelined=True,
    ),
    Case(
        "pipelined-posts",
        (req("POST", "/1", body=b"abc"), req("POST", "/2", chunks=(b"x", b"y")), _PING),
        (200, 200, 200),
        pipelined=True,
    ),
    Case(
        "pipelined-local",
        (req("GET", "/direct/418"), _PING, req("GET", "/direct/503")),
        (418, 200, 503),
        pipelined=True,
    ),
    Case(
        "pipelined-then-close", (_PING, req("GET", "/2", ("Connection", "close"))), (200, 200), pipelined=True
    ),
    Case(
        "pipelined-after-head", (req("HEAD", "/1", script="head-length"), _PING), (200, 200), pipelined=True
    ),
    Case("pipelined-40", (_PING,) * 40, (200,) * 40, pipelined=True),
    Case("blank-lines-before-request", (b"\r\n\r\n" + _PING,), (200,)),
    Case("blank-line-between-requests", (_PING, b"\r\n" + _PING), (200, 200)),
]

EARLY = [
    one("early-direct-response", req("POST", "/direct/418", body=b"abc"), 418, differs=EARLY_REPLY),
    one("early-404", req("POST", "/x", host="sparse.test", body=b"abc"), 404, differs=EARLY_REPLY),
]

HTTP10 = [
    one("http10-refused", req("GET", "/", version="HTTP/1.0"), 426, reaches_upstream=False),
    one("http10-refused-post", req("POST", "/", body=b"a", version="HTTP/1.0"), 426, reaches_upstream=False),
    one("http09", b"GET /\r\n\r\n", 426, reaches_upstream=False),
    one("http10-accepted", req("GET", "/", version="HTTP/1.0"), listener="tolerant", reaches_upstream=True),
    one("http10-chunked-answer", req("GET", "/", version="HTTP/1.0", script="chunked"), listener="tolerant"),
    one("http10-until-close", req("GET", "/", version="HTTP/1.0", script="until-close"), listener="tolerant"),
    one("http10-length", req("GET", "/", version="HTTP/1.0", script="length"), listener="tolerant"),
    one("http10-no-host", req("GET", "/", host=None, version="HTTP/1.0"), listener="tolerant"),
    one(
        "http10-post",
        req("POST", "/", body=b"abc", version="HTTP/1.0"),
        listener="tolerant",
        reaches_upstream=True,
    ),
    one("http10-head", req("HEAD", "/", version="HTTP/1.0", script="head-length"), listener="tolerant"),
    one("http10-local-reply", req("GET", "/direct/418", version="HTTP/1.0"), 418, listener="tolerant"),
    Case(
        "http10-keep-alive",
        (req("GET", "/", ("Connection", "keep-alive"), version="HTTP/1.0"), _PING),
        (200, 200),
        listener="tolerant",
    ),
]


@parametrize_cases([*METHODS, *TARGETS])
def test_methods_and_targets(http_pair: Pair, case: Case) -> None:
    """An upstream must see the request that the downstream made."""
    http_pair.check(case)


@parametrize_cases([*REQUEST_BODIES, *EXPECT, *EARLY])
def test_request_bodies(http_pair: Pair, case: Case) -> None:
    """Bodies arrive whole and framed as they were sent, with nothing after them."""
    http_pair.check(case)


@parametrize_cases([*ANSWERS, *HEADS])
def test_answers(http_pair: Pair, case: Case) -> None:
    """Every way an upstream may frame an answer reaches the downstream as Envoy would send it."""
    http_pair.check(case)


@parametrize_cases(CONNECTIONS)
def test_connections(http_pair: Pair, case: Case) -> None:
    """Persistent connections and pipelining: the next request is never lost, mixed up or answered twice."""
    http_pair.check(case)


@parametrize_cases(HTTP10)
def test_http_1_0(http_pair: Pair, case: Case) -> None:
    """HTTP/1.0 is refused unless `accept_http_10` is set, and then answered in its own terms."""
    http_pair.check(case)
