"""The hash of a request (spec/clusters.md section 3.2)."""

import pytest

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.headers import append
from fastproxy.http.messages import Request
from fastproxy.match.settings import RegexSubstitution
from fastproxy.router.hash_policy import RequestHash, stable_hash
from fastproxy.router.settings import CookieHash, HashPolicy, HeaderHash, QueryHash, SourceAddressHash
from fastproxy.upstream.hashing import xxh64

MASK = (1 << 64) - 1


def request(*headers: tuple[bytes, bytes], target: bytes = b"/") -> Request:
    made = Request(b"GET", target, {}, ConnectionInfo(("192.0.2.7", 4711), ("203.0.113.9", 443)))
    made.set_target(target)
    made.authority = b"h.test"
    made.remote_address = ("198.51.100.9", 0)
    for name, value in headers:
        append(made.headers, name, value)
    return made


def compute(one: Request, *policies: HashPolicy) -> int | None:
    return RequestHash(policies).compute(one)


def combined(first: int, second: int) -> int:
    return (((first << 1) & MASK) | (first >> 63)) ^ second


BY_HEADER = HashPolicy(HeaderHash("x-user"))
BY_QUERY = HashPolicy(QueryHash("u"))


def test_the_hash_never_changes() -> None:
    """Another version of the proxy must send a user to the same endpoint: this number is a promise."""
    assert stable_hash(b"alice") == 0x73A3EA485F2E6049


def test_a_header_is_hashed_and_its_absence_is_none() -> None:
    """Then any endpoint will do."""
    assert compute(request((b"x-user", b"alice")), BY_HEADER) == stable_hash(b"alice")
    assert compute(request(), BY_HEADER) is None


def test_repeated_headers_do_not_depend_on_their_order() -> None:
    """Envoy sorts them."""
    one = request((b"x-user", b"b"), (b"x-user", b"a"))
    other = request((b"x-user", b"a"), (b"x-user", b"b"))
    assert compute(one, BY_HEADER) == compute(other, BY_HEADER) == xxh64(b"b", xxh64(b"a"))


def test_part_of_a_header_can_be_hashed() -> None:
    """`regex_rewrite`: all of a tenant's users to one endpoint."""
    policy = HashPolicy(HeaderHash("x-user", RegexSubstitution("^([^@]*)@(.*)$", "\\2")))
    assert compute(request((b"x-user", b"alice@acme")), policy) == stable_hash(b"acme")


@pytest.mark.parametrize(
    ("name", "value"), [("host", b"h.test"), (":authority", b"h.test"), (":path", b"/x?u=1")]
)
def test_parts_of_the_request_line_count_as_headers(name: str, value: bytes) -> None:
    """As in Envoy."""
    assert compute(request(target=b"/x?u=1"), HashPolicy(HeaderHash(name))) == stable_hash(value)


def test_query_and_address() -> None:
    """The first value, undecoded; the client's address without its port."""
    assert compute(request(target=b"/?u=a%20&u=b"), BY_QUERY) == stable_hash(b"a%20")
    assert compute(request(target=b"/?v=a"), BY_QUERY) is None
    assert compute(request(), HashPolicy(SourceAddressHash())) == stable_hash(b"198.51.100.9")


def test_several_entries_are_combined_in_order() -> None:
    """Rotated by one bit, so that two equal values do not cancel each other."""
    one = request((b"x-user", b"a"), target=b"/?u=b")
    assert compute(one, BY_HEADER, BY_QUERY) == combined(stable_hash(b"a"), stable_hash(b"b"))
    assert compute(one, BY_QUERY, BY_HEADER) == combined(stable_hash(b"b"), stable_hash(b"a"))
    assert compute(request(target=b"/?u=b"), BY_HEADER, BY_QUERY) == stable_hash(b"b")


def test_a_terminal_entry_ends_it_if_there_is_a_hash() -> None:
    """Otherwise the next one is asked."""
    terminal = HashPolicy(HeaderHash("x-user"), terminal=True)
    assert compute(request((b"x-user", b"a"), target=b"/?u=b"), terminal, BY_QUERY) == stable_hash(b"a")
    assert compute(request(target=b"/?u=b"), terminal, BY_QUERY) == stable_hash(b"b")


def test_a_cookie_is_hashed_when_it_is_there() -> None:
    """Without quotation marks; nothing is set."""
    one = request((b"cookie", b'x=1; sid="abc"'))
    assert compute(one, HashPolicy(CookieHash("sid", 60.0))) == stable_hash(b"abc")
    assert one.set_cookies is None


@pytest.mark.parametrize(
    ("cookie", "attributes"),
    [
        (CookieHash("sid", 60.0), b"; Max-Age=60; HttpOnly"),
        (CookieHash("sid", 0.0), b"; HttpOnly"),
        (
            CookieHash("sid", 5.0, "/p", (("SameSite", "Strict"), ("Secure", ""))),
            b"; Max-Age=5; Path=/p; SameSite=Strict; Secure; HttpOnly",
        ),
    ],
)
def test_an_absent_cookie_is_made(cookie: CookieHash, attributes: bytes) -> None:
    """With `ttl`; the next request brings it back, and goes to the same endpoint."""
    one = request((b"cookie", b"sid="))
    hashed = compute(one, HashPolicy(cookie))
    assert one.set_cookies is not None
    (made,) = one.set_cookies
    name_and_value, semicolon, rest = made.partition(b";")
    assert semicolon + rest == attributes
    assert name_and_value.startswith(b'sid="')
    value = name_and_value[5:-1]
    assert len(value) == 16
    assert hashed == stable_hash(value)
    assert compute(request((b"cookie", b"sid=" + value)), HashPolicy(cookie)) == hashed


def test_one_connection_gets_one_cookie() -> None:
    """Several requests may be under way before the first answer brings it."""
    policy = HashPolicy(CookieHash("sid", 60.0))
    first, second = request(), request()
    assert compute(first, policy) == compute(second, policy)
    assert first.set_cookies == second.set_cookies


def test_without_ttl_no_cookie_is_made() -> None:
    """Envoy: no hash then."""
    one = request()
    assert compute(one, HashPolicy(CookieHash("sid"))) is None
    assert one.set_cookies is None


def test_a_look_at_the_hash_sets_no_cookie() -> None:
    """`weighted_clusters.use_hash_policy` asks, too, and cannot make anything stick."""
    one = request()
    policy = RequestHash((HashPolicy(CookieHash("sid", 60.0)),))
    assert policy.compute(one, may_set_cookie=False) == policy.compute(one)
    assert one.set_cookies is not None
    assert len(one.set_cookies) == 1
