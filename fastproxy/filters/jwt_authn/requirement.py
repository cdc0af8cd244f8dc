"""The algebra of requirements (Envoy `JwtRequirement`; spec/jwt_authn.md section 7).

What always holds, whatever is combined with whatever:

- a request is changed only after the whole requirement is satisfied (`verdict.conclude`), so one token can satisfy
  several children;
- `allow_missing` is satisfied by the absence of tokens, never by a bad one beside it (S28);
- two tokens in the places of one provider are refused (S48), and a token that nobody looked at, because another one
  was enough, does not reach the upstream;
- what waits for keys holds up neither its siblings nor a refusal or a pass that they decide.
"""

import asyncio
from abc import abstractmethod

from fastproxy.filters.jwt_authn.extract import FoundToken
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.verdict import (
    MISSING,
    MULTIPLE,
    PASSED_ALWAYS,
    PASSED_WITHOUT_TOKEN,
    Acceptance,
    Passed,
    Refusal,
    Requirement,
    Verdict,
    Waiting,
    refuse,
)
from fastproxy.http.messages import Request
from fastproxy.jwt import JwtError, JwtStatus, parse_token
from fastproxy.tasks import spawn

#: Tokens that one requirement looks at; Envoy has no limit. Each may cost a signature check.
MAX_TOKENS = 8


class Group(Requirement):
    """A requirement made of several verdicts."""

    __slots__ = ()

    @abstractmethod
    def settle(self, request: Request, verdicts: list[Verdict]) -> Passed | Refusal | None:
        """Combine the verdicts; None while it depends on one that waits."""

    def settle_or_wait(self, request: Request, verdicts: list[Verdict]) -> Verdict:
        """Combine the verdicts as far as they are there."""
        settled = self.settle(request, verdicts)
        return _WaitingGroup(self, request, verdicts) if settled is None else settled


class _WaitingGroup(Waiting):
    """A group of which some verdicts wait; the first that decides it ends the others."""

    __slots__ = ("_group", "_request", "_verdicts")

    def __init__(self, group: Group, request: Request, verdicts: list[Verdict]) -> None:
        self._group = group
        self._request = request
        self._verdicts = verdicts

    async def wait(self) -> Passed | Refusal:
        running = {
            spawn(one.wait(), name="jwt requirement"): index
            for index, one in enumerate(self._verdicts)
            if isinstance(one, Waiting)
        }
        try:
            return await self._settle(running)
        finally:
            # Not awaited: they end by themselves, and in the compiled form an `await` here would lose a cancellation.
            for task in running:
                task.cancel()

    async def _settle(self, running: dict["asyncio.Task[Passed | Refusal]", int]) -> Passed | Refusal:
        """Judge with each verdict that comes in, until it is enough."""
        settled: Passed | Refusal | None = None
        while settled is None:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._verdicts[running.pop(task)] = task.result()
            settled = self._group.settle(self._request, self._verdicts)
        return settled


class RequireAll(Group):
    """`requires_all`: every child; the first refusal to arrive is the answer."""

    __slots__ = ("_children",)

    def __init__(self, children: tuple[Requirement, ...]) -> None:
        self._children = children

    def providers(self) -> tuple[Provider, ...]:
        """Those of all children."""
        return _providers_of(self._children)

    def evaluate(self, request: Request) -> Verdict:
        """Judge the children in order, up to the first refusal."""
        verdicts: list[Verdict] = []
        for child in self._children:
            verdict = child.evaluate(request)
            if isinstance(verdict, Refusal):
                return verdict
            verdicts.append(verdict)
        return self.settle_or_wait(request, verdicts)

    def settle(self, request: Request, verdicts: list[Verdict]) -> Passed | Refusal | None:
        """A refusal at once, a pass when all are there."""
        return _settle_all(verdicts)


