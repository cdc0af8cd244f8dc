"""The resolver with servers of its own, against a real name server."""

import socket
from collections.abc import AsyncIterator

import pytest

from fastproxy.control.cares import CaresResolver
from fastproxy.control.discovery import LookupFailed
from fastproxy.control.lookup import Answer, resolve_timed
from fastproxy.upstream.settings import DnsLookupFamily, DnsResolverSettings
from tests.control.dns_server import DnsServer, Zone

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    zone = Zone({("a.test", "A"): ["192.0.2.1", "192.0.2.2"], ("a.test", "AAAA"): ["2001:db8::1"]}, ttl_s=7)
    async with DnsServer(zone) as running:
        yield running


def settings_of(server: DnsServer, **options: object) -> DnsResolverSettings:
    return DnsResolverSettings(servers=(server.address,), query_timeout_s=0.2, tries=1, **options)  # type: ignore[arg-type]


async def test_answers_have_their_addresses_and_times_to_live(server: DnsServer) -> None:
    """`respect_dns_ttl` is nothing without them."""
    resolver = CaresResolver(settings_of(server))
    v4, v6 = await resolver.lookup("a.test", V4), await resolver.lookup("a.test", V6)
    assert sorted(v4.addresses) == ["192.0.2.1", "192.0.2.2"]
    assert (v4.ttl_s, v6) == (7.0, Answer(("2001:db8::1",), 7.0))


async def test_no_such_name_and_no_such_address_are_empty_answers(server: DnsServer) -> None:
    """They are answers: a name that is gone must not keep its old addresses."""
    server.zone.records["v4only.test", "A"] = ["192.0.2.1"]
    resolver = CaresResolver(settings_of(server))
    assert await resolver.lookup("gone.test", V4) == Answer()
    assert await resolver.lookup("v4only.test", V6) == Answer()


async def test_a_server_that_fails_or_is_silent_is_a_failed_lookup(server: DnsServer) -> None:
    """The last good answer is kept then."""
    resolver = CaresResolver(settings_of(server))
    server.zone.failing = True
    with pytest.raises(LookupFailed):
        await resolver.lookup("a.test", V4)
    server.zone.silent = True
    with pytest.raises(LookupFailed):
        await resolver.lookup("b.test", V4)


async def test_the_hosts_file_is_honoured(server: DnsServer) -> None:
    """`localhost` is nobody's business on the network."""
    resolver = CaresResolver(settings_of(server))
    assert (await resolver.lookup("localhost", V4)).addresses == ("127.0.0.1",)
    assert server.zone.asked == []


async def test_lookups_go_over_tcp_where_that_is_asked_for(server: DnsServer) -> None:
    """`use_tcp_for_dns_lookups`."""
    resolver = CaresResolver(settings_of(server, over_tcp=True))
    assert (await resolver.lookup("a.test", V6)).addresses == ("2001:db8::1",)
    assert server.tcp_questions == 1


async def test_servers_that_are_only_a_fallback_are_not_asked_beside_the_systems(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`use_resolvers_as_fallback`."""
    monkeypatch.setattr("fastproxy.control.cares._NO_SYSTEM_SERVERS", frozenset())
    resolver = CaresResolver(settings_of(server, servers_are_fallback=True))
    assert server.address not in resolver._open().servers


async def test_a_name_that_cannot_be_sent_is_a_failed_lookup(server: DnsServer) -> None:
    """The refresh must survive it."""
    resolver = CaresResolver(settings_of(server))
    with pytest.raises(LookupFailed):
        await resolver.lookup("x" * 70 + "..test", V4)


async def test_both_families_together_have_the_lowest_time_to_live(server: DnsServer) -> None:
    """`ALL`."""
    resolver = CaresResolver(settings_of(server))
    answer = await resolve_timed("a.test", DnsLookupFamily.ALL, resolver.lookup)
    assert sorted(answer.addresses) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert answer.ttl_s == 7.0


async def test_an_answer_is_not_kept_for_its_time_to_live(server: DnsServer) -> None:
    """When to ask again is for the cluster to say, which may ask more often."""
    resolver = CaresResolver(settings_of(server))
    await resolver.lookup("a.test", V6)
    server.zone.records["a.test", "AAAA"] = ["2001:db8::2"]
    assert (await resolver.lookup("a.test", V6)).addresses == ("2001:db8::2",)
