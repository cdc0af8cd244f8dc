"""When keys are fetched, kept and given up: stepped time, no clock."""

import pytest

from fastproxy.control.jwks_schedule import Action, JwksSchedule, RefreshAnswer, SchedulePolicy


def middle(low: float, high: float) -> float:
    return round((low + high) / 2, 6)


def make(cache_duration_s: float = 100.0, max_stale_s: float = 50.0) -> JwksSchedule:
    return JwksSchedule(SchedulePolicy(cache_duration_s, max_stale_s), 0.0, uniform=middle)


def fetched(schedule: JwksSchedule, now: float, content: bytes = b"a") -> bool:
    schedule.on_fetch_started(now)
    return schedule.on_success(now, content)


def test_first_fetch_is_due_at_once() -> None:
    """Keys should be there before the first token is."""
    schedule = make()

    assert schedule.due(0.0) is Action.FETCH
    assert not schedule.holds_keys


def test_refresh_starts_before_the_keys_expire() -> None:
    """Otherwise a request pays for the fetch, or fails with it."""
    schedule = make()
    fetched(schedule, 0.0)

    assert schedule.due(84.9) is Action.WAIT
    assert schedule.due(85.0) is Action.FETCH
    assert schedule.expires_at == 100.0
    assert schedule.next_due_at() == 85.0


def test_epoch_grows_only_when_the_content_changes() -> None:
    """A new epoch throws away every verdict that the workers hold."""
    schedule = make()

    assert fetched(schedule, 0.0, b"a")
    assert not fetched(schedule, 85.0, b"a")
    assert schedule.epoch == 1
    assert fetched(schedule, 170.0, b"b")
    assert schedule.epoch == 2


def test_s41_failure_keeps_the_keys_and_backs_off() -> None:
    """The identity provider's outage must not become ours, nor our retries its next one."""
    schedule = make(max_stale_s=1e9)
    fetched(schedule, 0.0)
    delays, now = [], 85.0
    for _ in range(8):
        schedule.on_fetch_started(now)
        delays.append(schedule.on_failure(now))
        now = schedule.next_fetch_at

    assert delays == [1, 2, 4, 8, 16, 30, 30, 30]
    assert schedule.holds_keys
    assert schedule.epoch == 1
    assert schedule.failures == 8


def test_success_after_failures_resets_the_back_off() -> None:
    """The next outage starts with quick retries again."""
    schedule = make()
    now = 0.0
    for _ in range(4):
        schedule.on_fetch_started(now)
        schedule.on_failure(now)
        now = schedule.next_fetch_at
    fetched(schedule, now)
    schedule.on_fetch_started(now + 90.0)

    assert schedule.on_failure(now + 90.0) == 1.0
    assert schedule.failures == 1


def test_s42_stale_keys_are_withdrawn_after_max_stale() -> None:
    """Keys that were revoked during an outage must stop working at some point: fail closed."""
    schedule = make()
    fetched(schedule, 0.0)
    schedule.on_fetch_started(149.0)
    schedule.on_failure(149.0)

    assert schedule.is_stale(100.0)
    assert schedule.due(149.9) is Action.WAIT
    assert schedule.due(150.0) is Action.WITHDRAW
    schedule.on_withdrawn()
    assert not schedule.holds_keys
    assert schedule.epoch == 2
    assert schedule.due(150.5) is Action.FETCH


def test_same_keys_after_withdrawal_are_a_change() -> None:
    """The workers have nothing then, so "unchanged" would leave them with nothing."""
    schedule = make()
    fetched(schedule, 0.0, b"a")
    schedule.on_withdrawn()

    assert fetched(schedule, 200.0, b"a")
    assert schedule.epoch == 3


def test_s36_thousand_unknown_kids_cause_one_fetch_per_cool_down() -> None:
    """The sender of a token chooses its kid; it must not choose the load of the identity provider."""
    schedule = make(cache_duration_s=1e6)
    fetched(schedule, 0.0)
    fetches = 0
    for step in range(1000):
        now = 1.0 + step * 0.02
        if schedule.on_refresh_request(now) is RefreshAnswer.FETCH:
            fetches += 1
            assert schedule.due(now) is Action.FETCH
            fetched(schedule, now)

    assert fetches == 2  # 20 s, cool-down 10 s


def test_s36_parallel_requests_join_the_fetch_under_way() -> None:
    """Thousand misses at once are one fetch."""
    schedule = make()
    fetched(schedule, 0.0)

    assert schedule.on_refresh_request(1.0) is RefreshAnswer.FETCH
    assert schedule.on_refresh_request(1.0) is RefreshAnswer.JOIN
    schedule.on_fetch_started(1.0)
    assert {schedule.on_refresh_request(1.0) for _ in range(1000)} == {RefreshAnswer.JOIN}
    assert schedule.due(1.0) is Action.WAIT


def test_s42_tokens_cannot_shorten_the_life_of_keys_nor_move_the_schedule() -> None:
    """A forced fetch that fails leaves expiry, withdrawal, background refresh and back-off where they were."""
    schedule = make()
    fetched(schedule, 0.0)
    before = (schedule.expires_at, schedule.stale_until, schedule.next_fetch_at)
    for now in (1.0, 12.0, 23.0):
        assert schedule.on_refresh_request(now) is RefreshAnswer.FETCH
        assert schedule.next_due_at() < now
        schedule.on_fetch_started(now)
        assert schedule.on_failure(now + 1) == 85.0 - now - 1

    assert (schedule.expires_at, schedule.stale_until, schedule.next_fetch_at) == before
    schedule.on_fetch_started(85.0)
    assert schedule.on_failure(85.0) == 1.0


def test_not_modified_renews_without_a_new_epoch() -> None:
    """304 is the cheapest good news."""
    schedule = make()
    fetched(schedule, 0.0)
    schedule.on_fetch_started(85.0)
    schedule.on_unchanged(85.0)

    assert schedule.epoch == 1
    assert schedule.expires_at == 185.0


@pytest.mark.parametrize("cache_duration_s", [0.001, 0.5, 1.0])
def test_tiny_cache_duration_is_no_busy_loop(cache_duration_s: float) -> None:
    """Envoy fetches on every request then."""
    schedule = make(cache_duration_s)
    fetched(schedule, 0.0)

    assert schedule.next_fetch_at >= 1.0


def test_cluster_that_becomes_reachable_cuts_the_wait_for_the_first_keys() -> None:
    """DNS that came late should not cost a whole back-off on top."""
    schedule = make()
    schedule.on_fetch_started(0.0)
    schedule.on_failure(0.0)
    schedule.on_reachable(0.1)

    assert schedule.due(0.1) is Action.FETCH
    fetched(schedule, 0.2)
    schedule.on_reachable(0.3)
    assert schedule.due(0.3) is Action.WAIT


def test_jitter_stays_inside_the_window() -> None:
    """Real randomness must never move a refresh behind the expiry."""
    for _ in range(100):
        schedule = JwksSchedule(SchedulePolicy(100.0, 0.0), 0.0)
        fetched(schedule, 0.0)
        assert 80.0 <= schedule.next_fetch_at <= 90.0
