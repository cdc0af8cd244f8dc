"""Request lines and status lines, as Envoy reads them: methods, versions, reasons (`allow_custom_methods`)."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.support.cases import CONTENDER, Case, Pair, parametrize_cases
from tests.e2e.support.differences import (
    LONG_METHODS,
    METHOD_TABLE,
    OTHER_PROTOCOL,
    QUERY_WITHOUT_TYPE,
    STATUS_LINES,
    UNKNOWN_VERSION,
    Difference,
)
from tests.e2e.support.pairs import running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, virtual_host
from tests.e2e.support.wire import encode_request as req

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
_CORS: Config = {
    "name": "cors",
    "typed_config": {"@type": f"{_FILTERS}.cors.v3.Cors"},
}
_METHOD: Config = {"name": ":method", "string_match": {"exact": "FOO"}}
_HOSTS = [
    virtual_host(
        "any",
        ["*"],
        [
            direct(
                {"prefix": "/", "headers": [{**_METHOD}, {"name": "x-own", "present_match": True}]},
                299,
                "own",
            ),
            direct({"prefix": "/direct"}, 200, "made"),
            forward({"prefix": "/retry"}, timeout="0s", retry_policy={"retry_on": "5xx"}),
            forward({"prefix": "/"}),
        ],
    )
]
_LOG = "%REQ(:METHOD)% %RESPONSE_CODE%\n"


def _template(directory: Path, ports: Ports) -> Config:
    log: Config = {
        "name": "file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(directory / str(ports["admin"])),
            "log_format": {"text_format_source": {"inline_string": _LOG}},
        },
    }
    custom: Config = {
        "http_protocol_options": {"allow_custom_methods": True, "accept_http_10": True},
        "access_log": [log],
    }
    listeners = [
        listener("custom", ports["custom"], _HOSTS, filters=[_CORS], options=custom),
        listener("plain", ports["plain"], _HOSTS, options={}),
    ]
    return bootstrap(ports["admin"], listeners, [cluster("echo", ports["upstream"])])


_NEXT = req("GET", "/next")
_TOKENS = [
    "FOO", "foo", "head", "Get", "connect", "options", "POS", "POSTS", "PRI", "DESCRIBE", "SETUP", "SOURCE", "PURGE",
    "M-SEARCH", "M!#$%&'*+-.^_`|~1", "1", "A" * 64,
]  # fmt: skip


def _custom(
    id_: str,
    *requests: bytes,
    statuses: tuple[int, ...] = (),
    differs: Difference | None = None,
    instead: tuple[int, ...] = (),
) -> Case:
    return Case(
        f"custom-{id_}",
        requests,
        statuses or (200,) * len(requests),
        listener="custom",
        any_order=True,
        differs=differs,
        fastproxy_statuses=instead,
    )


CUSTOM = [
    *(
        _custom(f"{name[:20]}-{kind}", req(name, "/x", **body), _NEXT)  # type: ignore[arg-type]  # of two kinds
        for name in _TOKENS
        for kind, body in {"bare": {}, "length": {"body": b"abc"}, "chunked": {"chunks": (b"abc",)}}.items()
    ),
    Case(
        "custom-pipelined",
        (
            req("FOO", "/1", chunks=(b"a\n\r\n", b"b")),
            req("BAR", "/2", body=b"\r\n\r\nBAZ / HTTP/1.1\r\n\r\n"),
            _NEXT,
        ),
        (200, 200, 200),
        listener="custom",
        pipelined=True,
        any_order=True,
    ),
    _custom("blank-lines", b"\r\n\r\n" + req("FOO", "/x"), b"\r\n" + req("BAR", "/x")),
    _custom("two-blanks", req("FOO", "/x").replace(b" ", b"  ", 1)),
    _custom("http-1.0", req("FOO", "/x", version="HTTP/1.0")),
    _custom("absolute", req("FOO", "http://other.test/x")),
    _custom(
        "matched", req("FOO", "/x", ("x-own", "1")), req("foo", "/x", ("x-own", "1")), statuses=(299, 200)
    ),
    _custom("direct", req("FOO", "/direct")),
    _custom("retried", req("FOO", "/retry", script="503"), statuses=(503,)),
    _custom("star", req("FOO", "*"), statuses=(400,)),
    _custom("no-host", req("FOO", "/x", host=None), statuses=(400,)),
    _custom("upgrade", req("FOO", "/x", ("connection", "upgrade"), ("upgrade", "h2c")), _NEXT),
    _custom("rtsp", req("FOO", "/x", version="RTSP/1.0"), statuses=(400,)),
    _custom("ice", req("FOO", "/x", version="ICE/1.0"), statuses=(400,)),
    *(
        _custom(f"no-token-{number}", start + b" /x HTTP/1.1\r\nHost: h.test\r\n\r\n", statuses=(400,))
        for number, start in enumerate(
            [b"F\0O", b"F(O", b"F\tO", b"\xff", b"F,O", b'F"O', b" FOO", b"F:O", b"F/O"]
        )
    ),
    _custom("long", req("A" * 65, "/x"), statuses=(200,), differs=LONG_METHODS, instead=(400,)),
    _custom(
        "query-without-type",
        req("QUERY", "/x", body=b"q"),
        statuses=(400,),
        differs=QUERY_WITHOUT_TYPE,
        instead=(200,),
    ),
    _custom("query", req("QUERY", "/x", ("content-type", "text/plain"), body=b"q")),
]

_VERSIONS = {"RTSP/1.0": 400, "ICE/1.0": 400, "ICE/1.1": 400, "HTTP/2.0": 426, "HTTP/0.9": 426}
_KNOWN = [
    "ACL",
    "LINK",
    "UNLINK",
    "REPORT",
    "MKACTIVITY",
    "SOURCE",
    "PURGE",
    "TRACE",
    "PATCH",
    "PROPFIND",
    "SEARCH",
]
KNOWN = [
    *(Case(f"known-{name}", (req(name, "/x"),), (200,), any_order=True) for name in _KNOWN),
    *(
        Case(f"unknown-{name}", (req(name, "/x"),), (400,))
        for name in ["FOO", "DESCRIBE", "FLUSH", "PRI", "foo"]
    ),
    Case("known-m-search", (req("M-SEARCH", "/x"),), (400,), differs=METHOD_TABLE, fastproxy_statuses=(200,)),
    *(
        Case(f"version-{version}", (req("GET", "/x", version=version),), (status,))
        for version, status in _VERSIONS.items()
    ),
    Case(
        "version-RTSP/1.1",
        (req("GET", "/x", version="RTSP/1.1"),),
        (400,),
        differs=OTHER_PROTOCOL,
        fastproxy_statuses=(200,),
    ),
    Case(
        "version-HTTP/3.7",
        (req("GET", "/x", version="HTTP/3.7"),),
        (426,),
        differs=UNKNOWN_VERSION,
        fastproxy_statuses=(400,),
    ),
]

_SAME = {
    "line-http-2": 200, "line-http-0.9": 200, "line-no-reason": 200, "line-reason-tab": 200, "line-reason-latin1": 200,
    "line-600": 600, "line-099": 502, "line-20": 502, "line-icy": 502, "line-lower-case": 502,
}  # fmt: skip
_DIFFERENT = {
    "line-rtsp": (502, 200, OTHER_PROTOCOL),
    "line-rtsp-1.1": (502, 200, OTHER_PROTOCOL),
    "line-ice": (502, 200, OTHER_PROTOCOL),
    "line-http-3.7": (200, 502, UNKNOWN_VERSION),
    "line-http-1.2": (200, 502, UNKNOWN_VERSION),
    "line-reason-control": (502, 200, STATUS_LINES),
    "line-reason-nul": (502, 200, STATUS_LINES),
    "line-reason-cr": (200, 502, STATUS_LINES),
    "line-2000": (2000, 502, STATUS_LINES),
    "line-two-blanks": (200, 502, STATUS_LINES),
}
STATUSES = [
    *(
        Case(name, (req("GET", "/a", script=name),), (status,), any_order=True)
        for name, status in _SAME.items()
    ),
    *(
        Case(name, (req("GET", "/a", script=name),), (theirs,), differs=differs, fastproxy_statuses=(ours,))
        for name, (theirs, ours, differs) in _DIFFERENT.items()
    ),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the logs are."""
    return tmp_path_factory.mktemp("lines")


