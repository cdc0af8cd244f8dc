"""Keys and signatures of the demo issuer: compact JWS as RFC 7515 section 7.1 has it.

Signing lives here and not in `fastproxy.jwt`, because a proxy only ever verifies.
"""

import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fastproxy.jwt.encoding import decode_base64url, encode_base64url, parse_json_object

Json = dict[str, Any]


def encode_segment(data: bytes) -> str:
    """Encode bytes as base64url without padding (RFC 7515 section 2)."""
    return encode_base64url(data).decode("ascii")


def decode_segment(segment: str) -> bytes:
    """Decode base64url without padding.

    Raises:
        ValueError: the text is anything else.
    """
    return decode_base64url(segment.encode("utf-8"))


def decode_object(segment: str) -> Json:
    """Decode base64url of a JSON object: a token's header or payload.

    Raises:
        ValueError: it is not that.
    """
    return parse_json_object(decode_segment(segment))


class RsaKey:
    """An RSA key pair made on the spot, as a realm has them: one to sign, one to encrypt."""

    def __init__(self, *, use: str = "sig", algorithm: str = "RS256", bits: int = 2048) -> None:
        """Make a key.

        Args:
            use: the JWK's `use`, `sig` or `enc` (RFC 7517 section 4.2).
            algorithm: the JWK's `alg`.
            bits: size of the modulus; 2048 is the least that a verifier should accept.
        """
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        self._use = use
        self._algorithm = algorithm
        numbers = self._private.public_key().public_numbers()
        self._n = encode_segment(_unsigned(numbers.n))
        self._e = encode_segment(_unsigned(numbers.e))
        self.kid = self._thumbprint()

    def jwk(self) -> Json:
        """Give the public half as a JWK (RFC 7517, RFC 7518 section 6.3.1)."""
        return {
            "kid": self.kid,
            "kty": "RSA",
            "alg": self._algorithm,
            "use": self._use,
            "n": self._n,
            "e": self._e,
        }

    def sign(self, claims: Json) -> str:
        """Sign claims as an RS256 token in compact form (RFC 7515 appendix A.2)."""
        signing_input = _signing_input({"alg": "RS256", "typ": "JWT", "kid": self.kid}, claims)
        signature = self._private.sign(signing_input.encode("ascii"), padding.PKCS1v15(), hashes.SHA256())
        return f"{signing_input}.{encode_segment(signature)}"

    def _thumbprint(self) -> str:
        """Name the key by its content (RFC 7638), so that equal keys have equal names."""
        members = f'{{"e":"{self._e}","kty":"RSA","n":"{self._n}"}}'
        return encode_segment(hashlib.sha256(members.encode("ascii")).digest())


def sign_hs256(claims: Json, secret: bytes) -> str:
    """Sign claims for the issuer's own eyes: refresh tokens come back to nobody else."""
    signing_input = _signing_input({"alg": "HS256", "typ": "JWT"}, claims)
    return f"{signing_input}.{encode_segment(_hs256(signing_input, secret))}"


def verify_hs256(token: str, secret: bytes) -> Json:
    """Verify a token that `sign_hs256` made and give its claims.

    Raises:
        ValueError: it is not such a token; the message holds nothing of it.
    """
    signing_input, _, signature = token.rpartition(".")
    if not hmac.compare_digest(decode_segment(signature), _hs256(signing_input, secret)):
        raise ValueError("the signature does not fit")
    return decode_object(signing_input.partition(".")[2])


def payload_segment(token: str) -> str:
    """Give the payload segment of a compact token, undecoded."""
    return token.split(".")[1]


def forge_payload(token: str, old: bytes, new: bytes) -> str:
    """Replace bytes in a token's payload and keep its signature: what an attacker without a key can do."""
    header, payload, signature = token.split(".")
    changed = encode_segment(decode_segment(payload).replace(old, new))
    return f"{header}.{changed}.{signature}"


def _signing_input(jose_header: Json, claims: Json) -> str:
    parts = (json.dumps(part, separators=(",", ":")).encode() for part in (jose_header, claims))
    return ".".join(encode_segment(part) for part in parts)


def _hs256(signing_input: str, secret: bytes) -> bytes:
    return hmac.digest(secret, signing_input.encode("utf-8"), "sha256")


def _unsigned(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
