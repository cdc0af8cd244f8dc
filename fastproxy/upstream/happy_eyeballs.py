"""Connecting to a host that has several addresses (Happy Eyeballs, RFC 8305 sections 4 and 5).

Attempts begin one after the other, `ATTEMPT_DELAY_S` apart or as soon as one has failed, and run side by side; the
first connection that is there wins, and the others are given up. So an address family that leads nowhere costs a
fraction of a second at most. Which address comes when is settled when the addresses become known. TLS comes after: an
address that can be connected to is taken, as in RFC 8305; Envoy waits for the end of the handshake.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from fastproxy.tasks import cancel_and_wait, spawn
from fastproxy.upstream.settings import Address, HappyEyeballsSettings

#: RFC 8305 recommends 250 ms; this is Envoy's.
ATTEMPT_DELAY_S = 0.3


def order_addresses(addresses: Sequence[Address], settings: HappyEyeballsSettings) -> tuple[Address, ...]:
    """Interleave the address families: so many of the first one, one of the other, and so on.

    Args:
        addresses: of one host, in the order of the configuration or of the answer; sockets of the Unix domain stand
            with IPv4.
        settings: which family is the first one, and how many of it go together.
    """
    if len(addresses) < 2:
        return tuple(addresses)
    begins_with_v6 = settings.begins_with_v6
    if begins_with_v6 is None:
        begins_with_v6 = ":" in addresses[0].host
    first = [one for one in addresses if (":" in one.host) == begins_with_v6]
    other = [one for one in addresses if (":" in one.host) != begins_with_v6]
    ordered: list[Address] = []
    while first or other:
        ordered += first[: settings.first_count]
        ordered += other[:1]
        first, other = first[settings.first_count :], other[1:]
    return tuple(ordered)


async def connect_first(
    addresses: Sequence[Address],
    connect: Callable[[Address], Awaitable[socket.socket]],
    *,
    delay_s: float = ATTEMPT_DELAY_S,
) -> tuple[socket.socket, Address]:
    """Connect to whichever address answers first.

    Args:
        addresses: from `order_addresses`, at least one.
        connect: makes one connection; when it is cancelled it leaves no socket behind.
        delay_s: pause between two attempts while none has failed.

    Returns:
        The socket, and the address that it is connected to.

    Raises:
        OSError: every attempt has failed; the error of the last one.
    """
    waiting = list(reversed(addresses))
    running: dict[asyncio.Task[socket.socket | Exception], Address] = {}
    error: Exception = OSError("there is no address")
    try:
        while waiting or running:
            if waiting:
                address = waiting.pop()
                running[spawn(_keep_error(connect, address), name=f"connect {address}")] = address
            done, _ = await asyncio.wait(
                running, timeout=delay_s if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            # In the order in which they were begun; `wait` knows none.
            for task in [one for one in running if one in done]:
                made = task.result()
                address = running.pop(task)
                if not isinstance(made, Exception):
                    return made, address
                error = made
    finally:
        await _give_up(running)
    raise error


async def _keep_error(
    connect: Callable[[Address], Awaitable[socket.socket]], address: Address
) -> socket.socket | Exception:
    """A failed attempt is an outcome here: nobody is to read of it in the log, for another one may succeed."""
    try:
        return await connect(address)
    except (OSError, ValueError) as error:
        return error


async def _give_up(tasks: dict[asyncio.Task[socket.socket | Exception], Address]) -> None:
    """End attempts that nobody waits for; one that succeeded at the last moment has made a socket."""
    await cancel_and_wait(*tasks)
    for task in tasks:
        if not task.cancelled():
            made = task.result()
            if not isinstance(made, Exception):
                made.close()
