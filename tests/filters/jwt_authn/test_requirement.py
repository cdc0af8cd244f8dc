"""The algebra of requirements, and what waits for keys in it (spec/jwt_authn.md section 7)."""

import asyncio
from typing import Any

import pytest

from fastproxy.filters.base import Outcome
from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.filters.jwt_authn.requirement import MAX_TOKENS
from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    AllowsMissingOrFailed,
    HeaderLocation,
    JwtAuthnSettings,
    LocalJwksSettings,
    ProviderSettings,
    RequirementSettings,
    RequiresAll,
    RequiresAny,
    RequiresNothing,
    RequiresProvider,
    RuleSettings,
)
from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.settings import PathKind, PathMatch
from tests.filters.jwt_authn.support import JWKS, denial, provider, request, token
from tests.listener.support import NOW

A, B, C = RequiresProvider("a"), RequiresProvider("b"), RequiresProvider("c")
MISSING, FAILED = AllowsMissing(), AllowsMissingOrFailed()


def issued_by(name: str, **more: Any) -> bytes:
    return token(iss=f"https://{name}", **more)


GOOD = {name: issued_by(name) for name in "abc"}
EXPIRED = {name: issued_by(name, exp=NOW - 100) for name in "abc"}
BAD = GOOD["a"][:-8] + b"AAAAAAAA"


def own_header(name: str, **settings: Any) -> ProviderSettings:
    """A provider with a header of its own, `x-NAME`."""
    defaults: dict[str, Any] = {
        "from_headers": (HeaderLocation(f"x-{name}"),),
        "from_params": (),
        "forward_payload_header": f"x-{name}-payload",
        "issuer": f"https://{name}",
    }
    return provider(name, **(defaults | settings))


def made(
    requires: RequirementSettings,
    *providers: ProviderSettings,
    asked: list[str] | None = None,
    **settings: Any,
) -> JwtAuthnFilter:
    """A filter that wants `requires` everywhere, of providers a, b and c unless told otherwise."""
    used = providers or tuple(own_header(name) for name in "abc")
    rule = RuleSettings(PathMatch(PathKind.PREFIX, "/"), requires)
    return JwtAuthnFilter(
        JwtAuthnSettings({one.name: one for one in used}, (rule,), **settings),
        ask=(lambda _source: None) if asked is None else asked.append,
    )


def with_tokens(**tokens: bytes) -> Request:
    return request(b"/", *((f"x-{name}".encode(), value) for name, value in tokens.items()))


async def outcome_of(outcome: Outcome) -> LocalReply | None:
    return outcome if outcome is None or isinstance(outcome, LocalReply) else await outcome


# -- S28 ---------------------------------------------------------------------------------------------------

OPTIONAL = [
    MISSING,
    RequiresAny((A, MISSING)),
    RequiresAny((MISSING, A)),
    RequiresAny((A, RequiresAny((B, MISSING)))),
    RequiresAny((RequiresAny((B, MISSING)), A)),
    RequiresAny((RequiresAll((B, A)), MISSING)),
    RequiresAny((RequiresAll((A, B)), MISSING)),
    RequiresAll((RequiresAny((A, MISSING)), RequiresAny((B, MISSING)))),
    RequiresAll((MISSING, MISSING)),
    RequiresAll((RequiresAny((A, MISSING)), FAILED)),
]


@pytest.mark.parametrize("requires", OPTIONAL, ids=repr)
@pytest.mark.parametrize("bad", [BAD, EXPIRED["a"], issued_by("foreign"), b"x.y", b""])
def test_s28_allow_missing_never_lets_a_bad_token_pass(requires: RequirementSettings, bad: bytes) -> None:
    """Missing means that there is none: CVE-2021-21378 was this."""
    assert made(requires).on_request(with_tokens()) is None
    assert denial(made(requires).on_request(with_tokens(a=bad)))[0] == 401


@pytest.mark.parametrize("requires", [MISSING, RequiresAll((MISSING, MISSING))], ids=repr)
def test_s28_a_good_token_does_not_cover_for_a_bad_one(requires: RequirementSettings) -> None:
    """In Envoy only the token that is evaluated last counts."""
    for a, b in ((GOOD["a"], EXPIRED["b"]), (EXPIRED["a"], GOOD["b"])):
        assert denial(made(requires).on_request(with_tokens(a=a, b=b))) == (401, "Jwt is expired")
    one = with_tokens(a=GOOD["a"], b=GOOD["b"])
    assert made(requires).on_request(one) is None
    assert set(one.headers) == {b"x-a-payload", b"x-b-payload"}


