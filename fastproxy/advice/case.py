"""A refused token and all that advice about it is made of."""

from dataclasses import dataclass, field

from fastproxy.jwt import JwkSet, JwtError, UnverifiedToken, VerifierSettings
from fastproxy.jwt.encoding import JsonObject


@dataclass(frozen=True, slots=True)
class Advice:
    """What is wrong, and what to do about it. Both are one or two sentences, escaped."""

    cause: str
    fix: str
    details: tuple[str, ...] = ()
    """Lines to look at, such as the keys that are known."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """What to turn to make a check accept, as the reader would write it."""

    issuer: str = "--issuer"
    audience: str = "--audience"
    clock_skew: str = "--clock-skew-s"
    missing_exp: str = "--allow-missing-exp"
    max_lifetime: str = "the greatest lifetime"
    subjects: str = "the subjects"
    keys: str = "the key set"
    any_typ: str = "a policy that does not ask for at+jwt"


@dataclass(frozen=True, slots=True)
class RemovedKid:
    """A key that left the set."""

    kid: str
    removed_at: float
    """Unix time."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known besides the token and its policy."""

    knobs: Knobs = field(default_factory=Knobs)
    issuers: dict[str, str] = field(default_factory=dict)
    """The other providers: issuer to name."""
    kids: dict[str, str] = field(default_factory=dict)
    """Keys of other providers: kid to the provider's name."""
    removed: tuple[RemovedKid, ...] = ()
    """Keys that left the set, the latest first."""
    unavailable: str = ""
    """Why there are no keys."""


@dataclass(frozen=True, slots=True)
class Case:
    """One refused token, and everything that advice is made of."""

    error: JwtError
    raw: bytes
    settings: VerifierSettings
    keys: JwkSet | None
    now: float
    around: Surroundings
    token: UnverifiedToken | None

    @property
    def claims(self) -> JsonObject:
        """The token's claims; none if it cannot be parsed."""
        return {} if self.token is None else self.token.claims
