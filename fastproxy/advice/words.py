"""What comes from a token, a request or a peer, as words for a terminal: escaped, cut, and with times people can read.

Anybody may have written it. So nothing of it steers the terminal, and nothing of it fills the screen.
"""

import datetime as dt
import json
from typing import Final

#: A value from a token is shown up to this length: enough to compare two URLs.
SHOWN_CHARACTERS: Final = 200


def format_age(seconds: float) -> str:
    """A span of time in the largest unit that fits, for people: `45 s`, `3 min`, `2 h`, `5 days`."""
    seconds = abs(seconds)
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * (2 if unit == "days" else 1):
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def describe_moment(unix_time: float) -> str:
    """A Unix time as a date and time of day in UTC."""
    try:
        return dt.datetime.fromtimestamp(int(unix_time), dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "not a date that a calendar has"


def describe_date(name: str, value: object, now: float) -> str:
    """A NumericDate claim (RFC 7519 section 2) as a calendar date and its distance from `now`, Unix seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "not a number"
    date = describe_moment(value)
    if date.startswith("not"):
        return date
    age = format_age(now - value)
    if name == "exp":
        return f"{date}, {f'expired {age} ago' if value < now else f'expires in {age}'}"
    if name == "nbf" and value > now:
        return f"{date}, not valid for another {age}"
    return f"{date}, {f'{age} ago' if value <= now else f'in {age}'}"


def quote(value: object) -> str:
    """A value from a token as short JSON text."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):
        return "(nested too deeply to be shown)"
    return escape(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")


def quote_bytes(value: bytes) -> str:
    """Bytes from a request as short JSON text; what is not UTF-8 is escaped."""
    return quote(value[: 2 * SHOWN_CHARACTERS].decode("utf-8", "backslashreplace"))


def escape(text: str, keep: str = "") -> str:
    """Text without control, format and other invisible characters: a token must not steer the terminal."""
    return "".join(c if c.isprintable() or c in keep else f"\\u{ord(c):04x}" for c in text)
