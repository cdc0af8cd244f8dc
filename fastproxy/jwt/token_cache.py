"""The caches in front of the verifier: verified tokens by their bytes, and JOSE headers by their segment.

What always holds:

- A verdict is stored only after the signature was good and every claim was checked, so nothing that a
  stranger can make without the issuer's key takes a place or evicts anything. The same goes for headers.
- A verdict is found only by the whole token as received. No prefix, payload or digest stands in for it.
- A verdict serves only between its `usable_after` and `usable_before`. Outside of these the verifier decides
  anew, by the claims; these two are shortcuts that err towards deciding anew.
- A verdict goes with its key: `retain_keys` drops what was decided by a key that left the set, or whose
  material, id or algorithms changed.
- Bounded in entries and, through the longest token it takes, in bytes.

Belongs to one verifier and so to one policy and one source of keys. Not thread-safe.
"""

from collections.abc import Collection
from typing import Final

from cachetools import LRUCache

from fastproxy.jwt.encoding import JsonObject
from fastproxy.jwt.jwk import Jwk
from fastproxy.jwt.token import JoseHeader

# One per signing key in use; a few more for tokens of the last rotation and of several client libraries.
MAX_HEADERS: Final = 128
MAX_CACHED_HEADER_BYTES: Final = 1024


class VerifiedToken:
    """A token whose signature and claims were checked. Shared by requests: treat all of it as read-only.

    Attributes:
        token: the bytes as received.
        jose_header: the decoded JOSE header.
        claims: the decoded payload.
        payload_segment: the payload as received, still encoded (Envoy `forward_payload_header`).
        expires_at: `exp` in Unix seconds, None if the token has none.
        not_before: `nbf` in Unix seconds, None if the token has none.
        key: the key whose signature check passed.
        prepared: what the verifier's `prepare` function made of this token.
        usable_after, usable_before: Unix seconds, exclusive, between which no claim needs another look.
    """

    __slots__ = (
        "claims",
        "expires_at",
        "jose_header",
        "key",
        "not_before",
        "payload_segment",
        "prepared",
        "token",
        "usable_after",
        "usable_before",
    )

    def __init__(  # noqa: PLR0917 - made once per token, on the hot path
        self,
        token: bytes,
        jose_header: JsonObject,
        claims: JsonObject,
        payload_segment: bytes,
        key: Jwk,
        expires_at: int | None,
        not_before: int | None,
    ) -> None:
        self.token = token
        self.jose_header = jose_header
        self.claims = claims
        self.payload_segment = payload_segment
        self.key = key
        self.expires_at = expires_at
        self.not_before = not_before
        self.prepared: object = None
        self.usable_after = 0.0
        self.usable_before = 0.0

    @property
    def key_id(self) -> str | None:
        """The `kid` of the key whose signature check passed, None if that key has none."""
        return self.key.kid

    def __repr__(self) -> str:
        return f"VerifiedToken(key_id={self.key_id!r}, expires_at={self.expires_at!r})"


class TokenCache:
    """Verified tokens, least recently used first out. `max_entries` 0 keeps none."""

    __slots__ = ("_tokens", "get", "max_token_bytes")

    def __init__(self, max_entries: int, max_token_bytes: int) -> None:
        self._tokens: LRUCache[bytes, VerifiedToken] = LRUCache(maxsize=max_entries)
        self.max_token_bytes = max_token_bytes
        # Raises KeyError for a token that is not here. Hot path: once per request.
        self.get = self._tokens.__getitem__

    def add(self, verified: VerifiedToken) -> None:
        """Keep a verdict, unless its token is longer than `max_token_bytes`."""
        if self._tokens.maxsize >= 1 and len(verified.token) <= self.max_token_bytes:
            self._tokens[verified.token] = verified

    def discard(self, token: bytes) -> None:
        """Forget the verdict on this token, if there is one."""
        self._tokens.pop(token, None)

    def retain_keys(self, identities: Collection[str]) -> None:
        """Forget every verdict that was decided by a key not among these `Jwk.identity` values."""
        gone = [token for token, verified in self._tokens.items() if verified.key.identity not in identities]
        for token in gone:
            del self._tokens[token]

    def clear(self) -> None:
        """Forget everything."""
        self._tokens.clear()

    def __len__(self) -> int:
        return len(self._tokens)


class HeaderCache:
    """JOSE headers by their encoded segment: tokens of one key share theirs, so it is parsed once."""

    __slots__ = ("_headers", "get")

    def __init__(self) -> None:
        self._headers: LRUCache[bytes, JoseHeader] = LRUCache(maxsize=MAX_HEADERS)
        # Raises KeyError for a segment that is not here.
        self.get = self._headers.__getitem__

    def add(self, segment: bytes, header: JoseHeader) -> None:
        """Keep the header of a token that was verified, unless it is unusually long."""
        if len(segment) <= MAX_CACHED_HEADER_BYTES:
            self._headers[segment] = header

    def __len__(self) -> int:
        return len(self._headers)
