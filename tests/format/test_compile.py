"""Access log formats: operators, types, redaction, and errors when they are compiled."""

import json
import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy import clock
from fastproxy.format.compile import (
    DEFAULT_FORMAT,
    compile_body,
    compile_header_value,
    compile_json,
    compile_path,
    compile_text,
)
from fastproxy.format.context import FormatContext
from fastproxy.format.operators import KNOWN_OPERATORS
from fastproxy.format.redaction import REDACTED, redact_tokens
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from tests.listener.support import NOW


def finished(**changes: Any) -> Request:
    headers: HeaderMap = {
        b"user-agent": b"agent",
        b"authorization": b"Bearer SECRET",
        b"cookie": [b"a=SECRET", b"b=SECRET"],
        b"x-request-id": b"id",
        b"x-many": [b"one", b"two"],
    }
    request = Request(b"GET", b"/", headers, ConnectionInfo(("192.0.2.7", 4711), ("2001:db8::1", 443)))
    request.set_target(b"/new?q=1")
    request.authority = b"h.test"
    request.start_unix = NOW + 0.1239
    request.start_monotonic = 100.0
    request.response_status = 200
    request.response_headers = {b"x-envoy-upstream-service-time": b"7", b"set-cookie": b"SECRET"}
    request.bytes_received, request.bytes_sent = 5, 9
    request.details = "via_upstream"
    request.upstream_host = "198.51.100.1:80"
    for name, value in changes.items():
        setattr(request, name, value)
    return request


def context(request: Request | None = None) -> FormatContext:
    return FormatContext(request or finished(), 100.25)


def text(template: str, request: Request | None = None) -> str:
    return compile_text(template)(context(request))


def header(template: str, request: Request | None = None) -> bytes | None:
    """What a header value formats to; None if it is not sent."""
    value = compile_header_value(template)
    return value if isinstance(value, bytes) else value(context(request))


def test_the_default_line_is_envoys() -> None:
    """Log analysers are written for it (spec/http.md section 14)."""
    assert text(DEFAULT_FORMAT) == (
        '[2023-11-14T22:13:20.123Z] "GET /new?q=1 HTTP/1.1" 200 - 5 9 250 7 "-" "agent" "id" "h.test" '
        '"198.51.100.1:80"\n'
    )


def test_the_default_line_of_an_unreadable_request() -> None:
    """Dashes, not empty fields; the protocol is that of the listener (spec/http.md section 5)."""
    request = Request(b"", b"", {})
    request.response_status, request.flags, request.start_monotonic = 400, "DPE", 100.25
    line = compile_text(DEFAULT_FORMAT)(context(request))
    assert line == '[1970-01-01T00:00:00.000Z] "- - HTTP/1.1" 400 DPE 0 0 0 - "-" "-" "-" "-" "-"\n'


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("%%", "%"),
        ("100%% of %PROTOCOL%", "100% of HTTP/1.1"),
        ("%REQ(User-Agent)%", "agent"),
        ("%REQ(X-NONE)%", "-"),
        ("%REQ(X-NONE?USER-AGENT)%", "agent"),
        ("%REQ(USER-AGENT):3%", "age"),
        ("%REQ(x-many)%", "one"),
        ("%REQ(:PATH)%", "/new?q=1"),
        ("%REQ(:AUTHORITY)%", "h.test"),
        ("%REQ(HOST)%", "h.test"),
        ("%REQ(:SCHEME)%", "http"),
        ("%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "7"),
        ("%START_TIME(%s)%", str(NOW)),
        ("%START_TIME(%Y/%m %3f %6f %9f)%", "2023/11 123 123900 123900000"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "192.0.2.7:4711"),
        ("%DOWNSTREAM_LOCAL_ADDRESS%", "[2001:db8::1]:443"),
        ("%DOWNSTREAM_LOCAL_PORT%", "443"),
        ("%UPSTREAM_CLUSTER%", "-"),
        ("%RESPONSE_CODE_DETAILS%", "via_upstream"),
        ('%COALESCE({"operators": [{"command": "REQ", "param": "x-none"}, "PROTOCOL"]}):4%', "HTTP"),
        ("%STREAM_ID%", "id"),
        ("%RESPONSE_FLAGS_LONG%", "-"),
        ("%GRPC_STATUS%", "-"),
        ("%PATH(WQ)% %PATH(NQ)%", "/new?q=1 /new"),
        ("%PATH(WQ:ORIG)%", "-"),
        ("%QUERY_PARAM(q)% %QUERY_PARAM(none)%", "1 -"),
        ("%QUERY_PARAMS% %QUERY_PARAMS(DECODED):2%", "q=1 q="),
        ("%PATH%", "/new?q=1"),
        ("%TRAILER(x-a)%", "-"),
        ("%RESP(:STATUS)%", "200"),
        ("%DOWNSTREAM_REMOTE_PORT% %DOWNSTREAM_DIRECT_REMOTE_PORT%", "4711 4711"),
        ("%METADATA(DYNAMIC:a:b)%", "-"),
        ("<%LOCAL_REPLY_BODY%>", "<>"),
        ("", ""),
    ],
)
def test_operators(template: str, expected: str) -> None:
    """spec/http.md section 10."""
    assert text(template) == expected


