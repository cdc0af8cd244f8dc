"""Replacing with RE2's rules (`RegexMatchAndSubstitute`); the differential tests compare the result with Envoy's."""

import pytest

from fastproxy.match.settings import RegexSubstitution
from fastproxy.match.substitution import build_substitution, parse_template


@pytest.mark.parametrize(
    ("pattern", "substitution", "text", "expected"),
    [
        ("a", "b", b"/aXa", b"/bXb"),
        ("^/x/([^/]+)/(.*)$", "/\\2/\\1", b"/x/1/2/3", b"/2/3/1"),
        ("(a)|(b)", "[\\1\\2]", b"ab", b"[a][b]"),
        ("/item/", "", b"/item/1", b"1"),
        ("x*", "-", b"abc", b"-a-b-c-"),
        ("x*", "-", b"axb", b"-a-b-"),
        ("no", "yes", b"/other", b"/other"),
        ("b", "\\0\\0", b"abc", b"abbc"),
        ("b", "\\\\1", b"abc", b"a\\1c"),
        ("\xe9", "e", "é".encode(), b"e"),
    ],
)
def test_every_match_is_replaced(pattern: str, substitution: str, text: bytes, expected: bytes) -> None:
    """`RE2::GlobalReplace`, empty matches included: none right behind another match."""
    assert build_substitution(RegexSubstitution(pattern, substitution))(text) == expected


@pytest.mark.parametrize("template", [b"\\2", b"\\", b"\\n", b"\\g<1>", b"a\\"])
def test_templates_that_re2_refuses(template: bytes) -> None:
    """Python's own templates would take some of them."""
    with pytest.raises(ValueError, match=r"group|backslash"):
        parse_template(template, groups=1)


def test_an_invalid_pattern_says_why() -> None:
    """In RE2's words."""
    with pytest.raises(ValueError, match="missing"):
        build_substitution(RegexSubstitution("(", ""))
