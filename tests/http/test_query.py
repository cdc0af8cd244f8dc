"""Query strings stay bytes: what is not cut out is not touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.http.query import query_values, remove_parameter


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"t=a", [b"a"]),
        (b"x=1&t=a&t=b", [b"a", b"b"]),
        (b"t=", [b""]),
        (b"t", [b""]),
        (b"%74=a%2Eb", [b"a.b"]),
        (b"t=a+b", [b"a+b"]),
        (b"x=1;t=a", []),
        (b"T=a", []),
        (b"xt=a&tx=b", []),
        (b"t=a=b", [b"a=b"]),
        (b"", []),
        (b"&&", []),
        (b"t=%zz", [b"%zz"]),
    ],
)
def test_values_of_a_parameter(query: bytes, expected: list[bytes]) -> None:
    """spec/jwt_authn.md section 6: decoded, `+` not, `;` no separator, case-sensitive; every occurrence."""
    assert query_values(query, b"t") == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/p?t=a", b"/p"),
        (b"/p?t=a&x=1", b"/p?x=1"),
        (b"/p?x=1&t=a&y=%26admin%3D1&t=b", b"/p?x=1&y=%26admin%3D1"),
        (b"/p?%74=a&x=%C3%A9+%20", b"/p?x=%C3%A9+%20"),
        (b"/p", b"/p"),
        (b"/p?", b"/p?"),
        (b"/t=a?x", b"/t=a?x"),
        (b"/p?a?t=b", b"/p?a?t=b"),
    ],
)
def test_cutting_a_parameter_out(target: bytes, expected: bytes) -> None:
    """Envoy rebuilds the query from decoded values, so that `%26admin%3D1` becomes a parameter (12.4)."""
    assert remove_parameter(target, b"t") == expected


PIECES = st.lists(
    st.sampled_from([b"t", b"%74", b"x", b"=", b"&", b"%26", b"a", b"%", b";", b"?"]), max_size=12
)


@given(PIECES)
def test_nothing_of_the_parameter_is_left_and_nothing_else_is_lost(pieces: list[bytes]) -> None:
    """S53: a token that is cut out is gone in every spelling."""
    query = b"".join(pieces)
    left = remove_parameter(b"/p?" + query, b"t").partition(b"?")[2]
    assert query_values(left, b"t") == []
    kept = [pair for pair in query.split(b"&") if query_values(pair, b"t") == []]
    assert left == b"&".join(kept)