def test_a_client_behind_a_proxy_has_no_known_port() -> None:
    """Only the direct peer's port is known."""
    request = finished(remote_address=("203.0.113.1", 0))
    assert text("%DOWNSTREAM_REMOTE_ADDRESS%", request) == "203.0.113.1:0"
    assert text("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", request) == "192.0.2.7"


@pytest.mark.parametrize(
    "template",
    [
        "%REQ(AUTHORIZATION)%", "%REQ(Cookie)%", "%RESP(Set-Cookie)%", "%REQ(X-NONE?AUTHORIZATION)%",
        "%REQ(AUTHORIZATION):5%", "%REQ(COOKIE?AUTHORIZATION)%",
    ],
)  # fmt: skip
def test_s53_credentials_are_never_written(template: str) -> None:
    """Whatever the format asks for."""
    assert "SECRET" not in text(template)
    assert "SECR" not in text(template)
    assert text(template).startswith("[reda")
    assert "SECR" not in compile_json({"x": template, "y": f"mixed {template}"})(context())


def test_s53_a_redacted_target_hides_both_paths() -> None:
    """Also the one before a rewrite."""
    request = finished(log_target=b"/x?access_token=redacted", original_path=b"/old?access_token=SECRET")
    request.set_target(b"/new?access_token=SECRET")
    line = text("%REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH)%", request)
    assert "SECRET" not in line


def test_s54_foreign_bytes_are_escaped() -> None:
    """No byte of a peer makes the line invalid UTF-8."""
    request = finished(headers={b"user-agent": b"\xff\xfe\xc3\xa9"})
    assert text("%REQ(USER-AGENT)%", request) == "\\xff\\xfeé"


