"""Reading Cache-Control and Age."""

import pytest

from fastproxy.control.jwks_freshness import parse_max_age_s
from fastproxy.control.jwks_schedule import LEAST_MAX_AGE_S, JwksSchedule, SchedulePolicy


@pytest.mark.parametrize(
    ("cache_control", "age", "seconds"),
    [
        ("max-age=300", "", 300.0),
        ("public, MAX-AGE=300, must-revalidate", "", 300.0),
        ('max-age="300"', "", 300.0),
        ("max-age = 300", "", 300.0),
        ("public,max-age=300", "100", 200.0),
        ("max-age=300", "999", 0.0),
        ("max-age=300", "-5", 300.0),
        ("max-age=300, max-age=60", "", 60.0),
        ("max-age=99999999999", "", None),
        ("max-age=-1", "", None),
        ("max-age=3e9", "", None),
        ("max-age=", "", None),
        ("s-maxage=300", "", None),
        ("x-max-age=300", "", None),
        ("", "10", None),
        ("x" * 2000 + ",max-age=300", "", None),
    ],
)
def test_max_age_is_read_as_rfc_9111_says(cache_control: str, age: str, seconds: float | None) -> None:
    """A wrong reading means keys that are refreshed too late, or a source that is asked without end."""
    assert parse_max_age_s(cache_control, age) == seconds


@pytest.mark.parametrize(
    "cache_control", ["no-cache", "no-store, no-cache", "max-age=0", "max-age=0, no-cache"]
)
def test_no_cache_leaves_the_configured_duration(cache_control: str) -> None:
    """Keycloak and others put it on their key set; each proxy would ask them every ten seconds."""
    assert parse_max_age_s(cache_control, "") is None


@pytest.mark.parametrize(
    ("cache_duration_s", "max_age_s", "lifetime_s"),
    [
        (600.0, 300.0, 300.0),
        (600.0, 86400.0, 600.0),
        (600.0, 1.0, LEAST_MAX_AGE_S),
        (5.0, 1.0, 5.0),
        (600.0, None, 600.0),
    ],
)
def test_max_age_is_honoured_between_the_floor_and_cache_duration(
    cache_duration_s: float, max_age_s: float | None, lifetime_s: float
) -> None:
    """The operator's duration is the longest that a withdrawn key may live on; the floor protects the source."""
    schedule = JwksSchedule(SchedulePolicy(cache_duration_s, 0.0), 0.0)
    schedule.on_fetch_started(0.0)
    schedule.on_success(0.0, b"a", max_age_s)

    assert schedule.expires_at == lifetime_s
    assert schedule.next_fetch_at < lifetime_s
