"""Since when each key of a source is in its set, and which ones have left it: for whoever asks why a token is refused.

Names and times only. The memory is bounded: an issuer that changes its keys all day pushes out its own oldest ones.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from fastproxy.control.jwks_document import JwksDocument

#: More than a year of monthly rotations with several keys each.
MAX_REMOVED: Final = 64


@dataclass(frozen=True, slots=True)
class RemovedKey:
    """A key that is no longer in the set, or whose `kid` now belongs to other key material."""

    kid: str
    kty: str
    alg: str
    removed_at: float
    """Unix time at which the set without it came into force."""


class KeyHistory:
    """What became of the keys of one source. Keys are told apart by their content, not by `kid` alone."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._facts: dict[str, dict[str, str]] = {}
        self._removed: deque[RemovedKey] = deque(maxlen=MAX_REMOVED)

    def on_document(self, document: JwksDocument, unix_now: float) -> None:
        """Another set is in force from now on."""
        facts = dict(zip(document.digests, document.keys, strict=True))
        for digest, known in self._facts.items():
            # What has no name cannot be what a token names.
            if digest not in facts and "kid" in known:
                self._removed.append(
                    RemovedKey(known["kid"], known.get("kty", ""), known.get("alg", ""), unix_now)
                )
        self._since = {digest: self._since.get(digest, unix_now) for digest in facts}
        self._facts = facts

    def since(self, document: JwksDocument) -> tuple[float, ...]:
        """Since when each key of the set in force is in it, in its order; Unix time."""
        return tuple(self._since.get(digest, 0.0) for digest in document.digests)

    @property
    def removed(self) -> tuple[RemovedKey, ...]:
        """The keys that left, the latest first; a key that came back stays listed."""
        return tuple(reversed(self._removed))
