"""The caches in front of the verifier: verified tokens by their bytes, and JOSE headers by their segment.

What always holds:

- A verdict is stored only after the signature was good and every claim was checked, so nothing that a
  stranger can make without the issuer's key takes a place or evicts anything. The same goes for headers.
- A verdict is found only by the whole token as received. No prefix, payload or digest stands in for it.
- A verdict serves only between its `usable_after` and `usable_before`. Outside of these the verifier decides
  anew, by the claims; these two are shortcuts that err towards deciding anew.
- A verdict goes with its key: `retain_keys` drops what was decided by a key that left the set, or whose
  material, id or algorithms changed.
- Bounded in entries and in bytes, as `estimate_bytes` counts them.

When one bound is reached, the oldest verdict goes that was not used since it was last looked at (CLOCK, "second
chance"). Compared with an exact order of use, which the cachetools package keeps, a hit needs no bookkeeping but one
flag, and a new verdict half the time. bench/test_jwt_core.py

Belongs to one verifier and so to one policy and one source of keys. Not thread-safe.
"""

from collections import deque
from collections.abc import Collection
from typing import Final

from fastproxy.jwt.encoding import JsonObject
from fastproxy.jwt.jwk import Jwk
from fastproxy.jwt.token import JoseHeader, parse_payload

# One per signing key in use; a few more for tokens of the last rotation and of several client libraries.
MAX_HEADERS: Final = 128
MAX_CACHED_HEADER_BYTES: Final = 1024

# What a verdict takes beside its texts: the objects, their places in dict and queue. bench/cache_memory.py
_ENTRY_BYTES: Final = 768
# Parsed JSON takes that many times the length of its base64url.
_PARSED_FACTOR: Final = 4
# So many verdicts that are in use may be passed over for one that is not; more would make one request wait.
_MAX_SECOND_CHANCES: Final = 32


def estimate_bytes(token: bytes, payload_chars: int, *, with_claims: bool) -> int:
    """About how much memory a verdict takes, rather more than less.

    Args:
        token: as received.
        payload_chars: length of its payload segment; header lines made of claims are at most about as long.
        with_claims: the parsed payload is kept.
    """
    return _ENTRY_BYTES + len(token) + payload_chars * (1 + _PARSED_FACTOR if with_claims else 1)


class VerifiedToken:
    """A token whose signature and claims were checked. Shared by requests: treat all of it as read-only.

    Attributes:
        token: the bytes as received.
        jose_header: the decoded JOSE header.
        expires_at: `exp` in Unix seconds, None if the token has none.
        not_before: `nbf` in Unix seconds, None if the token has none.
        key: the key whose signature check passed.
        prepared: what the verifier's `prepare` function made of this token.
        usable_after, usable_before: Unix seconds, exclusive, between which no claim needs another look.
        recent, cost: the cache's own: used since it was last looked at; how many bytes it counts.
    """

    __slots__ = (
        "_claims",
        "cost",
        "expires_at",
        "jose_header",
        "key",
        "not_before",
        "prepared",
        "recent",
        "token",
        "usable_after",
        "usable_before",
    )

    def __init__(  # noqa: PLR0917 - made once per token, on the hot path
        self,
        token: bytes,
        jose_header: JsonObject,
        claims: JsonObject,
        key: Jwk,
        expires_at: int | None,
        not_before: int | None,
    ) -> None:
        self.token = token
        self.jose_header = jose_header
        self._claims: JsonObject | None = claims
        self.key = key
        self.expires_at = expires_at
        self.not_before = not_before
        self.prepared: object = None
        self.usable_after = 0.0
        self.usable_before = 0.0
        self.recent = False
        self.cost = 0

    @property
    def claims(self) -> JsonObject:
        """The decoded payload; parsed anew each time if the verifier does not keep it (`keep_claims`)."""
        claims = self._claims
        return parse_payload(self.payload_segment) if claims is None else claims

    @property
    def payload_segment(self) -> bytes:
        """The payload as received, still encoded (Envoy `forward_payload_header`)."""
        start = self.token.index(b".") + 1
        return self.token[start : self.token.index(b".", start)]

    def forget_claims(self) -> None:
        """Keep the token's text alone; the claims can be had from it."""
        self._claims = None

    @property
    def key_id(self) -> str | None:
        """The `kid` of the key whose signature check passed, None if that key has none."""
        return self.key.kid

    def __repr__(self) -> str:
        return f"VerifiedToken(key_id={self.key_id!r}, expires_at={self.expires_at!r})"


