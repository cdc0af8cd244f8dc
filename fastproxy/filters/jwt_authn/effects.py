"""What follows from an accepted token: headers, metadata, another route (spec/jwt_authn.md section 12).

Made once per token and kept with its verdict; a request only has it added.
"""

from typing import Any

from fastproxy.filters.jwt_authn.claim_headers import encode_claim, find_claim
from fastproxy.filters.jwt_authn.settings import ProviderSettings
from fastproxy.filters.jwt_authn.verdict import Refusal
from fastproxy.http.headers import append
from fastproxy.http.messages import Request
from fastproxy.jwt import VerifiedToken
from fastproxy.jwt.encoding import JsonObject

#: Where filters and access logs look for it.
METADATA_NAMESPACE = "envoy.filters.http.jwt_authn"


class TokenEffects:
    """What one token does to each request that brings it. Shared by requests: read-only."""

    __slots__ = ("headers", "metadata", "selects_route_again")

    def __init__(
        self,
        headers: tuple[tuple[bytes, bytes], ...],
        metadata: dict[str, Any] | None,
        *,
        selects_route_again: bool,
    ) -> None:
        self.headers = headers
        self.metadata = metadata
        self.selects_route_again = selects_route_again

    def apply(self, request: Request) -> None:
        """Add headers and metadata to a request. Hot path: once per request."""
        headers = request.headers
        for name, value in self.headers:
            append(headers, name, value)
        if self.metadata is not None:
            _namespace(request).update(self.metadata)
        if self.selects_route_again:
            request.route_is_stale = True


#: Shared by all tokens that nothing follows from.
_NOTHING = TokenEffects((), None, selects_route_again=False)


class EffectsBuilder:
    """One provider's settings about what follows from its tokens, compiled."""

    __slots__ = (
        "_claim_headers",
        "_clear_route",
        "_header_key",
        "_lists",
        "_pad",
        "_payload_header",
        "_payload_key",
    )

    def __init__(self, settings: ProviderSettings) -> None:
        self._payload_header = settings.forward_payload_header.lower().encode()
        self._pad = settings.pad_forward_payload_header
        self._claim_headers = tuple(
            (claim.header_name.lower().encode(), claim.path) for claim in settings.claim_headers
        )
        self._payload_key = settings.payload_in_metadata
        self._lists = settings.space_delimited_claims
        self._header_key = settings.header_in_metadata
        self._clear_route = settings.clear_route_cache

    def build(self, verified: VerifiedToken) -> TokenEffects:
        """Prepare the effects of a token that has just been verified."""
        headers = []
        if self._payload_header:
            payload = verified.payload_segment
            headers.append(
                (self._payload_header, payload + b"=" * (-len(payload) % 4) if self._pad else payload)
            )
        plain = len(headers)
        for name, path in self._claim_headers:
            value = encode_claim(find_claim(verified.claims, path))
            if value is not None:
                headers.append((name, value))
        metadata = self._build_metadata(verified)
        if not headers and metadata is None:
            return _NOTHING
        return TokenEffects(
            tuple(headers),
            metadata,
            # Envoy: `forward_payload_header` alone is no reason to choose again (12.5).
            selects_route_again=self._clear_route and (len(headers) > plain or bool(self._payload_key)),
        )

    def _build_metadata(self, verified: VerifiedToken) -> dict[str, Any] | None:
        metadata: dict[str, Any] = {}
        if self._header_key:
            metadata[self._header_key] = verified.jose_header
        if self._payload_key:
            metadata[self._payload_key] = _with_lists(verified.claims, self._lists)
        return metadata or None


def add_failure_metadata(request: Request, key: str, refusal: Refusal) -> None:
    """Say in the metadata why a provider refused (Envoy `failed_status_in_metadata`)."""
    _namespace(request)[key] = {"code": refusal.number, "message": refusal.text}


def _namespace(request: Request) -> dict[str, Any]:
    if request.dynamic_metadata is None:
        request.dynamic_metadata = {}
    return request.dynamic_metadata.setdefault(METADATA_NAMESPACE, {})


def _with_lists(claims: JsonObject, names: tuple[str, ...]) -> JsonObject:
    """`normalize_payload_in_metadata`: `scope: "a b"` becomes `["a", "b"]`; an empty text stays one (12.3)."""
    found = {name: claims[name] for name in names if name in claims}
    split = {name: text.split(" ") for name, text in found.items() if isinstance(text, str) and text}
    if not split:
        return claims
    return claims | {name: [word for word in words if word] for name, words in split.items()}
