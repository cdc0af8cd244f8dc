"""Operators for points in time: `START_TIME`, `EMIT_TIME` (spec/http.md section 10)."""

from collections.abc import Callable
from datetime import UTC, datetime
from time import gmtime, strftime

from fastproxy import clock
from fastproxy.format.context import FormatContext, Operator


def build_start_time(argument: str | None) -> Operator:
    """`%START_TIME(template)%`: when the request began, in UTC; without template ISO 8601 with milliseconds."""
    write = _writer(argument)
    return lambda context: write(context.request.start_unix)


def build_emit_time(argument: str | None) -> Operator:
    """`%EMIT_TIME(template)%`: when the format is written out."""
    write = _writer(argument)

    def value(_context: FormatContext) -> str:
        return write(clock.unix_time())

    return value


def _writer(template: str | None) -> Callable[[float], str]:
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


def _strftime(template: str, unix_time: float) -> str:
    """`strftime`, and what Envoy has beyond it: %s for Unix seconds, %3f %6f %9f for their fraction."""
    moment = datetime.fromtimestamp(unix_time, UTC)
    fraction = f"{moment.microsecond:06d}000"
    for digits in ("3", "6", "9"):
        template = template.replace(f"%{digits}f", fraction[: int(digits)])
    return moment.strftime(template.replace("%s", str(int(unix_time))))
