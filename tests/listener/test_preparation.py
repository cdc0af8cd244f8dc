"""From a parsed head to a request that can be judged: the fast path and the full one must agree."""

import re
from typing import Any

import pytest

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.errors import ProtocolError
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request
from fastproxy.http.special import SPECIAL_REQUEST_NAMES
from fastproxy.listener.preparation import RequestPreparation
from fastproxy.listener.settings import (
    EscapedSlashes,
    ForwardClientCert,
    HttpConnectionManagerSettings,
    StripPort,
    Underscores,
)
from fastproxy.listener.stats import HttpStats
from fastproxy.router.settings import RouteConfigurationSettings


def preparation(**settings: Any) -> RequestPreparation:
    return RequestPreparation(
        HttpConnectionManagerSettings("s", RouteConfigurationSettings("r", ()), **settings), HttpStats()
    )


def parsed(
    target: bytes = b"/", host: bytes | None = b"a", method: bytes = b"GET", **headers: bytes
) -> Request:
    """A request as the reader makes it."""
    made: HeaderMap = {} if host is None else {b"host": host}
    made |= {name.replace("_", "-").encode(): value for name, value in headers.items()}
    request = Request(method, target, made, ConnectionInfo(("192.0.2.7", 1), ("203.0.113.9", 80)))
    request.is_plain = SPECIAL_REQUEST_NAMES.isdisjoint(made)
    return request


def state(request: Request) -> dict[str, Any]:
    headers = dict(request.headers)
    headers.pop(b"x-request-id", None)
    return {
        "headers": headers,
        "line": (request.method, request.target, request.path, request.query),
        "authority": request.authority,
        "keep_alive": request.keep_alive,
        "scheme": request.scheme,
    }


TARGETS = [b"/", b"/a?b", b"/a/../b?c", b"//a//b", b"/%41", b"/?", b"/a??b"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"normalize_path": True}, {"merge_slashes": True}, {"normalize_path": True, "merge_slashes": True}],
)
def test_the_fast_path_does_what_the_full_one_does(target: bytes, settings: dict[str, bool]) -> None:
    """A host that was seen before takes the short way; nothing else about the request may differ."""
    prepare = preparation(**settings).prepare
    first, second = parsed(target, accept=b"x"), parsed(target, accept=b"x")
    assert prepare(first) is None
    assert prepare(second) is None
    assert state(first) == state(second)
    assert first.headers[b"x-request-id"] != second.headers[b"x-request-id"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (parsed(b"/a#b"), "path_normalization_failed"),
        (parsed(b"/a%00b"), "path_normalization_failed"),
        (parsed(b"*"), "http1.invalid_url"),
        (parsed(b"/", host=b"a,a"), "http1.multiple_host_headers"),
    ],
)
def test_a_known_host_excuses_nothing(request_: Request, code: str) -> None:
    """The fast path is for good requests only."""
    prepare = preparation(normalize_path=True).prepare
    prepare(parsed())
    with pytest.raises(ProtocolError) as caught:
        prepare(request_)
    assert caught.value.reply_code == code


def test_special_names_never_take_the_fast_path() -> None:
    """Each of them needs to be removed or looked at."""
    for name in sorted(SPECIAL_REQUEST_NAMES - {b"upgrade", b"connection"}):
        prepare = preparation(use_remote_address=False).prepare
        prepare(parsed())
        request = parsed(**{name.decode(): b"trailers"})
        request.headers = {b"host": b"a", name: b"x"}
        request.is_plain = SPECIAL_REQUEST_NAMES.isdisjoint(request.headers)
        assert not request.is_plain
        assert prepare(request) is None


def test_listeners_at_the_edge_and_without_ids_have_no_fast_path() -> None:
    """There every request needs the full treatment."""
    prepare = preparation(use_remote_address=True).prepare
    for _ in range(2):
        request = parsed()
        prepare(request)
        assert request.headers[b"x-forwarded-for"] == b"192.0.2.7"
        assert request.headers[b"x-envoy-external-address"] == b"192.0.2.7"
    prepare = preparation(generate_request_id=False).prepare
    for _ in range(2):
        request = parsed()
        prepare(request)
        assert b"x-request-id" not in request.headers


def test_a_flood_of_hosts_does_not_grow_the_memory() -> None:
    """The downstream chooses them."""
    made = preparation()
    for n in range(5000):
        assert made.prepare(parsed(host=b"h%d" % n)) is None
    assert len(made._known_hosts) <= 1024
    long = b"h" * 60_000
    assert made.prepare(parsed(host=long)) is None
    assert long not in made._known_hosts