class TokenCache:
    """Verified tokens; those in use stay.

    Attributes:
        verdicts: the verdicts by their tokens. To be read only; who uses one sets `VerifiedToken.recent`.
    """

    __slots__ = ("_bytes", "_max_bytes", "_max_entries", "_max_token_bytes", "_queue", "verdicts")

    def __init__(self, max_entries: int, max_bytes: int, max_token_bytes: int) -> None:
        """Make an empty cache; `max_entries` or `max_bytes` 0 keeps nothing."""
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_token_bytes = max_token_bytes
        self.verdicts: dict[bytes, VerifiedToken] = {}
        # In the order in which they are looked at. Discarded ones stay until it is their turn, and count until then.
        self._queue: deque[VerifiedToken] = deque()
        self._bytes = 0

    def add(self, verified: VerifiedToken, cost: int) -> bool:
        """Keep a verdict of `cost` bytes, unless it or its token is too large; say whether it is kept."""
        # Hot path: once per new token.
        if self._max_entries < 1 or len(verified.token) > self._max_token_bytes or cost > self._max_bytes:
            return False
        verified.cost = cost
        self.verdicts[verified.token] = verified
        self._queue.append(verified)
        self._bytes += cost
        if len(self._queue) > self._max_entries or self._bytes > self._max_bytes:
            self._evict()
        return True

    def _evict(self) -> None:
        verdicts, queue = self.verdicts, self._queue
        chances = _MAX_SECOND_CHANCES
        while len(queue) > self._max_entries or self._bytes > self._max_bytes:
            oldest = queue.popleft()
            is_held = verdicts.get(oldest.token) is oldest
            if is_held and oldest.recent and chances:
                chances -= 1
                oldest.recent = False
                queue.append(oldest)
                continue
            self._bytes -= oldest.cost
            if is_held:
                del verdicts[oldest.token]

    def discard(self, token: bytes) -> None:
        """Forget the verdict on this token, if there is one."""
        self.verdicts.pop(token, None)

    def retain_keys(self, identities: Collection[str]) -> None:
        """Forget every verdict that was decided by a key not among these `Jwk.identity` values."""
        retained = [
            verified
            for verified in self._queue
            if verified.key.identity in identities and self.verdicts.get(verified.token) is verified
        ]
        # In place: the verifier looks into this very dict.
        self.verdicts.clear()
        self.verdicts.update((verified.token, verified) for verified in retained)
        self._queue = deque(retained)
        self._bytes = sum(verified.cost for verified in retained)

    def clear(self) -> None:
        """Forget everything."""
        self.verdicts.clear()
        self._queue.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.verdicts)

    @property
    def estimated_bytes(self) -> int:
        """How many bytes the verdicts are counted as."""
        return self._bytes


class HeaderCache:
    """JOSE headers by their encoded segment: tokens of one key share theirs, so it is parsed once.

    Attributes:
        headers: the headers. To be read only.
    """

    __slots__ = ("headers",)

    def __init__(self) -> None:
        self.headers: dict[bytes, JoseHeader] = {}

    def add(self, segment: bytes, header: JoseHeader) -> None:
        """Keep the header of a token that was verified, unless it is unusually long; the oldest makes room."""
        if len(segment) > MAX_CACHED_HEADER_BYTES:
            return
        if len(self.headers) >= MAX_HEADERS:
            del self.headers[next(iter(self.headers))]
        self.headers[segment] = header

    def __len__(self) -> int:
        return len(self.headers)
