"""Path matchers: the tables of spec/http.md section 8.2 and spec/jwt_authn.md section 5.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.match.path import build_path_matcher
from fastproxy.match.settings import PathKind, PathMatch

PREFIX, EXACT, SEPARATED, REGEX = (
    PathKind.PREFIX, PathKind.EXACT, PathKind.SEPARATED_PREFIX, PathKind.REGEX,
)  # fmt: skip


def matches(kind: PathKind, value: str, path: bytes, *, case_sensitive: bool = True) -> bool:
    return build_path_matcher(PathMatch(kind, value, case_sensitive))(path)


@pytest.mark.parametrize(
    ("kind", "value", "yes", "no"),
    [
        (PREFIX, "/admin", [b"/admin", b"/administrator", b"/admin;x", b"/admin%2Fx", b"/admin\\x"],
         [b"/ADMIN", b"/%61dmin", b"//admin", b"/./admin", b"/x/../admin", b"/adm", b""]),
        (PREFIX, "/", [b"/", b"/x", b"//"], [b"*", b"a:443", b""]),
        (PREFIX, "", [b"/", b"*", b"a:443", b""], []),
        (EXACT, "/p", [b"/p"], [b"/p/", b"/P", b"/p;x", b"/px", b"/"]),
        (EXACT, "/", [b"/"], [b"", b"//", b"/x"]),
        (SEPARATED, "/api/v1", [b"/api/v1", b"/api/v1/", b"/api/v1/x"],
         [b"/api/v12", b"/api/v1%2fx", b"/API/v1", b"/api"]),
        (REGEX, "/r[0-9]+", [b"/r1", b"/r12"], [b"/r1x", b"/xr1", b"/r", b"/r1\n"]),
        (REGEX, ".*", [b"", b"*", b"/x", b"/\xff\xfe"], []),
        (REGEX, "/[^/]+/x", [b"/a%2Fb/x", b"/\xe4/x"], [b"/a/b/x"]),
    ],
)  # fmt: skip
def test_what_matches_and_what_does_not(
    kind: PathKind, value: str, yes: list[bytes], no: list[bytes]
) -> None:
    """Nothing is decoded or normalised here: that was done before, or not asked for."""
    assert [path for path in yes if not matches(kind, value, path)] == []
    assert [path for path in no if matches(kind, value, path)] == []


@pytest.mark.parametrize("kind", [PREFIX, EXACT, SEPARATED])
@pytest.mark.parametrize("value", ["/Api", "/API", "/api"])
def test_case_can_be_ignored(kind: PathKind, value: str) -> None:
    """`case_sensitive: false`."""
    for path in (b"/api", b"/API", b"/aPi"):
        assert matches(kind, value, path, case_sensitive=False)
    assert not matches(kind, value, b"/apx", case_sensitive=False)


def test_a_regular_expression_is_always_case_sensitive() -> None:
    """As in Envoy."""
    assert not matches(REGEX, "/a", b"/A", case_sensitive=False)


@pytest.mark.parametrize("pattern", ["(", "[a", "a{99999}", "(?=x)", "\\1"])
def test_an_invalid_regular_expression_is_a_value_error_with_re2s_words(pattern: str) -> None:
    """Back-references and look-ahead are what makes other engines exponential; RE2 has none."""
    with pytest.raises(ValueError, match=r".+"):
        build_path_matcher(PathMatch(REGEX, pattern))


def test_a_pattern_that_is_exponential_elsewhere_is_linear_here() -> None:
    """A ReDoS attempt: the answer comes before the test's time limit, or not at all."""
    assert not matches(REGEX, "/(a+)+$", b"/" + b"a" * 50_000 + b"!")


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#")),
    st.binary(max_size=8),
)
def test_separated_prefix_is_prefix_at_a_segment_border(value: str, rest: bytes) -> None:
    """One matcher explained by the others."""
    path = value.encode() + rest
    expected = matches(EXACT, value, path) or matches(PREFIX, value + "/", path)
    assert matches(SEPARATED, value, path) == expected
