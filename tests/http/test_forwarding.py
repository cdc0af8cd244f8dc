"""Who the request came from: forwarding headers by `use_remote_address` and trusted hops (spec/http.md section 7)."""

import re

import pytest

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.errors import ProtocolError
from fastproxy.http.forwarding import EDGE_REMOVED, EXTERNAL_REMOVED, HeaderTrust, check_target, rewrite_host
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request

PEER = "192.0.2.7"


def trust(
    *,
    internal: tuple[str, ...] = (),
    internal_pipes: bool = False,
    trusted: tuple[str, ...] = (),
    append_port: bool = False,
    via: str = "",
    use_remote_address: bool = False,
    hops: int = 0,
    skip_xff_append: bool = False,
    generate_request_id: bool = True,
    preserve_external_request_id: bool = False,
    internal_only: tuple[str, ...] = (),
) -> HeaderTrust:
    return HeaderTrust(
        use_remote_address=use_remote_address,
        xff_num_trusted_hops=hops,
        skip_xff_append=skip_xff_append,
        generate_request_id=generate_request_id,
        preserve_external_request_id=preserve_external_request_id,
        append_x_forwarded_port=append_port,
        internal_networks=internal,
        internal_pipes=internal_pipes,
        trusted_networks=trusted,
        via=via,
        detects_by_extension=bool(trusted),
        internal_only=internal_only,
    )


def request(**headers: bytes) -> Request:
    found: HeaderMap = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return Request(b"GET", b"/", found, ConnectionInfo((PEER, 4711), ("203.0.113.9", 8443)))


def applied(rules: HeaderTrust, **headers: bytes) -> HeaderMap:
    made = request(**headers)
    rules.apply(made)
    return made.headers


XFF = b"203.0.113.1, 203.0.113.2,203.0.113.3"


@pytest.mark.parametrize(
    ("edge", "hops", "forwarded", "client"),
    [
        (False, 0, None, PEER),
        (False, 0, XFF, "203.0.113.3"),
        (False, 1, XFF, "203.0.113.2"),
        (False, 2, XFF, "203.0.113.1"),
        (False, 3, XFF, PEER),
        (True, 0, None, PEER),
        (True, 0, XFF, PEER),
        (True, 1, XFF, "203.0.113.3"),
        (True, 3, XFF, "203.0.113.1"),
        (True, 4, XFF, PEER),
        (False, 0, b"unknown", PEER),
        (False, 0, b"203.0.113.1:80", PEER),
        (False, 0, b"2001:DB8::1", "2001:db8::1"),
        (False, 0, b"", PEER),
        (False, 0, b'fe80::1%a b"c', PEER),
    ],
)
@pytest.mark.parametrize("skip", [False, True])
def test_client_address_by_trusted_hops(
    edge: bool, hops: int, forwarded: bytes | None, client: str, skip: bool
) -> None:
    """The table of spec/http.md section 7.1; everything else in `x-forwarded-for` is what the peer claims."""
    rules = trust(use_remote_address=edge, hops=hops, skip_xff_append=skip)
    made = request(**({} if forwarded is None else {"x_forwarded_for": forwarded}))
    rules.apply(made)
    assert made.remote_address == (client, 4711 if client == PEER else 0)
    if edge:
        assert made.headers[b"x-envoy-external-address"] == client.encode()
        own = b"" if skip else PEER.encode()
        expected = b",".join(part for part in (forwarded, own) if part) or None
        assert made.headers.get(b"x-forwarded-for") == expected
    else:
        assert made.headers.get(b"x-forwarded-for") == forwarded


@pytest.mark.parametrize("name", sorted(EXTERNAL_REMOVED))
@pytest.mark.parametrize("edge", [False, True])
def test_control_headers_of_strangers_are_removed(name: bytes, edge: bool) -> None:
    """They change timeouts and retries; only trusted callers may send them (7.2)."""
    made = Request(b"GET", b"/", {name: b"1", b"x-other": b"2"})
    trust(use_remote_address=edge).apply(made)
    assert name not in made.headers
    assert made.headers[b"x-other"] == b"2"


@pytest.mark.parametrize("name", sorted(EDGE_REMOVED))
def test_some_are_removed_at_the_edge_only(name: bytes) -> None:
    """Behind another proxy they are that proxy's (7.2)."""
    for edge in (False, True):
        made = Request(b"GET", b"/", {name: b"1"})
        trust(use_remote_address=edge).apply(made)
        assert (name in made.headers) is not edge


@pytest.mark.parametrize(
    ("edge", "hops", "sent", "expected", "scheme"),
    [
        (False, 0, None, b"http", b"http"),
        (False, 0, b"https", b"https", b"https"),
        (False, 0, b"gopher", b"gopher", b"http"),
        (True, 0, b"https", b"http", b"http"),
        (True, 1, b"https", b"https", b"https"),
        (True, 1, b"gopher", b"http", b"http"),
        (True, 1, None, b"http", b"http"),
    ],
)
def test_forwarded_proto(edge: bool, hops: int, sent: bytes | None, expected: bytes, scheme: bytes) -> None:
    """Kept from a trusted hop, overwritten at the edge; only http and https become the scheme of redirects."""
    made = request(**({} if sent is None else {"x_forwarded_proto": sent}))
    trust(use_remote_address=edge, hops=hops).apply(made)
    assert made.headers[b"x-forwarded-proto"] == expected
    assert made.scheme == scheme


