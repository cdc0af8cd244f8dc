"""Pausing for several reasons, and ending so that the last answer is read; `test_connection.py` has the slow peers."""

from collections.abc import Callable

import pytest

from fastproxy import clock
from fastproxy.listener.transport import PAUSED_BY_PIPELINE, PAUSED_BY_UPSTREAM, DownstreamTransport
from tests.listener.support import PEER, FakeTransport, SteppedLoop

pytestmark = pytest.mark.interpreted_only


class Owner(DownstreamTransport):
    """A connection that only ends."""

    timeouts = 0

    def on_close_timeout(self) -> None:
        self.timeouts += 1

    def connection_lost(self, _error: Exception | None) -> None:
        self.detach()


def attached(linger_s: float = 1.0) -> tuple[SteppedLoop, Owner, FakeTransport]:
    loop = SteppedLoop()
    owner = Owner(loop.as_loop(), flush_timeout_s=10.0, linger_s=linger_s)
    transport = FakeTransport(loop, owner)
    owner.attach(transport.as_transport(), buffer_limit_bytes=4096)
    return loop, owner, transport


def test_reading_goes_on_when_the_last_reason_is_gone() -> None:
    """Pipelining and a slow upstream may both hold it."""
    _, owner, transport = attached()
    owner.pause(PAUSED_BY_PIPELINE)
    owner.pause(PAUSED_BY_UPSTREAM)
    owner.pause(PAUSED_BY_UPSTREAM)
    owner.resume(PAUSED_BY_PIPELINE)
    assert not transport.is_reading()
    owner.resume(PAUSED_BY_UPSTREAM)
    assert transport.is_reading()
    owner.resume(PAUSED_BY_UPSTREAM)
    assert transport.pauses == ["pause", "resume"]


def test_a_peer_that_closes_first_ends_the_lingering() -> None:
    """The usual case: no timer is left."""
    loop, owner, transport = attached()
    owner.pause(PAUSED_BY_PIPELINE)
    owner.close_after_flush()
    assert transport.eof_written
    assert transport.is_reading(), "the peer's end must be heard"
    assert owner.closing
    transport.lose(None)
    assert loop.live_timers == 0


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> Callable[[SteppedLoop], None]:
    """The clock shows the time of a loop."""
    return lambda loop: monkeypatch.setattr(clock, "monotonic", loop.time)


@pytest.mark.parametrize("linger_s", [0.2, 1.0, 7.0])
def test_a_peer_that_does_not_close_is_cut(linger_s: float, stepped: Callable[[SteppedLoop], None]) -> None:
    """Envoy's `delayed_close_timeout`."""
    loop, owner, transport = attached(linger_s)
    stepped(loop)
    owner.close_after_flush()
    loop.advance(linger_s - 0.1)
    assert not transport.was_aborted()
    assert owner.timeouts == 0
    loop.advance(0.2)
    assert transport.was_aborted()
    assert owner.timeouts == 1


def test_what_is_still_being_taken_puts_the_cut_off(stepped: Callable[[SteppedLoop], None]) -> None:
    """The time is for reading the answer; it begins when the answer has left."""
    loop, owner, transport = attached(2.0)
    stepped(loop)
    transport.unsent = 1000
    owner.close_after_flush()
    for unsent in (700, 300, 0):
        loop.advance(2.0)
        assert not transport.was_aborted()
        transport.unsent = unsent
    loop.advance(4.1)
    assert transport.was_aborted()


def test_without_a_delay_the_connection_is_closed_when_the_answer_has_left(
    stepped: Callable[[SteppedLoop], None],
) -> None:
    """`delayed_close_timeout: 0s`; the event loop still sends what it has."""
    loop, owner, transport = attached(0.0)
    stepped(loop)
    owner.close_after_flush()
    assert transport.is_closing()
    assert not transport.was_aborted()
    loop.run_ready()
    assert loop.live_timers == 0
    assert owner.timeouts == 0


def test_nothing_is_done_to_a_connection_that_is_gone() -> None:
    """uvloop raises on most of it."""
    _, owner, transport = attached()
    transport.close()
    owner.pause(PAUSED_BY_UPSTREAM)
    owner.resume(PAUSED_BY_UPSTREAM)
    owner.write(b"x")
    owner.close_after_flush()
    owner.detach()
    owner.write(b"x")
    owner.close_after_flush()
    owner.abort()
    assert transport.take() == b""
    assert not transport.eof_written


def test_addresses_and_limits_are_taken_from_the_transport() -> None:
    """A peer without an address (a socket pair) has an empty one."""
    _, owner, transport = attached()
    assert owner.info.remote_address == PEER
    assert owner.info.local_address == ("203.0.113.9", 443)
    assert transport.high_water == 4096
