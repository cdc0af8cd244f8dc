"""Options of the connection manager for hosts, paths and headers, as Envoy has them: one listener for each set."""

# ruff: noqa: E501 - tables of configuration, one entry a line

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support.cases import Case, Pair, parametrize_cases
from tests.e2e.support.differences import CHUNKED_LENGTH_NUMBER, FIRST_INTERIM, REDIRECT_ELSEWHERE, Difference
from tests.e2e.support.pairs import managers_template, running_pair
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import direct, forward, redirect, virtual_host
from tests.e2e.support.wire import encode_request as req

_EXTENSIONS = "type.googleapis.com/envoy.extensions.http"
_INTERNAL = {"internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}, {"address_prefix": "203.0.113.0", "prefix_len": 24}]}}  # fmt: skip


def _xff(**config: object) -> Config:
    typed = {"@type": f"{_EXTENSIONS}.original_ip_detection.xff.v3.XffConfig", **config}
    return {"original_ip_detection_extensions": [{"name": "xff", "typed_config": typed}]}


def _early(*mutations: Config) -> Config:
    kind = f"{_EXTENSIONS}.early_header_mutation.header_mutation.v3.HeaderMutation"
    typed = {"@type": kind, "mutations": list(mutations)}
    return {"early_header_mutation_extensions": [{"name": "early", "typed_config": typed}]}


def _client_header(name: str, **config: object) -> Config:
    kind = f"{_EXTENSIONS}.original_ip_detection.custom_header.v3.CustomHeaderConfig"
    return {"name": name, "typed_config": {"@type": kind, "header_name": name, **config}}


def _asked(*extensions: Config) -> Config:
    return {**_INTERNAL, "original_ip_detection_extensions": list(extensions)}


_XFF_CONFIG = {
    "name": "xff",
    "typed_config": {"@type": f"{_EXTENSIONS}.original_ip_detection.xff.v3.XffConfig"},
}
_TOLD = {"local_reply_config": {"mappers": [{"filter": {"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 0, "runtime_key": "none"}}}}, "headers_to_add": [{"header": {"key": "x-details", "value": "%RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"}}]}]}}  # fmt: skip
_TRUSTED = {"cidrs": [{"address_prefix": "127.0.0.0", "prefix_len": 8}, {"address_prefix": "198.51.100.0", "prefix_len": 24}]}  # fmt: skip
_SLASHES = ("REJECT_REQUEST", "UNESCAPE_AND_FORWARD", "UNESCAPE_AND_REDIRECT")

MANAGERS: dict[str, Config] = {
    "plain": {},
    "port": {"append_x_forwarded_port": True},
    "port-edge": {"append_x_forwarded_port": True, "use_remote_address": True},
    "port-hops": {"append_x_forwarded_port": True, "use_remote_address": True, "xff_num_trusted_hops": 1},
    "internal": _INTERNAL,
    "internal-edge": {**_INTERNAL, "use_remote_address": True},
    "xff-hops": _xff(xff_num_trusted_hops=1),
    "xff-append": _xff(xff_num_trusted_hops=0, skip_xff_append=False),
    "xff-trusted": _xff(xff_trusted_cidrs=_TRUSTED),
    "xff-not-trusted": _xff(xff_trusted_cidrs={"cidrs": [{"address_prefix": "203.0.113.0", "prefix_len": 24}]}),
    "client": _asked(_client_header("x-client")),
    "client-inside": _asked(_client_header("x-client", allow_extension_to_set_address_as_trusted=True)),
    "client-refused": {**_TOLD, **_asked(_client_header("x-client", reject_with_status={"code": "NotAcceptable"}), _XFF_CONFIG)},
    "client-ok": {**_TOLD, **_asked(_client_header("x-client", reject_with_status={"code": "OK"}))},
    "client-or-xff": _asked(_client_header("x-client"), _XFF_CONFIG, _client_header("x-other")),
    "xff-or-client": _asked(_XFF_CONFIG, _client_header("x-client")),
    "named": {"add_user_agent": True},
    "named-edge": {"add_user_agent": True, "use_remote_address": True},
    "via": {"via": "1.1 edge"},
    "request-id": {"always_set_request_id_in_response": True},
    "server-absent": {"server_header_transformation": "APPEND_IF_ABSENT"},
    "server-pass": {"server_header_transformation": "PASS_THROUGH"},
    "proper-case": {"http_protocol_options": {"header_key_format": {"proper_case_words": {}}}},
    "continue": {"proxy_100_continue": True, "http_protocol_options": {"accept_http_10": True}},
    "chunked-length": {"http_protocol_options": {"allow_chunked_length": True, "accept_http_10": True}},
    "underscore-reject": {"common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"}},
    "underscore-drop": {"common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"}},
    "strip-any": {"strip_any_host_port": True},
    "strip-matching": {"strip_matching_host_port": True},
    "strip-dot": {"strip_trailing_host_dot": True, "strip_any_host_port": True},
    "relative-only": {"http_protocol_options": {"allow_absolute_url": False}},
    "early": _early({"append": {"header": {"key": "x-early", "value": "%REQ(x-a)%"}}}, {"remove": "x-a"}),
    **{f"slashes-{name}": {"path_with_escaped_slashes_action": name} for name in _SLASHES},
    **{f"slashes-all-{name}": {"path_with_escaped_slashes_action": name, "normalize_path": True, "merge_slashes": True} for name in _SLASHES},
    "normalized": {"normalize_path": True, "merge_slashes": True},
}  # fmt: skip

_SEEN = {"header": {"key": "x-seen", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
_HOSTS = [
    virtual_host("stripped", ["only.test"], [forward({"prefix": "/"}, host_rewrite_literal="stripped.test")]),
    virtual_host(
        "any",
        ["*"],
        [
            direct({"prefix": "/direct"}, 200, "made"),
            redirect({"prefix": "/redirect"}, path_redirect="/there"),
            direct({"path": "*"}, 200, "the server"),
            forward({"prefix": "/secret/"}, prefix_rewrite="/found/"),
            {**forward({"prefix": "/"}), "request_headers_to_add": [_SEEN]},
        ],
    ),
]

_OWN_NAMES = {"name": "local_route", "virtual_hosts": _HOSTS, "internal_only_headers": ["X-Team", "x-debug"]}
MANAGERS["internal-only"] = {"route_config": _OWN_NAMES}
MANAGERS["internal-only-inside"] = {"route_config": _OWN_NAMES, **_INTERNAL}


SERVER = [
    Case(f"{name}-options-star", (req("OPTIONS", "*"), req("GET", "/")), (404, 200), listener=name)
    for name in ("plain", "relative-only", "normalized", "strip-any")
]

_POST = b"POST /x HTTP/1.1\r\nHost: h.test\r\n"
_CHUNK = b"\r\n3\r\nabc\r\n0\r\n\r\n"
_NEXT = req("GET", "/next")
LENGTHS = [
    Case(
        f"chunked-length-{id_}",
        (_POST + head + _CHUNK, _NEXT) if status == 200 else (_POST + head + _CHUNK,),
        (200, 200) if status == 200 else (status,),
        listener="chunked-length",
        any_order=True,
    )
    for id_, status, head in [
        ("length-first", 200, b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
        ("length-last", 200, b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
        ("too-long", 200, b"Content-Length: 300\r\nTransfer-Encoding: chunked\r\n"),
        ("zero", 200, b"Content-Length: 0\r\nTransfer-Encoding: Chunked\r\n"),
        ("two-lengths", 400, b"Content-Length: 3\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
        ("gzip", 400, b"Content-Length: 3\r\nTransfer-Encoding: gzip, chunked\r\n"),
        ("identity", 400, b"Content-Length: 3\r\nTransfer-Encoding: identity\r\n"),
    ]
]
LENGTHS.append(
    Case(
        "chunked-length-no-number",
        (_POST + b"Content-Length: x\r\nTransfer-Encoding: chunked\r\n" + _CHUNK,),
        (200,),
        listener="chunked-length",
        differs=CHUNKED_LENGTH_NUMBER,
        fastproxy_statuses=(400,),
    )
)

_EXPECT = ("Expect", "100-continue")


def _expect(id_: str, script: str, *headers: tuple[str, str], differs: Difference | None = None) -> Case:
    request = req("POST", "/x", *headers, script=script, body=b"abc")
    return Case(
        f"continue-{id_}",
        (request, request),
        (200, 200),
        listener="continue",
        any_order=True,
        differs=differs,
    )


CONTINUE = [
    _expect("passed-on", "100-first", _EXPECT),
    _expect("passed-on-unasked", "100-first"),
    _expect("never-came", "length", _EXPECT),
    _expect("other-expectation", "100-first", ("Expect", "miracles")),
    _expect("behind-another", "two-1xx-first", _EXPECT, differs=FIRST_INTERIM),
    _expect("another-alone", "103-first", _EXPECT, differs=FIRST_INTERIM),
    Case(
        "continue-get",
        (req("GET", "/x", _EXPECT, script="100-first"),),
        (200,),
        listener="continue",
        any_order=True,
    ),
    Case(
        "continue-refused",
        (req("POST", "/x", ("connection", "host"), _EXPECT, body=b"a"),),
        (400,),
        listener="continue",
    ),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both proxies."""
    nameless = managers_template(MANAGERS, _HOSTS)

    def template(ports: Ports) -> Config:
        return {**nameless(ports), "node": {"cluster": "front", "id": "front-1"}}

    with running_pair(template, (*MANAGERS, "closed"), tmp_path_factory.mktemp("options")) as running:
        yield running


def case(
    listener: str,
    id_: str,
    target: str = "/",
    *headers: tuple[str, str],
    host: str = "h.test",
    status: int = 200,
    script: str | None = None,
    differs: Difference | None = None,
) -> Case:
    """One request."""
    request = req("GET", target, *headers, host=host, script=script)
    return Case(
        f"{listener}-{id_}", (request,), (status,), listener=listener, differs=differs, any_order=True
    )


_XFF_FORMS: dict[str, tuple[tuple[str, str], ...]] = {
    "none": (),
    "one": (("x-forwarded-for", "203.0.113.5"),),
    "two": (("x-forwarded-for", "203.0.113.5, 198.51.100.7"),),
    "three": (("x-forwarded-for", "203.0.113.5,203.0.113.6, 198.51.100.7"),),
    "garbage": (("x-forwarded-for", "unknown"),),
    "port": (("x-forwarded-port", "444"), ("x-forwarded-proto", "https")),
    "control": (("x-forwarded-for", "203.0.113.5"), ("x-envoy-max-retries", "9"), ("x-envoy-internal", "true"), ("x-request-id", "mine"), ("x-envoy-decorator-operation", "op"), ("x-envoy-ip-tags", "a")),
    "all-trusted": (("x-forwarded-for", "198.51.100.1, 198.51.100.2"),),
    "one-trusted": (("x-forwarded-for", "198.51.100.1"),),
    "control-alone": (("x-envoy-max-retries", "9"), ("x-envoy-internal", "true"), ("x-request-id", "mine"), ("x-envoy-original-path", "/f")),
}  # fmt: skip

TRUST = [
    case(listener, name, "/", *headers)
    for listener in ("port", "port-edge", "port-hops", "internal", "internal-edge", "xff-hops", "xff-append", "xff-trusted", "xff-not-trusted")
    for name, headers in _XFF_FORMS.items()
]  # fmt: skip

_CLIENT_FORMS: dict[str, tuple[tuple[str, str], ...]] = {
    "none": (), "address": (("x-client", "198.51.100.9"),), "inside": (("x-client", "203.0.113.5"),), "v6": (("X-Client", "2001:db8::9"),), "no-address": (("x-client", "nobody"),),
    "empty": (("x-client", ""),), "port": (("x-client", "198.51.100.9:80"),), "twice": (("x-client", "198.51.100.9"), ("x-client", "198.51.100.10")), "list": (("x-client", "198.51.100.9, 198.51.100.10"),),
    "other": (("x-other", "198.51.100.8"),), "forwarded": (("x-forwarded-for", "203.0.113.5"),), "both": (("x-forwarded-for", "203.0.113.5"), ("x-client", "198.51.100.9")),
}  # fmt: skip
TRUST += [
    case(
        listener,
        f"client-{name}",
        "/",
        *headers,
        ("x-envoy-ip-tags", "a"),
        ("x-request-id", "mine"),
        status=0,
    )
    for listener in (
        "client",
        "client-inside",
        "client-refused",
        "client-ok",
        "client-or-xff",
        "xff-or-client",
    )
    for name, headers in _CLIENT_FORMS.items()
]

_NAMES_OF_CALLERS: dict[str, tuple[tuple[str, str], ...]] = {
    "none": (),
    "agent": (("user-agent", "curl/8"),),
    "empty-agent": (("user-agent", ""),),
    "forged": (("x-envoy-downstream-service-cluster", "other"), ("x-envoy-downstream-service-node", "other")),
}
TRUST += [
    case(listener, f"caller-{name}", "/", *headers)
    for listener in ("named", "named-edge")
    for name, headers in _NAMES_OF_CALLERS.items()
]

OWN_NAMES = [
    case(
        listener,
        name,
        "/",
        ("x-team", "red"),
        ("X-Debug", "1"),
        ("x-debug", "2"),
        ("x-teams", "kept"),
        *headers,
    )
    for listener in ("internal-only", "internal-only-inside")
    for name, headers in _XFF_FORMS.items()
]

RESPONSES = [
    case(listener, f"{target.strip('/') or script}", target, ("x-request-id", "mine"), ("via", "1.0 old"), script=script, status=status)
    for listener in ("via", "request-id", "server-absent", "server-pass", "proper-case")
    for target, script, status in (
        ("/", "own-server-date", 200), ("/", "many-headers", 200), ("/direct", None, 200), ("/redirect", None, 301), ("/none", "hop-by-hop", 200),
    )
] + [case("proper-case", "chunked", "/", script="chunked"), case("via", "no-via", "/")]  # fmt: skip

NAMES = [
    case("underscore-reject", "none", "/", ("x-a", "1")),
    case("underscore-reject", "one", "/", ("x_a", "1"), status=400),
    case("underscore-drop", "one", "/", ("x_a", "1"), ("x-b_c", "2"), ("x-a", "3")),
    case("early", "present", "/", ("x-a", "1")),
    case("early", "absent", "/"),
    case("early", "routed", "/redirect", ("x-a", "1"), status=301),
    case("relative-only", "absolute", "http://other.test/x", status=404),
    case("relative-only", "origin", "/x"),
]

HOSTS = [
    case(listener, f"host-{host}", "/x", host=host)
    for listener in ("plain", "strip-any", "strip-matching", "strip-dot")
    for host in ("only.test", "only.test:80", "only.test:8443", "only.test.", "only.test.:80", "ONLY.test:80", "[::1]:80", "127.0.0.1:80", "127.0.0.1.")
]  # fmt: skip

_TARGETS = (
    "/a%2fb", "/a%2Fb?c%2fd", "/a%5cb", "/a%5Cb", "/secret%2fx", "/%2fsecret/x", "/a/%2e%2e/secret/x", "/a/..%2fsecret/x", "/a%2f..%2fsecret/x",
    "/a%252fb", "/a%25%32%66b", "/./secret/x", "//secret/x", "/secret//x", "/a;x/../secret/x", "/secret/x%41%7e", "/secret/..", "/secret/.", "/..%5csecret", "/a/...%2f",
)  # fmt: skip

_TO_ANOTHER_HOST = ("slashes-UNESCAPE_AND_REDIRECT", "/%2fsecret/x")
_ELSEWHERE: dict[str, Any] = {"status": 307, "differs": REDIRECT_ELSEWHERE}

PATHS = [
    case(listener, f"path-{target}", target, **(_ELSEWHERE if (listener, target) == _TO_ANOTHER_HOST else {"status": 0}))
    for listener in ("plain", "normalized", *(f"slashes-{name}" for name in _SLASHES), *(f"slashes-all-{name}" for name in _SLASHES))
    for target in _TARGETS
]  # fmt: skip


@parametrize_cases([*TRUST, *OWN_NAMES, *NAMES, *HOSTS])
def test_requests(pair: Pair, case: Case) -> None:
    """What reaches the upstream."""
    pair.check(case)


@parametrize_cases(RESPONSES)
def test_responses(pair: Pair, case: Case) -> None:
    """What reaches the downstream."""
    pair.check(case)


@parametrize_cases(PATHS)
def test_s49_rules_and_upstream_see_one_path(pair: Pair, case: Case) -> None:
    """Routed, rewritten and forwarded as the same path, and the same one as Envoy's."""
    pair.check(case)


@parametrize_cases(CONTINUE)
def test_the_upstream_asks_for_the_body(pair: Pair, case: Case) -> None:
    """`proxy_100_continue`: its 100 is passed on, and the proxy sends none of its own."""
    pair.check(case)


@parametrize_cases(SERVER)
def test_what_is_about_the_server_has_no_route(pair: Pair, case: Case) -> None:
    """`OPTIONS *` is 404, also where a route has the path `*`."""
    pair.check(case)


@parametrize_cases(LENGTHS)
def test_a_length_beside_chunks(pair: Pair, case: Case) -> None:
    """`allow_chunked_length`: the length is dropped, so that nobody behind the proxy can go by it (S51)."""
    pair.check(case)
