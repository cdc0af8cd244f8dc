"""RING_HASH: balance, little disruption, and the very points that Envoy computes."""

from bisect import bisect_left
from collections import Counter

import pytest

from fastproxy.upstream.balancer.ring_hash import RingHash
from fastproxy.upstream.balancer.settings import ConsistentHashing, RingHashSettings
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.hashing import murmur2, plain_xxh64
from tests.upstream.balancer.support import built, hashes, make_endpoint, make_endpoints, make_tools


def ring(endpoints: list[Endpoint], settings: RingHashSettings = RingHashSettings()) -> RingHash:  # noqa: B008
    whole = sum(endpoint.weight for endpoint in endpoints)
    made = RingHash(endpoints, [endpoint.weight / whole for endpoint in endpoints], settings, make_tools())
    built(made)
    return made


def points_of(made: RingHash) -> Counter[Endpoint]:
    return Counter(made._endpoints[owner] for owner in made._owners)


@pytest.mark.parametrize("murmur", [False, True])
def test_points_and_choices_are_those_of_the_plain_algorithm(*, murmur: bool) -> None:
    """Ketama as in Envoy: hashes of `address_n`, sorted; the first at or after the hash, around the circle."""
    endpoints = make_endpoints(3)
    made = ring(endpoints, RingHashSettings(minimum_ring_size=30, murmur=murmur))
    hashed = murmur2 if murmur else plain_xxh64
    plain = sorted(
        (hashed(f"{endpoint.text}_{n}".encode()), endpoint.text) for endpoint in endpoints for n in range(10)
    )
    for value in (*hashes(300), 0, plain[4][0], plain[4][0] + 1, 2**64 - 1):
        at = bisect_left(plain, (value, ""))
        chosen = made.select(value, 0)
        assert chosen is not None
        assert chosen.text == plain[at % len(plain)][1]


def test_load_is_balanced_within_what_points_allow() -> None:
    """With p points an endpoint's share deviates by 1 / sqrt(p) (Karger et al.); here p is 1000, bound 5 deviations."""
    endpoints = make_endpoints(20)
    made = ring(endpoints, RingHashSettings(minimum_ring_size=20_000))
    taken = Counter(made.select(value, 0) for value in hashes(100_000))
    for endpoint in endpoints:
        assert taken[endpoint] / 5000 == pytest.approx(1.0, abs=5 / 1000**0.5 + 0.05)


def test_only_requests_of_the_endpoint_that_left_move() -> None:
    """The point of consistent hashing. Rings of a fixed number of points per endpoint keep it exactly."""
    endpoints = make_endpoints(10)
    before = ring(endpoints, RingHashSettings(minimum_ring_size=1000))
    after = ring(endpoints[:-1], RingHashSettings(minimum_ring_size=900))
    for value in hashes(5000):
        chosen = before.select(value, 0)
        if chosen is not endpoints[-1]:
            assert after.select(value, 0) is chosen


def test_little_more_moves_when_the_ring_is_filled_up() -> None:
    """A minimum size gives those who stay a few more points: a tenth more of ten, so a tenth of requests at most."""
    endpoints = make_endpoints(10)
    before, after = ring(endpoints), ring(endpoints[:-1])
    values = hashes(10_000)
    moved = sum(
        after.select(value, 0) is not before.select(value, 0)
        for value in values
        if before.select(value, 0) is not endpoints[-1]
    )
    assert moved < 0.12 * len(values)


def test_points_follow_weights_and_bounds() -> None:
    """Envoy: the lightest has a whole number of points; the maximum wins over it."""
    one, three = make_endpoint(1, weight=1), make_endpoint(2, weight=3)
    assert points_of(ring([one, three], RingHashSettings(10))) == {one: 3, three: 9}
    assert points_of(ring([one, three])) == {one: 256, three: 768}
    assert points_of(ring(make_endpoints(5), RingHashSettings(1, 4))).total() == 4


def test_every_request_with_the_same_hash_goes_to_the_same_endpoint_whatever_the_order() -> None:
    """DNS answers in any order; every worker must agree."""
    endpoints = make_endpoints(8)
    one, other = ring(endpoints), ring(endpoints[::-1])
    assert all(one.select(value, 0) is other.select(value, 0) for value in hashes(1000))


def test_without_a_hash_chance_decides() -> None:
    """All of them get requests."""
    endpoints = make_endpoints(4)
    made = ring(endpoints)
    assert {made.select(None, 0) for _ in range(200)} == set(endpoints)


def test_the_next_attempt_walks_on_along_the_ring() -> None:
    """A retry must be able to reach another endpoint."""
    made = ring(make_endpoints(5))
    for value in hashes(20):
        assert len({made.select(value, attempt) for attempt in range(60)}) > 1


def test_metadata_and_host_name_can_stand_for_the_address() -> None:
    """Then an endpoint keeps its place when its address changes."""
    settings = RingHashSettings(consistent=ConsistentHashing(use_hostname=True))
    named = [make_endpoint(n, hostname=f"pod-{n}") for n in range(4)]
    moved = [make_endpoint(n + 100, hostname=f"pod-{n}") for n in range(4)]
    keyed = [make_endpoint(n + 200, hostname=f"other-{n}", hash_key=f"pod-{n}") for n in range(4)]
    rings = [(one, ring(one, settings)) for one in (named, moved, keyed)]
    for value in hashes(200):
        places = set()
        for endpoints, made in rings:
            chosen = made.select(value, 0)
            assert chosen is not None
            places.add(endpoints.index(chosen))
        assert len(places) == 1


def test_a_large_ring_is_built_in_slices() -> None:
    """Requests go on meanwhile; no slice does more than a thousand points' work."""
    made = RingHash(make_endpoints(10), [0.1] * 10, RingHashSettings(50_000), make_tools())
    assert sum(1 for _ in made.build()) >= 100
    assert points_of(made).total() == 50_000
    assert list(made._hashes) == sorted(made._hashes)


@pytest.mark.parametrize("settings", [RingHashSettings(0), RingHashSettings(0, 0)])
def test_a_ring_without_points_chooses_nobody(settings: RingHashSettings) -> None:
    """`minimum_ring_size: 0` is valid; Envoy answers 503, no healthy upstream."""
    made = ring(make_endpoints(2), settings)

    assert (made.select(7, 0), made.select(None, 1)) == (None, None)
