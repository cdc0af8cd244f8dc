"""What follows from an accepted token: headers, metadata, another route (spec/jwt_authn.md section 12)."""

from dataclasses import replace
from typing import Any

import pytest

from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    ClaimHeaderSettings,
    HeaderLocation,
    PerRouteSettings,
    RequiresAny,
    RequiresProvider,
    RuleSettings,
)
from fastproxy.http.messages import Request
from fastproxy.jwt import JwtStatus
from fastproxy.match.settings import (
    HeaderMatch,
    PathKind,
    PathMatch,
    RequestConditions,
    StringKind,
    StringMatch,
)
from fastproxy.router.settings import DirectResponseAction, ForwardAction, RouteSettings
from tests.filters.jwt_authn.support import bearer, denial, jwt_filter, provider, request, token
from tests.jwt.support import ISSUER
from tests.listener.support import CLUSTER, NOW, OK, Proxy, status_of, to_service

GOOD = token(scope="read  write ", empty="", n=1)
NAMESPACE = "envoy.filters.http.jwt_authn"
CLAIMS = (ClaimHeaderSettings("x-sub", ("sub",)), ClaimHeaderSettings("x-iss", ("iss",)))


def passed(value: bytes = GOOD, **settings: Any) -> Request:
    one = request(b"/", bearer(value))
    assert jwt_filter(**settings).on_request(one) is None
    return one


def metadata(one: Request) -> dict[str, Any]:
    assert one.dynamic_metadata is not None
    return one.dynamic_metadata[NAMESPACE]


# -- headers -----------------------------------------------------------------------------------------------


def test_claims_become_headers_beside_the_payload() -> None:
    """In the order of the configuration, after the payload."""
    made = passed(token(sub="alice"), claim_headers=CLAIMS)
    assert list(made.headers) == [b"x-jwt-payload", b"x-sub", b"x-iss"]
    assert made.headers[b"x-sub"] == b"alice"


def test_two_claims_may_share_a_header() -> None:
    """Two values, as in Envoy."""
    same = (ClaimHeaderSettings("x-id", ("sub",)), ClaimHeaderSettings("x-id", ("aud",)))
    assert passed(token(sub="alice"), claim_headers=same).headers[b"x-id"] == [b"alice", b"api"]


@pytest.mark.parametrize("name", [b"x-sub", b"x_sub"])
@pytest.mark.parametrize("path", [b"/open", b"/unmatched", b"/guarded"])
def test_s46_forged_claim_headers_are_removed_everywhere(path: bytes, name: bytes) -> None:
    """Whatever rule applies; also where the token has no such claim."""
    rules = (
        RuleSettings(PathMatch(PathKind.PREFIX, "/open")),
        RuleSettings(PathMatch(PathKind.PREFIX, "/guarded"), RequiresProvider("p")),
    )
    one = request(path, (name, b"eve"), bearer(token(sub=None)))
    assert jwt_filter(*rules, claim_headers=CLAIMS[:1]).on_request(one) is None
    assert name not in one.headers


def test_s57_a_refused_token_leaves_no_claim_behind() -> None:
    """Neither in headers nor in metadata: only verified claims drive what comes after."""
    one = request(b"/", bearer(token(exp=NOW - 100)))
    refused = jwt_filter(claim_headers=CLAIMS, payload_in_metadata="payload", clear_route_cache=True)
    assert denial(refused.on_request(one))[0] == 401
    assert set(one.headers) == {b"authorization"}
    assert one.dynamic_metadata is None
    assert not one.route_is_stale


# -- metadata ----------------------------------------------------------------------------------------------


def test_payload_and_header_in_metadata() -> None:
    """Under their keys, in the filter's namespace."""
    found = metadata(passed(payload_in_metadata="payload", header_in_metadata="header"))
    assert found["payload"]["aud"] == "api"
    assert found["header"]["alg"] == "ES256"


def test_the_payload_wins_over_the_header() -> None:
    """One key for both (12.3)."""
    assert "alg" not in metadata(passed(payload_in_metadata="x", header_in_metadata="x"))["x"]


def test_space_delimited_claims_become_lists_in_metadata_alone() -> None:
    """An empty text, a number and an absent claim stay what they are; the forwarded payload too."""
    names = ("scope", "empty", "n", "absent")
    found = passed(payload_in_metadata="p", space_delimited_claims=names)
    assert metadata(found)["p"]["scope"] == ["read", "write"]
    assert (metadata(found)["p"]["empty"], metadata(found)["p"]["n"]) == ("", 1)
    assert "absent" not in metadata(found)["p"]
    assert found.headers[b"x-jwt-payload"] == GOOD.split(b".")[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (token(exp=NOW - 100), {"code": 3, "message": "Jwt is expired"}),
        (token(aud="x"), {"code": 25, "message": "Audiences in Jwt are not allowed"}),
        (b"x", {"code": 4, "message": JwtStatus.BAD_FORMAT.text}),
    ],
)
def test_why_a_token_failed_is_in_metadata(value: bytes, expected: dict[str, object]) -> None:
    """`failed_status_in_metadata`: the number and the text."""
    one = request(b"/", bearer(value))
    denial(jwt_filter(failed_status_in_metadata="failure").on_request(one))
    assert metadata(one)["failure"] == expected


