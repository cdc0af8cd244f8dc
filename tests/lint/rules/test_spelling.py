"""Other spellings of a path."""

import pytest

from tests.config.support import minimal
from tests.lint.support import DISABLED, NORMAL, line, names, only, text

CLOSED = "- match: {prefix: /}\n  requires: {provider_name: idp}"


def test_open_prefix_that_ends_in_the_middle_of_a_name() -> None:
    """`/docs` is for everybody, `/docs-internal` is not."""
    source = text(f"- match: {{prefix: /docs}}\n{CLOSED}")
    found = only(source, "prefix-boundary")

    assert found.what == '{prefix: /docs} opens "/docs-anything", too'
    assert found.fix == "Write path_separated_prefix: /docs"
    assert line(source, found) == "- match: {prefix: /docs}"


def test_open_route_that_ends_in_the_middle_of_a_name() -> None:
    """The same with the filter switched off by the route."""
    routes = (
        f"- match: {{prefix: /health}}\n  route: {{cluster: backend}}\n"
        f"  {DISABLED}\n- match: {{prefix: /}}\n  route: {{cluster: backend}}"
    )
    source = text(routes=routes)

    assert line(source, only(source, "prefix-boundary")) == "- match: {prefix: /health}"


def test_closed_prefix_with_a_slash_leaves_the_name_open() -> None:
    """`/api` is most often the same resource as `/api/`."""
    found = only(
        text("- match: {prefix: /api/}\n  requires: {provider_name: idp}\n- match: {prefix: /}"),
        "prefix-boundary",
    )

    assert found.what == '{prefix: /api/} leaves "/api" itself open'


@pytest.mark.parametrize(
    "rules",
    [
        f"- match: {{path_separated_prefix: /docs}}\n{CLOSED}",
        f"- match: {{prefix: /docs/}}\n{CLOSED}",
        f"- match: {{prefix: /static-}}\n{CLOSED}",
        f"- match: {{path: /docs}}\n{CLOSED}",
        # Nothing behind it is closed.
        "- match: {prefix: /docs}\n- match: {prefix: /}",
        # More is closed than meant, which does no harm.
        "- match: {prefix: /admin}\n  requires: {provider_name: idp}\n- match: {prefix: /}",
        (
            "- match: {prefix: /api/}\n  requires: {provider_name: idp}\n"
            "- match: {path: /api}\n  requires: {provider_name: idp}\n- match: {prefix: /}"
        ),
    ],
)
def test_prefixes_that_say_what_they_mean(rules: str) -> None:
    """Or whose surplus is harmless."""
    assert names(text(rules)) == []


@pytest.mark.parametrize(
    ("rules", "spelt", "meant"),
    [
        (f"- match: {{prefix: /docs/}}\n{CLOSED}", "/docs/../anything", "/anything"),
        (f"- match: {{path_separated_prefix: /a/b}}\n{CLOSED}", "/a/b/../../anything", "/anything"),
        (
            (
                "- match: {path_separated_prefix: /admin}\n"
                "  requires: {provider_name: idp}\n- match: {prefix: /}"
            ),
            "/anything/../admin",
            "/admin",
        ),
        (f'- match: {{safe_regex: {{regex: "/pub/.*"}}}}\n{CLOSED}', "/pub/../anything", "/anything"),
    ],
)
def test_dot_segments_slip_past_a_rule(rules: str, spelt: str, meant: str) -> None:
    """CVE-2019-9901: the proxy compares text, the upstream resolves it."""
    found = only(text(rules, manager="merge_slashes: true"), "unnormalized-path")

    assert found.what == f'"{spelt}" passes without a token, although "{meant}" needs one'
    assert found.fix == "Set normalize_path: true"
    assert names(text(rules)) == []


def test_double_slashes_slip_past_a_rule() -> None:
    """Many upstreams serve `//admin` as `/admin`."""
    rules = "- match: {path_separated_prefix: /admin}\n  requires: {provider_name: idp}\n- match: {prefix: /}"
    source = text(rules, manager=NORMAL.replace("merge_slashes: true", "merge_slashes: false"))
    found = only(source, "unnormalized-path")

    assert found.what == '"//admin" passes without a token, although "/admin" needs one'
    assert line(source, found) == "merge_slashes: false"


@pytest.mark.parametrize(
    "rules",
    [
        CLOSED,
        f"- match: {{path: /login}}\n{CLOSED}",
        "- match: {prefix: /}",
        "- match: {path_separated_prefix: /a}\n- match: {prefix: /}",
    ],
)
def test_spelling_does_not_matter_where_all_paths_are_equal(rules: str) -> None:
    """An exact open path has no inside to climb out of."""
    assert names(text(rules, manager="")) == []


