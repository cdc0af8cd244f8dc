"""Keys and tokens of the tests: PyJWT issues the sound ones, the crooked ones are put together by hand."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from fastproxy.clock import unix_time

Claims = dict[str, Any]

ISSUER = "https://issuer.test"
AUDIENCE = "api"
#: Long enough for HS512 (RFC 7518 section 3.2).
HMAC_SECRET = bytes(range(32, 96))


def encode_segment(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class RsaKey:
    """An RSA key of the issuer."""

    kid: str
    bits: int = 2048
    private: rsa.RSAPrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self.private = rsa.generate_private_key(65537, self.bits)

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public key as a JWK."""
        public = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        public.pop("key_ops", None)
        return {**public, "kid": self.kid, "use": "sig", "alg": "RS256", **members}

    def issue(self, claims: Claims | None = None, *, algorithm: str = "RS256", **header: Any) -> str:
        """A sound token; `header` adds or (None) removes JOSE header members."""
        return jwt.encode(
            standard_claims() if claims is None else claims,
            self.private,
            algorithm=algorithm,
            headers=_present({"kid": self.kid, **header}),
        )

    def sign(self, header: bytes | str, payload: bytes | str) -> str:
        """Sign exactly these bytes with RS256; text is taken as an encoded segment already."""
        head = header if isinstance(header, str) else encode_segment(header)
        body = payload if isinstance(payload, str) else encode_segment(payload)
        signature = self.private.sign(f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{head}.{body}.{encode_segment(signature)}"


@dataclass
class EcKey:
    """An elliptic curve key of the issuer."""

    kid: str
    curve: ec.EllipticCurve = field(default_factory=ec.SECP256R1)
    algorithm: str = "ES256"
    private: ec.EllipticCurvePrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self.private = ec.generate_private_key(self.curve)

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public key as a JWK."""
        public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "use": "sig", "alg": self.algorithm, **members}

    def issue(self, claims: Claims | None = None, **header: Any) -> str:
        """A sound token."""
        return jwt.encode(
            standard_claims() if claims is None else claims,
            self.private,
            algorithm=self.algorithm,
            headers=_present({"kid": self.kid, **header}),
        )


def hmac_jwk(kid: str = "hs", secret: bytes = HMAC_SECRET, algorithm: str = "HS256") -> dict[str, Any]:
    """A shared secret as a JWK."""
    return {"kty": "oct", "kid": kid, "alg": algorithm, "k": encode_segment(secret)}


def issue_hmac(claims: Claims | None = None, *, algorithm: str = "HS256", secret: bytes = HMAC_SECRET) -> str:
    """A sound token under the shared secret."""
    return jwt.encode(
        standard_claims() if claims is None else claims, secret, algorithm=algorithm, headers={"kid": "hs"}
    )


def jwks(*keys: dict[str, Any]) -> str:
    """A key set document."""
    return json.dumps({"keys": list(keys)})


def standard_claims(**changes: Any) -> Claims:
    """What the issuer puts into a token; a change to None leaves the claim out."""
    now = int(unix_time())
    claims = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 3600,
        "preferred_username": "alice",
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def tampered(token: str) -> str:
    """The token with another first character in its signature."""
    head, payload, signature = token.split(".")
    return f"{head}.{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