def test_a_missing_token_is_in_metadata_however_many_providers_there_are() -> None:
    """In Envoy only if there is just one; and the failure is there when another provider lets pass."""
    providers = (
        provider("a", failed_status_in_metadata="a", from_headers=(HeaderLocation("x-a"),)),
        provider("b", failed_status_in_metadata="b"),
    )
    either = RuleSettings(
        PathMatch(PathKind.PREFIX, "/"), RequiresAny((RequiresProvider("a"), RequiresProvider("b")))
    )
    one = request(b"/", bearer(GOOD))
    assert jwt_filter(either, providers=providers).on_request(one) is None
    assert metadata(one) == {"a": {"code": 1, "message": "Jwt is missing"}}


def test_metadata_in_the_access_log() -> None:
    """`%DYNAMIC_METADATA(namespace:key:claim)%`, of a passed and of a refused request."""
    line = (
        f"%RESPONSE_CODE% %DYNAMIC_METADATA({NAMESPACE}:payload:sub)% %DYNAMIC_METADATA({NAMESPACE}:failure)%"
    )
    made = jwt_filter(payload_in_metadata="payload", failed_status_in_metadata="failure")
    with Proxy(filters=[made], log_format=line) as proxy:
        good = token(sub="alice\n")
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + good + b"\r\n\r\n")
        proxy.upstream.respond(OK)
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        first, second = proxy.log.lines
        assert first.startswith("200 alice")
        assert second == '401 - {"code":1,"message":"Jwt is missing"}'


# -- the route ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "stale"),
    [
        ({"clear_route_cache": True, "claim_headers": CLAIMS}, True),
        ({"clear_route_cache": True, "payload_in_metadata": "p"}, True),
        ({"clear_route_cache": True}, False),
        ({"clear_route_cache": True, "claim_headers": (ClaimHeaderSettings("x", ("none",)),)}, False),
        ({"claim_headers": CLAIMS, "payload_in_metadata": "p"}, False),
    ],
)
def test_when_the_route_is_selected_again(settings: dict[str, Any], stale: bool) -> None:
    """12.5: only if there is something new to go by."""
    assert passed(**settings).route_is_stale is stale


def by_claim() -> tuple[RouteSettings, RouteSettings]:
    """A route for the issuer that the filter names in a header, and one for everybody else."""
    condition = HeaderMatch("x-iss", StringMatch(StringKind.EXACT, ISSUER))
    named = RouteSettings(
        PathMatch(PathKind.PREFIX, "/"),
        ForwardAction(CLUSTER, prefix_rewrite="/named/"),
        conditions=RequestConditions(headers=(condition,)),
    )
    return named, RouteSettings(PathMatch(PathKind.PREFIX, "/"), ForwardAction(CLUSTER))


def test_the_route_is_selected_again() -> None:
    """`clear_route_cache`: what the filter found out decides where the request goes."""
    made = jwt_filter(clear_route_cache=True, claim_headers=CLAIMS)
    with Proxy(filters=[made], routes=by_claim()) as proxy:
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + token() + b"\r\n\r\n")
        assert proxy.upstream.take().startswith(b"GET /named/ ")


def test_formats_read_the_metadata_of_the_route_that_was_selected_again() -> None:
    """And not of the one that the request would have had without its token."""
    made = jwt_filter(clear_route_cache=True, claim_headers=CLAIMS)
    named, rest = by_claim()
    routes = (
        replace(named, metadata='{"n": {"k": "named"}}'),
        replace(rest, metadata='{"n": {"k": "rest"}}'),
    )
    with Proxy(filters=[made], routes=routes, log_format="%METADATA(ROUTE:n:k)%") as proxy:
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + token() + b"\r\n\r\n")
        proxy.upstream.respond(OK)
        assert proxy.log.lines == ["named"]


def test_s57_a_forged_claim_header_selects_no_route() -> None:
    """It is gone before the routes are looked at, not only before the request is forwarded."""
    optional = RequiresAny((RequiresProvider("p"), AllowsMissing()))
    made = jwt_filter(RuleSettings(PathMatch(PathKind.PREFIX, "/"), optional), claim_headers=CLAIMS)
    with Proxy(filters=[made], routes=by_claim()) as proxy:
        proxy.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-iss: " + ISSUER.encode() + b"\r\n\r\n")
        assert proxy.upstream.take().startswith(b"GET / ")


# -- routes that speak of the filter -----------------------------------------------------------------------

NAMED: dict[str, Any] = {"requirement_map": {"strict": RequiresProvider("p")}}


def configured(config: PerRouteSettings, prefix: str = "/") -> RouteSettings:
    return RouteSettings(
        PathMatch(PathKind.PREFIX, prefix), ForwardAction(CLUSTER), filter_configs={"jwt": config}
    )


