"""Paths and hosts on their way out (spec/http.md section 9.1)."""

from typing import Any

import pytest

from fastproxy.http.messages import Request
from fastproxy.match.settings import PathKind, PathMatch, RegexSubstitution
from fastproxy.router.rewrite import PathRefused, build_edits, build_path_rewrite
from fastproxy.router.settings import ForwardAction

ANY = PathMatch(PathKind.PREFIX, "/")


def edited(target: bytes, *headers: tuple[bytes, bytes], match: PathMatch = ANY, **action: Any) -> Request:
    request = Request(b"GET", target, dict(headers))
    request.set_target(target)
    request.authority = b"old.test:81"
    for edit in build_edits(ForwardAction("c", **action), match, envoy_headers=True):
        edit(request)
    return request


@pytest.mark.parametrize(
    ("kind", "value", "rewrite", "target", "expected"),
    [
        (PathKind.PREFIX, "/pr", "/", b"/pr/x", b"//x"),
        (PathKind.PREFIX, "/pr", "/", b"/pr", b"/"),
        (PathKind.PREFIX, "/pr/", "/", b"/pr/x?a=/pr/", b"/x?a=/pr/"),
        (PathKind.PREFIX, "/", "/base/", b"/x", b"/base/x"),
        (PathKind.SEPARATED_PREFIX, "/pr", "/new", b"/pr/x?", b"/new/x?"),
        (PathKind.EXACT, "/p", "/new", b"/p?q", b"/new?q"),
        (PathKind.REGEX, "/r.*", "/new", b"/rest?q", b"/new?q"),
    ],
)
def test_prefix_rewrite(kind: PathKind, value: str, rewrite: str, target: bytes, expected: bytes) -> None:
    """No slash magic; `path` and `safe_regex` replace the whole path (spec/http.md section 9.1)."""
    request = edited(target, match=PathMatch(kind, value), prefix_rewrite=rewrite)
    assert request.target == expected
    assert request.path == expected.partition(b"?")[0]
    assert request.original_path == request.headers[b"x-envoy-original-path"] == target


@pytest.mark.parametrize(
    "rest", [b"../admin", b"..%2fadmin", b"%2e%2e/admin", b"..", b"..;x/admin", b"..\\admin", b"./x"]
)
def test_s49_a_prefix_that_is_cut_off_leaves_no_dot_segments(rest: bytes) -> None:
    """`/api` matches `/api../admin`, too: rules for `/admin` have not been asked (the alias traversal of nginx)."""
    with pytest.raises(PathRefused):
        edited(b"/api" + rest, match=PathMatch(PathKind.PREFIX, "/api"), prefix_rewrite="/")
    with pytest.raises(PathRefused):
        edited(b"/api" + rest, regex_rewrite=RegexSubstitution("^/api", "/"))


def test_dot_segments_that_were_there_before_stay() -> None:
    """Without `normalize_path` rules and routes have seen them, and so does the upstream (Envoy)."""
    request = edited(b"/api/../b.c/%2e", match=PathMatch(PathKind.PREFIX, "/api"), prefix_rewrite="/v1")
    assert request.target == b"/v1/../b.c/%2e"
    assert (
        edited(b"/api/a..b", match=PathMatch(PathKind.PREFIX, "/api"), prefix_rewrite="/v1").path
        == b"/v1/a..b"
    )


def test_a_prefix_that_matched_in_another_case_is_cut_by_length() -> None:
    """`case_sensitive: false` with a rewrite."""
    match = PathMatch(PathKind.PREFIX, "/Api", case_sensitive=False)
    rewrite = build_path_rewrite(match, "/x", None)
    assert rewrite is not None
    assert rewrite(b"/aPI/1") == b"/x/1"


def test_regex_rewrite_leaves_the_query_alone() -> None:
    """Every match in the path."""
    request = edited(b"/aXa?a=a", regex_rewrite=RegexSubstitution("a", "b"))
    assert request.target == b"/bXb?a=a"


