"""The index finds what a scan finds: the first route that matches."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.http.messages import Request
from fastproxy.match.path import literal_prefix
from fastproxy.match.settings import HeaderMatch, PathKind, PathMatch, RequestConditions
from fastproxy.router.index import IndexTooLargeError, RouteIndex
from fastproxy.router.route import Route
from fastproxy.router.settings import DirectResponseAction, RouteSettings

SEGMENTS = st.lists(st.sampled_from(["a", "A", "ab", "b", "%41", "\xe9", ""]), max_size=4)
PATHS = SEGMENTS.map(lambda segments: "/" + "/".join(segments))
REGEXES = st.sampled_from(
    ["/a.*", "/[ab]/?", "(?i)/a/b", "/a|/b", ".*", "", "/(a|b)*", "/a/b+", "^/a$", "/ab?", "/\\x41"]
)


def path_matches() -> st.SearchStrategy[PathMatch]:
    plain = st.builds(
        PathMatch,
        st.sampled_from([PathKind.PREFIX, PathKind.EXACT, PathKind.SEPARATED_PREFIX]),
        st.one_of(PATHS, st.just("")),
        st.booleans(),
    )
    return st.one_of(plain, st.builds(PathMatch, st.just(PathKind.REGEX), REGEXES))


def route(match: PathMatch, *, conditional: bool = False) -> Route:
    conditions = RequestConditions(headers=(HeaderMatch("x-go"),)) if conditional else RequestConditions()
    return Route(RouteSettings(match, DirectResponseAction(200), conditions=conditions))


def request(path: str, *, has_header: bool = False) -> Request:
    made = Request(b"GET", path.encode(), {b"x-go": b"1"} if has_header else {})
    made.set_target(path.encode())
    return made


@settings(max_examples=400)
@given(
    st.lists(st.tuples(path_matches(), st.booleans()), max_size=14), st.lists(PATHS, min_size=1, max_size=6)
)
def test_index_and_scan_agree(table: list[tuple[PathMatch, bool]], paths: list[str]) -> None:
    """For any table and any path, with and without the header that some routes ask for."""
    routes = [route(match, conditional=conditional) for match, conditional in table]
    index = RouteIndex(routes)
    for path in paths:
        for has_header in (False, True):
            one = request(path, has_header=has_header)
            scanned = next((made for made in routes if made.applies_to(one)), None)
            found = next((made for made in index.candidates(one.path) if made.applies_to(one)), None)
            assert found is scanned, path


def test_candidates_end_with_the_first_that_matches_in_any_case() -> None:
    """Whatever comes behind it can never be reached."""
    routes = [
        route(PathMatch(PathKind.PREFIX, "/a"), conditional=True),
        route(PathMatch(PathKind.PREFIX, "/")),
        route(PathMatch(PathKind.PREFIX, "/a/b")),
    ]
    assert RouteIndex(routes).candidates(b"/a/b/c") == (routes[0], routes[1])


def test_a_large_table_asks_few_routes() -> None:
    """That is what it is for."""
    routes = [route(PathMatch(PathKind.PREFIX, f"/service-{n}/")) for n in range(2000)]
    routes.append(route(PathMatch(PathKind.PREFIX, "/")))
    index = RouteIndex(routes)
    assert index.candidates(b"/service-1234/x") == (routes[1234], routes[2000])[:1]
    assert index.candidates(b"/other") == (routes[2000],)
    assert index.candidates(b"*") == ()


def test_regular_expressions_are_found_by_how_they_begin() -> None:
    """RE2 knows their literal prefix."""
    routes = [route(PathMatch(PathKind.REGEX, f"/item-{n}/[0-9]+")) for n in range(100)]
    assert RouteIndex(routes).candidates(b"/item-42/7") == (routes[42],)


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("/item/[0-9]+", b"/item/"),
        ("/a|/b", b"/"),
        (".*", b""),
        ("(?i)/a", b"/"),
        ("/ab?", b"/a"),
        ("/\xe9/.*", "/\xe9".encode()),
    ],
)
def test_the_literal_prefix_is_never_too_long(pattern: str, prefix: bytes) -> None:
    """A path that matches and does not begin with it would be lost."""
    assert literal_prefix(pattern) == prefix


def test_routes_that_differ_by_conditions_alone_are_left_to_a_scan() -> None:
    """Each of the deep paths would repeat all of the shallow ones."""
    routes = [route(PathMatch(PathKind.PREFIX, "/"), conditional=True) for _ in range(300)]
    routes += [route(PathMatch(PathKind.PREFIX, f"/{n}")) for n in range(300)]
    with pytest.raises(IndexTooLargeError):
        RouteIndex(routes)
