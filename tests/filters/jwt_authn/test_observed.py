"""Watching the filter: what is reported, and that nothing is decided differently for it."""

from typing import Any

import pytest

from fastproxy.filters.jwt_authn.extract import FoundToken
from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    JwtAuthnSettings,
    PerRouteSettings,
    RequirementSettings,
    RequiresAny,
    RequiresProvider,
    RuleSettings,
)
from fastproxy.filters.jwt_authn.verdict import Refusal
from fastproxy.http.headers import lines
from fastproxy.http.messages import LocalReply, Request
from fastproxy.jwt import JwtError, VerifiedToken
from fastproxy.match.settings import PathKind, PathMatch, QueryMatch, RequestConditions
from tests.filters.jwt_authn.support import JWKS, provider, request, rule, token
from tests.listener.support import NOW


class Notebook:
    """An observer that writes everything down."""

    def __init__(self, now: float = NOW) -> None:
        self.events: list[tuple[object, ...]] = []
        self._now = now

    def now(self) -> float:
        return self._now

    def on_rule(self, index: int, part: str, held: bool) -> None:
        self.events.append((index, part, held))

    def on_requirement(self, name: str) -> None:
        self.events.append(("requirement", name))

    def on_evaluated(self, provider: Provider, found: list[FoundToken]) -> None:
        self.events.append(("evaluated", provider.settings.name, [one.place for one in found]))

    def on_judged(
        self, provider: Provider, found: FoundToken, error: JwtError | None, verified: VerifiedToken | None
    ) -> None:
        assert (error is None) != (verified is None)
        self.events.append(("judged", provider.settings.name, error and error.status.number))

    def on_concluded(self, refusal: Refusal | None) -> None:
        self.events.append(("concluded", refusal and refusal.number))


PLACE = (b"authorization", None, None)


def watched(
    notebook: Notebook | None, *rules: RuleSettings, asked: Any = None, **settings: Any
) -> JwtAuthnFilter:
    providers = settings.pop("providers", None) or (provider(),)
    return JwtAuthnFilter(
        JwtAuthnSettings({one.name: one for one in providers}, rules, name="jwt", **settings),
        ask=asked or (lambda _source: None),
        observer=notebook,
    )


def bearing(token: bytes, target: bytes = b"/api") -> Request:
    return request(target, (b"authorization", b"Bearer " + token))


def test_rules_are_reported_up_to_the_one_that_decides() -> None:
    """ "An earlier rule catches it" can be said only by who saw the earlier one."""
    notebook = Notebook()
    conditions = RequestConditions(query_parameters=(QueryMatch("a"),))
    rules = (
        rule("/docs", None),
        RuleSettings(PathMatch(PathKind.PREFIX, "/"), RequiresProvider("p"), conditions),
        rule("/api", "p"),
        rule("/", None),
    )

    assert watched(notebook, *rules).on_request(bearing(token())) is None

    assert notebook.events == [
        (0, "path", False),
        (1, "path", True),
        (1, "conditions", False),
        (2, "path", True),
        ("requirement", "rule 3"),
        ("evaluated", "p", [PLACE]),
        ("judged", "p", None),
        ("concluded", None),
    ]


def test_named_requirement_of_a_route_is_reported() -> None:
    """The rules are not consulted then, and nobody should look for the reason there."""
    notebook = Notebook()
    made = watched(notebook, rule("/", None), requirement_map={"strict": RequiresProvider("p")})
    asked = request()
    asked.filter_configs = {"jwt": PerRouteSettings("strict")}

    assert isinstance(made.on_request(asked), LocalReply)

    assert notebook.events == [
        ("requirement", "strict"),
        ("evaluated", "p", []),
        ("concluded", 1),
    ]


async def test_verdict_that_waited_is_reported_when_it_is_there() -> None:
    """First without keys, then with those that came."""
    notebook = Notebook()
    remote = provider(remote=True)

    def answer(_source: str) -> None:
        made.providers["p"].keys.on_update(1, JWKS)

    made = watched(notebook, rule("/", "p"), providers=(remote,), asked=answer)
    outcome = made.on_request(bearing(token()))

    assert outcome is not None
    assert not isinstance(outcome, LocalReply)
    assert await outcome is None
    assert [event for event in notebook.events if event[0] in {"judged", "concluded"}] == [
        ("judged", "p", 40),
        ("judged", "p", None),
        ("concluded", None),
    ]


def test_observer_may_judge_as_of_another_moment() -> None:
    """`--at`: what was it that the proxy saw last night?"""
    late = watched(Notebook(NOW + 1000), rule("/", "p")).on_request(bearing(token()))

    assert isinstance(late, LocalReply)
    assert late.body == b"Jwt is expired"


REQUIREMENTS: tuple[RequirementSettings, ...] = (
    RequiresProvider("p"),
    RequiresProvider("p", ("other",)),
    RequiresAny((RequiresProvider("p"), RequiresProvider("q"))),
    RequiresAny((RequiresProvider("q"), AllowsMissing())),
    AllowsMissing(),
)


@pytest.mark.parametrize("requires", REQUIREMENTS)
@pytest.mark.parametrize(
    "bearer", [b"", token(), token(exp=NOW - 100), token(iss="https://q"), token(aud="web"), b"x"]
)
def test_watched_filter_decides_as_it_always_does(requires: RequirementSettings, bearer: bytes) -> None:
    """Otherwise the explanation is of another filter."""
    rules = (RuleSettings(PathMatch(PathKind.PREFIX, "/"), requires),)
    providers = (provider(), provider("q", issuer="https://q"))
    results = []
    for notebook in (None, Notebook()):
        asked = bearing(bearer) if bearer else request(b"/api")
        outcome = watched(notebook, *rules, providers=providers).on_request(asked)
        assert outcome is None or isinstance(outcome, LocalReply)
        reply = outcome and (outcome.status, outcome.body, outcome.headers)
        results.append((reply, sorted(lines(asked.headers))))

    assert results[0] == results[1]
