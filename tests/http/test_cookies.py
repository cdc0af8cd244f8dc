"""Cookies: found and cut out without touching the others."""

import pytest

from fastproxy.http.cookies import cookie_values, remove_cookie
from fastproxy.http.headers import HeaderMap


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"s=T", [b"T"]),
        (b"a=1; s=T; b=2", [b"T"]),
        (b"a=1;s=T;b=2", [b"T"]),
        (b' s = "T" ', [b"T"]),
        (b's="', [b'"']),
        (b's=""', [b""]),
        (b"s=T; s=U", [b"T", b"U"]),
        (b"s=a=b", [b"a=b"]),
        (b"s", []),
        (b"xs=T; s2=U", []),
        (b"S=T", []),
        (b"s=%41", [b"%41"]),
        (b"", []),
        (b";;=;", []),
    ],
)
def test_values(line: bytes, found: list[bytes]) -> None:
    """Exact name; every occurrence, for a second one is a second token."""
    assert cookie_values({b"cookie": line}, b"s") == found


def test_values_of_several_headers() -> None:
    """HTTP/1 allows them, whatever RFC 6265 says."""
    assert cookie_values({b"cookie": [b"a=1", b"s=T"]}, b"s") == [b"T"]
    assert cookie_values({}, b"s") == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"s=T", None),
        (b"a=1; s=T", b"a=1"),
        (b"s=T; a=1", b"a=1"),
        (b"a=1; s=T; b=2", b"a=1; b=2"),
        (b"s=T; a=1; s=U", b"a=1"),
        (b"a=1;s=T;b=2", b"a=1;b=2"),
        ([b"a=1", b"s=T"], b"a=1"),
        ([b"a=1", b"s=T; c=3", b"b=2"], [b"a=1", b"c=3", b"b=2"]),
        (b"a=1", b"a=1"),
    ],
)
def test_removal(before: bytes | list[bytes], after: bytes | list[bytes] | None) -> None:
    """Every occurrence; nothing else changes."""
    headers: HeaderMap = {b"x": b"1", b"cookie": before}
    remove_cookie(headers, b"s")
    assert headers.get(b"cookie") == after
    assert headers[b"x"] == b"1"
