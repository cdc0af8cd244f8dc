"""The rehearsal: the proxy's own parts, from the first byte to the upstream."""

from fastproxy.config.settings import ProxySettings
from fastproxy.explain.arrival import choose_arrival
from fastproxy.explain.keybook import KeyBook
from fastproxy.explain.memory_io import MemoryTransport
from fastproxy.explain.rehearsal import Rehearsal, rehearse
from tests.explain.world import GOOD, NOW, ask, bearing


async def played(settings: ProxySettings, raw: bytes) -> Rehearsal:
    arrival = choose_arrival(settings, "", None, "")
    return await rehearse(arrival, raw, KeyBook(settings, {}, offline=True), NOW)


async def test_upstream_head_is_what_an_upstream_would_get(settings: ProxySettings) -> None:
    """Path, host and headers as the route and the filter change them."""
    found = await played(settings, bearing(GOOD, "/rewritten/x?y=1").encode(b""))

    head = found.upstream_heads[0]
    assert head.startswith(b"GET /inside/x?y=1 HTTP/1.1\r\nhost: inner.test\r\n")
    assert found.route == (1, 5)
    assert found.passed_filters


async def test_refused_request_reaches_no_upstream(settings: ProxySettings) -> None:
    found = await played(settings, ask().encode(b""))

    assert found.upstream_heads == []
    assert not found.passed_filters
    assert found.response.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    (watched,) = found.filters
    assert watched.trace.deciding_rule == 2
    assert watched.trace.refusal is not None


async def test_unreadable_request_reaches_no_filter(settings: ProxySettings) -> None:
    found = await played(settings, b"GET / HTTP/1.1\r\n\r\n")

    assert found.seen is None
    assert found.response.startswith(b"HTTP/1.1 400 ")


async def test_missing_keys_are_asked_for_and_written_down(settings: ProxySettings) -> None:
    """So that they can be brought before the second try."""
    found = await played(settings, bearing(GOOD, "/remote").encode(b""))

    assert [source.split("|")[0] for source in found.asked_for] == ["remote"]
    assert found.response.startswith(b"HTTP/1.1 503 ")


def test_transport_knows_when_a_response_is_complete() -> None:
    """Interim responses do not count, and a HEAD has no body."""
    transport = MemoryTransport(is_head=False)
    transport.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")
    assert not transport.answered.is_set()
    transport.write(b"k")
    assert transport.answered.is_set()
    head = MemoryTransport(is_head=True)
    head.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
    assert head.answered.is_set()
