"""The rules by which results of checks make an endpoint healthy or not."""

from random import Random

import pytest

from fastproxy.control.health.state import Change, CheckResult, CheckState, FailureKind, pause_s
from fastproxy.upstream.health.settings import CheckIntervals
from fastproxy.upstream.settings import HealthFlag, describe_health
from tests.control.health.support import (
    DOWN,
    INTERVALS,
    PASS,
    REFUSED,
    RETRIABLE,
    TIMEOUT,
    check_settings,
)

HEALTHY = HealthFlag(0)


def run(state: CheckState, *results: CheckResult) -> list[bool]:
    """Whether the endpoint is failed, after each result."""
    found = []
    for result in results:
        state.on_result(result)
        found.append(state.is_failed)
    return found


def test_endpoint_that_nobody_checked_is_not_used() -> None:
    """Requests must not find out what the check is there to find out."""
    state = CheckState(check_settings())
    assert describe_health(state.flags) == "/failed_active_hc"
    assert not state.is_checked
    pending = CheckState(check_settings(), exclude_unchecked=True)
    assert describe_health(pending.flags) == "/failed_active_hc/pending_active_hc"
    pending.on_result(REFUSED)
    assert describe_health(pending.flags) == "/failed_active_hc"


@pytest.mark.parametrize(("first", "failed"), [(PASS, False), (REFUSED, True), (DOWN, True)])
def test_first_result_decides_alone(first: CheckResult, *, failed: bool) -> None:
    """Thresholds are about changes; at the start they would only cost time."""
    assert run(CheckState(check_settings()), first) == [failed]


@pytest.mark.parametrize("answer", [REFUSED, TIMEOUT, RETRIABLE])
def test_no_answer_counts_up_to_the_threshold(answer: CheckResult) -> None:
    """A lost packet is not an outage."""
    state = CheckState(check_settings(), HEALTHY)
    assert run(state, answer, answer, PASS, answer, answer, answer) == [False] * 5 + [True]


def test_a_clear_no_counts_at_once() -> None:
    """The endpoint itself says so."""
    assert run(CheckState(check_settings(), HEALTHY), DOWN) == [True]


def test_the_way_back_needs_successes_in_a_row() -> None:
    """An endpoint that flaps stays out."""
    state = CheckState(check_settings(), HealthFlag.FAILED_ACTIVE_HC)
    assert run(state, PASS, REFUSED, PASS, PASS) == [True, True, True, False]


def test_timeout_and_its_end_are_shown() -> None:
    """`/clusters` tells a slow endpoint from a dead one."""
    state = CheckState(check_settings(unhealthy_threshold=1), HEALTHY)
    state.on_result(TIMEOUT)
    assert describe_health(state.flags) == "/failed_active_hc/active_hc_timeout"
    run(state, PASS, PASS)
    assert describe_health(state.flags) == "healthy"


def test_immediate_failure_excludes_until_checks_pass() -> None:
    """The endpoint asked for it, so it is not counted for panic either."""
    state = CheckState(check_settings(), HEALTHY)
    assert state.on_result(CheckResult(FailureKind.PASSIVE)) is Change.CHANGED
    assert describe_health(state.flags) == "/failed_active_hc/excluded_via_immediate_hc_fail"
    run(state, PASS, PASS)
    assert state.flags == HEALTHY


def test_degraded_comes_and_goes_with_the_answer() -> None:
    """`x-envoy-degraded` on the answer to a check."""
    state = CheckState(check_settings())
    state.on_result(CheckResult(degraded=True))
    assert describe_health(state.flags) == "/degraded_active_hc"
    assert state.on_result(PASS) is Change.CHANGED
    assert state.flags == HEALTHY


@pytest.mark.parametrize(
    ("result", "change", "traffic", "expected"),
    [
        (PASS, Change.NONE, True, 5.0),
        (PASS, Change.PENDING, True, 7.0),
        (PASS, Change.CHANGED, True, 5.0),
        (REFUSED, Change.NONE, True, 6.0),
        (REFUSED, Change.PENDING, True, 8.0),
        (PASS, Change.NONE, False, 60.0),
        (REFUSED, Change.NONE, False, 60.0),
    ],
)
def test_pause_depends_on_health_edge_and_traffic(
    result: CheckResult, change: Change, *, traffic: bool, expected: float
) -> None:
    """Six intervals of Envoy's."""
    assert pause_s(INTERVALS, result, change, had_traffic=traffic, random=Random(0)) == expected


def test_jitter_is_added_and_bounded() -> None:
    """So that a thousand endpoints are not checked in the same instant."""
    intervals = CheckIntervals(10.0, 10.0, 10.0, 10.0, jitter_s=1.0, jitter_percent=20)
    random = Random(5)
    found = [pause_s(intervals, PASS, Change.NONE, had_traffic=True, random=random) for _ in range(200)]
    assert min(found) >= 10.0
    assert max(found) <= 13.0
    assert max(found) - min(found) > 2.0