@pytest.mark.parametrize(
    ("edge", "preserve", "kept"),
    [(False, False, True), (True, False, False), (True, True, True), (False, True, True)],
)
def test_request_id_is_kept_or_replaced(edge: bool, preserve: bool, kept: bool) -> None:
    """At the edge a stranger could otherwise choose the id under which an operator looks for him."""
    rules = trust(use_remote_address=edge, preserve_external_request_id=preserve)
    headers = applied(rules, x_request_id=b"mine")
    value = headers[b"x-request-id"]
    assert isinstance(value, bytes)
    assert (value == b"mine") is kept
    assert kept or re.fullmatch(rb"[0-9a-f-]{36}", value)


def test_an_empty_header_says_nothing() -> None:
    """An upstream that reads it as `unknown` would trust what nobody has said."""
    headers = applied(trust(), x_request_id=b"", x_forwarded_proto=b"")
    assert isinstance(headers[b"x-request-id"], bytes)
    assert re.fullmatch(rb"[0-9a-f-]{36}", headers[b"x-request-id"])
    assert headers[b"x-forwarded-proto"] == b"http"


@pytest.mark.parametrize("inside", [True, False])
def test_nobody_gives_orders_that_are_not_followed(inside: bool) -> None:
    """Envoy lets any client set a cluster's `max_stream_duration` aside with the first of them."""
    sent = {"x_envoy_upstream_stream_duration_ms": b"1", "x_envoy_upstream_alt_stat_name": b"a"}
    headers = applied(trust(use_remote_address=True, internal=("192.0.2.0/24",) if inside else ()), **sent)
    assert (b"x-envoy-internal" in headers) is inside
    assert not {name.replace("_", "-").encode() for name in sent} & set(headers)


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (b"::ffff:192.0.2.9", "::ffff:192.0.2.9"),
        (b"::FFFF:C000:0209", "::ffff:192.0.2.9"),
        (b"2001:DB8:0::1", "2001:db8::1"),
        (b"fe80::1%eth0", PEER),
        (b'fe80::1%" onload="', PEER),
        (b"[2001:db8::1]", PEER),
        (b"192.0.2.9:80", PEER),
        (b"192.0.2.09", PEER),
        (b"192.0.2.9\xe9", PEER),
        (b"/run/a.sock", PEER),
        (b"192.0.2.9,", PEER),
    ],
)
def test_only_an_address_is_an_address(forwarded: bytes, client: str) -> None:
    """It goes into logs, limits and headers: one spelling for each, and no text of the client's beside it."""
    made = request(x_forwarded_for=forwarded)
    trust().apply(made)
    assert made.remote_address == ((client, 4711) if client == PEER else (client, 0))


def test_a_peer_that_names_itself_has_no_port() -> None:
    """An address out of `x-forwarded-for` never has one, even if it is the peer's."""
    made = request(x_forwarded_for=PEER.encode())
    trust().apply(made)
    assert made.remote_address == (PEER, 0)


def test_request_id_generation_can_be_switched_off() -> None:
    """`generate_request_id: false`."""
    assert b"x-request-id" not in applied(trust(generate_request_id=False))
    assert applied(trust(generate_request_id=False), x_request_id=b"a")[b"x-request-id"] == b"a"


@pytest.mark.parametrize(
    ("referer", "kept"),
    [
        (b"http://a/b?c", True),
        (b"http://user:pw@a/b", False),
        (b"http://a/b#c", False),
        (b"/relative", True),
        (b"http://a/?mail=x@y", True),
        (b"https://a/@", True),
        (b"http://[::1]:80/", True),
        (b"http://a:65536/", False),
        (b"javascript:x", False),
        (b"http:///x", False),
        (b"http://a/b c", False),
        (b"a/b:c", True),
        (b"a:b/c", False),
    ],
)
def test_a_referer_with_credentials_or_fragment_is_dropped(referer: bytes, kept: bool) -> None:
    """As in Envoy."""
    assert (b"referer" in applied(trust(), referer=referer)) is kept


@pytest.mark.parametrize("target", [b"/a#b", b"/#", b"#"])
def test_s49_a_fragment_in_a_target_is_refused(target: bytes) -> None:
    """Where one parser cuts at `#` another goes on: 400 with an empty body."""
    with pytest.raises(ProtocolError) as caught:
        check_target(target)
    assert caught.value.reply_code == "path_normalization_failed"
    assert caught.value.reply_body == b""
    check_target(b"/a%23b")


