"""MAGLEV: balance and disruption as the paper has them (section 5.3)."""

from collections import Counter

import pytest

from fastproxy.upstream.balancer.maglev import Maglev
from fastproxy.upstream.balancer.settings import MaglevSettings
from fastproxy.upstream.endpoint import Endpoint
from tests.upstream.balancer.support import built, hashes, make_endpoint, make_endpoints, make_tools


def table(endpoints: list[Endpoint], size: int = 65537) -> Maglev:
    whole = sum(endpoint.weight for endpoint in endpoints)
    shares = [endpoint.weight / whole for endpoint in endpoints]
    made = Maglev(endpoints, shares, MaglevSettings(size), make_tools())
    built(made)
    return made


def test_equal_endpoints_have_equal_shares_to_within_one_entry() -> None:
    """In every turn everybody takes one."""
    counts = Counter(table(make_endpoints(100))._table)
    assert len(counts) == 100
    assert max(counts.values()) - min(counts.values()) <= 1


def test_shares_follow_weights() -> None:
    """To within a percent of the table."""
    endpoints = [make_endpoint(n, weight=n) for n in (1, 2, 3, 10)]
    counts = Counter(table(endpoints)._table)
    for endpoint in endpoints:
        assert counts[endpoint] / 65537 == pytest.approx(endpoint.weight / 16, abs=0.001)


def test_little_but_the_share_of_the_endpoint_that_left_moves() -> None:
    """The paper's figure for tables a hundred times larger than the number of endpoints: about two percent."""
    endpoints = make_endpoints(100)
    before, after = table(endpoints), table(endpoints[:50] + endpoints[51:])
    gone = endpoints[50]
    stayed = [(old, new) for old, new in zip(before._table, after._table, strict=True) if old is not gone]
    assert sum(old is not new for old, new in stayed) / len(stayed) < 0.025


def test_requests_with_the_same_hash_go_to_the_same_endpoint_whatever_the_order() -> None:
    """Every worker must agree."""
    endpoints = make_endpoints(9)
    one, other = table(endpoints, 1009), table(endpoints[::-1], 1009)
    assert all(one.select(value, 0) is other.select(value, 0) for value in hashes(500))
    assert {one.select(None, 0) for _ in range(300)} == set(endpoints)


def test_the_next_attempt_is_another_entry() -> None:
    """A retry must be able to reach another endpoint."""
    made = table(make_endpoints(5), 1009)
    for value in hashes(20):
        assert len({made.select(value, attempt) for attempt in range(20)}) > 1


def test_a_table_smaller_than_the_number_of_endpoints_leaves_some_out() -> None:
    """As in Envoy; it must not fail."""
    assert len(set(table(make_endpoints(10), 5)._table)) == 5


def test_the_table_is_built_in_slices() -> None:
    """A thousand endpoints take a while; requests go on meanwhile."""
    made = Maglev(make_endpoints(1000), [0.001] * 1000, MaglevSettings(), make_tools())
    assert sum(1 for _ in made.build()) >= 10
    assert len(set(made._table)) == 1000
