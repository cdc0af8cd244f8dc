"""The layout of the application log, in Envoy's pattern language."""

import logging
import re

import pytest

from fastproxy import logs
from fastproxy.log_format import DEFAULT, compile_format

_RECORD = logging.LogRecord(
    "fastproxy.control", logging.INFO, "/x/plane.py", 88, "hello %s", ("you",), None, "go"
)
_RECORD.created, _RECORD.msecs, _RECORD.process = 1700000000.25, 250.0, 4711


def _line(pattern: str, message: str = "hello you") -> str:
    return compile_format(pattern)(_RECORD, "warning", "control", message)


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("%v", "hello you"),
        ("%_", "hello you"),
        ("%l %L", "warning W"),
        ("%n", "control"),
        ("%t %P", "4711 4711"),
        ("%g:%# %s %@ %!", "plane.py:88 plane.py plane.py:88 go"),
        ("%e %f %F %E", "250 250000 250000000 1700000000"),
        ("100%% %^%v%$", "100% hello you"),
        ("", None),
        ("plain", "plain"),
    ],
)
def test_flags_stand_for_what_they_stand_for_in_envoy(pattern: str, line: str | None) -> None:
    """An operator's log parser was written for them."""
    assert _line(pattern) == (line or _line(DEFAULT))


def test_the_default_is_envoys() -> None:
    """Date, time, process, level, logger, place, message."""
    shape = (
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.250\]\[4711\]\[warning\]\[control\] \[plane\.py:88\] hello you"
    )
    assert re.fullmatch(shape, _line(""))


def test_moments_are_written_piece_by_piece() -> None:
    """In local time, as Envoy's."""
    assert _line("%Y-%m-%d") in ("2023-11-14", "2023-11-15")
    assert re.fullmatch(r"\d\d:\d\d:\d\d \d\d:\d\d [A-Z][a-z]{2} [A-Z][a-z]{2,8}", _line("%H:%M:%S %R %a %B"))


def test_a_quoted_message_fits_into_json() -> None:
    """`%j`, for `{"message": "%j"}`."""
    assert _line('{"m": "%j"}', 'say "a\\b"') == '{"m": "say \\"a\\\\b\\""}'


@pytest.mark.parametrize("pattern", ["%q", "%", "a %"])
def test_a_flag_that_does_not_exist_is_refused(pattern: str) -> None:
    """Before the start, not when the first line is lost."""
    with pytest.raises(ValueError, match="unknown flag %"):
        compile_format(pattern)


def test_s54_no_layout_lets_a_message_make_lines_of_its_own() -> None:
    """Text of peers gets into messages."""
    record = logging.LogRecord("fastproxy", logging.INFO, "x.py", 1, "a\nb\x1b[31m", (), None)
    assert logs.EnvoyFormatter("%v").format(record) == "a\\x0ab\\x1b[31m"
    assert logs.EnvoyFormatter("<%_>").format(record) == "<a\\x0ab\\x1b[31m>"
