"""Which filter chain a connection gets; tests/e2e/test_diff_tls.py asks the real Envoy the same."""

import pytest

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.listener.chain_match import AmbiguousChains, FilterChainMatcher
from fastproxy.listener.settings import FilterChainMatchSettings as Match
from fastproxy.listener.settings import SourceType


def info(
    remote: str = "203.0.113.1",
    local: str = "198.51.100.1",
    *,
    name: str = "",
    transport: str = "",
    alpn: tuple[str, ...] = (),
    port: int = 443,
) -> ConnectionInfo:
    found = ConnectionInfo((remote, 1000), (local, port))
    found.requested_server_name = name
    found.transport_protocol = transport
    found.application_protocols = alpn
    return found


def test_an_empty_match_fits_everything() -> None:
    """It is what most files have."""
    assert FilterChainMatcher([Match()]).select(info()) == 0


def test_without_a_chain_that_fits_there_is_none() -> None:
    """The default chain, if any, is for the caller."""
    assert FilterChainMatcher([]).select(info()) is None
    assert FilterChainMatcher([Match(destination_port=80)]).select(info()) is None


@pytest.mark.parametrize(
    ("name", "chain"),
    [("a.b.test", 0), ("x.b.test", 1), ("y.x.b.test", 1), ("b.test", 2), ("c.test", 2), ("test", 3), ("", 3)],
)
def test_names_go_from_exact_over_the_longest_suffix_to_any(name: str, chain: int) -> None:
    """`*.b.test` stands for names below it, not for itself."""
    matcher = FilterChainMatcher(
        [
            Match(server_names=("A.b.test",)),
            Match(server_names=("*.b.test",)),
            Match(server_names=("*.test",)),
            Match(),
        ]
    )
    assert matcher.select(info(name=name)) == chain


def test_narrowing_never_comes_back() -> None:
    """The chain for the name is out of reach behind the more specific destination."""
    matcher = FilterChainMatcher([Match(destination_port=443), Match(server_names=("a.test",))])
    assert matcher.select(info(name="a.test")) == 0
    only = FilterChainMatcher([Match(destination_port=443, server_names=("b.test",)), Match()])
    assert only.select(info(name="a.test")) is None


def test_direct_and_forwarded_sources_are_two_things() -> None:
    """A PROXY header changes one of them."""
    matcher = FilterChainMatcher(
        [
            Match(direct_source_prefix_ranges=("10.0.0.0/8",)),
            Match(source_prefix_ranges=("192.0.2.0/24",)),
            Match(),
        ]
    )
    forwarded = info("10.0.0.1")
    forwarded.remote_address = ("192.0.2.9", 5)
    assert matcher.select(forwarded) == 0
    forwarded.direct_remote_address = ("172.16.0.1", 5)
    assert matcher.select(forwarded) == 1
    assert matcher.select(info()) == 2


def test_ipv4_in_ipv6_is_ipv4() -> None:
    """A dual-stack listener sees its IPv4 peers so."""
    matcher = FilterChainMatcher([Match(source_prefix_ranges=("10.0.0.0/8",))])
    assert matcher.select(info("::ffff:10.1.1.1", "::ffff:10.0.0.1")) == 0


@pytest.mark.parametrize(("remote", "chain"), [("127.0.0.1", 0), ("198.51.100.1", 0), ("203.0.113.1", 1)])
def test_a_source_is_local_or_external(remote: str, chain: int) -> None:
    """The same address as the listener's counts as local."""
    local = Match(source_type=SourceType.SAME_IP_OR_LOOPBACK)
    assert FilterChainMatcher([local, Match(source_type=SourceType.EXTERNAL)]).select(info(remote)) == chain


def test_the_clients_order_of_protocols_counts() -> None:
    """As in Envoy."""
    matcher = FilterChainMatcher([Match(application_protocols=("a",)), Match(application_protocols=("b",))])
    assert matcher.select(info(alpn=("b", "a"))) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Match(), Match()),
        (Match(server_names=("a.test",)), Match(server_names=("b.test", "A.test"))),
        (Match(source_prefix_ranges=("10.0.0.0/8",)), Match(source_prefix_ranges=("10.1.2.3/8",))),
        (Match(source_ports=(1, 2)), Match(source_ports=(2, 3))),
    ],
)
def test_two_chains_for_the_same_are_refused(first: Match, second: Match) -> None:
    """Which one serves would be an accident."""
    with pytest.raises(AmbiguousChains) as caught:
        FilterChainMatcher([first, second])
    assert (caught.value.first, caught.value.second) == (0, 1)


def test_one_chain_may_name_a_value_twice() -> None:
    """It is not ambiguous, only untidy."""
    assert FilterChainMatcher([Match(source_ports=(1000, 1000))]).select(info()) == 0
