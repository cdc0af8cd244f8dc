"""Operators for points in time: `START_TIME`, `EMIT_TIME` (spec/http.md section 10)."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from time import gmtime, strftime

from fastproxy import clock
from fastproxy.format.context import FormatContext, Operator


def build_start_time(argument: str | None) -> Operator:
    """`%START_TIME(template)%`: when the request began, in UTC; without template ISO 8601 with milliseconds."""
    write = time_writer(argument)
    return lambda context: write(context.request.start_unix)


def build_emit_time(argument: str | None) -> Operator:
    """`%EMIT_TIME(template)%`: when the format is written out."""
    write = time_writer(argument)

    def value(_context: FormatContext) -> str:
        return write(clock.unix_time())

    return value


def time_writer(template: str | None) -> Callable[[float], str]:
    """Compile a template for points in time, Unix seconds; None or empty: ISO 8601 with milliseconds."""
    if template:
        return lambda unix_time: _strftime(template, unix_time)
    # The text of a second is reused by everything that happens in it.
    known: tuple[int, str] = (-1, "")

    def default(unix_time: float) -> str:
        nonlocal known
        second = int(unix_time)
        if second != known[0]:
            known = (second, strftime("%Y-%m-%dT%H:%M:%S", gmtime(second)))
        return f"{known[1]}.{int((unix_time - second) * 1000):03d}Z"

    return default


#: What Envoy has beyond `strftime`, or writes in another way (Abseil's `FormatTime`, and its own `%f`).
_SPECIFIER = re.compile(r"%(%|s|[1-9]?f|E4Y|E(?:\*|\d{1,2})[Sf]|E\*?z|:{1,2}z)")


def _strftime(template: str, unix_time: float) -> str:
    """`strftime` in UTC; also %s for Unix seconds, %f and %1f to %9f for their fraction, %E3S, %E*S, %Ez."""
    moment = datetime.fromtimestamp(unix_time, UTC)
    nanoseconds = f"{moment.microsecond:06d}000"

    def write(found: re.Match[str]) -> str:
        what = found.group(1)
        if what == "%":
            return "%%"
        if what == "s":
            return str(int(unix_time))
        if what.endswith("z"):
            return "+00:00:00" if what in ("E*z", "::z") else "+00:00"
        if what == "E4Y":
            return "%Y"
        if what[0] != "E":
            return nanoseconds[: 9 if what == "f" else int(what[0])]
        digits = what[1:-1]
        fraction = (
            nanoseconds.rstrip("0") if digits == "*" else nanoseconds.ljust(int(digits), "0")[: int(digits)]
        )
        if what[-1] == "f":
            return fraction or "0"
        return f"%S.{fraction}" if fraction else "%S"

    return moment.strftime(_SPECIFIER.sub(write, template))
