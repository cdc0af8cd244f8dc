"""A share of all requests, compiled (Envoy `RuntimeFractionalPercent`; spec/http.md section 8.2)."""

from collections.abc import Callable
from random import SystemRandom

from fastproxy.http.messages import Request
from fastproxy.match.settings import Fraction

_random = SystemRandom()


def build_fraction_matcher(fraction: Fraction) -> Callable[[Request], bool]:
    """Compile a share into a condition that it satisfies."""
    numerator, denominator = fraction.numerator, fraction.denominator
    if numerator >= denominator:
        return _every
    if numerator <= 0:
        return _none
    # The lower half of the number: the upper half chooses among weighted clusters, independently.
    return lambda request: (request.draw() & 0xFFFFFFFF) % denominator < numerator


def build_chance(fraction: Fraction) -> Callable[[], bool]:
    """Compile a share into a draw of its own: it does not depend on what decides about the request's route."""
    numerator, denominator = fraction.numerator, fraction.denominator
    if numerator >= denominator:
        return lambda: True
    if numerator <= 0:
        return lambda: False
    return lambda: _random.randrange(denominator) < numerator


def _every(_request: Request) -> bool:
    return True


def _none(_request: Request) -> bool:
    return False