def test_dynamic_metadata() -> None:
    """Strings as they are, the rest as compact JSON with sorted keys."""
    request = finished(dynamic_metadata={"ns": {"p": {"sub": "demo", "n": 1, "o": {"b": 1, "a": [2]}}}})
    assert text("%DYNAMIC_METADATA(ns:p:sub)%", request) == "demo"
    assert text("%DYNAMIC_METADATA(ns:p:o)%", request) == '{"a":[2],"b":1}'
    assert text("%DYNAMIC_METADATA(ns:p:n)%", request) == "1"
    for path in ("ns:p:none", "other", "ns:p:sub:deeper"):
        assert text(f"%DYNAMIC_METADATA({path})%", request) == "-"
    assert text("%DYNAMIC_METADATA(ns)%") == "-"


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read once, when the format is compiled."""
    monkeypatch.setenv("POD", "pod-1")
    monkeypatch.delenv("NO_POD", raising=False)
    assert text("%ENVIRONMENT(POD)% %ENVIRONMENT(NO_POD)%") == "pod-1 -"


def test_json_keeps_types_and_sorts_keys() -> None:
    """A lone operator keeps its type, missing is null, mixed text is a string (spec/http.md section 14)."""
    template: dict[str, Any] = {
        "z": "%RESPONSE_CODE%",
        "a": {"n": 7, "t": True, "l": ["%DURATION%", "x"]},
        "missing": "%REQ(X-NONE)%",
        "mixed": "%RESPONSE_CODE% %REQ(X-NONE)%",
        "quote": '"\\<>',
    }
    line = compile_json(template)(context())
    assert line.endswith("\n")
    assert list(json.loads(line)) == sorted(template)
    assert json.loads(line) == {
        "a": {"n": 7, "t": True, "l": [250, "x"]},
        "missing": None,
        "mixed": "200 -",
        "quote": '"\\<>',
        "z": 200,
    }
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("%NOPE%", "unknown operator %NOPE%"),
        ("%nope%", "lone %"),
        ("100%", "lone %"),
        ("% %", "lone %"),
        ("%REQ%", "needs an argument"),
        ("%REQ()%", "needs an argument"),
        ("%PROTOCOL(x)%", "takes no argument"),
        ("%REQ(a", "lone %"),
        ("%DYNAMIC_METADATA%", "needs an argument"),
        (
            "%METADATA(UPSTREAM:a:b)%",
            "kinds are DYNAMIC, ROUTE, VIRTUAL_HOST, CLUSTER, UPSTREAM_HOST, LISTENER",
        ),
        ("%PROTOCOL:3%", "takes no length"),
        ("%START_TIME(%s):3%", "takes no length"),
        ("%UPSTREAM_METADATA(a:b):3%", "takes no length"),
        ("%CLUSTER_METADATA(a:b):3%", "takes no length"),
        ("%GRPC_STATUS:1%", "takes no length"),
        ("%COMMON_DURATION%", "takes two of DS_RX_BEG"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_RX_END:s)%", "ms, us or ns"),
        ("%COMMON_DURATION(DS_RX_BEG:US_CX_BEG)%", "takes two of DS_RX_BEG"),
        ("%FILTER_STATE(a)%", "is not supported: filters leave metadata"),
        ("%CEL(request.path)%", "is not supported: there are no CEL expressions"),
        ("%TLS_JA3_FINGERPRINT%", "is not supported: no fingerprints"),
        ("%METADATA(ROUTE)%", "needs a namespace"),
        ("%CLUSTER_METADATA%", "needs an argument"),
        ("%PATH(XX)%", "takes WQ or NQ"),
        ("%QUERY_PARAMS(RAW)%", "takes ORIG or DECODED"),
        ("%GRPC_STATUS(SHORT)%", "takes CAMEL_STRING, SNAKE_STRING or NUMBER"),
        ("%REQ(a?b?c)%", "at most one other"),
        ("%DYNAMIC_METADATA([1])%", "JSON array of strings"),
    ],
)
def test_a_wrong_format_is_an_error_when_it_is_compiled(template: str, message: str) -> None:
    """Not at the first request: nothing is silently ignored."""
    with pytest.raises(ValueError, match=message):
        compile_text(template)
    with pytest.raises(ValueError, match=message):
        compile_json({"x": [template]})


@pytest.mark.parametrize("name", sorted(KNOWN_OPERATORS))
def test_every_known_operator_works_on_any_request(name: str) -> None:
    """Also on one that could not be read."""
    arguments = {
        "METADATA": "(DYNAMIC:a)",
        "PATH": "(NQ)",
        "COALESCE": '({"operators": ["PROTOCOL"]})',
        "COMMON_DURATION": "(DS_RX_BEG:DS_TX_END)",
    }
    takes_one = {
        "REQ",
        "RESP",
        "TRAILER",
        "QUERY_PARAM",
        "ENVIRONMENT",
        "DYNAMIC_METADATA",
        "CLUSTER_METADATA",
    }
    takes_one = takes_one | {"UPSTREAM_METADATA"}
    argument = arguments.get(name, "(a)" if name in takes_one else "")
    unreadable = Request(b"", b"", {}, ConnectionInfo(("192.0.2.7", 1), ("192.0.2.7", 1)))
    for request in (finished(), unreadable):
        assert text(f"<%{name}{argument}%>", request)
        assert isinstance(header(f"<%{name}{argument}%>", request), bytes)
        assert json.loads(compile_json({"x": f"%{name}{argument}%"})(context(request))).keys() == {"x"}


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("%f|%1f|%8f|%9f", "123900000|1|12390000|123900000"),
        ("%E3S|%E*S|%E12S", "20.123|20.1239|20.123900000000"),
        ("%E3f|%E*f", "123|1239"),
        ("%E4Y%Ez%E*z%:z%::z%z", "2023+00:00+00:00:00+00:00+00:00:00+0000"),
        ("%s%3f|%s%%3f", f"{NOW}123|{NOW}%3f"),
        ("%T|%F|%j|%a-%b", "22:13:20|2023-11-14|318|Tue-Nov"),
    ],
)
def test_a_time_has_every_form_of_envoy(template: str, written: str) -> None:
    """Beyond `strftime`: fractions of any length, and offsets with a colon."""
    assert text(f"%START_TIME({template})%") == written


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("a=1&q=x+y%2Bz&q=2", "q", "x+y+z"),
        ("q=&q=2", "q", ""),
        ("q", "q", ""),
        ("%71=yes", "q", "yes"),
        ("q=%zz%4", "q", "%zz%4"),
        ("q=%0d%0aevil", "q", "\\r\\nevil"),
        ("other=1", "q", "-"),
    ],
)
def test_a_query_parameter_is_decoded(query: str, name: str, value: str) -> None:
    """As in Envoy; what would end a line of the log is escaped (S54)."""
    request = finished()
    request.set_target(b"/x?" + query.encode())
    assert text(f"%QUERY_PARAM({name})%", request) == value


def test_a_decoded_query_parameter_cannot_split_a_header() -> None:
    """The downstream chooses it (S47)."""
    request = finished()
    request.set_target(b"/x?q=a%0d%0ax-user:%20eve&u=%c3%bc")
    assert compile_header_value("%QUERY_PARAM(q)%")(context(request)) is None  # type: ignore[operator]  # no literal
    assert header("%QUERY_PARAM(u)%", request) == b"UTF-8''%C3%BC"
    assert text("%QUERY_PARAMS(DECODED)%", request) == "q=a%0d%0ax-user:%20eve&u=%c3%bc"


def test_a_connect_request_has_no_path() -> None:
    """What stands in its place is the authority."""
    request = Request(b"CONNECT", b"a.test:1", {})
    assert text("%REQ(:PATH)% %PATH% %PATH(NQ)% %QUERY_PARAMS%", request) == "- - - -"


@given(st.text(st.sampled_from(string.ascii_uppercase + "%():?_1 "), max_size=25))
def test_any_format_compiles_or_is_a_value_error(template: str) -> None:
    """And what compiles can be written."""
    try:
        line = compile_text(template)
    except ValueError:
        return
    assert isinstance(line(context()), str)


@given(st.text(st.characters(exclude_characters="%"), max_size=25))
def test_text_without_operators_is_itself(template: str) -> None:
    """Nothing else is special."""
    assert text(template) == template


def test_a_rewritten_path_has_an_original() -> None:
    """`ORIG_OR_PATH` is what `%PATH%` means without a choice."""
    request = finished(original_path=b"/old?q=0")
    assert text("%PATH(WQ)% %PATH(NQ:ORIG)% %PATH(NQ:PATH)%", request) == "/old?q=0 /old /new"


@pytest.mark.parametrize(
    ("slot", "operator"),
    [
        ("route_metadata", "METADATA(ROUTE:"),
        ("host_metadata", "METADATA(VIRTUAL_HOST:"),
        ("cluster_metadata", "METADATA(CLUSTER:"),
        ("upstream_metadata", "METADATA(UPSTREAM_HOST:"),
        ("cluster_metadata", "CLUSTER_METADATA("),
        ("upstream_metadata", "UPSTREAM_METADATA("),
    ],
)
def test_metadata_of_the_configuration(slot: str, operator: str) -> None:
    """Each operator reads its own; what is missing is written as for every operator."""
    request = finished(**{slot: {"n": {"s": "x", "b": True, "i": 3, "o": {"z": 1, "a": [2]}}}})
    written = text(f"%{operator}n:s)% %{operator}n:b)% %{operator}n:i)% %{operator}n:o)%", request)
    assert written == 'x true 3 {"a":[2],"z":1}'
    assert text(f'%{operator}["n","s"])%', request) == "x"
    assert text(f"%{operator}n:none)%", request) == text(f"%{operator}n:s)%", finished()) == "-"
    assert header(f"%{operator}n:none)%", request) == b""
    assert json.loads(compile_json({"x": f"%{operator}none)%"})(context(request))) == {"x": None}


def test_metadata_takes_the_older_argument() -> None:
    """A JSON array: what files from before the colons have."""
    request = finished(dynamic_metadata={"ns": {"p": {"sub": "demo"}}})
    assert text('%DYNAMIC_METADATA(["ns","p","sub"])%', request) == "demo"
    assert text("%METADATA(DYNAMIC:ns:p:sub)%", request) == "demo"


TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2ln"


@pytest.mark.parametrize(
    "template",
    [
        "%REQ(x-own)%",
        "%REQ(:PATH)%",
        "%PATH(WQ)%",
        "%QUERY_PARAM(t)%",
        "%RESP(x-own)%",
        "%DYNAMIC_METADATA(n:t)%",
    ],
)
def test_s53_a_token_is_not_written_wherever_it_stands(template: str) -> None:
    """A provider may take tokens from any header or parameter; a log must not repeat them."""
    request = finished(
        headers={b"x-own": b"Bearer " + TOKEN.encode()},
        response_headers={b"x-own": TOKEN.encode()},
        dynamic_metadata={"n": {"t": TOKEN}},
    )
    request.set_target(b"/a?t=" + TOKEN.encode())
    for written in (text(template, request), compile_body(template)(context(request))):
        assert TOKEN[:20] not in written
        assert "[redacted]" in written
    assert TOKEN.encode() in (header(template, request) or b""), "a header goes where the request goes"


_PLAIN_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_=-]+(?:\.|%2[Ee])[A-Za-z0-9_=-]+(?:(?:\.|%2[Ee])[A-Za-z0-9_=-]*)*")


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from([b"eyJ", b"a", b"-", b".", b"%2e", b"%2E", b"%", b"/", b" ", b"\xff"]), max_size=20
    )
)
def test_s53_tokens_are_found_as_the_plain_expression_finds_them(pieces: list[bytes]) -> None:
    """What is faster must not find less."""
    value = b"".join(pieces)
    assert redact_tokens(value) == _PLAIN_TOKEN.sub(REDACTED, value)


def test_looking_for_tokens_costs_no_square() -> None:
    """60 kB of `eyJ` in a header took four seconds, for every request; at this size it would be hours."""
    marks = b"eyJ" * 1_000_000
    assert redact_tokens(marks) == marks
    assert redact_tokens(marks + b".a") == REDACTED
    assert redact_tokens(b"eyJ." * 1_000_000 + b"eyJa.b") == b"eyJ." * 1_000_000 + REDACTED


def test_s47_control_characters_are_escaped_in_a_line_and_kept_in_a_body() -> None:
    """A claim must not begin a log line of its own."""
    request = finished(dynamic_metadata={"n": {"c": "a\n[2026] forged\x1b[2J\u2028"}})
    line = text("%DYNAMIC_METADATA(n:c)%", request)
    assert line == "a\\n[2026] forged\\x1b[2J\\u2028"
    assert "\n" in compile_body("%DYNAMIC_METADATA(n:c)%")(context(request))


def test_header_values() -> None:
    """Missing is empty, bytes of a peer stay as they are, a constant is known when it is compiled."""
    assert compile_header_value("50%% off") == b"50% off"
    assert header("<%REQ(x-none)%>") == b"<>"
    assert header("%REQ(authorization)%") == b"Bearer SECRET"
    assert header("%REQ(x-raw)%", finished(headers={b"x-raw": b"caf\xe9"})) == b"caf\xe9"
    assert header("%RESPONSE_CODE%-%PROTOCOL%") == b"200-HTTP/1.1"


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("demo", b"demo"),
        ("J\xfcrgen", b"UTF-8''J%C3%BCrgen"),
        ("a\r\nx-admin: 1", None),
        ("nul\0", None),
        ("", b""),
        (7, b"7"),
        (True, b"true"),
        ({"b": 1, "a": [2]}, b'{"a":[2],"b":1}'),
    ],
)
def test_s47_a_claim_in_a_header_is_encoded_or_not_sent(claim: object, expected: bytes | None) -> None:
    """The same rule as for `claim_to_headers`."""
    assert header("%DYNAMIC_METADATA(n:c)%", finished(dynamic_metadata={"n": {"c": claim}})) == expected


def test_s47_a_configured_value_has_no_control_characters() -> None:
    """It would be sent with every request."""
    with pytest.raises(ValueError, match="control characters"):
        compile_header_value("a\r\nb")


def test_empty_values_can_be_omitted() -> None:
    """`omit_empty_values`."""
    assert compile_text("<%REQ(x-none)%>", omit_empty=True)(context()) == "<>"
    line = compile_json({"a": "%REQ(x-none)%", "b": {"c": "%REQ(x-none)%"}, "d": 1}, omit_empty=True)(
        context()
    )
    assert json.loads(line) == {"b": {}, "d": 1}


def test_emit_time_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when the request began."""
    monkeypatch.setattr(clock, "unix_time", lambda: NOW + 60.5)
    assert text("%EMIT_TIME(%s.%3f)% %START_TIME(%s)%") == f"{NOW + 60}.500 {NOW}"


