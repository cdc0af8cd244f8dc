"""Changes to the query: in place, and without touching what they do not speak of."""

import pytest

from fastproxy.filters.header_mutation.query import QueryRules
from fastproxy.filters.header_mutation.settings import QueryMutation
from fastproxy.format.settings import AppendAction
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request

ADD, ABSENT = AppendAction.APPEND, AppendAction.ADD_IF_ABSENT
OVER, ONLY = AppendAction.OVERWRITE, AppendAction.OVERWRITE_IF_EXISTS


def changed(target: bytes, *mutations: QueryMutation, **headers: bytes) -> bytes:
    """The target of a request after the mutations."""
    found: HeaderMap = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    request = Request(b"GET", target, found)
    request.set_target(target)
    QueryRules(mutations).apply(request)
    path, _, query = request.target.partition(b"?")
    assert (request.path, request.query) == (path, query)
    return request.target


@pytest.mark.parametrize(
    ("action", "none", "once", "twice"),
    [
        (ADD, b"/x?a=1", b"/x?b&a=0&c=&a=1", b"/x?a=0&b&a=9&a=1"),
        (ABSENT, b"/x?a=1", b"/x?b&a=0&c=", b"/x?a=0&b&a=9"),
        (OVER, b"/x?a=1", b"/x?b&a=1&c=", b"/x?a=1&b"),
        (ONLY, b"/x", b"/x?b&a=1&c=", b"/x?a=1&b"),
        (None, b"/x", b"/x?b&c=", b"/x?b"),
    ],
)
def test_actions(action: AppendAction | None, none: bytes, once: bytes, twice: bytes) -> None:
    """What is replaced keeps the place of the first one; the others of its name go."""
    mutation = QueryMutation("a", "1", action)
    assert changed(b"/x", mutation) == none
    assert changed(b"/x?b&a=0&c=", mutation) == once
    assert changed(b"/x?a=0&b&a=9", mutation) == twice


def test_rest_of_the_query_keeps_every_byte() -> None:
    """Escapes, blanks as `+`, empty pairs: the upstream may read a difference into each."""
    query = b"/x?%41=%2F&+=+&&=e&k=%zz&b=%26"
    assert changed(query, QueryMutation("a", "1")) == query + b"&a=1"
    assert changed(query, QueryMutation("none", action=None)) == query


def test_s49_encoded_name_is_the_same_name() -> None:
    """Or `%61dmin` would pass where `admin` is taken out."""
    assert changed(b"/x?%61dmin=1&admin&b=2", QueryMutation("admin", action=None)) == b"/x?b=2"
    assert changed(b"/x?%61=1", QueryMutation("a", "2", OVER)) == b"/x?a=2"


def test_names_and_values_are_encoded() -> None:
    """A header must not add a parameter, nor end the request line (S51)."""
    mutation = QueryMutation("a b", "%REQ(x-v)%")
    assert (
        changed(b"/x", mutation, x_v=b"1&b=2#c d+e/\xfc%41") == b"/x?a%20b=1%26b%3D2%23c%20d%2Be%2F%FC%2541"
    )
    assert changed(b"/x", QueryMutation("a", "x&y")) == b"/x?a=x%26y"


def test_value_that_is_not_there_is_empty() -> None:
    """As in Envoy; only `remove` takes a parameter away."""
    assert changed(b"/x?b", QueryMutation("a", "%REQ(x-none)%")) == b"/x?b&a="


def test_path_without_parameters_left_has_no_question_mark() -> None:
    """And a query that nobody changed keeps its own."""
    assert changed(b"/x?a=1", QueryMutation("a", action=None)) == b"/x"
    assert changed(b"/x?", QueryMutation("a", action=None)) == b"/x?"


def test_changes_follow_each_other() -> None:
    """Each sees what those before it did."""
    mutations = (QueryMutation("a", "1"), QueryMutation("a", "2", ABSENT), QueryMutation("a", "3", ONLY))
    assert changed(b"/x", *mutations) == b"/x?a=3"
