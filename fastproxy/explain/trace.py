"""What the filter did, written down while it did it."""

from dataclasses import dataclass, field

from fastproxy.filters.jwt_authn.extract import FoundToken
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.verdict import Refusal
from fastproxy.jwt import JwtError, VerifiedToken


@dataclass(slots=True)
class Judgement:
    """One token before one provider."""

    provider: Provider
    found: FoundToken
    error: JwtError | None
    verified: VerifiedToken | None


@dataclass(slots=True)
class Evaluation:
    """What a provider found in its places."""

    provider: Provider
    found: list[FoundToken]


@dataclass(slots=True)
class Trace:
    """An `Observer` with a memory."""

    at: float
    """The moment by which tokens are judged, Unix seconds."""
    rules: dict[int, dict[str, bool]] = field(default_factory=dict)
    """For every rule that was looked at: whether its path and its conditions held."""
    requirement: str = ""
    """Which requirement was judged; empty: none was."""
    evaluations: list[Evaluation] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    """The last one for each provider and token; first come, first listed."""
    refusal: Refusal | None = None
    concluded: bool = False

    @property
    def deciding_rule(self) -> int | None:
        """The rule that matched; None if none did or none was asked."""
        return next((index for index, parts in self.rules.items() if all(parts.values())), None)

    def now(self) -> float:
        """See `Observer`."""
        return self.at

    def on_rule(self, index: int, part: str, held: bool) -> None:
        """See `Observer`."""
        self.rules.setdefault(index, {})[part] = held

    def on_requirement(self, name: str) -> None:
        """See `Observer`."""
        self.requirement = name

    def on_evaluated(self, provider: Provider, found: list[FoundToken]) -> None:
        """See `Observer`."""
        self.evaluations.append(Evaluation(provider, found))

    def on_judged(
        self, provider: Provider, found: FoundToken, error: JwtError | None, verified: VerifiedToken | None
    ) -> None:
        """See `Observer`."""
        for known in self.judgements:
            if known.provider is provider and known.found == found:
                known.error, known.verified = error, verified
                return
        self.judgements.append(Judgement(provider, found, error, verified))

    def on_concluded(self, refusal: Refusal | None) -> None:
        """See `Observer`."""
        self.refusal, self.concluded = refusal, True