def test_s53_a_header_that_tokens_are_read_from_is_not_written() -> None:
    """Whatever is there: a token may be broken, or begin like no other. Its name is all that the format needs."""
    request = finished(headers={b"x-own": b"no token by its looks"})
    known = FormatContext(request, 100.25, b"", frozenset({b"x-own"}))
    for template in ("%REQ(X-Own)%", "%REQ(x-none?X-OWN)%", "%REQ(X-OWN):20%"):
        assert compile_text(template)(known) == "[redacted]"
        assert compile_json({"h": template})(known) == '{"h":"[redacted]"}\n'
        assert compile_text(template)(context(request)).startswith("no token by its")
    assert header("%REQ(X-OWN)%", request) == b"no token by its looks"


def test_flags_by_name() -> None:
    """Several flags are joined by commas."""
    request = finished(flags="URX,UF")
    assert text("%RESPONSE_FLAGS_LONG%", request) == "UpstreamRetryLimitExceeded,UpstreamConnectionFailure"


def test_a_unique_id_is_unique() -> None:
    """Every time it is written."""
    assert text("%UNIQUE_ID%") != text("%UNIQUE_ID%")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a/b", b"/a/b"),
        ("/a b?c#d\\é%%41%%zz", b"/a%20b%3Fc%23d%5C%C3%A9%41%25zz"),
        ("", b""),
    ],
)
def test_path_that_never_changes_is_encoded_once(text: str, expected: bytes) -> None:
    """What is encoded already stays as it is (RFC 3986 section 2.4)."""
    assert compile_path(text) == expected


def test_path_takes_values_as_they_are_but_for_what_no_path_may_have() -> None:
    """Of headers the bytes, of claims the text in UTF-8; nothing for what is not there."""
    request = finished()
    request.headers[b"x-p"] = b"a b?c=d#e/f%2Fg\xfc\x7f"
    request.dynamic_metadata = {"ns": {"name": "Jürgen/x", "number": 7}}
    write = compile_path(
        "/%REQ(x-p)%/%DYNAMIC_METADATA(ns:name)%/%DYNAMIC_METADATA(ns:number)%/%REQ(x-none)%/"
    )
    assert not isinstance(write, bytes)
    assert write(FormatContext(request, NOW)) == b"/a%20b%3Fc=d%23e/f%2Fg%FC%7F/J%C3%BCrgen/x/7//"


def test_path_format_is_checked_when_it_is_compiled() -> None:
    """As any other."""
    with pytest.raises(ValueError, match="unknown operator"):
        compile_path("/%NONSENSE%")
