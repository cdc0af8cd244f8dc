"""Looking names up: what an answer is, the system's resolver, and the rules of `dns_lookup_family`."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fastproxy.control.discovery import LookupFailed
from fastproxy.upstream.settings import DnsLookupFamily

#: c-ares, which Envoy uses, gives up after 5 s and 4 tries; the C library's default is 5 s a server.
_LOOKUP_TIMEOUT_S: Final = 10.0
#: The C library's words for "the name exists, but not with such an address" and "no such name".
_EMPTY_ANSWERS: Final = frozenset(
    code
    for code in (
        socket.EAI_NONAME,
        getattr(socket, "EAI_NODATA", None),
        getattr(socket, "EAI_ADDRFAMILY", None),
    )
    if code is not None
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The addresses of a name, in order; none if it has none."""

    addresses: tuple[str, ...] = ()
    ttl_s: float | None = None
    """The lowest time to live; None if the resolver does not tell."""


#: Looks a name up in one address family (AF_INET or AF_INET6): addresses in order, empty if it has none.
FamilyLookup = Callable[[str, socket.AddressFamily], Awaitable[list[str]]]
#: The same with the time to live.
TimedLookup = Callable[[str, socket.AddressFamily], Awaitable[Answer]]


async def system_lookup(name: str, family: socket.AddressFamily) -> list[str]:
    """Ask the system's resolver, hosts file included.

    Raises:
        LookupFailed: no answer; an answer without addresses is an empty list.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_LOOKUP_TIMEOUT_S):
            found = await loop.getaddrinfo(name, None, family=family, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise LookupFailed(f"no answer within {_LOOKUP_TIMEOUT_S:.0f} s") from None
    except socket.gaierror as error:
        if error.errno in _EMPTY_ANSWERS:
            return []
        raise LookupFailed(error.strerror or "resolver error") from error
    except (OSError, UnicodeError) as error:
        raise LookupFailed(type(error).__name__) from error
    # A scope id (`fe80::1%eth0`) is part of the address string already; duplicates come from several socket
    # types.
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def without_ttl(lookup: FamilyLookup) -> TimedLookup:
    """A lookup that tells no times to live, as one that might."""

    async def timed(name: str, family: socket.AddressFamily) -> Answer:
        return Answer(tuple(await lookup(name, family)))

    return timed


async def resolve(name: str, family: DnsLookupFamily, lookup: FamilyLookup) -> list[str]:
    """Resolve a name by the rules of `dns_lookup_family`; an IP literal is its own answer.

    Raises:
        LookupFailed: a family that decides did not answer.
    """
    return list((await resolve_timed(name, family, without_ttl(lookup))).addresses)


async def resolve_timed(name: str, family: DnsLookupFamily, lookup: TimedLookup) -> Answer:
    """Resolve a name by the rules of `dns_lookup_family`; an IP literal is its own answer.

    AUTO asks for IPv6 first and for IPv4 only if there is none: `localhost` becomes `::1`, as in Envoy.

    Raises:
        LookupFailed: a family that decides did not answer.
    """
    if is_ip_literal(name):
        return Answer((name,))
    v4, v6 = socket.AF_INET, socket.AF_INET6
    if family is DnsLookupFamily.V4_ONLY:
        return await lookup(name, v4)
    if family is DnsLookupFamily.V6_ONLY:
        return await lookup(name, v6)
    if family is DnsLookupFamily.ALL:
        answers = await asyncio.gather(lookup(name, v4), lookup(name, v6), return_exceptions=True)
        return _merge(answers)
    first, second = (v4, v6) if family is DnsLookupFamily.V4_PREFERRED else (v6, v4)
    failure = None
    try:
        answer = await lookup(name, first)
        if answer.addresses:
            return answer
    except LookupFailed as error:
        failure = error
    answer = await lookup(name, second)
    if not answer.addresses and failure is not None:
        raise failure
    return answer


def _merge(answers: Sequence[Answer | BaseException]) -> Answer:
    good = [answer for answer in answers if isinstance(answer, Answer)]
    addresses = tuple(address for answer in good for address in answer.addresses)
    for answer in answers:
        if isinstance(answer, BaseException) and not (isinstance(answer, LookupFailed) and addresses):
            raise answer
    times = [answer.ttl_s for answer in good if answer.ttl_s is not None]
    return Answer(addresses, min(times) if times else None)


def is_ip_literal(host: str) -> bool:
    """Tell an IPv4 or IPv6 address from a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
