"""ROUND_ROBIN: everybody in turn, as often as the weight says."""

from collections import Counter
from itertools import pairwise

import pytest

from fastproxy.upstream.balancer.round_robin import Rotation, WeightedRotation
from tests.upstream.balancer.support import choices, make_endpoints, make_tools, weighted


def test_endpoints_take_turns() -> None:
    """In the order of the configuration."""
    endpoints = make_endpoints(5)
    picker = Rotation(endpoints, make_tools())
    taken = [picker.select(None, 0) for _ in range(50)]
    assert Counter(taken) == dict.fromkeys(endpoints, 10)
    assert taken[0] is taken[5]
    first = endpoints.index(taken[0])  # type: ignore[arg-type]
    assert taken[:5] == endpoints[first:] + endpoints[:first]


@pytest.mark.parametrize(
    "weights", [(3, 1), (1, 1, 1), (7, 5, 2), (100, 1), (2, 3, 5, 7, 11, 13), (1, 10**6)]
)
@pytest.mark.parametrize("seed", range(5))
def test_in_any_window_of_the_sum_of_weights_everybody_has_his_exact_share(
    weights: tuple[int, ...], seed: int
) -> None:
    """Wherever workers start, and however long they run: nothing drifts."""
    endpoints = weighted(*weights)
    picker = WeightedRotation(endpoints, make_tools(seed))
    window = min(sum(weights), 5000)
    if window < sum(weights):
        taken = choices(picker, window)
        assert abs(taken[endpoints[1]] - window * weights[1] / sum(weights)) <= 1
        return
    for skipped in (0, 1, 17):
        choices(picker, skipped)
        assert choices(picker, window) == dict(zip(endpoints, weights, strict=True))


def test_three_to_one_is_aaab() -> None:
    """Envoy's order, from any place in it."""
    a, b = weighted(3, 1)
    picker = WeightedRotation([a, b], make_tools())
    taken = "".join("a" if picker.select(None, 0) is a else "b" for _ in range(40))
    assert taken in "aaab" * 12


def test_turns_of_a_heavy_endpoint_are_spread() -> None:
    """A burst to one endpoint is what weights must not mean."""
    heavy, *others = weighted(5, 1, 1, 1, 1, 1)
    picker = WeightedRotation([heavy, *others], make_tools())
    turns = [n for n in range(200) if picker.select(None, 0) is heavy]
    assert max(later - earlier for earlier, later in pairwise(turns)) <= 6
    assert len(turns) == 100


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (4, 3, 2, 1)])
def test_workers_start_at_different_places(weights: tuple[int, ...]) -> None:
    """Few requests over many workers would all go to the same endpoint otherwise."""
    endpoints = weighted(*weights)
    kind = Rotation if len(set(weights)) == 1 else WeightedRotation
    firsts = {kind(endpoints, make_tools(seed)).select(None, 0) for seed in range(40)}
    assert len(firsts) > 1
