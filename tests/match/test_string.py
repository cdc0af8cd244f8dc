"""`StringMatcher`: each form, case, and bytes that are no UTF-8."""

import pytest

from fastproxy.match.settings import StringKind, StringMatch
from fastproxy.match.string import build_string_matcher


@pytest.mark.parametrize(
    ("kind", "value", "yes", "no"),
    [
        (StringKind.EXACT, "ab", [b"ab"], [b"AB", b"abc", b"xab", b""]),
        (StringKind.PREFIX, "ab", [b"ab", b"abc"], [b"xab", b"AB", b"a"]),
        (StringKind.SUFFIX, "ab", [b"ab", b"xab"], [b"abc", b"AB"]),
        (StringKind.CONTAINS, "ab", [b"ab", b"xabc"], [b"a b", b"AB"]),
        (StringKind.REGEX, "a+b", [b"ab", b"aaab"], [b"xab", b"abc", b"AB", b"ab\n"]),
        (StringKind.REGEX, "a|b", [b"a", b"b"], [b"ab"]),
        (StringKind.EXACT, "\u00fc", ["\u00fc".encode()], [b"\xfc"]),
    ],
)
def test_forms(kind: StringKind, value: str, yes: list[bytes], no: list[bytes]) -> None:
    """A regular expression matches the whole text, as in Envoy."""
    matches = build_string_matcher(StringMatch(kind, value))
    assert [text for text in yes if not matches(text)] == []
    assert [text for text in no if matches(text)] == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (StringKind.EXACT, "AbC"),
        (StringKind.PREFIX, "aB"),
        (StringKind.SUFFIX, "Bc"),
        (StringKind.CONTAINS, "b"),
    ],
)
def test_ignore_case(kind: StringKind, value: str) -> None:
    """For ASCII letters."""
    matches = build_string_matcher(StringMatch(kind, value, ignore_case=True))
    assert matches(b"ABC")
    assert matches(b"abc")
    assert not matches(b"xyz")


def test_any_bytes_are_judged() -> None:
    """A peer may send what no encoding knows."""
    assert not build_string_matcher(StringMatch(StringKind.REGEX, "a.*"))(b"\xff\xfe")


def test_an_invalid_regular_expression_is_reported_in_re2s_words() -> None:
    """The configuration shows them."""
    with pytest.raises(ValueError, match="missing"):
        build_string_matcher(StringMatch(StringKind.REGEX, "("))
