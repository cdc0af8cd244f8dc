"""What judging a request can come to: it passes, it is refused, or it has to wait for keys."""

from abc import abstractmethod
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from fastproxy.http.messages import Request
from fastproxy.jwt import JwtStatus, VerifiedToken

if TYPE_CHECKING:
    from fastproxy.filters.jwt_authn.extract import FoundToken
    from fastproxy.filters.jwt_authn.provider import Provider

MULTIPLE_TOKENS_TEXT: Final = "Found multiple Jwt tokens"


class Refusal:
    """Why a request may not pass. The words are Envoy's and fixed, the numbers those of its metadata.

    Attributes:
        number: Envoy's status number; 27 is two tokens for one requirement, which Envoy has and never uses.
        text: the response body.
        http_status: 401, 403, or 503 when the token could not be judged.
        reason: a word for counters.
        unavailable: the provider whose keys could not be had; "" if the token was judged.
        detail: more for an operator; holds nothing of the token.
    """

    __slots__ = ("detail", "http_status", "number", "reason", "text", "unavailable")

    def __init__(
        self,
        number: int,
        text: str,
        *,
        http_status: int,
        reason: str,
        unavailable: str = "",
        detail: str = "",
    ) -> None:
        self.number = number
        self.text = text
        self.http_status = http_status
        self.reason = reason
        self.unavailable = unavailable
        self.detail = detail

    @property
    def is_missing(self) -> bool:
        """There was no token, rather than a bad one."""
        return self.number == JwtStatus.MISSING.number

    def __repr__(self) -> str:
        return f"Refusal({self.number}, {self.reason!r})"


def refuse(status: JwtStatus, detail: str = "") -> Refusal:
    """The refusal of a token that was judged, or of a request without one."""
    return Refusal(
        status.number, status.text, http_status=status.http_status, reason=status.name.lower(), detail=detail
    )


def unavailable(provider_name: str) -> Refusal:
    """Keys cannot be had: the token was not judged, so this is no refusal of it."""
    status = JwtStatus.JWKS_FETCH_FAILED
    return Refusal(
        status.number, status.text, http_status=503, reason="keys_unavailable", unavailable=provider_name
    )


MISSING: Final = refuse(JwtStatus.MISSING)
#: Whichever of two tokens were checked, the other might be used (S48).
MULTIPLE: Final = Refusal(27, MULTIPLE_TOKENS_TEXT, http_status=401, reason="multiple_tokens")


class Acceptance:
    """A token that a provider accepted. Nothing has followed from it yet."""

    __slots__ = ("found", "provider", "verified")

    def __init__(self, provider: "Provider", found: "FoundToken", verified: VerifiedToken) -> None:
        self.provider = provider
        self.found = found
        self.verified = verified


class Passed:
    """A requirement is satisfied: by the tokens in `accepted`, or without any.

    Without any it passed because no token was there (`allow_missing`), or whatever was there (`unconditional`).
    `unchecked` are tokens that nobody looked at, for another one had been enough.
    """

    __slots__ = ("accepted", "unchecked", "unconditional")

    def __init__(
        self,
        accepted: tuple[Acceptance, ...],
        *,
        unconditional: bool = False,
        unchecked: "tuple[FoundToken, ...]" = (),
    ) -> None:
        self.accepted = accepted
        self.unconditional = unconditional
        self.unchecked = unchecked


PASSED_WITHOUT_TOKEN: Final = Passed(())
PASSED_ALWAYS: Final = Passed((), unconditional=True)


class Waiting:
    """A verdict that needs keys which are not here yet. Nothing is started before `wait` is awaited."""

    __slots__ = ()

    @abstractmethod
    async def wait(self) -> "Passed | Refusal":
        """Wait for the keys, within a bound, and judge."""


Verdict = Passed | Refusal | Waiting

#: What a check comes to: None, and whatever follows from the tokens has been done; a refusal; or one of them later.
Conclusion = Refusal | Awaitable[Refusal | None] | None


class Requirement:
    """One requirement, compiled (Envoy `JwtRequirement`)."""

    __slots__ = ()

    @abstractmethod
    def evaluate(self, request: Request) -> Verdict:
        """Judge a request without changing it."""

    @abstractmethod
    def providers(self) -> "tuple[Provider, ...]":
        """The providers that this requirement names."""

    def check(self, request: Request) -> Conclusion:
        """Judge a request, and if it passes do to it what follows from its tokens."""
        verdict = self.evaluate(request)
        if isinstance(verdict, Waiting):
            return self.finish(request, verdict)
        return conclude(request, verdict)

    async def finish(self, request: Request, waiting: Waiting) -> Refusal | None:
        """The same for a verdict that has to wait."""
        return conclude(request, await waiting.wait())


def conclude(request: Request, verdict: Passed | Refusal) -> Refusal | None:
    """Only here, when the whole requirement is satisfied, is the request changed."""
    if isinstance(verdict, Refusal):
        return verdict
    done: list[tuple[Provider, FoundToken]] = []
    places = set()
    for one in verdict.accepted:
        # One token can satisfy two children; what follows from it follows once.
        if (one.provider, one.found) not in done:
            done.append((one.provider, one.found))
            places.add(one.found.place)
            one.provider.apply(request, one.found, one.verified)
    for found in verdict.unchecked:
        if found.place not in places:
            found.remove_from(request)
    return None
