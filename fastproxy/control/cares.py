"""Names looked up by c-ares, which Envoy uses, too: own name servers, and answers with their time to live.

The hosts file is honoured. c-ares runs in a thread of its own and calls back from there.
"""

import asyncio
import errno
import socket
from contextlib import suppress
from typing import Final

import pycares

from fastproxy.control.discovery import LookupFailed
from fastproxy.control.lookup import Answer
from fastproxy.upstream.settings import DnsResolverSettings

#: What c-ares asks when the system names no server: one on this machine.
_NO_SYSTEM_SERVERS: Final = frozenset({"127.0.0.1", "127.0.0.1:53"})
#: "The name exists, but not with such an address" and "no such name".
_EMPTY_ANSWERS: Final = frozenset({pycares.errno.ARES_ENODATA, pycares.errno.ARES_ENOTFOUND})
#: Beyond what tries and timeouts allow: c-ares counts its own.
_GRACE_S: Final = 5.0


class CaresResolver:
    """Looks names up as its settings say."""

    def __init__(self, settings: DnsResolverSettings) -> None:
        self._settings = settings

    async def lookup(self, name: str, family: socket.AddressFamily) -> Answer:
        """Look a name up in one address family; an answer without addresses is an empty one.

        Raises:
            LookupFailed: no answer, or the server failed.
        """
        # One channel for each lookup. c-ares keeps answers for their whole time to live, and does not let itself be
        # told otherwise; how often names are asked for is for the cluster to say. A change of the system's name
        # servers is seen at once, too.
        channel = self._open()
        try:
            return await self._ask(channel, name, family)
        finally:
            channel.close()

    async def _ask(self, channel: pycares.Channel, name: str, family: socket.AddressFamily) -> Answer:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[tuple[pycares.AddrInfoResult | None, int | None]] = loop.create_future()

        def settle(result: pycares.AddrInfoResult | None, error: int | None) -> None:
            if not answered.done():
                answered.set_result((result, error))

        def on_answer(result: pycares.AddrInfoResult | None, error: int | None) -> None:
            # In the thread of c-ares, perhaps when the loop has ended.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, result, error)

        try:
            channel.getaddrinfo(name, None, family=family, type=socket.SOCK_STREAM, callback=on_answer)
        except (pycares.AresError, UnicodeError, ValueError, RuntimeError) as error:
            raise LookupFailed(type(error).__name__) from error
        # Each server is asked `tries` times, and c-ares lengthens the timeout with every round.
        servers = max(1, len(channel.servers))
        longest_s = self._settings.query_timeout_s * self._settings.tries * servers * 2 + _GRACE_S
        try:
            async with asyncio.timeout(longest_s):
                result, code = await answered
        except TimeoutError:
            raise LookupFailed(f"no answer within {longest_s:.0f} s") from None
        if code in _EMPTY_ANSWERS:
            return Answer()
        if result is None:
            raise LookupFailed(_describe(code))
        return _answer(result, family)

    def _open(self) -> pycares.Channel:
        settings = self._settings
        flags = pycares.ARES_FLAG_EDNS
        if settings.over_tcp:
            flags |= pycares.ARES_FLAG_USEVC
        if not settings.search_domains:
            flags |= pycares.ARES_FLAG_NOSEARCH
        try:
            channel = pycares.Channel(
                flags=flags,
                timeout=settings.query_timeout_s,
                tries=settings.tries,
                # The hosts file first, then DNS.
                lookups="fb",
                rotate=settings.rotate,
            )
            if settings.servers and (
                not settings.servers_are_fallback or _NO_SYSTEM_SERVERS.issuperset(channel.servers)
            ):
                channel.servers = list(settings.servers)
        except pycares.AresError as error:
            raise LookupFailed("the resolver cannot be started") from error
        return channel


def _answer(result: pycares.AddrInfoResult, family: socket.AddressFamily) -> Answer:
    nodes = [node for node in result.nodes if node.family == family]
    addresses = dict.fromkeys(_text(node.addr[0]) for node in nodes)
    # 0: from the hosts file, or a record that may not be kept; neither says when to ask again.
    times = [node.ttl for node in nodes if node.ttl > 0]
    return Answer(tuple(addresses), float(min(times)) if times else None)


def _text(address: str | bytes) -> str:
    return address.decode("ascii", "replace") if isinstance(address, bytes) else address


def _describe(code: int | None) -> str:
    if code is None:
        return "resolver error"
    return str(pycares.errno.strerror(code)) or errno.errorcode.get(code, "resolver error")
