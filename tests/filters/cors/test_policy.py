"""A CORS policy compiled: origins and header lines."""

import pytest

from fastproxy.filters.cors.policy import Policy
from fastproxy.filters.cors.settings import CorsPolicy, CorsRouteSettings
from fastproxy.http.messages import Request
from fastproxy.match.settings import Fraction, StringKind, StringMatch

_ALL = CorsPolicy(
    (StringMatch(StringKind.EXACT, "*"),),
    allow_methods="*",
    allow_headers="*",
    expose_headers="*",
    max_age="600",
    allow_credentials=True,
    allow_private_network_access=True,
)


def allows(origin: bytes, *matches: StringMatch) -> bool:
    """Whether a policy with these conditions allows an origin."""
    return Policy(CorsPolicy(matches)).allows(origin)


@pytest.mark.parametrize(
    ("kind", "value", "origin", "expected"),
    [
        (StringKind.EXACT, "https://a.test", b"https://a.test", True),
        (StringKind.EXACT, "https://a.test", b"https://a.test.evil", False),
        (StringKind.EXACT, "https://a.test", b"HTTPS://a.test", False),
        (StringKind.EXACT, "https://a.test", b"null", False),
        (StringKind.EXACT, "*", b"null", True),
        (StringKind.PREFIX, "*", b"https://a.test", False),
        (StringKind.SUFFIX, ".a.test", b"https://x.a.test", True),
        (StringKind.REGEX, r"https://[a-z]+\.a\.test", b"https://x.a.test", True),
        # An expression matches the whole origin: it cannot be left unanchored by mistake.
        (StringKind.REGEX, r"https://[a-z]+\.a\.test", b"https://x.a.test.evil", False),
        (StringKind.REGEX, r"https://[a-z]+\.a\.test", b"evil-https://x.a.test", False),
        # Two Origin headers arrive as one text, which is no origin.
        (StringKind.EXACT, "https://a.test", b"https://a.test,https://evil.test", False),
    ],
)
def test_origin_is_compared_as_text(kind: StringKind, value: str, origin: bytes, expected: bool) -> None:
    """Byte by byte: scheme, host and port are one word."""
    assert allows(origin, StringMatch(kind, value)) is expected


def test_one_condition_is_enough_and_none_allows_nobody() -> None:
    """An empty list is a policy that allows no origin."""
    a, b = StringMatch(StringKind.EXACT, "a"), StringMatch(StringKind.EXACT, "b")
    assert (allows(b"b", a, b), allows(b"c", a, b), allows(b"a")) == (True, False, False)


def test_star_repeats_what_the_preflight_asks_for() -> None:
    """Browsers take no `*` together with credentials."""
    request = Request(
        b"OPTIONS",
        b"/",
        {
            b"access-control-request-method": b"PATCH",
            b"access-control-request-headers": b"x-a,x-b",
            b"access-control-request-private-network": b"true",
        },
    )
    assert Policy(_ALL).preflight_lines(request, b"o") == (
        (b"access-control-allow-origin", b"o"),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-allow-methods", b"PATCH"),
        (b"access-control-allow-headers", b"x-a,x-b"),
        (b"access-control-max-age", b"600"),
        (b"access-control-allow-private-network", b"true"),
        (b"access-control-expose-headers", b"*"),
    )


@pytest.mark.parametrize("value", [b"false", b"TRUE", b"1", b""])
def test_private_network_is_allowed_only_to_who_asks(value: bytes) -> None:
    """In the one word that the protocol has for it."""
    headers = {b"access-control-request-private-network": value}
    names = [name for name, _ in Policy(_ALL).preflight_lines(Request(b"OPTIONS", b"/", {**headers}), b"o")]
    assert b"access-control-allow-private-network" not in names


def test_response_says_less_than_the_answer_to_a_preflight() -> None:
    """Origin, credentials, exposed headers."""
    assert Policy(_ALL).response_lines(b"o") == (
        (b"access-control-allow-origin", b"o"),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"*"),
    )


def test_levels_are_brought_together_field_by_field() -> None:
    """As in Envoy: what the inner level does not say, the outer one says; `false` is a word, too."""
    inner = CorsPolicy(allow_methods="PUT", allow_credentials=False)
    assert inner.within(_ALL) == CorsPolicy(
        _ALL.origins,
        allow_methods="PUT",
        allow_headers="*",
        expose_headers="*",
        max_age="600",
        allow_credentials=False,
        allow_private_network_access=True,
    )


def test_innermost_policy_alone_says_for_which_requests_it_is() -> None:
    """One that does not say it is for all of them, whatever is said around it (Envoy)."""
    outer = CorsPolicy(enabled=Fraction(0, 100), shadow_enabled=Fraction(100, 100))
    merged = CorsPolicy(allow_methods="PUT").within(outer)
    assert (merged.enabled, merged.shadow_enabled) == (None, None)
    kept = CorsRouteSettings(is_off=False).within(CorsRouteSettings(outer))
    assert kept.effective == outer


def test_deprecated_field_counts_only_without_any_other_policy() -> None:
    """Not even beside one of the whole table (Envoy)."""
    old = CorsRouteSettings(old_policy=CorsPolicy(allow_methods="OLD"))
    table = CorsRouteSettings(CorsPolicy(allow_methods="TABLE"), is_off=False)
    effective = old.within(table).effective
    assert effective is not None
    assert effective.allow_methods == "TABLE"
    assert old.within(None).effective == CorsPolicy(allow_methods="OLD")
    inner = CorsRouteSettings(old_policy=CorsPolicy(max_age="1")).within(old)
    assert inner.effective == CorsPolicy(allow_methods="OLD", max_age="1")
    assert inner.is_off is None
