"""Where tokens are found: the table of spec/jwt_authn.md section 6, with our stricter prefix rule."""

from typing import Any

import pytest

from fastproxy.filters.jwt_authn.extract import FoundToken, TokenLocations, redact_query, remove_token
from fastproxy.filters.jwt_authn.settings import HeaderLocation
from tests.filters.jwt_authn.support import provider, request


def found(*headers: tuple[bytes, bytes], target: bytes = b"/", **settings: Any) -> list[bytes]:
    locations = TokenLocations(provider(**settings))
    return [one.token for one in locations.find(request(target, *headers))]


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (b"Bearer T", [b"T"]),
        (b"Bearer  T", [b"T"]),
        (b"Bearer T  ", [b"T"]),
        (b"bearer T", []),
        (b"BEARER T", []),
        (b"Bearer\tT", []),
        (b"BearerT", []),
        (b"Bearer", []),
        (b"T", []),
        (b"", []),
        (b"Basic abc", []),
        # Envoy looks for the prefix anywhere and skips odd characters; here it must be at the start (S48).
        (b"Basic x, Bearer T", []),
        (b"xxBearer T", []),
        (b"Bearer !!T", [b"!!T"]),
        (b'Bearer "T"', [b'"T"']),
        (b"Bearer T,extra=1", [b"T,extra=1"]),
        (b"Bearer T T", [b"T T"]),
        (b"Bearer Bearer T", [b"Bearer T"]),
    ],
)
def test_authorization(value: bytes, tokens: list[bytes]) -> None:
    """What is left is the verifier's to judge: everything odd in it is a bad token."""
    assert found((b"authorization", value)) == tokens


def test_s48_two_authorization_headers_are_one_joined_value() -> None:
    """One fixed rule: the joined value is no token, whichever of the two the upstream would use."""
    assert found((b"authorization", b"Bearer T"), (b"authorization", b"Bearer U")) == [b"T,Bearer U"]
    assert found((b"authorization", b"Basic x"), (b"authorization", b"Bearer T")) == []


@pytest.mark.parametrize(
    ("target", "tokens"),
    [
        (b"/?access_token=T", [b"T"]),
        (b"/?a&access_token=T&access_token=U", [b"T", b"U"]),
        (b"/?access_token=", [b""]),
        (b"/?%61ccess_token=T", [b"T"]),
        (b"/?access_token=%54", [b"T"]),
        (b"/?access_token=a+b", [b"a+b"]),
        (b"/?x;access_token=T", []),
        (b"/?Access_Token=T", []),
        (b"/access_token=T", []),
    ],
)
def test_query_parameter(target: bytes, tokens: list[bytes]) -> None:
    """Every occurrence counts: a second one is a second token."""
    assert found(target=target) == tokens


def test_header_and_query_together_are_two_tokens() -> None:
    """Whichever were verified, the other might be used (S48)."""
    assert found((b"authorization", b"Bearer T"), target=b"/?access_token=U") == [b"T", b"U"]


def test_a_header_without_prefix_is_the_token() -> None:
    """The whole value; an empty one is a (bad) token, each of several counts."""
    location = (HeaderLocation("x-token"),)
    assert found((b"x-token", b" T "), from_headers=location, from_params=()) == [b"T"]
    assert found((b"x-token", b""), from_headers=location, from_params=()) == [b""]
    assert found((b"x-token", b"T"), (b"x-token", b"U"), from_headers=location) == [b"T", b"U"]
    assert found((b"authorization", b"Bearer T"), from_headers=location, from_params=()) == []


def test_the_usual_place_is_one_header_with_a_prefix() -> None:
    """Its fast path must not be taken where there are more places."""
    assert TokenLocations(provider()).usual == (b"authorization", b"Bearer ")
    two = (HeaderLocation("authorization", "Bearer "), HeaderLocation("x-token", "Bearer "))
    assert TokenLocations(provider(from_headers=two)).usual is None
    assert TokenLocations(provider(from_headers=(HeaderLocation("x-token"),))).usual is None


def test_a_removed_token_takes_its_header_or_parameter_with_it() -> None:
    """`forward: false`; the rest of the query stays as received (spec/jwt_authn.md 12.4)."""
    made = request(b"/p?a=%26&access_token=T&b", (b"x-token", b"T"), (b"x", b"1"))
    remove_token(made, FoundToken(b"T", b"x-token", None))
    assert made.headers == {b"x": b"1"}
    assert made.target == b"/p?a=%26&access_token=T&b"
    remove_token(made, FoundToken(b"T", None, b"access_token"))
    assert (made.target, made.query) == (b"/p?a=%26&b", b"a=%26&b")
    remove_token(made, FoundToken(b"T", b"x-token", None))


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/p?t=T", b"/p?t=redacted"),
        (b"/p?t=T&x=1&t=U", b"/p?x=1&t=redacted"),
        (b"/p?%74=T&x=%20", b"/p?x=%20&t=redacted"),
        (b"/p?t=T&u=U", b"/p?t=redacted&u=redacted"),
        (b"/p?x=1", b""),
        (b"/p", b""),
    ],
)
def test_s53_redaction_touches_the_log_alone(target: bytes, shown: bytes) -> None:
    """The request itself is not changed by it."""
    made = request(target)
    redact_query(made, (b"t", b"u"))
    assert made.log_target == shown
    assert made.target == target


def test_cookies() -> None:
    """`from_cookies`; each occurrence counts, and other places are not read then (spec/jwt_authn.md section 6)."""
    places: dict[str, Any] = {"from_cookies": ("s", "t"), "from_headers": (), "from_params": ()}

    def tokens(*headers: tuple[bytes, bytes]) -> list[bytes]:
        return [one.token for one in TokenLocations(provider(**places)).find(request(b"/", *headers))]

    assert tokens((b"cookie", b'a=1; s="T"')) == [b"T"]
    assert tokens((b"cookie", b"s=T; s=U"), (b"cookie", b"t=V")) == [b"T", b"U", b"V"]
    assert tokens((b"cookie", b"a=1"), (b"authorization", b"Bearer T")) == []
    assert TokenLocations(provider(from_cookies=("s",))).usual is None


def test_s53_a_cookie_token_is_cut_out_and_other_cookies_stay() -> None:
    """`forward: false`; Envoy leaves it in the request."""
    made = request(b"/", (b"cookie", b"a=1; s=T; b=2"))
    remove_token(made, FoundToken(b"T", None, None, b"s"))
    assert made.headers == {b"cookie": b"a=1; b=2"}
    remove_token(made, FoundToken(b"T", None, None, b"s"))
    assert made.headers == {b"cookie": b"a=1; b=2"}