def test_rewritten_host_leaves_the_old_one_behind() -> None:
    """Envoy 1.40 adds `x-envoy-original-host`, unless told not to; also when the new host is the old one."""
    made = request()
    made.authority = b"old"
    rewrite_host(made, b"old", tell=True, append_forwarded_host=True)
    assert made.headers == {b"x-envoy-original-host": b"old", b"x-forwarded-host": b"old"}
    made.headers.clear()
    rewrite_host(made, b"new", tell=True)
    assert (made.authority, made.headers) == (b"new", {b"x-envoy-original-host": b"old"})
    rewrite_host(made, b"newer", tell=False)
    assert made.headers == {b"x-envoy-original-host": b"old"}


INTERNAL = ("192.0.2.0/24", "203.0.113.0/24")


@pytest.mark.parametrize(
    ("edge", "forwarded", "internal"),
    [
        (True, None, True),
        (True, b"203.0.113.1", False),
        (True, b"", False),
        (False, b"203.0.113.1", True),
        (False, b"203.0.113.1,203.0.113.2", False),
        (False, b"198.51.100.1", False),
        (False, None, False),
        (False, b"unknown", False),
    ],
)
def test_internal_requests(edge: bool, forwarded: bytes | None, internal: bool) -> None:
    """Only where the address is all that is known about the way (spec/http.md section 7.2)."""
    rules = trust(use_remote_address=edge, internal=INTERNAL)
    sent = {} if forwarded is None else {"x_forwarded_for": forwarded}
    headers = applied(
        rules, x_envoy_upstream_rq_timeout_ms=b"1", x_request_id=b"mine", x_envoy_internal=b"forged", **sent
    )
    assert headers.get(b"x-envoy-internal") == (b"true" if internal else None)
    assert (b"x-envoy-upstream-rq-timeout-ms" in headers) is internal
    assert (headers[b"x-request-id"] == b"mine") is (internal or not edge)
    assert (b"x-envoy-external-address" in headers) is (edge and not internal)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_unix_socket_can_be_inside(allowed: bool) -> None:
    """`internal_address_config.unix_sockets`; ranges say nothing about it."""
    made = request(x_envoy_max_retries=b"3")
    made.remote_address = ("/run/a.sock", 0)
    trust(use_remote_address=True, internal=("0.0.0.0/0", "::/0"), internal_pipes=allowed).apply(made)
    assert (made.headers.get(b"x-envoy-internal") == b"true") is allowed
    assert (b"x-envoy-max-retries" in made.headers) is allowed


@pytest.mark.parametrize("edge", [True, False])
def test_names_of_the_inside_are_removed_from_what_comes_from_outside(edge: bool) -> None:
    """`internal_only_headers`: a stranger must not be taken for a colleague."""
    rules = trust(use_remote_address=edge, internal=INTERNAL, internal_only=("x-team",))
    outside = applied(rules, x_team=b"red", x_other=b"1", x_forwarded_for=b"198.51.100.1")
    assert b"x-team" not in outside
    assert outside[b"x-other"] == b"1"
    inside = {} if edge else {"x_forwarded_for": b"203.0.113.1"}
    assert applied(rules, x_team=b"red", **inside)[b"x-team"] == b"red"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (None, PEER),
        (b"198.51.100.1", "198.51.100.1"),
        (b"198.51.100.1, 203.0.113.9", "198.51.100.1"),
        (b"10.0.0.1, 198.51.100.1,203.0.113.9, 192.0.2.1", "198.51.100.1"),
        (b"203.0.113.9", "203.0.113.9"),
        (b"192.0.2.3, 203.0.113.9", "192.0.2.3"),
        (b"garbage, 203.0.113.9", PEER),
    ],
)
def test_the_first_address_that_is_not_trusted_is_the_client(forwarded: bytes | None, client: str) -> None:
    """`xff_trusted_cidrs`: whoever is behind the last proxy that is known."""
    made = request(**({} if forwarded is None else {"x_forwarded_for": forwarded}))
    trust(trusted=INTERNAL, skip_xff_append=True).apply(made)
    assert made.remote_address[0] == client


def test_a_stranger_cannot_name_a_client() -> None:
    """`xff_trusted_cidrs` and a peer outside of them."""
    made = request(x_forwarded_for=b"198.51.100.1")
    trust(trusted=("10.0.0.0/8",), skip_xff_append=True).apply(made)
    assert made.remote_address == (PEER, 4711)
    # Whoever is behind must not take the first address for the last one either.
    assert made.headers[b"x-forwarded-for"] == b"198.51.100.1," + PEER.encode()


def test_port_and_via() -> None:
    """`append_x_forwarded_port`, `via`."""
    made = request(via=b"1.0 old", x_forwarded_port=b"1")
    trust(use_remote_address=True, append_port=True, via="1.1 edge").apply(made)
    assert made.headers[b"x-forwarded-port"] == b"8443"
    assert made.headers[b"via"] == b"1.0 old, 1.1 edge"