class RequireAny(Group):
    """`requires_any`: one child is enough; `allow_missing` and `allow_missing_or_failed` among them are flags.

    If none is satisfied, the answer is Envoy's: the last refusal that is about a token of theirs, or else that the
    issuer is unknown, or else that there is no token. One that could not be judged comes before all of these.
    """

    __slots__ = ("_children", "_missing_is_enough", "_passes_always", "_providers")

    def __init__(
        self,
        children: tuple[Requirement, ...],
        *,
        missing_is_enough: bool = False,
        passes_always: bool = False,
    ) -> None:
        self._children = children
        self._missing_is_enough = missing_is_enough
        self._passes_always = passes_always
        self._providers = _providers_of(children)

    def providers(self) -> tuple[Provider, ...]:
        """Those of all children."""
        return self._providers

    def evaluate(self, request: Request) -> Verdict:
        """Judge the children in order, up to the first that accepts a token."""
        verdicts: list[Verdict] = []
        for child in self._children:
            verdict = child.evaluate(request)
            verdicts.append(verdict)
            if isinstance(verdict, Passed) and verdict.accepted:
                break
        return self.settle_or_wait(request, verdicts)

    def settle(self, request: Request, verdicts: list[Verdict]) -> Passed | Refusal | None:
        """A pass by a token at once, anything else when all are there."""
        waits = False
        always, missing_is_enough = self._passes_always, self._missing_is_enough
        refusals = []
        for verdict in verdicts:
            if isinstance(verdict, Refusal):
                refusals.append(verdict)
            elif isinstance(verdict, Waiting):
                waits = True
            elif verdict.accepted:
                return self._with_unchecked(request, verdict)
            elif verdict.unconditional:
                always = True
            else:
                missing_is_enough = True
        if waits:
            return None
        if always:
            return PASSED_ALWAYS
        answer = _select_refusal(refusals)
        # Not even a token that belongs to a group which lacks another one: missing means that there is none (S28).
        if missing_is_enough and answer.is_missing and not any(one.find(request) for one in self._providers):
            return PASSED_WITHOUT_TOKEN
        return answer

    def _with_unchecked(self, request: Request, passed: Passed) -> Passed:
        """Envoy forwards tokens that it never looked at."""
        places = {one.found.place for one in passed.accepted}
        unchecked = [
            found
            for provider in self._providers
            for found in provider.find(request)
            if found.place not in places
        ]
        if not unchecked:
            return passed
        return Passed(passed.accepted, unchecked=(*passed.unchecked, *unchecked))


class AllowMissing(Group):
    """`allow_missing` by itself: no token, or good ones, in the places of all providers of the filter.

    A token belongs to the provider of its `iss` among those that read its place, or else to one without `issuer`.
    """

    __slots__ = ("_providers",)

    def __init__(self, providers: tuple[Provider, ...]) -> None:
        self._providers = providers

    def providers(self) -> tuple[Provider, ...]:
        """All of the filter."""
        return self._providers

    def evaluate(self, request: Request) -> Verdict:
        """Judge every token that is there."""
        owners = self._find(request)
        if owners is None:
            return MULTIPLE
        if not owners:
            return PASSED_WITHOUT_TOKEN
        verdicts = [_judge_by_issuer(request, found, providers) for found, providers in owners.items()]
        return self.settle_or_wait(request, verdicts)

    def settle(self, request: Request, verdicts: list[Verdict]) -> Passed | Refusal | None:
        """Each of them must be good; of several refusals Envoy reports the last."""
        for verdict in reversed(verdicts):
            if isinstance(verdict, Refusal):
                return verdict
        return _settle_all(verdicts)

    def _find(self, request: Request) -> dict[FoundToken, list[Provider]] | None:
        """Every token with the providers that read its place, in Envoy's order; None if they are too many."""
        owners: dict[FoundToken, list[Provider]] = {}
        for provider in self._providers:
            found = provider.find(request)
            if len(found) > 1:
                return None
            for one in found:
                owners.setdefault(one, []).append(provider)
        if len(owners) > MAX_TOKENS:
            return None
        return (
            dict(sorted(owners.items(), key=_evaluation_order, reverse=True)) if len(owners) > 1 else owners
        )