@pytest.mark.parametrize("substitution", ["", "x"])
def test_what_is_left_is_always_a_path(substitution: str) -> None:
    """An empty target would make a request line that two servers read in two ways."""
    request = edited(b"/gone?q", regex_rewrite=RegexSubstitution(".*", substitution))
    assert request.target == b"/" + substitution.encode() + b"?q"


@pytest.mark.parametrize(
    ("action", "headers", "host"),
    [
        ({"host_rewrite_literal": "new.test"}, (), b"new.test"),
        ({"host_rewrite_header": "x-host"}, ((b"x-host", b"new.test:8080"),), b"new.test:8080"),
        ({"host_rewrite_header": "x-host"}, (), b"old.test:81"),
        ({"host_rewrite_header": "x-host"}, ((b"x-host", b""),), b"old.test:81"),
        ({"host_rewrite_header": "x-host"}, ((b"x-host", b"a/../b"),), b"old.test:81"),
        ({"host_rewrite_header": "x-host"}, ((b"x-host", b"user@new.test"),), b"old.test:81"),
        ({"host_rewrite_path_regex": RegexSubstitution("^/([^/]+)/.*$", "\\1.test")}, (), b"tenant.test"),
    ],
)
def test_host_rewrites(action: dict[str, Any], headers: tuple[tuple[bytes, bytes], ...], host: bytes) -> None:
    """A host that came with the request gets the check that `host` itself gets."""
    request = edited(b"/tenant/x?y", *headers, **action)
    assert request.authority == host
    told = request.headers.get(b"x-envoy-original-host")
    assert told == (b"old.test:81" if host != b"old.test:81" else None)


def test_the_host_is_made_out_of_the_path_that_was_requested() -> None:
    """Also when the path is rewritten."""
    request = edited(
        b"/tenant/x",
        host_rewrite_path_regex=RegexSubstitution("^/([^/]+)/.*$", "\\1.test"),
        prefix_rewrite="/new/",
    )
    assert (request.authority, request.target) == (b"tenant.test", b"/new/tenant/x")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, b"old.test:81"),
        (b"", b"old.test:81"),
        (b"first.test", b"first.test,old.test:81"),
        (b"first.test, old.test:81", b"first.test, old.test:81"),
    ],
)
def test_the_old_host_can_be_appended(before: bytes | None, after: bytes) -> None:
    """`append_x_forwarded_host`; the same host is not appended twice."""
    headers = () if before is None else ((b"x-forwarded-host", before),)
    request = edited(b"/", *headers, host_rewrite_literal="new.test", append_x_forwarded_host=True)
    assert request.headers[b"x-forwarded-host"] == after


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("/new", b"/old?q", b"/new?q"),
        ("/t/%REQ(x-tenant)%%PATH(NQ)%", b"/old?q", b"/t/acme/old?q"),
        ("new", b"/old", b"/new"),
        ("%REQ(x-none)%", b"/old?q", b"/old?q"),
    ],
)
def test_path_rewrite_formats_the_path_and_keeps_the_query(text: str, target: bytes, expected: bytes) -> None:
    """An empty result is no rewrite, and nothing is said about one."""
    request = edited(target, (b"x-tenant", b"acme"), path_rewrite=text)
    assert request.target == expected
    assert request.path == expected.partition(b"?")[0]
    assert (b"x-envoy-original-path" in request.headers) is (target != expected)


@pytest.mark.parametrize("value", [b"..", b"%2e%2e", b"a/..%2fb", b"..;x", b".", b"..\\"])
def test_s49_path_rewrite_with_dot_segments_is_refused(value: bytes) -> None:
    """Whoever resolves them serves another path than the one that rules have judged."""
    with pytest.raises(PathRefused):
        edited(b"/old", (b"x-tenant", value), path_rewrite="/t/%REQ(x-tenant)%/x")
