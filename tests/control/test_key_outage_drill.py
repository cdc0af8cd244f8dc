"""The drill: a provider goes up, rotates, goes down, talks nonsense, hangs, comes back, and nobody is hurt."""

import pytest

from fastproxy import clock
from tests.control.key_world import CACHE_S, COOLDOWN_S, MAX_STALE_S, KeyWorld, key_set, key_world
from tests.control.support import Answer

#: The longest pause between two background tries, jitter included.
RETRY_S = 36.0
NONSENSE = (
    Answer(b"<html>maintenance</html>"),
    Answer(b""),
    Answer(b'{"keys":'),
    Answer(b'{"keys":[]}'),
    Answer(b'{"keys":[{"kty":"oct","kid":"b","k":"c2VjcmV0"}]}'),
    Answer(b"", status=302, headers={"location": "http://169.254.169.254/"}),
    Answer(b"", status=204),
    Answer(b'{"keys":[]}', headers={"content-encoding": "gzip"}),
    Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"),
    Answer(raw=b"garbage\r\n\r\n"),
    Answer(b"x" * 2_000_000),
)


async def assert_guarded(world: KeyWorld, good: str, gone: str) -> None:
    """Good tokens pass, all others are refused as bad tokens, in every worker."""
    assert await world.statuses(world.token(good)) == {200}
    forged = [world.token(good, signer="eve"), world.token(gone), world.token("made-up", signer="eve")]
    assert await world.statuses(*forged) == {401}


async def test_key_outage_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    """No valid token is refused within max_stale, no forged one is ever accepted, no fetch storm happens."""
    async with key_world(monkeypatch, key_set("a"), timeout_s=0.3) as world:
        server = world.server
        assert await world.statuses(world.token("a")) == {200}

        # Rotated: the new key works with its first token, the old one while it is published, and not after.
        server.answer = key_set("a", "b")
        assert await world.statuses(world.token("b"), world.token("a")) == {200}
        server.answer = key_set("b")
        await world.advance(CACHE_S)
        await assert_guarded(world, "b", "a")

        # Down: hours of it would do; max_stale is what is promised.
        server.answer = Answer(b"", status=503)
        down_since = world.passed_s
        while world.passed_s < down_since + MAX_STALE_S * 0.7:
            await world.advance(60.0)
            await assert_guarded(world, "b", "a")
        assert world.source.schedule.is_stale(clock.monotonic())

        # Nonsense, once of every kind.
        for answer in NONSENSE:
            server.answer = answer
            await world.advance(RETRY_S)
            assert world.source.last_error
            await assert_guarded(world, "b", "a")

        # Slow: a request of an unknown kid waits for the fetch, within its bound, and is then judged.
        server.answer = Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", hang=True)
        await world.advance(RETRY_S)
        assert "no complete answer within 0.3 s" in world.source.last_error
        await assert_guarded(world, "b", "a")
        epoch = world.source.schedule.epoch

        # Back, with the key that was there: nothing changed, so no verdict is thrown away.
        server.answer = key_set("b")
        await world.advance(RETRY_S)
        assert world.source.last_error == ""
        assert world.source.schedule.epoch == epoch
        await assert_guarded(world, "b", "a")


async def test_s36_the_outage_is_no_reason_to_fetch_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that struggles back up must not be met by a fetch for every token that came meanwhile."""
    async with key_world(monkeypatch, key_set("a")) as world:
        world.server.answer = Answer(b"", status=503)
        before = len(world.server.requests)
        for second in range(100):
            await world.advance(1.0)
            tokens = [world.token(f"bogus-{second}-{number}", signer="eve") for number in range(10)]
            assert await world.statuses(*tokens) == {401}

        # The keys are fresh all the time, so every fetch is one that a token caused.
        assert world.passed_s < CACHE_S * 0.8
        assert len(world.server.requests) - before == 100 / COOLDOWN_S


async def test_s42_after_max_stale_everybody_gets_503_and_recovery_is_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fail closed: a key that was revoked during the outage must stop working; 503 says whose fault it is."""
    async with key_world(monkeypatch, key_set("a")) as world:
        world.server.answer = Answer(b"", status=503)
        await world.advance(CACHE_S + MAX_STALE_S - 1)
        assert await world.statuses(world.token("a")) == {200}
        await world.advance(1.0)
        assert await world.statuses(world.token("a"), world.token("a", signer="eve")) == {503}

        world.server.answer = key_set("a")
        await world.advance(60.0)
        assert await world.statuses(world.token("a")) == {200}
        assert await world.statuses(world.token("a", signer="eve")) == {401}


async def test_s31_cached_verdicts_of_a_removed_key_die_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token was verified a hundred times; the key is gone all the same."""
    async with key_world(monkeypatch, key_set("a", "b")) as world:
        old = world.token("a")
        assert await world.statuses(old, old, world.token("b")) == {200}
        world.server.answer = key_set("b")
        await world.advance(CACHE_S)

        assert await world.statuses(old) == {401}
        assert await world.statuses(world.token("b")) == {200}
