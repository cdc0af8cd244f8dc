"""The filter with somebody watching: what `fastproxy explain` tells is what the filter itself did.

Whoever watches is an `Observer`, given when the filter is built. Then the rules' conditions, the requirements and the
providers report to it; they decide as always, by the same code. Without one nothing of this module is used, so that
the proxy pays nothing for it.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from fastproxy.filters.jwt_authn.extract import FoundToken
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.settings import ProviderSettings
from fastproxy.filters.jwt_authn.verdict import Conclusion, Refusal, Requirement, Verdict
from fastproxy.http.messages import Request
from fastproxy.jwt import JwtError, VerifiedToken


class Observer(Protocol):
    """Watches one filter decide. It must not change anything."""

    def now(self) -> float:
        """The moment by which tokens are judged, Unix seconds."""

    def on_rule(self, index: int, part: str, held: bool) -> None:
        """A rule's `path`, or what it asks for beside it (`conditions`), did hold or did not."""

    def on_requirement(self, name: str) -> None:
        """A requirement is judged: `rule N`, or the name in `requirement_map`."""

    def on_judged(
        self,
        provider: Provider,
        found: FoundToken,
        error: JwtError | None,
        verified: VerifiedToken | None,
    ) -> None:
        """A provider has verified a token or refused it; again if keys were waited for."""

    def on_evaluated(self, provider: Provider, found: list[FoundToken]) -> None:
        """A provider was asked for its token, and these lay in its places."""

    def on_concluded(self, refusal: Refusal | None) -> None:
        """What the requirement came to; None: the request may pass."""


class ObservedProvider(Provider):
    """A provider that reports what it finds and how it judges."""

    __slots__ = ("_observer",)

    def __init__(self, settings: ProviderSettings, *, ask: Callable[[str], None], observer: Observer) -> None:
        super().__init__(settings, ask=ask)
        self._observer = observer

    def check(self, request: Request) -> Conclusion:
        """Go the general way; the short one is the same in fewer steps."""
        return Requirement.check(self, request)

    def evaluate(self, request: Request) -> Verdict:
        """Judge, and tell what was found."""
        self._observer.on_evaluated(self, self.find(request))
        return super().evaluate(request)

    def verify(self, found: FoundToken) -> VerifiedToken:
        """Verify, and tell what came of it."""
        try:
            verified = self.verifier.verify(found.token, self._observer.now())
        except JwtError as error:
            self._observer.on_judged(self, found, error, None)
            raise
        self._observer.on_judged(self, found, None, verified)
        return verified


def observe_path(observer: Observer, index: int, matches: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """A rule's path condition that reports."""

    def watched(path: bytes) -> bool:
        held = matches(path)
        observer.on_rule(index, "path", held)
        return held

    return watched


def observe_conditions(
    observer: Observer, index: int, holds: Callable[[Request], bool]
) -> Callable[[Request], bool]:
    """A rule's further conditions that report."""

    def watched(request: Request) -> bool:
        held = holds(request)
        observer.on_rule(index, "conditions", held)
        return held

    return watched


def observe_check(
    observer: Observer, name: str, check: Callable[[Request], Conclusion]
) -> Callable[[Request], Conclusion]:
    """A requirement that reports what it came to."""

    async def wait(waiting: Awaitable[Refusal | None]) -> Refusal | None:
        refusal = await waiting
        observer.on_concluded(refusal)
        return refusal

    def watched(request: Request) -> Conclusion:
        observer.on_requirement(name)
        conclusion = check(request)
        if conclusion is None or isinstance(conclusion, Refusal):
            observer.on_concluded(conclusion)
            return conclusion
        return wait(conclusion)

    return watched
