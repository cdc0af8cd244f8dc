"""What lint says about path conditions is certain, or not said: the data plane's own matchers are the oracle."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.lint.paths import (
    are_disjoint,
    begins_with,
    covers,
    describe,
    is_universal,
    sample,
    sample_paths,
)
from fastproxy.match.path import build_path_matcher
from fastproxy.match.settings import PathKind, PathMatch

KINDS = {kind.value: kind for kind in PathKind}


def match(text: str) -> PathMatch:
    """`prefix /a`, `path~ /a` (`~`: letter case does not count)."""
    kind, _, value = text.partition(" ")
    return PathMatch(KINDS[kind.rstrip("~")], value, case_sensitive=not kind.endswith("~"))


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("prefix /", "safe_regex .*x"), ("prefix ", "path /a"), ("safe_regex .*", "prefix /"),
        ("safe_regex ^/.*$", "path_separated_prefix /a"), ("prefix /a", "prefix /a"), ("prefix /a", "prefix /ab"),
        ("prefix /a", "path /a"), ("prefix /a", "path_separated_prefix /a"), ("prefix /a/", "prefix /a/b"),
        ("prefix /a", "safe_regex /ab+"), ("prefix~ /A", "prefix /ab"), ("prefix~ /A", "path~ /AB"),
        ("prefix /1", "prefix~ /1"), ("path_separated_prefix /a", "path /a"),
        ("path_separated_prefix /a", "path_separated_prefix /a/b"), ("path_separated_prefix /a", "prefix /a/"),
        ("path_separated_prefix /a", "safe_regex /a/[0-9]+"), ("path /a", "path /a"), ("path~ /a", "path /A"),
        ("safe_regex /[a-z]+", "path /abc"), ("safe_regex /a(b|c)", "safe_regex /a(b|c)"),
    ],
)  # fmt: skip
def test_inclusion_is_seen(wide: str, narrow: str) -> None:
    """What is missed here is a dead rule that nobody hears of."""
    assert covers(match(wide), match(narrow))


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("path /a", "prefix /a"), ("prefix /a/", "path /a"), ("prefix /a/", "path_separated_prefix /a"),
        ("path_separated_prefix /a", "prefix /a"), ("path_separated_prefix /a", "path /ab"),
        ("prefix /a", "prefix~ /a"), ("path /a", "path~ /a"), ("safe_regex /a.*", "prefix /a"),
        ("safe_regex /[a-z]+", "path~ /abc"), ("prefix /api", "safe_regex (?i)/api/.*"), ("prefix /a", "prefix /"),
    ],
)  # fmt: skip
def test_no_inclusion_where_a_path_escapes(wide: str, narrow: str) -> None:
    """A wrong answer here is a false warning, or a hole that is taken for covered."""
    assert not covers(match(wide), match(narrow))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("prefix /a", "prefix /b", True), ("prefix /a", "prefix /ab", False), ("path /a", "path /ab", True),
        ("path /a", "prefix /a/", True), ("path_separated_prefix /a", "path /ab", True),
        ("prefix /A", "prefix~ /a", False), ("path /1", "safe_regex /[a-z]+", True),
        ("safe_regex /a/.*", "safe_regex /b/.*", True), ("safe_regex .*", "path /x", False),
    ],
)  # fmt: skip
def test_overlap(one: str, other: str, expected: bool) -> None:
    """Only certainty may take a rule out of the picture."""
    assert are_disjoint(match(one), match(other)) is expected
    assert are_disjoint(match(other), match(one)) is expected


@pytest.mark.parametrize(
    ("pattern", "begin"),
    [
        ("/items/[0-9]+", "/items/"),
        ("^/admin$", "/admin"),
        ("(?i)/api", "/"),
        (".*", ""),
        ("", ""),
        ("(/a)?/b", "/"),
    ],
)
def test_beginning_of_a_regular_expression(pattern: str, begin: str) -> None:
    """All that is known of one."""
    assert begins_with(match(f"safe_regex {pattern}")) == begin


def test_sample_of_a_regular_expression_matches_it() -> None:
    """Examples in messages are examples."""
    assert sample(match("safe_regex /items/[0-9]+")) == "/items/0"
    assert sample(match("safe_regex /.*/x")) is None


def test_description_is_what_the_file_says() -> None:
    """Escaped and cut, so that a message stays one line."""
    assert describe(match("prefix~ /a")) == "{prefix: /a, case_sensitive: false}"
    assert describe(match("path /\n" + "x" * 100)).endswith("x...}")
    assert "\n" not in describe(match("path /\n"))


values = st.text("/aA1-", max_size=4).map("/".__add__)
literal = st.builds(
    PathMatch,
    st.sampled_from([PathKind.PREFIX, PathKind.EXACT, PathKind.SEPARATED_PREFIX]),
    values,
    st.booleans(),
)
regex = st.sampled_from(["/a.*", ".*", "/[aA1]+", "^/a", "(?i)/a1?", "/(a|A1).*", "/a/[^/]+"]).map(
    lambda value: PathMatch(PathKind.REGEX, value)
)
conditions = literal | regex
paths = st.text("/aA1-x", max_size=6).map("/".__add__)
many = settings(max_examples=500)


@many
@given(conditions, conditions, paths)
def test_claims_hold_for_every_path(one: PathMatch, other: PathMatch, path: str) -> None:
    """`covers` and `are_disjoint` speak of all paths, `is_universal` too."""
    in_one, in_other = (build_path_matcher(entry)(path.encode()) for entry in (one, other))

    assert not covers(one, other) or in_one or not in_other
    assert not are_disjoint(one, other) or not (in_one and in_other)
    assert not is_universal(one) or in_one


@many
@given(literal, st.lists(literal, max_size=4), st.lists(paths, min_size=1, max_size=30))
def test_samples_find_what_a_union_leaves_open(
    target: PathMatch, others: list[PathMatch], tried: list[str]
) -> None:
    """Complete for exact paths and prefixes, but for mixed letter case: nothing random finds what samples do not."""
    takes = build_path_matcher(target)
    excluded = [build_path_matcher(other) for other in others]

    def escapes(path: str) -> bool:
        raw = path.encode()
        return takes(raw) and not any(matches(raw) for matches in excluded)

    if all(match.case_sensitive for match in (target, *others)) and any(escapes(path) for path in tried):
        assert any(escapes(path) for path in sample_paths(target, others))