DOCS = f"- match: {{path_separated_prefix: /docs}}\n{CLOSED}"
ADMIN = "- match: {path_separated_prefix: /admin}\n  requires: {provider_name: idp}\n- match: {prefix: /}"


@pytest.mark.parametrize(
    ("rules", "spelt", "meant"),
    [
        (DOCS, "/docs/..%2Fanything", "/anything"),
        (DOCS.replace("/docs", "/a/b"), "/a/b/..%2F..%2Fanything", "/anything"),
        (ADMIN, "/admin%2Fanything", "/admin/anything"),
    ],
)
def test_escaped_slashes_slip_past_a_rule(rules: str, spelt: str, meant: str) -> None:
    """CVE-2021-29492: the upstream decodes what the rules did not."""
    source = text(rules, manager="normalize_path: true\nmerge_slashes: true")

    assert (
        only(source, "escaped-slash").what
        == f'"{spelt}" passes without a token, although "{meant}" needs one'
    )


@pytest.mark.parametrize("action", ["REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"])
def test_escaped_slashes_that_rules_never_see(action: str) -> None:
    """Refused, or decoded before anything is compared."""
    manager = f"normalize_path: true\nmerge_slashes: true\npath_with_escaped_slashes_action: {action}"

    assert names(text(DOCS, manager=manager)) == []
    assert names(text(ADMIN, manager=manager)) == []


@pytest.mark.parametrize(
    "rules", [CLOSED, f"- match: {{path: /docs}}\n{CLOSED}", ADMIN.replace("path_separated_", "")]
)
def test_escaped_slashes_that_make_no_difference(rules: str) -> None:
    """All paths are alike, or the spelling is closed, too."""
    assert names(text(rules, manager="normalize_path: true\nmerge_slashes: true")) == []


BLIND = """
- match: {prefix: /admin, case_sensitive: false}
  route: {cluster: backend}
- match: {prefix: /}
  route: {cluster: backend}
"""


def test_rule_that_minds_letter_case_on_a_route_that_does_not() -> None:
    """`/ADMIN` is the same resource, and open."""
    rules = "- match: {prefix: /admin}\n  requires: {provider_name: idp}\n- match: {prefix: /}"
    source = text(rules, routes=BLIND)
    found = only(source, "case-hole")

    assert '"/ADMIN"' in found.what
    assert line(source, found) == "- match: {prefix: /admin}"


@pytest.mark.parametrize(
    ("rules", "routes"),
    [
        (
            (
                "- match: {prefix: /admin, case_sensitive: false}\n"
                "  requires: {provider_name: idp}\n- match: {prefix: /}"
            ),
            BLIND,
        ),
        (
            ("- match: {prefix: /admin}\n  requires: {provider_name: idp}\n- match: {prefix: /}"),
            BLIND.replace(", case_sensitive: false", ""),
        ),
        (CLOSED, BLIND),
        (
            "- match: {prefix: /admin}\n  requires: {provider_name: idp}\n- match: {prefix: /}",
            "- match: {prefix: /, case_sensitive: false}\n  route: {cluster: backend}",
        ),
    ],
)
def test_letter_case_is_treated_alike(rules: str, routes: str) -> None:
    """Both mind it, or neither, or it makes no difference."""
    assert names(text(rules, routes=routes)) == []


def test_regular_expression_that_begins_like_a_search() -> None:
    """`^/admin` does not match `/admin/users`."""
    source = text(
        (
            '- match: {safe_regex: {regex: "^/admin"}}\n'
            "  requires: {provider_name: idp}\n- match: {path: /admin}\n"
        )
        + CLOSED
    )

    assert "regex-full-match" in names(source)


def test_regular_expression_that_matches_no_path() -> None:
    """On a route, too."""
    found = only(
        minimal(routes='- match: {safe_regex: {regex: "admin.*"}}\n  route: {cluster: backend}'),
        "regex-full-match",
    )

    assert "matches no path" in found.what


@pytest.mark.parametrize(
    "regex", ["/admin/.*", "^/admin/.*", "^/items/[0-9]+$", ".*[.]json", "/items/[0-9]+", "^/(a|b)(/.*)"]
)
def test_regular_expression_for_the_whole_path(regex: str) -> None:
    """Anchors are superfluous, not wrong."""
    routes = f'- match: {{safe_regex: {{regex: "{regex}"}}}}\n  route: {{cluster: backend}}'

    assert names(minimal(routes=routes, manager=NORMAL)) == []
