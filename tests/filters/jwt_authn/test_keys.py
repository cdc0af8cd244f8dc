"""Keys in a worker: epochs, and requests that wait for an update."""

import asyncio
from typing import Any

import pytest

from fastproxy.filters.jwt_authn.keys import ProviderKeys
from fastproxy.jwt import Verifier, VerifierSettings
from tests.filters.jwt_authn.support import JWKS, OTHER_JWKS


class KeysBench:
    def __init__(self, wait_s: float = 10.0) -> None:
        self.asked: list[str] = []
        self.verifier = Verifier(VerifierSettings())
        self.keys = ProviderKeys(self.verifier, "source", ask=self.asked.append, wait_s=wait_s)

    async def waiters(self, count: int) -> list[asyncio.Task[bool]]:
        tasks = [asyncio.get_running_loop().create_task(self.keys.wait_for_update()) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks


def kids(verifier: Verifier) -> set[str | None]:
    assert verifier.keys is not None
    return {key.kid for key in verifier.keys.keys}


async def test_s36_a_thousand_waiters_ask_once_and_all_are_woken() -> None:
    """Single flight within the worker; the control plane has its own across workers."""
    bench = KeysBench()
    tasks = await bench.waiters(1000)
    assert bench.asked == ["source"]
    bench.keys.on_update(1, JWKS)
    await asyncio.gather(*tasks)
    (task,) = await bench.waiters(1)
    assert bench.asked == ["source", "source"], "the next one after an answer asks again"
    bench.keys.on_fetch_failed()
    await task


async def test_waiting_is_bounded_in_number() -> None:
    """A flood of tokens with unknown keys must not fill the memory: who is too many is answered at once."""
    bench = KeysBench()
    tasks = await bench.waiters(1100)
    assert sum(task.done() for task in tasks) == 1100 - 1024
    bench.keys.on_fetch_failed()
    await asyncio.gather(*tasks)


async def test_waiting_is_bounded_in_time() -> None:
    """The control plane always answers; if it does not, the request still ends."""
    bench = KeysBench(wait_s=0.0)
    await asyncio.gather(*await bench.waiters(3))
    assert not bench.keys._waiting


async def test_one_waiter_that_leaves_does_not_wake_or_stop_the_others() -> None:
    """The one that asked may be the one that leaves."""
    bench = KeysBench()
    first, second = await bench.waiters(2)
    first.cancel()
    await asyncio.sleep(0)
    assert not second.done()
    bench.keys.on_update(1, JWKS)
    await second
    assert first.cancelled()


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        ([(1, JWKS), (2, JWKS.replace(b'"k1"', b'"k2"'))], {"k2"}),
        ([(2, JWKS), (1, JWKS.replace(b'"k1"', b'"k2"'))], {"k1"}),
        ([(1, JWKS), (2, b"not json")], {"k1"}),
        ([(1, JWKS), (2, b'{"keys":[]}')], {"k1"}),
        ([(1, OTHER_JWKS)], {"k1"}),
    ],
)
async def test_newest_good_keys_are_in_force(updates: list[Any], expected: set[str]) -> None:
    """Messages may cross; an unusable set never replaces a good one (S41); no secret comes from outside (S4)."""
    bench = KeysBench()
    for epoch, document in updates:
        bench.keys.on_update(epoch, document)
    assert kids(bench.verifier) == expected


async def test_withdrawn_keys_are_gone_and_waiters_woken() -> None:
    """`max_stale` has passed: fail closed (S42)."""
    bench = KeysBench()
    bench.keys.on_update(1, JWKS)
    (task,) = await bench.waiters(1)
    bench.keys.on_update(2, b"")
    await task
    assert bench.verifier.keys is None


async def test_the_same_epoch_means_nothing_new_and_wakes_waiters() -> None:
    """The control plane says so when a fetch was not due (see `JwksUpdate`)."""
    bench = KeysBench()
    bench.keys.on_update(1, JWKS)
    before = bench.verifier.keys
    (task,) = await bench.waiters(1)
    bench.keys.on_update(1, JWKS)
    await task
    assert bench.verifier.keys is before


def test_the_source_names_the_keys() -> None:
    """Updates are routed by it."""
    assert KeysBench().keys.source_id == "source"
