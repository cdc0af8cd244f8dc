"""The compact form of a signed token (RFC 7515 section 3.1), parsed strictly and not verified.

The order of checks and their texts are Envoy's: structure, header, payload, claim types, signature segment.
What is stricter is the base64url, the JSON, and what a header may ask for: a token that carries `crit`, `b64`
or `zip`, or whose `typ` says that it was made for another purpose, is refused before its payload is looked
at. Envoy has no text for that; `Jwt verification fails` is the one it uses for every token that is well
formed and not acceptable.

Header parameters that name keys (`jwk`, `jku`, `x5u`, `x5c`) are never read: a token does not bring its own
key.
"""

from typing import Final

from fastproxy.jwt.algorithms import SUPPORTED
from fastproxy.jwt.claims import check_claim_types
from fastproxy.jwt.encoding import JsonObject, decode_base64url, parse_json_object
from fastproxy.jwt.errors import JwtError, JwtStatus

# Envoy caps only the whole request head (60 KiB). Tokens above 8 KiB do not pass most servers anyway.
MAX_TOKEN_BYTES: Final = 16384
# A header is about 100 bytes; one that carries a certificate chain a few thousand.
MAX_HEADER_SEGMENT_BYTES: Final = 8192

# RFC 7515 section 4.1.11: extensions must be understood or the token refused, and none is. RFC 7797:
# unencoded payload. RFC 7516 section 4.1.3: compression, meaningless outside JWE.
_REFUSED_PARAMETERS: Final = ("crit", "b64", "zip")
# Tokens signed by the same issuer for another purpose (S26); RFC 7515 section 4.1.9: `application/` may be
# omitted.
_FOREIGN_TYPES: Final = frozenset({"logout+jwt", "secevent+jwt", "dpop+jwt"})
# RFC 9068 section 2.1.
_ACCESS_TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - a type's name


class JoseHeader:
    """A decoded JOSE header (RFC 7515 section 4): read-only, for all tokens that carry it share it.

    `is_access_token`: `typ` says that the token is an access token and nothing else (RFC 9068 section 2.1).
    """

    __slots__ = ("alg", "is_access_token", "kid", "members")

    def __init__(self, alg: str, kid: str | None, members: JsonObject, *, is_access_token: bool) -> None:
        self.alg = alg
        self.kid = kid
        self.members = members
        self.is_access_token = is_access_token


class UnverifiedToken:
    """A well-formed token about whose origin nothing is known yet.

    Attributes:
        token: the bytes as received.
        header: its JOSE header; `alg` is a supported algorithm.
        claims: the decoded payload; the registered claims have the right types. Anyone can have written them.
        header_segment, payload_segment: as received, still encoded.
        signature: decoded, not checked.
    """

    __slots__ = ("claims", "header", "header_segment", "payload_segment", "signature", "token")

    def __init__(  # noqa: PLR0917 - made once per token, on the hot path
        self,
        token: bytes,
        header: JoseHeader,
        claims: JsonObject,
        header_segment: bytes,
        payload_segment: bytes,
        signature: bytes,
    ) -> None:
        self.token = token
        self.header = header
        self.claims = claims
        self.header_segment = header_segment
        self.payload_segment = payload_segment
        self.signature = signature

    @property
    def jose_header(self) -> JsonObject:
        """The decoded JOSE header's members."""
        return self.header.members

    @property
    def signing_input(self) -> bytes:
        """What the signature covers: header and payload segment as received (RFC 7515 section 5.2)."""
        return self.token[: len(self.header_segment) + 1 + len(self.payload_segment)]

    def __repr__(self) -> str:
        return f"UnverifiedToken(alg={self.header.alg!r}, {len(self.token)} bytes)"


