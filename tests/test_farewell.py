"""When responses end their connections because an operator has said so."""

from fastproxy.farewell import Farewell


def _share(farewell: Farewell, now: float) -> float:
    return sum(farewell.is_due(now) for _ in range(2000)) / 2000


def test_nothing_is_due_before_anybody_has_said_anything() -> None:
    """Connections are kept."""
    farewell = Farewell()
    assert not farewell.is_active
    assert not farewell.is_due(1e9)


def test_failed_health_checks_end_every_connection_until_they_are_well_again() -> None:
    """`/healthcheck/fail` and `/healthcheck/ok`."""
    farewell = Farewell()
    found = []
    for failed in (True, False):
        farewell.say(health_failed=failed, drain_from=-1.0, drain_s=0.0)
        found.append((farewell.is_active, farewell.is_due(0.0)))
    assert found == [(True, True), (False, False)]


def test_a_gradual_drain_ends_more_and_more_connections() -> None:
    """None at its begin, half of them in the middle, all of them from its end on."""
    farewell = Farewell()
    farewell.say(health_failed=False, drain_from=100.0, drain_s=10.0)

    assert _share(farewell, 100.0) == 0
    assert 0.4 < _share(farewell, 105.0) < 0.6
    assert _share(farewell, 110.0) == 1
    assert _share(farewell, 1000.0) == 1


def test_an_immediate_drain_ends_every_connection() -> None:
    """`--drain-strategy immediate`."""
    farewell = Farewell()
    farewell.say(health_failed=False, drain_from=100.0, drain_s=0.0)
    assert _share(farewell, 100.0) == 1
