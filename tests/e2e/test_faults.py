"""Endpoints that fail under load: what a retry can hide, no downstream sees; and nothing is done twice.

`pytest tests/e2e/test_faults.py -rP` shows the figures; FASTPROXY_LONG_TESTS=1 makes ten times the load.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

import pytest

from fastproxy.clock import monotonic
from tests.e2e.support.counting import ask
from tests.e2e.support.fault_world import FaultWorld, Load, fault_world, shuffled

_SCALE = 10 if "FASTPROXY_LONG_TESTS" in os.environ else 1
_PATIENCE_S = 20.0
_Actions = dict[float, Callable[[], object]]


@pytest.fixture(scope="module", params=["plain", "tls"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultWorld]:
    """Started once for `plain` and once for `tls` connections to the endpoints, which keep their addresses."""
    with fault_world(tmp_path_factory.mktemp("faults"), tls=request.param == "tls") as made:
        yield made


@pytest.fixture(autouse=True)
def heal(world: FaultWorld) -> Iterator[None]:
    """The first endpoint is well again after every test, and the name server tells the truth."""
    yield
    world.heal()


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and when: parts of the load."""

    happens: Callable[[FaultWorld], _Actions]
    path: str = "/"
    requests: int = 240
    posts: int = 240
    """Requests with bodies: fewer where each that meets the fault waits for a timeout."""
    allowed: frozenset[int] = frozenset((200, 503))
    """What a POST may be answered that has met the fault."""


def _behaves(mode: str) -> Callable[[FaultWorld], _Actions]:
    return lambda world: {0.15: lambda: world.victim.behave(mode)}


def _flap(world: FaultWorld) -> _Actions:
    """Gone and back, again and again."""
    return dict(zip(shuffled(10), cycle((world.victim.kill, world.victim.start)), strict=False))


def _reload_and_flap(world: FaultWorld) -> _Actions:
    """A new configuration with everything that happens, and some in between."""
    steps = (world.victim.kill, world.reload, world.victim.start, world.reload)
    return dict(zip(shuffled(12), cycle(steps), strict=False))


_HIDDEN = frozenset((200,))
_LATE = frozenset((200, 503, 504))
FAULTS = {
    "killed": Fault(lambda world: {0.15: world.victim.kill}),
    "killed-and-back": Fault(lambda world: {0.15: world.victim.kill, 0.5: world.victim.start}),
    "stopped": Fault(lambda world: {0.15: world.victim.stop}, requests=90, posts=30, allowed=_LATE),
    "hung": Fault(_behaves("hang"), requests=90, posts=30, allowed=_LATE),
    "slow": Fault(_behaves("slow"), requests=90, posts=30, allowed=_LATE),
    "resetting": Fault(_behaves("reset")),
    "closing": Fault(_behaves("close")),
    "503": Fault(_behaves("503")),
    "flapping": Fault(_flap),
    "reloads": Fault(_reload_and_flap),
    # Nobody breaks a request off here, and what did not reach an endpoint may always go to another one.
    "certificate-expired-or-deaf": Fault(lambda world: {0.15: world.refuse_new_connections}, allowed=_HIDDEN),
    "moved": Fault(lambda world: {0.15: world.move}, path="/named"),
    "moved-and-reloaded": Fault(lambda world: {0.15: world.move, 0.2: world.reload}, path="/named"),
    "name-server-fails": Fault(lambda world: {0.15: world.misname}, path="/named", allowed=_HIDDEN),
}


def _run(world: FaultWorld, name: str, method: str) -> Load:
    fault = FAULTS[name]
    requests = fault.posts if method == "POST" else fault.requests
    load = Load(
        world.proxy.ports["plain"], method, f"{method}-{name}-".lower(), fault.path, requests * _SCALE
    )
    before = world.numbers()
    load.run(fault.happens(world))
    after = world.numbers()
    told = {key: value - before.get(key, 0) for key, value in after.items()}
    print(
        f"{name}: {load.requests} {method}s, {told['upstream_rq_retry']} retries, "
        f"{told['upstream_rq_retry_success']} of them with a good end, "
        f"{load.requests - load.statuses[200]} errors seen by the downstream; {load.figures()}"
    )
    return load


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_one_endpoint_is_hidden(world: FaultWorld, name: str) -> None:
    """Two healthy ones are left, and a GET may be repeated: no downstream sees an error."""
    load = _run(world, name, "GET")

    assert load.statuses == {200: load.requests}


@pytest.mark.parametrize("name", FAULTS)
def test_what_may_have_had_an_effect_is_not_done_twice(world: FaultWorld, name: str) -> None:
    """Of a POST no endpoint sees more than one, not even its head twice; whatever the downstream is told."""
    load = _run(world, name, "POST")

    heads, whole = world.seen("head", load.name), world.seen("whole", load.name)
    assert set(heads.values()) == {1}
    assert len(whole) >= load.statuses[200] >= load.requests / 2
    assert set(load.statuses) <= FAULTS[name].allowed


def test_a_new_address_is_used_at_once(world: FaultWorld) -> None:
    """The one that moved is not lost: where it is now it gets its share, and nobody asks for it elsewhere."""
    load = _run(world, "moved", "GET")

    assert load.statuses == {200: load.requests}
    deadline = monotonic() + _PATIENCE_S
    while not world.seen_by_moved("get-after-"):
        assert monotonic() < deadline, world.proxy.log()[-2000:]
        ask(world.proxy.ports["plain"], "/named", [{"x-id": "get-after-the-move"}] * 6)


def test_nothing_is_left_of_all_faults(world: FaultWorld) -> None:
    """Every connection, request and retry that was counted is given back, or circuit breakers close for good."""
    _run(world, "reloads", "GET")
    world.wait_until_reloaded()

    numbers = world.numbers()
    assert numbers["upstream_rq_active"] == 0
    assert numbers["upstream_rq_pending_active"] == 0
    for name, limit in (("rq", 1024), ("pending", 1024), ("retries", 100)):
        assert numbers[f"circuit_breakers.default.remaining_{name}"] == 2 * limit
    taken = 2 * 1024 - numbers["circuit_breakers.default.remaining_cx"]
    assert taken == numbers["upstream_cx_active"]
