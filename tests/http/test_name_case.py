"""Header names with capitals."""

import pytest

from fastproxy.http.name_case import KeptCase, KeptCaseSettings, ProperCase


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (b"content-type", b"Content-Type"),
        (b"etag", b"Etag"),
        (b"x-a1b-2c", b"X-A1b-2c"),
        (b"x_under", b"X_Under"),
        (b"a", b"A"),
        (b"-", b"-"),
    ],
)
def test_words_begin_with_a_capital(name: bytes, written: bytes) -> None:
    """After everything that is neither letter nor digit, as Envoy has it."""
    case = ProperCase()
    for _ in range(2):
        assert case.convert({name: b"v"}) == {written: b"v"}


def test_the_memory_of_names_is_bounded() -> None:
    """The upstream chooses them, and so does the downstream."""
    case = ProperCase()
    for n in range(10000):
        case.convert({b"x-%d" % n: b"v"})
    assert len(case._known) <= 4096
    long = b"x" * 60_000
    assert case.name(long) == b"X" + long[1:]
    assert long not in case._known


def test_a_name_is_written_as_it_was_first() -> None:
    """Also when the proxy has changed the value; what the sender has not named stays as it is."""
    case = KeptCase(KeptCaseSettings())
    for name in (b"X-tWice", b"x-TWICE", b"ETag"):
        case.keep(name)
    written = case.convert({b"x-twice": [b"1", b"2"], b"etag": b"changed", b"x-new": b"v"})
    assert written == {b"X-tWice": [b"1", b"2"], b"ETag": b"changed", b"x-new": b"v"}


def test_other_names_can_have_capitals() -> None:
    """`formatter_type_on_envoy_headers: PROPER_CASE`."""
    case = KeptCase(KeptCaseSettings(proper_case=True))
    case.keep(b"etag")
    assert case.convert({b"etag": b"v", b"x-new-one": b"v"}) == {b"etag": b"v", b"X-New-One": b"v"}
