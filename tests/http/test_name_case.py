"""Header names with capitals."""

import pytest

from fastproxy.http.name_case import ProperCase


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
    """The upstream chooses them."""
    case = ProperCase()
    for n in range(10000):
        case.convert({b"x-%d" % n: b"v"})
    assert len(case._known) <= 4096