class AllowMissingOrFailed(AllowMissing):
    """`allow_missing_or_failed` by itself: every request passes, and what is good in it is used."""

    __slots__ = ()

    def evaluate(self, request: Request) -> Verdict:
        """Judge every token that is there; refuse none."""
        verdict = super().evaluate(request)
        return PASSED_ALWAYS if isinstance(verdict, Refusal) or verdict is PASSED_WITHOUT_TOKEN else verdict

    def settle(self, request: Request, verdicts: list[Verdict]) -> Passed | Refusal | None:
        """Use the good ones."""
        accepted: list[Acceptance] = []
        for verdict in verdicts:
            if isinstance(verdict, Waiting):
                return None
            if isinstance(verdict, Passed):
                accepted += verdict.accepted
        return Passed(tuple(accepted), unconditional=True)


class RequireNothing(Requirement):
    """An empty requirement: always satisfied."""

    __slots__ = ()

    def providers(self) -> tuple[Provider, ...]:
        """None."""
        return ()

    def evaluate(self, request: Request) -> Verdict:
        """Pass."""
        return PASSED_ALWAYS


def _judge_by_issuer(request: Request, found: FoundToken, providers: list[Provider]) -> Verdict:
    if len(providers) == 1:
        return providers[0].judge(request, found)
    try:
        issuer = parse_token(found.token).claims.get("iss")
    except JwtError as error:
        return refuse(error.status, error.detail)
    named = [one for one in providers if one.settings.issuer and one.settings.issuer == issuer]
    # The issuer selects, and proves nothing: the provider verifies it like every other claim (S24).
    candidates = named or [one for one in providers if not one.settings.issuer]
    if not candidates:
        return refuse(JwtStatus.ISSUER_NOT_CONFIGURED)
    if len(candidates) == 1:
        return candidates[0].judge(request, found)
    group = _OneOfProviders(tuple(candidates))
    return group.settle_or_wait(request, [one.judge(request, found) for one in candidates])


class _OneOfProviders(RequireAny):
    """Providers that share an issuer and a place: Envoy takes any of them, here one that accepts is enough."""

    __slots__ = ()

    def __init__(self, providers: tuple[Provider, ...]) -> None:
        super().__init__(providers)

    def _with_unchecked(self, request: Request, passed: Passed) -> Passed:
        # The other tokens of the request are judged by `AllowMissing`.
        return passed


def _evaluation_order(entry: tuple[FoundToken, list[Provider]]) -> tuple[int, bytes]:
    """Envoy goes from the last place to the first: cookies, parameters, headers, each from Z to A (7.1)."""
    header, parameter, cookie = entry[0].place
    if header is not None:
        return 0, header
    return (1, parameter) if parameter is not None else (2, cookie or b"")


def _settle_all(verdicts: list[Verdict]) -> Passed | Refusal | None:
    accepted: list[Acceptance] = []
    unchecked: list[FoundToken] = []
    waits = False
    unconditional = True
    for verdict in verdicts:
        if isinstance(verdict, Refusal):
            return verdict
        if isinstance(verdict, Waiting):
            waits = True
        else:
            accepted += verdict.accepted
            unchecked += verdict.unchecked
            unconditional = unconditional and verdict.unconditional
    if waits:
        return None
    return Passed(tuple(accepted), unconditional=unconditional, unchecked=tuple(unchecked))


def _select_refusal(refusals: list[Refusal]) -> Refusal:
    chosen = MISSING
    for refusal in refusals:
        if refusal.unavailable:
            # The token may be a good one, so 401 would be a lie.
            return refusal
        if refusal.number == JwtStatus.ISSUER_NOT_CONFIGURED.number:
            if chosen.is_missing:
                chosen = refusal
        elif not refusal.is_missing:
            chosen = refusal
    return chosen


def _providers_of(children: tuple[Requirement, ...]) -> tuple[Provider, ...]:
    return tuple(dict.fromkeys(provider for child in children for provider in child.providers()))