def test_missing_host_and_refused_upgrade_are_replies() -> None:
    """Not protocol errors: no DPE in the log (spec/http.md sections 5 and 12)."""
    prepare = preparation().prepare
    missing = prepare(parsed(host=None))
    assert missing is not None
    assert (missing.status, missing.details, missing.close) == (400, "missing_host_header", True)
    upgrade = parsed(connection=b"upgrade", upgrade=b"websocket")
    upgrade.has_body = True
    refused = prepare(upgrade)
    assert refused is not None
    assert (refused.status, refused.details, refused.close) == (403, "upgrade_failed", True)


def test_client_address_is_the_trust_rules_business() -> None:
    """Logs and address rules ask here."""
    made = preparation()
    request = parsed(x_forwarded_for=b"203.0.113.1")
    made.prepare(request)
    assert request.remote_address == ("203.0.113.1", 0)


@pytest.mark.parametrize("kind", list(StripPort))
def test_hosts_that_were_seen_before_are_stripped_all_the_same(kind: StripPort) -> None:
    """The short way must not see another host than the full one."""
    prepare = preparation(strip_port=kind, strip_trailing_host_dot=True).prepare
    for host, port, stripped in ((b"a.test.:80", 80, b"a.test"), (b"a.test:81", 80, b"a.test:81")):
        for _ in range(3):
            request = parsed(host=host)
            request.connection.local_address = ("203.0.113.9", port)
            assert prepare(request) is None
            expected = {
                StripPort.NONE: host.replace(b".:", b":"),
                StripPort.MATCHING: stripped,
                StripPort.ANY: b"a.test",
            }[kind]
            assert request.authority == expected


@pytest.mark.parametrize(
    ("action", "target", "status"),
    [
        (EscapedSlashes.KEEP, b"/a/..%2fb", None),
        (EscapedSlashes.FORWARD, b"/b", None),
        (EscapedSlashes.REDIRECT, b"/b", 307),
        (EscapedSlashes.REJECT, b"", 400),
    ],
)
def test_s49_an_escaped_slash_is_one_or_is_none(
    action: EscapedSlashes, target: bytes, status: int | None
) -> None:
    """Whatever is chosen, the path that is looked at is the path that is forwarded; also for a known host."""
    prepare = preparation(escaped_slashes=action, normalize_path=True).prepare
    prepare(parsed())
    for _ in range(2):
        request = parsed(b"/a/..%2fb")
        if status == 400:
            with pytest.raises(ProtocolError):
                prepare(request)
            continue
        reply = prepare(request)
        assert request.target == request.path == target
        assert (None if reply is None else reply.status) == status
        if reply is not None:
            assert reply.headers == ((b"location", b"/b"),)


@pytest.mark.parametrize("normalizes", [True, False])
@pytest.mark.parametrize("target", [b"/%2Fevil.example/x", b"/%5cevil.example/x", b"//evil.example%2fx"])
def test_s49_unescaping_never_redirects_to_another_host(target: bytes, normalizes: bool) -> None:
    """`location: //evil.example` is another host, and a browser reads `/\\` alike: a link to us would lead anywhere."""
    settings = {"normalize_path": normalizes, "use_remote_address": True, "xff_num_trusted_hops": 1}
    prepare = preparation(escaped_slashes=EscapedSlashes.REDIRECT, **settings).prepare
    reply = prepare(parsed(target, x_forwarded_proto=b"https"))
    assert reply is not None
    ((name, location),) = reply.headers
    assert name == b"location"
    assert re.match(rb"https://a/[/\\]evil.example/x\Z", location)


@pytest.mark.parametrize("mode", list(ForwardClientCert))
def test_s61_a_connect_request_forges_no_client_certificate(mode: ForwardClientCert) -> None:
    """The header is settled for every method: without TLS nobody has shown a certificate."""
    settings = preparation(forward_client_cert=mode)
    for request in (
        parsed(x_forwarded_client_cert=b"Hash=forged"),
        parsed(b"db.example:5432", method=b"CONNECT", x_forwarded_client_cert=b"Hash=forged"),
    ):
        assert settings.prepare(request) is None
        kept = mode is ForwardClientCert.ALWAYS_FORWARD_ONLY
        assert (b"x-forwarded-client-cert" in request.headers) is kept


def test_s46_underscores_can_be_refused_or_dropped() -> None:
    """`x_user` is `x-user` to many an upstream."""
    request = parsed()
    request.headers |= {b"x_user": b"admin", b"x-b": b"1"}
    assert preparation(underscores=Underscores.DROP).prepare(request) is None
    assert b"x_user" not in request.headers
    assert request.headers[b"x-b"] == b"1"
    request = parsed()
    request.headers[b"x_user"] = b"admin"
    with pytest.raises(ProtocolError):
        preparation(underscores=Underscores.REJECT).prepare(request)