def parse_token(token: bytes, *, max_token_bytes: int = MAX_TOKEN_BYTES) -> UnverifiedToken:
    """Parse a compact token without verifying anything (RFC 7515 section 5.2 steps 1 to 7).

    Args:
        token: the compact serialisation, exactly as received.
        max_token_bytes: longer tokens are refused before anything is decoded.

    Raises:
        JwtError: status 4 to 22, or 26 for a header that asks for what is never granted.
    """
    header_segment, payload_segment, signature_segment = split_token(token, max_token_bytes)
    header = parse_header(header_segment)
    claims = parse_payload(payload_segment)
    return UnverifiedToken(
        token, header, claims, header_segment, payload_segment, parse_signature(signature_segment)
    )


def split_token(token: bytes, max_token_bytes: int = MAX_TOKEN_BYTES) -> tuple[bytes, bytes, bytes]:
    """Split into the three encoded segments; refuse any other number, empty ones and oversized tokens."""
    # Hot path: once per new token.
    if len(token) > max_token_bytes:
        raise JwtError(JwtStatus.BAD_FORMAT, f"longer than {max_token_bytes} bytes")
    # The limit on splits keeps a token of nothing but dots from allocating (CVE-2025-30204).
    segments = token.split(b".", 3)
    if len(segments) != 3:
        five = token.count(b".") == 4
        raise JwtError(
            JwtStatus.BAD_FORMAT, "five parts: encrypted tokens (JWE) are not supported" if five else ""
        )
    header, payload, signature = segments
    if not (header and payload and signature):
        raise JwtError(JwtStatus.BAD_FORMAT, "an empty part")
    return header, payload, signature


def parse_header(segment: bytes) -> JoseHeader:
    """Decode and check the JOSE header segment (RFC 7515 section 4).

    Raises:
        JwtError: status 5 to 9; 26 for `crit`, `b64`, `zip` and the `typ` of another kind of token.
    """
    if len(segment) > MAX_HEADER_SEGMENT_BYTES:
        raise JwtError(JwtStatus.HEADER_BAD_JSON, f"longer than {MAX_HEADER_SEGMENT_BYTES} bytes")
    try:
        text = decode_base64url(segment)
    except ValueError:
        raise JwtError(JwtStatus.HEADER_BAD_BASE64) from None
    try:
        members = parse_json_object(text)
    except ValueError as exc:
        raise JwtError(JwtStatus.HEADER_BAD_JSON, str(exc)) from None
    alg = members.get("alg")
    if not isinstance(alg, str):
        raise JwtError(JwtStatus.HEADER_BAD_ALG)
    if alg not in SUPPORTED:
        raise JwtError(JwtStatus.HEADER_UNSUPPORTED_ALG)
    kid = members.get("kid", "")
    if not isinstance(kid, str):
        raise JwtError(JwtStatus.HEADER_BAD_KID)
    for name in _REFUSED_PARAMETERS:
        if name in members:
            raise JwtError(JwtStatus.VERIFICATION_FAILED, f"header parameter [{name}] is not supported")
    typ = members.get("typ")
    kind = typ.lower().removeprefix("application/") if isinstance(typ, str) else ""
    if kind in _FOREIGN_TYPES:
        raise JwtError(JwtStatus.VERIFICATION_FAILED, "header [typ] says that it is no access token")
    return JoseHeader(alg, kid or None, members, is_access_token=kind == _ACCESS_TOKEN_TYPE)


def parse_payload(segment: bytes) -> JsonObject:
    """Decode the payload segment and check the types of the registered claims (RFC 7519 section 4.1).

    Raises:
        JwtError: status 10 to 21.
    """
    # Hot path: once per new token.
    try:
        text = decode_base64url(segment)
    except ValueError:
        raise JwtError(JwtStatus.PAYLOAD_BAD_BASE64) from None
    try:
        claims = parse_json_object(text)
    except ValueError as exc:
        raise JwtError(JwtStatus.PAYLOAD_BAD_JSON, str(exc)) from None
    check_claim_types(claims)
    return claims


def parse_signature(segment: bytes) -> bytes:
    """Decode the signature segment, or raise JwtError with status 22."""
    try:
        return decode_base64url(segment)
    except ValueError:
        raise JwtError(JwtStatus.SIGNATURE_BAD_BASE64) from None
