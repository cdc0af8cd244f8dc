"""The configuration and the upstream's answers behind the differential tests of plain HTTP."""

from tests.e2e.support.proxies import Config, ConfigTemplate, Ports
from tests.e2e.support.templates import bootstrap, cluster, direct, forward, listener, redirect, virtual_host
from tests.e2e.support.upstream import After, Answer

HTTP_LISTENERS = ("plain", "edge", "hops", "tolerant", "quiet", "tight", "closed")

_OK = b"HTTP/1.1 200 OK\r\n"


def _plain(head: bytes, body: bytes = b"", after: After = After.KEEP) -> Answer:
    return Answer((head + b"\r\n" + body,), after)


#: Answers by the value of `x-script`.
SCRIPTS: dict[str, Answer] = {
    "length": _plain(_OK + b"content-length: 5\r\ncontent-type: text/x\r\n", b"hello"),
    "chunked": _plain(_OK + b"transfer-encoding: chunked\r\n", b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"),
    "chunked-trailers": _plain(
        _OK + b"transfer-encoding: chunked\r\n",
        b"2\r\nhi\r\n0\r\nx-trailer: late\r\nx-jwt-payload: eve\r\n\r\n",
    ),
    "chunked-empty": _plain(_OK + b"transfer-encoding: chunked\r\n", b"0\r\n\r\n"),
    "chunked-pieces": Answer(
        (_OK + b"transfer-encoding: chunked\r\n\r\n", b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n")
    ),
    "empty": _plain(_OK + b"content-length: 0\r\n"),
    "until-close": _plain(_OK, b"until the end", After.CLOSE),
    "until-close-10": _plain(b"HTTP/1.0 200 OK\r\n", b"old", After.CLOSE),
    "http10-length": _plain(b"HTTP/1.0 200 Fine\r\ncontent-length: 3\r\n", b"old", After.CLOSE),
    "says-close": _plain(_OK + b"connection: close\r\ncontent-length: 2\r\n", b"ok", After.CLOSE),
    "204": _plain(b"HTTP/1.1 204 No Content\r\n"),
    "204-length-zero": _plain(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n"),
    "304": _plain(b'HTTP/1.1 304 Not Modified\r\netag: "a"\r\n'),
    "304-length": _plain(b'HTTP/1.1 304 Not Modified\r\ncontent-length: 17\r\netag: "a"\r\n'),
    "head-length": _plain(_OK + b"content-length: 12345\r\n"),
    "head-chunked": _plain(_OK + b"transfer-encoding: chunked\r\n"),
    "head-none": _plain(_OK),
    "201": _plain(b"HTTP/1.1 201 Created\r\nlocation: /new\r\ncontent-length: 0\r\n"),
    "302": _plain(b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere.test/x?y\r\ncontent-length: 0\r\n"),
    "401": _plain(
        b'HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm="up"\r\ncontent-length: 2\r\n', b"no"
    ),
    "404": _plain(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n", b"gone"),
    "500": _plain(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n", b"oops"),
    "503": _plain(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 0\r\n"),
    **{
        f"line-{name}": _plain(line + b"\r\ncontent-length: 2\r\n", b"ok")
        for name, line in {
            "rtsp": b"RTSP/1.0 200 OK",
            "rtsp-1.1": b"RTSP/1.1 200 OK",
            "ice": b"ICE/1.0 200 OK",
            "icy": b"ICY 200 OK",
            "http-2": b"HTTP/2.0 200 OK",
            "http-0.9": b"HTTP/0.9 200 OK",
            "http-1.2": b"HTTP/1.2 200 OK",
            "http-3.7": b"HTTP/3.7 200 OK",
            "lower-case": b"http/1.1 200 OK",
            "no-reason": b"HTTP/1.1 200",
            "reason-tab": b"HTTP/1.1 200 O\tK",
            "reason-latin1": b"HTTP/1.1 200 O\xe9K",
            "reason-control": b"HTTP/1.1 200 O\x01K",
            "reason-nul": b"HTTP/1.1 200 O\x00K",
            "reason-cr": b"HTTP/1.1 200 O\rK",
            "20": b"HTTP/1.1 20 OK",
            "099": b"HTTP/1.1 099 OK",
            "600": b"HTTP/1.1 600 OK",
            "2000": b"HTTP/1.1 2000 OK",
            "two-blanks": b"HTTP/1.1  200 OK",
        }.items()
    },
    "299-odd-reason": _plain(b"HTTP/1.1 299 Rather Odd\r\ncontent-length: 0\r\n"),
    "999": _plain(b"HTTP/1.1 999 Unheard\r\ncontent-length: 0\r\n"),
    "no-reason": _plain(b"HTTP/1.1 200 \r\ncontent-length: 0\r\n"),
    "100-first": Answer((b"HTTP/1.1 100 Continue\r\n\r\n", _OK + b"content-length: 2\r\n\r\nok")),
    "103-first": Answer(
        (b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + _OK + b"content-length: 2\r\n\r\nok",)
    ),
    "two-1xx-first": Answer(
        (
            b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
            + _OK
            + b"content-length: 2\r\n\r\nok",
        )
    ),
    "cors": _plain(
        _OK + b"access-control-allow-origin: up\r\naccess-control-allow-credentials: up\r\n"
        b"access-control-expose-headers: up\r\nvary: x\r\ncontent-length: 2\r\n",
        b"ok",
    ),
    "hop-by-hop": _plain(
        _OK + b"connection: keep-alive, x-named\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n"
        b"x-named: stays\r\nupgrade: h2c\r\ncontent-length: 2\r\n",
        b"ok",
    ),
    "many-headers": _plain(
        _OK + b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Twice: 1\r\nX-Twice: 2\r\nVary: a\r\nVary: b\r\n"
        b"Cache-Control: no-store\r\nCache-Control: private\r\ncontent-length: 2\r\n",
        b"ok",
    ),
    "own-server-date": _plain(
        _OK
        + b"server: mine\r\ndate: Tue, 15 Nov 1994 08:12:31 GMT\r\nx-envoy-upstream-service-time: 99999\r\n"
        b"x-envoy-custom: kept\r\nvia: 1.1 up\r\ncontent-length: 2\r\n",
        b"ok",
    ),
    "latin1-value": _plain(_OK + b"x-latin: caf\xe9\r\ncontent-length: 2\r\n", b"ok"),
    "gzip-body": _plain(_OK + b"content-encoding: gzip\r\ncontent-length: 4\r\n", b"\x1f\x8b\x00\xff"),
    "no-answer": Answer((), After.HANG),
    "half-head": Answer((b"HTTP/1.1 200 OK\r\ncontent-",), After.CLOSE),
    "close-at-once": Answer((), After.CLOSE),
    "reset-at-once": Answer((), After.RESET),
    "close-before-body": Answer((), After.CLOSE, before_body=True),
    "short-body": _plain(_OK + b"content-length: 10\r\n", b"short", After.CLOSE),
    "short-chunk": _plain(_OK + b"transfer-encoding: chunked\r\n", b"a\r\nshort", After.CLOSE),
    "no-last-chunk": _plain(_OK + b"transfer-encoding: chunked\r\n", b"5\r\nshort\r\n", After.CLOSE),
    "bad-chunk": _plain(_OK + b"transfer-encoding: chunked\r\n", b"5\r\nhello\r\nzz\r\n", After.CLOSE),
    "body-then-silence": Answer((_OK + b"content-length: 10\r\n\r\nshort",), After.HANG),
    "garbage": Answer((b"SSH-2.0-OpenSSH\r\n",), After.CLOSE),
    "bad-status-line": _plain(b"HTTP/1.1 abc OK\r\n", b"", After.CLOSE),
    "bad-header-name": _plain(_OK + b"bad name: x\r\ncontent-length: 0\r\n", b"", After.CLOSE),
    "nul-in-value": _plain(_OK + b"x-nul: a\x00b\r\ncontent-length: 0\r\n", b"", After.CLOSE),
    "length-and-chunked": _plain(
        _OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n", After.CLOSE
    ),
    "two-lengths": _plain(_OK + b"content-length: 2\r\ncontent-length: 3\r\n", b"ok", After.CLOSE),
    "bad-length": _plain(_OK + b"content-length: -1\r\n", b"", After.CLOSE),
    "bad-coding": _plain(_OK + b"transfer-encoding: gzip\r\n", b"", After.CLOSE),
    "body-after-204": _plain(b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n", b"ok", After.CLOSE),
    "too-many-headers": _plain(_OK + b"x-a: b\r\n" * 101 + b"content-length: 0\r\n", b"", After.CLOSE),
    "early-401": Answer((b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno",), before_body=True),
    "5mb": Answer((_OK + b"content-length: 5242880\r\n\r\n",), zeros=5 * 1024 * 1024),
    "5mb-until-close": Answer((_OK + b"\r\n",), After.CLOSE, zeros=5 * 1024 * 1024),
    "5mb-chunked": Answer(
        (
            _OK + b"transfer-encoding: chunked\r\n\r\n",
            *([b"10000\r\n" + bytes(65536) + b"\r\n"] * 80),
            b"0\r\n\r\n",
        )
    ),
    "503-come-later": _plain(
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 2\r\n", b"no"
    ),
    "switch": Answer(
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi",),
        After.HANG,
    ),
    "slow-200": Answer(delay_s=0.8),
    "head-then-silence": Answer((_OK + b"content-length: 10\r\n\r\n",), After.HANG),
    "early-and-silent": Answer((_OK + b"content-length: 10\r\n\r\nshort",), After.HANG, before_body=True),
    "hints-then-silence": Answer((b"HTTP/1.1 103 Early Hints\r\n\r\n",), After.HANG),
    "bytes-after": _plain(_OK + b"content-length: 2\r\n", b"okEXTRA", After.CLOSE),
}


def http_template(upstream_port: int) -> ConfigTemplate:
    """The file: one route table under several listeners, each with other options of the connection manager."""

    def template(ports: Ports) -> Config:
        hosts = _virtual_hosts()
        edge = {"use_remote_address": True}
        tolerant = {
            "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "ten.test"},
            "normalize_path": True,
            "merge_slashes": True,
        }
        quiet = {**edge, "server_name": "quiet-name", "generate_request_id": False, "skip_xff_append": True}
        tight = {
            "max_request_headers_kb": 2,
            "common_http_protocol_options": {"max_headers_count": 10},
            "preserve_external_request_id": True,
            **edge,
        }
        listeners = [
            listener("plain", ports["plain"], hosts),
            listener("edge", ports["edge"], hosts, options=edge),
            listener("hops", ports["hops"], hosts, options={**edge, "xff_num_trusted_hops": 1}),
            listener("tolerant", ports["tolerant"], hosts, options=tolerant),
            listener("quiet", ports["quiet"], hosts, options=quiet, router={"suppress_envoy_headers": True}),
            listener("tight", ports["tight"], hosts, options=tight),
        ]
        clusters = [
            cluster("echo", upstream_port),
            # Nobody listens there: it is the number of a port that was reserved and never opened.
            cluster("refused", ports["closed"]),
            {"name": "nobody", "type": "STATIC", "connect_timeout": "1s"},
        ]
        return bootstrap(ports["admin"], listeners, clusters)

    return template


def _virtual_hosts() -> list[Config]:
    tagged = {"exact": "one.test", "suffix": "*.wild.test", "longer": "*.deep.wild.test", "prefix": "pre.*"}
    hosts = [
        virtual_host(name, [domain], [direct({"prefix": "/"}, 200, name)]) for name, domain in tagged.items()
    ]
    hosts.append(virtual_host("dash", ["*-x.wild.test"], [direct({"prefix": "/"}, 200, "dash")]))
    hosts.append(virtual_host("port", ["ported.test:8443"], [direct({"prefix": "/"}, 200, "port")]))
    hosts.append(
        virtual_host(
            "several", ["a.several.test", "B.several.test"], [direct({"prefix": "/"}, 200, "several")]
        )
    )
    hosts.append(virtual_host("sparse", ["sparse.test"], [direct({"path": "/only"}, 200, "only")]))
    hosts.append(
        virtual_host("redirects", ["redirect.test", "redirect.test:80", "redirect.test:8080"], _redirects())
    )
    hosts.append(
        virtual_host("secure", ["secure.test:443"], [redirect({"prefix": "/"}, scheme_redirect="http")])
    )
    hosts.append(virtual_host("any", ["*"], _routes()))
    return hosts


def _redirects() -> list[Config]:
    return [
        redirect({"prefix": "/https"}, https_redirect=True),
        redirect({"prefix": "/host"}, host_redirect="new.test"),
        redirect({"prefix": "/port"}, port_redirect=9000),
        redirect({"prefix": "/hostport"}, host_redirect="new.test", port_redirect=9000),
        redirect({"prefix": "/path-keep"}, path_redirect="/moved"),
        redirect({"prefix": "/path-own"}, path_redirect="/moved?own=1"),
        redirect({"prefix": "/prefix/"}, prefix_rewrite="/new/"),
        redirect({"prefix": "/strip"}, strip_query=True, host_redirect="new.test"),
        redirect({"prefix": "/scheme"}, scheme_redirect="ftp"),
        redirect({"prefix": "/302"}, path_redirect="/x", response_code="FOUND"),
        redirect({"prefix": "/303"}, path_redirect="/x", response_code="SEE_OTHER"),
        redirect({"prefix": "/307"}, path_redirect="/x", response_code="TEMPORARY_REDIRECT"),
        redirect({"prefix": "/308"}, path_redirect="/x", response_code="PERMANENT_REDIRECT"),
        redirect({"prefix": "/all"}, https_redirect=True, host_redirect="new.test", path_redirect="/moved"),
    ]


def _routes() -> list[Config]:
    return [
        direct({"path": "/exact"}, 200, "exact"),
        direct({"path": "/Folded", "case_sensitive": False}, 200, "folded path"),
        direct({"prefix": "/FOLD/", "case_sensitive": False}, 200, "folded prefix"),
        direct({"safe_regex": {"regex": "/item/[0-9]+(/[a-z]*)?"}}, 200, "regex"),
        direct({"path_separated_prefix": "/sep/v1"}, 200, "separated"),
        direct({"prefix": "/direct/empty"}, 200),
        direct({"prefix": "/direct/418"}, 418, "teapot"),
        direct({"prefix": "/direct/204"}, 204),
        direct({"prefix": "/direct/503"}, 503, "closed for today"),
        forward({"prefix": "/short"}, timeout="0.2s"),
        forward({"prefix": "/endless"}, timeout="0s"),
        forward({"prefix": "/refused"}, "refused"),
        forward({"prefix": "/nobody"}, "nobody"),
        forward({"prefix": "/rewrite/"}, prefix_rewrite="/"),
        forward({"prefix": "/slashless"}, prefix_rewrite="/"),
        forward({"path": "/one-path"}, prefix_rewrite="/other-path"),
        forward({"safe_regex": {"regex": "/re/.*"}}, prefix_rewrite="/whole"),
        forward({"prefix": "/host"}, host_rewrite_literal="rewritten.test"),
        forward({"prefix": "/both/"}, host_rewrite_literal="rewritten.test:99", prefix_rewrite="/b/"),
        forward({"prefix": "/auto"}, auto_host_rewrite=True),
        forward({"prefix": "/"}),
    ]
