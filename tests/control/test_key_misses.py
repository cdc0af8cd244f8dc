"""Unknown kids, from the request to the key server and back (S36, S42)."""

import asyncio

import pytest

from tests.control.key_world import COOLDOWN_S, key_set, key_world
from tests.control.support import Answer, until


async def test_s36_thousand_distinct_unknown_kids_cause_one_fetch_per_cool_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sender of a token chooses its kid; it must not choose the load of the identity provider."""
    async with key_world(monkeypatch, key_set("a")) as world:
        for number in range(1000):
            assert await world.status(world.token(f"bogus-{number}", signer="eve"), number % 2) == 401
        assert len(world.server.requests) == 2

        await world.advance(COOLDOWN_S)
        for number in range(100):
            await world.status(world.token(f"more-{number}", signer="eve"))
        assert len(world.server.requests) == 3


async def test_s36_thousand_parallel_misses_are_one_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """All wait for the same answer, in both workers."""
    async with key_world(monkeypatch, key_set("a")) as world:
        world.server.answer = key_set("a", "b")
        found = await world.statuses(*[world.token("b")] * 500)

        assert found == {200}
        assert len(world.server.requests) == 2
        assert world.questions == 2


async def test_rotated_key_is_fetched_when_its_first_token_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy refuses it until the set expires."""
    async with key_world(monkeypatch, key_set("a")) as world:
        world.server.answer = key_set("a", "b")

        assert await world.status(world.token("b")) == 200
        assert await world.status(world.token("b"), worker=1) == 200
        assert len(world.server.requests) == 2


async def test_s36_kid_that_a_fetch_did_not_bring_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tokens of a removed key would otherwise cause a fetch per cool-down for as long as somebody sends them."""
    async with key_world(monkeypatch, key_set("a")) as world:
        removed = world.token("removed")
        assert await world.status(removed) == 401
        await world.advance(COOLDOWN_S)
        for _ in range(100):
            assert await world.status(removed) == 401
        assert (len(world.server.requests), world.questions) == (2, 1)

        await world.advance(2 * COOLDOWN_S)
        await world.status(removed)
        assert len(world.server.requests) == 3


async def test_new_keys_clear_the_memory_of_missing_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is published late must work as soon as it is there."""
    async with key_world(monkeypatch, key_set("a")) as world:
        late = world.token("late")
        assert await world.status(late) == 401
        await world.advance(COOLDOWN_S)
        world.server.answer = key_set("a", "late", "b")
        assert await world.status(world.token("b")) == 200

        assert await world.status(late) == 200


async def test_kid_refused_within_the_cool_down_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fetch was made for it, so nobody knows: made-up kids must not lock out a rotated key for longer."""
    async with key_world(monkeypatch, key_set("a")) as world:
        await world.status(world.token("bogus", signer="eve"))
        world.server.answer = key_set("a", "b")
        assert await world.status(world.token("b")) == 401
        await world.advance(COOLDOWN_S)

        assert await world.status(world.token("b")) == 200


async def test_s36_memory_of_missing_kids_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is filled by whoever sends tokens."""
    async with key_world(monkeypatch, key_set("a")) as world:
        tokens = [world.token(f"bogus-{number}", signer="eve") for number in range(1000)]
        assert await world.statuses(*tokens) == {401}
        for token in tokens * 2:
            world.workers[0].keys.on_missing(token + b"x")
            world.workers[0].keys.on_missing(b"x" + token)

        assert len(world.workers[0].keys._missing) == 1024


async def test_s42_forged_tokens_cannot_cause_503(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are there, so a token is judged: what the fetch for it does is nobody else's business."""
    async with key_world(monkeypatch, key_set("a")) as world:
        world.server.answer = Answer(b"", status=500)
        forged = [world.token(f"bogus-{number}", signer="eve") for number in range(100)]
        forged.append(world.token("a", signer="eve"))

        assert await world.statuses(*forged) == {401}
        assert await world.statuses(world.token("a")) == {200}


async def test_s43_hanging_fetch_delays_no_request_that_does_not_need_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tokens of known keys are verified while the fetch for an unknown one hangs."""
    async with key_world(monkeypatch, key_set("a")) as world:
        world.server.answer = Answer(raw=b"", hang=True)
        waiting = asyncio.get_running_loop().create_task(world.status(world.token("b")))
        await until(lambda: world.source.schedule.fetching)

        assert await world.status(world.token("a")) == 200
        assert not waiting.done()
        waiting.cancel()


async def test_s44_downstream_that_goes_away_while_its_request_waits_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fetch goes on for the others, and the one that left is forgotten."""
    async with key_world(monkeypatch, key_set("a")) as world:
        world.server.answer = Answer(raw=b"", hang=True)
        loop = asyncio.get_running_loop()
        gone, stays = (loop.create_task(world.status(world.token("b"))) for _ in range(2))
        await until(lambda: world.source.schedule.fetching)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        world.workers[0].keys.on_fetch_failed()

        assert await stays == 401
        assert not world.workers[0].keys._waiting