@pytest.fixture(scope="module")
def pair(directory: Path) -> Iterator[Pair]:
    """Both proxies over both listeners."""
    with running_pair(lambda ports: _template(directory, ports), ("custom", "plain"), directory) as running:
        yield running


@parametrize_cases(CUSTOM)
def test_any_token_is_a_method_where_that_is_allowed(pair: Pair, case: Case) -> None:
    """With its body, behind others, and as it is written (RFC 9110 section 9.1)."""
    pair.check(case)


@parametrize_cases(KNOWN)
def test_s51_first_lines_of_requests(pair: Pair, case: Case) -> None:
    """What is taken without the option, and which versions."""
    pair.check(case)


@parametrize_cases(STATUSES)
def test_first_lines_of_responses(pair: Pair, case: Case) -> None:
    """Whose status and reason are not what they should be."""
    pair.check(case)


@pytest.mark.skipif(CONTENDER == "envoy", reason="its log is another file")
def test_logs_have_the_method_as_it_was_sent(pair: Pair, directory: Path) -> None:
    """And not what stands for it inside."""
    case = _custom("logged", req("LoGGed", "/direct"))
    for proxy in (pair.envoy, pair.contender):
        pair.observe(proxy, case)
        log = directory / str(proxy.ports["admin"])
        proxy.wait_until(partial(_has_line, log, "LoGGed 200"))


def _has_line(log: Path, line: str) -> bool:
    return line in log.read_text().splitlines()
