"""The header_mutation filter: its place in the chain, its levels, and what is done to responses."""

import pytest

from fastproxy.filters.header_mutation.filter import HeaderMutationFilter
from fastproxy.filters.header_mutation.settings import (
    HeaderMutationRouteSettings,
    HeaderMutationSettings,
    Mutations,
)
from fastproxy.format.settings import AppendAction, HeaderRuleSettings, HeaderValueSettings
from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import Request


def rule(name: str, value: str, action: AppendAction = AppendAction.APPEND) -> HeaderRuleSettings:
    """One mutation."""
    return HeaderRuleSettings((HeaderValueSettings(name, value, action),))


def both(value: str) -> Mutations:
    """The same mutation in both directions."""
    return Mutations((rule("x-a", value),), (rule("x-a", value),))


def done(
    config: HeaderMutationRouteSettings | None = None, *, specific_last: bool = False, off: bool = False
) -> tuple[object, object]:
    """What `x-a` becomes in a request and in its response."""
    one = HeaderMutationFilter("m", HeaderMutationSettings(both("own"), specific_last, off))
    request = Request(b"GET", b"/", {})
    request.filter_configs = None if config is None else {"m": config, "other": object()}
    headers: HeaderMap = {}
    assert one.on_request(request) is None
    one.on_response(request, headers)
    return request.headers.get(b"x-a"), headers.get(b"x-a")


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        (None, {}, b"own"),
        (None, {"off": True}, None),
        (HeaderMutationRouteSettings(), {"off": True}, b"own"),
        (HeaderMutationRouteSettings(is_off=True), {}, None),
        (HeaderMutationRouteSettings((both("route"), both("host"))), {}, [b"own", b"route", b"host"]),
        (
            HeaderMutationRouteSettings((both("route"), both("host"))),
            {"specific_last": True},
            [b"own", b"host", b"route"],
        ),
    ],
)
def test_the_filter_s_own_come_first_then_those_of_every_level(
    config: HeaderMutationRouteSettings | None, options: dict[str, bool], expected: object
) -> None:
    """Most specific first, or last where the file says so."""
    assert done(config, **options) == (expected, expected)


def test_what_a_route_says_is_kept_apart_from_what_another_says() -> None:
    """They are remembered by identity, and no identity is used twice."""
    one = HeaderMutationFilter("m", HeaderMutationSettings(Mutations()))
    for number in range(50):
        request = Request(b"GET", b"/", {})
        request.filter_configs = {"m": HeaderMutationRouteSettings((both(str(number)),))}
        one.on_request(request)
        assert request.headers[b"x-a"] == b"%d" % number


def test_mutations_are_done_one_after_the_other() -> None:
    """Each sees what those before it did."""
    rules = (
        rule("x-a", "1"),
        rule("x-a", "%REQ(x-a)%2", AppendAction.OVERWRITE),
        HeaderRuleSettings(remove=("x-b",)),
    )
    one = HeaderMutationFilter("m", HeaderMutationSettings(Mutations(rules)))
    request = Request(b"GET", b"/", {b"x-b": b"gone"})
    one.on_request(request)
    assert request.headers == {b"x-a": b"12"}