def answer(
    *routes: RouteSettings,
    path: bytes = b"/",
    headers: bytes = b"",
    rules: tuple[RuleSettings, ...] = (),
    **more: Any,
) -> tuple[int, bytes]:
    """Status, and what reached the upstream."""
    with Proxy(routes=routes, filters=[jwt_filter(*rules, **(NAMED | more))]) as proxy:
        proxy.send(b"GET " + path + b" HTTP/1.1\r\nhost: a\r\n" + headers + b"\r\n")
        seen = proxy.upstream.take()
        if seen:
            proxy.upstream.respond(OK)
        return status_of(proxy.take()), seen


FORGED = b"x-jwt-payload: forged\r\n"


def test_s46_a_route_without_the_filter_still_gets_no_forged_identity() -> None:
    """`disabled` and `FilterConfig.disabled`: the upstream is the same, and trusts the header."""
    for config in (PerRouteSettings(disabled=True), PerRouteSettings(is_skipped=True)):
        status, seen = answer(configured(config), headers=FORGED)
        assert status == 200
        assert b"forged" not in seen
    status, seen = answer(to_service(), headers=FORGED, is_off_by_default=True)
    assert (status, b"forged" in seen) == (200, False)


def test_a_route_names_its_requirement() -> None:
    """The rules are not consulted then."""
    open_rule = (RuleSettings(PathMatch(PathKind.PREFIX, "/")),)
    strict = configured(PerRouteSettings("strict"), "/strict")
    assert answer(strict, to_service(), path=b"/strict", rules=open_rule)[0] == 401
    assert answer(strict, to_service(), path=b"/other", rules=open_rule)[0] == 200


def test_a_filter_that_is_off_by_default_applies_where_a_route_says_so() -> None:
    """`disabled: true` in http_filters; a route without settings of its own for the filter leaves it off."""
    assert answer(to_service(), is_off_by_default=True)[0] == 200
    assert answer(configured(PerRouteSettings()), is_off_by_default=True)[0] == 401
    assert answer(configured(PerRouteSettings("strict")), is_off_by_default=True)[0] == 401


def test_settings_for_another_filter_change_nothing() -> None:
    """They are found by the filter's name."""
    other = RouteSettings(
        PathMatch(PathKind.PREFIX, "/"),
        DirectResponseAction(200),
        filter_configs={"jwt2": PerRouteSettings(disabled=True)},
    )
    assert answer(other)[0] == 401


# -- options of the filter ---------------------------------------------------------------------------------

ORIGIN = (b"origin", b"https://app")
ASKS = (b"access-control-request-method", b"PUT")


@pytest.mark.parametrize(
    ("method", "headers", "passes"),
    [
        (b"OPTIONS", (ORIGIN, ASKS), True),
        (b"OPTIONS", (ORIGIN,), False),
        (b"OPTIONS", (ASKS,), False),
        (b"OPTIONS", ((b"origin", b""), ASKS), False),
        (b"OPTIONS", (ORIGIN, (b"access-control-request-method", b"")), False),
        (b"GET", (ORIGIN, ASKS), False),
        (b"options", (ORIGIN, ASKS), False),
    ],
)
def test_s50_only_a_real_preflight_is_bypassed(
    method: bytes, headers: tuple[tuple[bytes, bytes], ...], passes: bool
) -> None:
    """OPTIONS with both headers; forged identities go all the same."""
    one = request(b"/", *headers, (b"x-jwt-payload", b"forged"), method=method)
    assert (jwt_filter(bypass_cors_preflight=True).on_request(one) is None) is passes
    assert b"x-jwt-payload" not in one.headers
    assert jwt_filter().on_request(request(b"/", *headers, method=method)) is not None


def test_s55_a_stripped_denial_says_nothing() -> None:
    """`strip_failure_response`: the status code alone, 403 included; the log still knows."""
    for value, status in ((b"x", 401), (token(aud="x"), 403)):
        outcome = jwt_filter(strip_failure_response=True).on_request(request(b"/", bearer(value)))
        assert denial(outcome) == (status, "")
        assert "www-authenticate" not in repr(outcome)


def test_subjects_and_lifetimes_are_judged_on_every_use() -> None:
    """Also of a token that is cached."""
    subjects = StringMatch(StringKind.SUFFIX, "@x")
    made = jwt_filter(subjects=subjects, max_lifetime_s=400.0)
    for _ in range(2):
        assert made.on_request(request(b"/", bearer(token(sub="a@x")))) is None
        assert denial(made.on_request(request(b"/", bearer(token(sub="a@y")))))[1] == "Jwt verification fails"
        assert denial(made.on_request(request(b"/", bearer(token(sub=None)))))[1] == "Jwt verification fails"
        long = token(sub="a@x", exp=NOW + 500)
        assert denial(made.on_request(request(b"/", bearer(long))))[1] == "Jwt verification fails"