async def test_s28_a_requirement_never_passes_because_keys_are_missing() -> None:
    """`allow_missing` beside a token that cannot be judged: 503, not a pass."""
    for requires in (MISSING, RequiresAny((A, MISSING)), RequiresAny((A, RequiresAny((A, MISSING))))):
        filter_ = made(requires, own_header("a", remote=True))
        waiting = asyncio.get_running_loop().create_task(
            outcome_of(filter_.on_request(with_tokens(a=GOOD["a"])))
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        filter_.providers["a"].keys.on_fetch_failed()
        assert denial(await waiting) == (503, "Jwks remote fetch is failed")


# -- S18, S29, S48 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("requires", [MISSING, FAILED, RequiresAny((A, B))], ids=repr)
def test_s18_a_token_of_one_issuer_signed_by_anothers_key_is_refused(requires: RequirementSettings) -> None:
    """Both key sets have the same `kid`; the issuer only selects."""
    # The only key of provider b is not the one that signed.
    other = JWKS.replace(b'"k1"', b'"k2"')
    providers = (own_header("a"), own_header("b", jwks=LocalJwksSettings(other, "x")))
    one = with_tokens(b=GOOD["b"])
    outcome = made(requires, *providers).on_request(one)
    if requires is FAILED:
        assert outcome is None
        assert b"x-b-payload" not in one.headers
    else:
        assert denial(outcome)[0] == 401


def test_s29_other_audiences_have_verdicts_of_their_own() -> None:
    """A token that is cached for one audience must not pass where another is wanted."""
    requires = RequiresProvider("a", ("billing",))
    rules = (
        RuleSettings(PathMatch(PathKind.PREFIX, "/billing"), requires),
        RuleSettings(PathMatch(PathKind.PREFIX, "/"), A),
    )
    filter_ = JwtAuthnFilter(JwtAuthnSettings({"a": own_header("a")}, rules), ask=lambda _source: None)
    both = issued_by("a", aud=["api", "billing"])
    for _ in range(2):
        assert filter_.on_request(request(b"/", (b"x-a", GOOD["a"]))) is None
        assert denial(filter_.on_request(request(b"/billing", (b"x-a", GOOD["a"]))))[0] == 403
        assert filter_.on_request(request(b"/billing", (b"x-a", both))) is None


def test_s31_keys_reach_the_twins_of_a_provider() -> None:
    """A removed key must go everywhere at once, also where other audiences are wanted."""
    filter_ = made(RequiresProvider("a", ("billing",)), own_header("a", remote=True))
    twins = [one.keys for one in filter_.providers.values()]
    assert len(twins) == 2
    assert len({keys.source_id for keys in twins}) == 1


@pytest.mark.parametrize("requires", [MISSING, A, RequiresAny((A, B)), RequiresAll((A, B))], ids=repr)
def test_s48_two_tokens_in_one_place_are_refused(requires: RequirementSettings) -> None:
    """Whichever were verified, the other might be used."""
    one = request(b"/", (b"x-a", GOOD["a"]), (b"x-a", GOOD["a"]))
    assert denial(made(requires).on_request(one))[0] == 401


def test_s48_tokens_that_nobody_accepted_do_not_reach_the_upstream() -> None:
    """One alternative was enough; what lies in the other's place, good or bad, is nobody's word."""
    for other in (GOOD["b"], EXPIRED["b"]):
        one = with_tokens(a=GOOD["a"], b=other, c=GOOD["c"])
        assert made(RequiresAny((A, B))).on_request(one) is None
        assert set(one.headers) == {b"x-a-payload", b"x-c"}


def test_s48_what_a_sibling_accepted_is_not_taken_for_unaccepted() -> None:
    """all(any(A, B), B): the second child vouches for what the first did not need."""
    one = with_tokens(a=GOOD["a"], b=GOOD["b"])
    providers = (own_header("a"), own_header("b", forward=True))
    assert made(RequiresAll((RequiresAny((A, B)), B)), *providers).on_request(one) is None
    assert one.headers[b"x-b"] == GOOD["b"]


def test_at_most_so_many_tokens_are_looked_at() -> None:
    """Each may cost a signature check; Envoy has no limit."""
    names = [f"p{number}" for number in range(MAX_TOKENS + 1)]
    tokens = {name: issued_by(name) for name in names}
    filter_ = made(MISSING, *(own_header(name) for name in names))
    assert denial(filter_.on_request(with_tokens(**tokens))) == (401, "Found multiple Jwt tokens")
    del tokens["p0"]
    assert filter_.on_request(with_tokens(**tokens)) is None


# -- what is done, and when --------------------------------------------------------------------------------


def test_nothing_changes_before_the_whole_requirement_is_satisfied() -> None:
    """A denied request must not carry half of an identity into logs and later filters."""
    one = with_tokens(a=GOOD["a"], b=EXPIRED["b"])
    before = dict(one.headers)
    assert denial(made(RequiresAll((A, B))).on_request(one)) == (401, "Jwt is expired")
    assert one.headers == before


def test_one_token_may_satisfy_several_children_and_acts_once() -> None:
    """Two policies for one credential."""
    shared = {"from_headers": (HeaderLocation("x-t"),), "issuer": "https://a"}
    providers = (own_header("a", **shared), own_header("b", **shared))
    one = request(b"/", (b"x-t", GOOD["a"]))
    assert made(RequiresAll((A, B, A)), *providers).on_request(one) is None
    payload = GOOD["a"].split(b".")[1]
    assert one.headers == {b"x-a-payload": payload, b"x-b-payload": payload}


@pytest.mark.parametrize(
    ("requires", "tokens", "expected"),
    [
        (RequiresAny((A, B)), {}, "Jwt is missing"),
        (RequiresAny((A, B)), {"a": issued_by("x")}, "Jwt issuer is not configured"),
        (RequiresAny((A, B)), {"a": EXPIRED["a"], "b": issued_by("x")}, "Jwt is expired"),
        (RequiresAny((A, B)), {"a": issued_by("x"), "b": EXPIRED["b"]}, "Jwt is expired"),
        (RequiresAny((A, B)), {"a": EXPIRED["a"], "b": b"x"}, "Jwt is not in the form of"),
        (RequiresAll((A, B)), {"b": EXPIRED["b"]}, "Jwt is missing"),
        (RequiresAll((A, B)), {"a": EXPIRED["a"]}, "Jwt is expired"),
        (RequiresAny((A, RequiresAll((B, C)))), {"b": GOOD["b"]}, "Jwt is missing"),
    ],
)
def test_which_refusal_is_told(
    requires: RequirementSettings, tokens: dict[str, bytes], expected: str
) -> None:
    """Envoy's rule of 7.2; the differential tests have every pair."""
    assert denial(made(requires).on_request(with_tokens(**tokens)))[1].startswith(expected)


@pytest.mark.parametrize(
    "requires", [FAILED, RequiresAny((A, FAILED)), RequiresNothing(), RequiresAny((MISSING, FAILED))]
)
@pytest.mark.parametrize("value", [BAD, b"", b"x.y"])
def test_allow_missing_or_failed_passes_and_vouches_for_nothing(
    requires: RequirementSettings, value: bytes
) -> None:
    """The upstream gets no identity from a token that failed."""
    one = with_tokens(a=value)
    assert made(requires).on_request(one) is None
    assert one.headers == {b"x-a": value}


def test_providers_that_share_an_issuer_and_a_place() -> None:
    """Envoy takes any of them; here the one that accepts, in whatever order."""
    shared = {"from_headers": (HeaderLocation("x-t"),), "issuer": "https://a"}
    one = request(b"/", (b"x-t", GOOD["a"]))
    providers = (own_header("a", audiences=("other",), **shared), own_header("b", **shared))
    assert made(MISSING, *providers).on_request(one) is None
    assert set(one.headers) == {b"x-b-payload"}


def test_s24_the_issuer_selects_and_there_is_no_fall_back() -> None:
    """An unknown issuer in a place that several providers read."""
    shared = {"from_headers": (HeaderLocation("x-t"),)}
    providers = (own_header("a", **shared), own_header("b", **shared))
    one = request(b"/", (b"x-t", issued_by("x")))
    assert denial(made(MISSING, *providers).on_request(one)) == (401, "Jwt issuer is not configured")
    anonymous = own_header("c", issuer="", **shared)
    assert made(MISSING, *providers, anonymous).on_request(request(b"/", (b"x-t", issued_by("x")))) is None


# -- waiting -----------------------------------------------------------------------------------------------


async def wait(filter_: JwtAuthnFilter, one: Request) -> "asyncio.Task[LocalReply | None]":
    task = asyncio.get_running_loop().create_task(outcome_of(filter_.on_request(one)))
    for _ in range(3):
        await asyncio.sleep(0)
    return task


REMOTE = (own_header("a", remote=True), own_header("b", remote=True), own_header("c"))


def test_keys_of_one_do_not_hold_up_a_pass_or_a_refusal_by_another() -> None:
    """The outage of one issuer is not one of the others' users."""
    asked: list[str] = []
    tokens = {"a": GOOD["a"], "c": GOOD["c"]}
    assert made(RequiresAny((A, C)), *REMOTE, asked=asked).on_request(with_tokens(**tokens)) is None
    tokens["c"] = EXPIRED["c"]
    refused = made(RequiresAll((A, C)), *REMOTE, asked=asked).on_request(with_tokens(**tokens))
    assert denial(refused) == (401, "Jwt is expired")
    assert asked == []


async def test_children_wait_together_and_the_first_pass_is_enough() -> None:
    """Both fetches are asked for at once; the one that does not come is not waited for."""
    asked: list[str] = []
    filter_ = made(RequiresAny((A, B)), *REMOTE, asked=asked)
    one = with_tokens(a=GOOD["a"], b=GOOD["b"])
    task = await wait(filter_, one)
    assert len(asked) == 2
    filter_.providers["b"].keys.on_update(1, JWKS)
    assert await task is None
    assert set(one.headers) == {b"x-b-payload"}
    await asyncio.sleep(0)
    assert not filter_.providers["a"].keys._waiting


async def test_all_children_are_waited_for_and_one_refusal_ends_it() -> None:
    """`requires_all`."""
    filter_ = made(RequiresAll((A, B)), *REMOTE)
    one = with_tokens(a=GOOD["a"], b=GOOD["b"])
    task = await wait(filter_, one)
    filter_.providers["b"].keys.on_update(1, JWKS)
    await asyncio.sleep(0)
    assert not task.done()
    filter_.providers["a"].keys.on_update(1, JWKS)
    assert await task is None
    assert set(one.headers) == {b"x-a-payload", b"x-b-payload"}
    failed = await wait(made(RequiresAll((A, B)), *REMOTE), with_tokens(a=GOOD["a"], b=GOOD["b"]))
    failed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await failed


async def test_a_token_that_could_not_be_judged_is_503_whatever_the_others_say() -> None:
    """It may be the good one: a 401 makes clients throw it away."""
    filter_ = made(RequiresAny((A, C)), *REMOTE)
    task = await wait(filter_, with_tokens(a=GOOD["a"], c=EXPIRED["c"]))
    filter_.providers["a"].keys.on_fetch_failed()
    assert denial(await task)[0] == 503


async def test_s44_a_client_that_leaves_while_several_tokens_wait_leaves_nothing() -> None:
    """CVE-2025-64527: a fetch that ends after its request."""
    filter_ = made(MISSING, *REMOTE)
    task = await wait(filter_, with_tokens(a=GOOD["a"], b=GOOD["b"]))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    for name in "ab":
        assert not filter_.providers[name].keys._waiting
        filter_.providers[name].keys.on_update(1, JWKS)


async def test_s18_waiting_tokens_get_the_keys_of_their_own_provider() -> None:
    """In Envoy one issuer's keys were stored under the other, when both were fetched for one request."""
    asked: list[str] = []
    filter_ = made(MISSING, *REMOTE, asked=asked)
    task = await wait(filter_, with_tokens(a=GOOD["a"], b=GOOD["b"]))
    assert sorted(source.partition("|")[0] for source in asked) == ["a", "b"]
    filter_.providers["a"].keys.on_update(1, JWKS)
    filter_.providers["b"].keys.on_update(1, JWKS.replace(b'"k1"', b'"k2"'))
    assert denial(await task)[0] == 401
    keys = filter_.providers["a"].verifier.keys
    assert keys is not None
    assert keys.has_kid("k1")
