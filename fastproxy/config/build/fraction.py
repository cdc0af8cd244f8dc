"""`FractionalPercent` and `RuntimeFractionalPercent`: shares of requests, with values from `layered_runtime`."""

from fastproxy.config.build.context import BuildContext
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.match.settings import Fraction

_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


def build_fraction(view: View, context: BuildContext) -> Fraction:
    """Build a `RuntimeFractionalPercent`: the runtime key's value if it has one, else the default."""
    default = view.child_or_empty("default_value")
    numerator = default.integer("numerator")
    denominator = _DENOMINATORS.get(default.choice("denominator"), 100)
    if numerator > denominator:
        default.warn(f"{numerator} of {denominator} is more than all: every request counts")
    key = view.text("runtime_key")
    value = context.runtime.read(key) if key else None
    if value is None:
        return Fraction(numerator, denominator)
    # Envoy: a number alone is a percentage.
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Fraction(value, 100)
    if isinstance(value, dict):
        share = value.get("numerator", 0)
        unit = _DENOMINATORS.get(str(value.get("denominator", "HUNDRED")).upper())
        if isinstance(share, int) and not isinstance(share, bool) and share >= 0 and unit is not None:
            return Fraction(share, unit)
    view.error(
        f"the runtime key {quote(key)} has a value that is no share of requests",
        "Write a whole percentage, or {numerator: 5, denominator: TEN_THOUSAND}",
        field="runtime_key",
    )
    return Fraction(0, 100)
