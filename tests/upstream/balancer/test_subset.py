"""Subsets: a route's metadata narrows a cluster down."""

from collections.abc import Iterable
from typing import Any

import pytest

from fastproxy.upstream.balancer.settings import (
    Fallback,
    LoadBalancingSettings,
    SubsetSelector,
    SubsetSettings,
    subset_match,
)
from fastproxy.upstream.balancer.subset import SubsetPicker
from fastproxy.upstream.endpoint import Endpoint
from tests.upstream.balancer.support import make_endpoint, make_tools, set_down


class World:
    """Some endpoints, divided."""

    def __init__(self, *endpoints: Endpoint, **settings: Any) -> None:
        settings["selectors"] = tuple(settings.get("selectors", [SubsetSelector(("stage",))]))
        subsets = SubsetSettings(**settings)
        self.tools = make_tools()
        self.picker = SubsetPicker(LoadBalancingSettings(subsets=subsets), subsets, self.tools)
        self.update(endpoints)

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        self.picker.update(tuple(endpoints))

    def choices(self, **match: object) -> set[Endpoint | None]:
        picker = self.picker.picker(subset_match(match) if match else None)
        return {picker.select(None, 0) for _ in range(30)}


PROD = [make_endpoint(n, stage="prod", version=n % 2) for n in range(4)]
CANARY = make_endpoint(9, stage="canary", version=1)
PLAIN = make_endpoint(10)
EVERYBODY = (*PROD, CANARY, PLAIN)


def test_a_request_goes_to_the_endpoints_with_the_metadata_of_its_route() -> None:
    """All keys of a selector, no more and no less."""
    world = World(*EVERYBODY, selectors=[SubsetSelector(("stage",)), SubsetSelector(("stage", "version"))])
    assert world.choices(stage="prod") == set(PROD)
    assert world.choices(stage="canary") == {CANARY}
    assert world.choices(version=1, stage="prod") == {PROD[1], PROD[3]}
    assert world.tools.stats.lb_subsets_selected == 3
    assert world.choices(version=1) == {None}


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        (Fallback.NO_FALLBACK, {None}),
        (Fallback.ANY_ENDPOINT, set(EVERYBODY)),
        (Fallback.DEFAULT_SUBSET, set(PROD)),
    ],
)
def test_where_requests_without_a_subset_go(fallback: Fallback, expected: set[Endpoint | None]) -> None:
    """A value that nobody has, and no metadata at all."""
    world = World(*EVERYBODY, fallback=fallback, default_subset={"stage": "prod"})
    assert world.choices(stage="none") == expected
    assert world.choices() == expected
    assert world.tools.stats.lb_subsets_fallback == (0 if fallback is Fallback.NO_FALLBACK else 2)


def test_a_selector_may_have_a_fallback_of_its_own() -> None:
    """It holds for requests with exactly its keys."""
    selectors = [
        SubsetSelector(("stage",), Fallback.NO_FALLBACK),
        SubsetSelector(("stage", "version"), Fallback.KEYS_SUBSET, ("stage",)),
    ]
    world = World(*EVERYBODY, selectors=selectors, fallback=Fallback.ANY_ENDPOINT)
    assert world.choices(stage="none") == {None}
    assert world.choices(stage="prod", version=7) == set(PROD)
    assert world.choices(stage="none", version=7) == {None}
    assert world.choices(other=1) == set(EVERYBODY)


def test_values_are_compared_with_their_types() -> None:
    """1 is 1.0 in JSON; it is neither "1" nor true."""
    one, text, yes = make_endpoint(1, v=1), make_endpoint(2, v="1"), make_endpoint(3, v=True)
    world = World(one, text, yes, selectors=[SubsetSelector(("v",))])
    assert world.choices(v=1.0) == {one}
    assert world.choices(v="1") == {text}
    assert world.choices(v=True) == {yes}


def test_a_list_is_one_value_unless_it_means_any_of_its_items() -> None:
    """`list_as_any`."""
    both, one = make_endpoint(1, stage=["a", "b"]), make_endpoint(2, stage="a")
    assert World(both, one).choices(stage="a") == {one}
    assert World(both, one).choices(stage=["a", "b"]) == {both}
    world = World(
        both, one, list_as_any=True, default_subset={"stage": "b"}, fallback=Fallback.DEFAULT_SUBSET
    )
    assert world.choices(stage="a") == {both, one}
    assert world.choices(stage="b") == {both}
    assert world.choices() == {both}


def test_a_subset_has_health_and_panic_of_its_own() -> None:
    """The rest of the cluster being healthy does not help it, nor hurt it."""
    endpoints = [make_endpoint(n, stage="prod") for n in range(4)]
    other = make_endpoint(5, stage="canary")
    set_down(endpoints[:2])
    world = World(*endpoints, other)
    assert world.choices(stage="prod") == set(endpoints[2:])
    set_down(endpoints[2:3])
    world.update([*endpoints, other])
    assert world.choices(stage="prod") == set(endpoints)
    assert world.tools.stats.lb_healthy_panic == 30


def test_panic_mode_any_is_for_a_fallback_without_endpoints() -> None:
    """Better any than none."""
    world = World(
        *EVERYBODY, fallback=Fallback.DEFAULT_SUBSET, default_subset={"stage": "x"}, panic_mode_any=True
    )
    assert world.choices(stage="none") == set(EVERYBODY)
    assert world.tools.stats.lb_subsets_fallback_panic == 1


def test_a_single_host_per_subset_is_the_first_of_them() -> None:
    """The others are counted: the promise of the file was broken."""
    world = World(*EVERYBODY, selectors=[SubsetSelector(("stage",), single_host=True)])
    assert world.choices(stage="prod") == {PROD[0]}
    assert world.tools.stats.lb_subsets_single_host_per_subset_duplicate == 3


def test_subsets_come_and_go_with_endpoints() -> None:
    """And are counted."""
    world = World(*EVERYBODY)
    assert world.tools.stats.lb_subsets_created == 2
    new = make_endpoint(20, stage="blue")
    world.update([*PROD, new])
    assert (world.tools.stats.lb_subsets_created, world.tools.stats.lb_subsets_removed) == (3, 1)
    assert world.choices(stage="blue") == {new}
    assert world.choices(stage="canary") == {None}
