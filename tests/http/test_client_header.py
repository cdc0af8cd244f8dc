"""A header in which a trusted proxy names the client, and what becomes of a request without it."""

import pytest

from fastproxy.http.client_header import ClientHeader
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.forwarding import HeaderTrust
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply, Request

PEER = ("192.0.2.7", 4711)


def trust(*headers: ClientHeader | None, appends: bool = False) -> HeaderTrust:
    return HeaderTrust(
        use_remote_address=False,
        xff_num_trusted_hops=0,
        skip_xff_append=not appends,
        generate_request_id=False,
        preserve_external_request_id=False,
        internal_networks=("10.0.0.0/8",),
        detects_by_extension=None in headers,
        client_headers=headers,
    )


def apply(rules: HeaderTrust, headers: HeaderMap) -> tuple[Request, LocalReply | None]:
    made = Request(b"GET", b"/", headers, ConnectionInfo(PEER, ("192.0.2.1", 80)))
    return made, rules.apply(made)


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (b"198.51.100.9", "198.51.100.9"),
        (b"2001:DB8::1", "2001:db8::1"),
        ([b"198.51.100.9", b"198.51.100.10"], "198.51.100.9"),
        (b"198.51.100.9, 198.51.100.10", ""),
        (b"198.51.100.9:80", ""),
        (b"fe80::1%eth0", ""),
        (b"caf\xe9", ""),
        (b"", ""),
        (None, ""),
    ],
)
def test_the_client_is_an_address_and_nothing_else(value: bytes | list[bytes] | None, client: str) -> None:
    """The first line counts, and all of it has to be one."""
    headers: HeaderMap = {} if value is None else {b"x-client": value}
    assert ClientHeader("X-Client").read(headers) == client


def test_the_first_that_names_somebody_counts() -> None:
    """`x-forwarded-for` has its place among them, and none if it is not listed."""
    sent: HeaderMap = {b"x-forwarded-for": b"203.0.113.1", b"x-b": b"203.0.113.2"}
    for sources, client in (
        ((ClientHeader("x-a"), None, ClientHeader("x-b")), "203.0.113.1"),
        ((ClientHeader("x-b"), None), "203.0.113.2"),
        ((ClientHeader("x-a"),), PEER[0]),
    ):
        made, _ = apply(trust(*sources), dict(sent))
        assert made.remote_address == ((client, 4711) if client == PEER[0] else (client, 0))


def test_the_peer_is_appended_only_where_x_forwarded_for_was_asked() -> None:
    """Envoy: the extension that has the answer says whether to."""
    rules = trust(ClientHeader("x-a"), None, appends=True)
    assert apply(rules, {b"x-a": b"203.0.113.1"})[0].headers.get(b"x-forwarded-for") is None
    assert (
        apply(rules, {b"x-forwarded-for": b"203.0.113.1"})[0].headers[b"x-forwarded-for"]
        == b"203.0.113.1,192.0.2.7"
    )


@pytest.mark.parametrize("is_trusted", [True, False])
def test_who_is_named_may_be_inside_if_the_header_is_trusted(is_trusted: bool) -> None:
    """`allow_extension_to_set_address_as_trusted`."""
    made, _ = apply(trust(ClientHeader("x-a", is_trusted=is_trusted)), {b"x-a": b"10.0.0.1"})
    assert (b"x-envoy-internal" in made.headers) is is_trusted


def test_who_is_not_named_can_be_refused() -> None:
    """`reject_with_status`; a header that stands behind is not asked."""
    rules = trust(ClientHeader("x-a", reject_status=401), None)
    _, reply = apply(rules, {b"x-forwarded-for": b"203.0.113.1"})
    assert reply is not None
    assert (reply.status, reply.body, reply.details) == (401, b"", "rejecting_because_detection_failed")
    assert apply(rules, {b"x-a": b"203.0.113.1"})[1] is None
