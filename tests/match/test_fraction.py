"""Shares of requests (`runtime_fraction`)."""

import pytest

from fastproxy.http.messages import Request
from fastproxy.match.fraction import build_chance, build_fraction_matcher
from fastproxy.match.settings import Fraction


def drawn(value: int) -> Request:
    request = Request(b"GET", b"/", {})
    request.random_value = value
    return request


@pytest.mark.parametrize(
    ("fraction", "value", "expected"),
    [
        (Fraction(30, 100), 29, True),
        (Fraction(30, 100), 30, False),
        (Fraction(30, 100), 1029, True),
        (Fraction(1, 1_000_000), 1_000_000, True),
        (Fraction(1, 1_000_000), 999_999, False),
        (Fraction(30, 100), 29 + (99 << 32), True),
        (Fraction(0, 100), 0, False),
        (Fraction(100, 100), 99, True),
        (Fraction(200, 100), 99, True),
    ],
)
def test_the_number_of_the_request_decides(fraction: Fraction, value: int, expected: bool) -> None:
    """Its lower half, so that a choice by the upper half is independent."""
    assert build_fraction_matcher(fraction)(drawn(value)) is expected


def test_a_request_has_one_number() -> None:
    """Routes for 30 % and for 50 % in a row get 30 % and 20 %, as in Envoy."""
    request = Request(b"GET", b"/", {})
    number = request.draw()
    assert 0 <= number < 1 << 64
    assert request.draw() == number


def test_all_or_nothing_draws_no_number() -> None:
    """A share that was turned up to the full costs nothing more."""
    request = Request(b"GET", b"/", {})
    assert build_fraction_matcher(Fraction(100, 100))(request)
    assert not build_fraction_matcher(Fraction(0, 100))(request)
    assert request.random_value == -1


def test_a_chance_is_drawn_anew_each_time() -> None:
    """It does not follow from what chose the request's route; a thousand draws of one half are never all alike."""
    half = build_chance(Fraction(50, 100))
    assert len({half() for _ in range(1000)}) == 2
    assert build_chance(Fraction(100, 100))()
    assert not build_chance(Fraction(0, 100))()
