"""Hosts with several addresses: in which order they are tried, and that nothing is left of attempts that lost."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from fastproxy.tasks import spawn
from fastproxy.upstream.happy_eyeballs import connect_first, order_addresses
from fastproxy.upstream.settings import Address, HappyEyeballsSettings

V4 = [Address(f"192.0.2.{n}", 80) for n in range(4)]
V6 = [Address(f"2001:db8::{n}", 80) for n in range(4)]
NEVER_S = 3600.0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # These two are what the real Envoy tries, one after the other.
        (HappyEyeballsSettings(), [V4[0], V6[0], V4[1], V6[1], V4[2], V4[3]]),
        (
            HappyEyeballsSettings(begins_with_v6=True, first_count=2),
            [V6[0], V6[1], V4[0], V4[1], V4[2], V4[3]],
        ),
        (HappyEyeballsSettings(begins_with_v6=True), [V6[0], V4[0], V6[1], V4[1], V4[2], V4[3]]),
        (HappyEyeballsSettings(first_count=3), [V4[0], V4[1], V4[2], V6[0], V4[3], V6[1]]),
    ],
)
def test_families_take_turns(settings: HappyEyeballsSettings, expected: list[Address]) -> None:
    """RFC 8305 section 4: a family that leads nowhere is left after one attempt, not after all of its addresses."""
    assert list(order_addresses([V4[0], V4[1], V4[2], V6[0], V6[1], V4[3]], settings)) == expected


def test_a_family_that_is_not_there_does_not_come_first() -> None:
    """The addresses that there are keep their order."""
    assert order_addresses(V4, HappyEyeballsSettings(begins_with_v6=True)) == tuple(V4)
    assert order_addresses(V6[:1], HappyEyeballsSettings(begins_with_v6=False)) == (V6[0],)
    assert order_addresses([], HappyEyeballsSettings()) == ()


class Network:
    """Attempts as futures that the test settles."""

    def __init__(self) -> None:
        self.attempts: dict[Address, asyncio.Future[socket.socket]] = {}
        self.begun = asyncio.Event()
        self.given_up: list[Address] = []

    async def connect(self, address: Address) -> socket.socket:
        attempt = self.attempts[address] = asyncio.get_running_loop().create_future()
        self.begun.set()
        try:
            made: socket.socket = await attempt
        except asyncio.CancelledError:
            self.given_up.append(address)
            raise
        return made

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.begun.clear()
            await self.begun.wait()


async def test_a_failure_begins_the_next_attempt_at_once() -> None:
    """RFC 8305 section 5: an address that refuses is not waited for."""
    network = Network()
    race = spawn(connect_first(V4[:2], network.connect, delay_s=NEVER_S), name="race")
    await network.wait_for(lambda: V4[0] in network.attempts)
    assert V4[1] not in network.attempts
    network.attempts[V4[0]].set_exception(ConnectionRefusedError("first"))
    await network.wait_for(lambda: V4[1] in network.attempts)
    with socket.socket() as made:
        network.attempts[V4[1]].set_result(made)
        assert await race == (made, V4[1])


async def test_an_address_that_does_not_answer_is_not_waited_for() -> None:
    """A dead family costs a pause, and the attempt that it began is given up when another one has succeeded."""
    network = Network()
    race = spawn(connect_first([V6[0], V4[0]], network.connect, delay_s=0), name="race")
    await network.wait_for(lambda: len(network.attempts) == 2)
    with socket.socket() as made:
        network.attempts[V4[0]].set_result(made)
        assert await race == (made, V4[0])
    assert network.given_up == [V6[0]]


async def test_the_first_attempt_may_still_win() -> None:
    """It goes on beside those that began later."""
    network = Network()
    race = spawn(connect_first([V6[0], V4[0]], network.connect, delay_s=0), name="race")
    await network.wait_for(lambda: len(network.attempts) == 2)
    with socket.socket() as made:
        network.attempts[V6[0]].set_result(made)
        assert await race == (made, V6[0])
    assert network.given_up == [V4[0]]


async def test_of_two_that_succeed_together_one_is_closed() -> None:
    """Otherwise the upstream keeps a connection that nobody uses, and we a descriptor."""
    network = Network()
    race = spawn(connect_first([V6[0], V4[0]], network.connect, delay_s=0), name="race")
    await network.wait_for(lambda: len(network.attempts) == 2)
    with socket.socket() as first:
        second = socket.socket()
        network.attempts[V6[0]].set_result(first)
        network.attempts[V4[0]].set_result(second)
        assert await race == (first, V6[0])
        assert second.fileno() == -1


async def test_when_all_have_failed_the_last_failure_is_told() -> None:
    """It is what the access log shows."""
    network = Network()
    race = spawn(connect_first([V6[0], V4[0]], network.connect, delay_s=NEVER_S), name="race")
    await network.wait_for(lambda: V6[0] in network.attempts)
    network.attempts[V6[0]].set_exception(ConnectionRefusedError("first"))
    await network.wait_for(lambda: V4[0] in network.attempts)
    network.attempts[V4[0]].set_exception(ConnectionResetError("last"))
    with pytest.raises(ConnectionResetError, match="last"):
        await race


async def test_giving_up_the_race_gives_up_every_attempt() -> None:
    """`connect_timeout` is over all of them; a socket that was made at the last moment is closed."""
    network = Network()
    race = spawn(connect_first(V4[:3], network.connect, delay_s=0), name="race")
    await network.wait_for(lambda: len(network.attempts) == 3)
    late = socket.socket()
    network.attempts[V4[1]].set_result(late)
    race.cancel()
    with pytest.raises(asyncio.CancelledError):
        await race
    assert sorted(network.given_up, key=str) == [V4[0], V4[2]]
    assert late.fileno() == -1
