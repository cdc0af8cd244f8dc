"""Signature algorithms (RFC 7518 section 3, RFC 8037, RFC 9964) and the kind of key each is bound to.

An algorithm belongs to one key type and, for ECDSA, one curve. A key makes its check functions itself, for
the algorithms that fit it and no others, so a token can never choose how a key is used: HS256 over a public
key, ES256 on a P-384 key or PS256 on a key marked RS256 have no function to call.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from fastproxy.jwt.ml_dsa import SIGNATURE_BYTES, MlDsaPublicKey

CheckSignature: TypeAlias = Callable[[bytes, bytes], bool]
"""`(signature, signing_input)` -> whether the signature is good. Never raises on hostile bytes."""

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One JWS `alg` value and what its key must be.

    `kty`, `crv`: JWK members the key must have. `hash_bytes`: digest size, for HMAC also the least key size
    (RFC 7518 section 3.2). `digest`: name for hashlib.
    """

    name: str
    kty: str
    hash_bytes: int = 0
    digest: str = ""
    crv: str = ""


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("RS256", "RSA", 32, "sha256"),
        Algorithm("RS384", "RSA", 48, "sha384"),
        Algorithm("RS512", "RSA", 64, "sha512"),
        Algorithm("PS256", "RSA", 32, "sha256"),
        Algorithm("PS384", "RSA", 48, "sha384"),
        Algorithm("PS512", "RSA", 64, "sha512"),
        Algorithm("ES256", "EC", 32, "sha256", "P-256"),
        Algorithm("ES384", "EC", 48, "sha384", "P-384"),
        Algorithm("ES512", "EC", 64, "sha512", "P-521"),
        Algorithm("HS256", "oct", 32, "sha256"),
        Algorithm("HS384", "oct", 48, "sha384"),
        Algorithm("HS512", "oct", 64, "sha512"),
        Algorithm("EdDSA", "OKP", crv="Ed25519"),
        Algorithm("ML-DSA-44", "AKP"),
        Algorithm("ML-DSA-65", "AKP"),
        Algorithm("ML-DSA-87", "AKP"),
    )
}
"""Every algorithm that can be verified, by its case-sensitive name. `none` is not among them.

ML-DSA is here also where `ml_dsa` finds it not available: its keys are refused then, so nothing is verified with it.
"""

SUPPORTED = frozenset(ALGORITHMS)

ED25519_SIGNATURE_BYTES = 64

_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def build_check(algorithm: Algorithm, key: PublicKey) -> CheckSignature:
    """Bind `algorithm` to a public key of its own kind.

    Raises:
        TypeError: the key is of another kind: a mistake of the caller, never of a token.
    """
    if isinstance(key, rsa.RSAPublicKey) and algorithm.kty == "RSA":
        return _build_rsa_check(algorithm, key)
    if isinstance(key, ec.EllipticCurvePublicKey) and algorithm.kty == "EC":
        return _build_ecdsa_check(algorithm, key)
    if isinstance(key, ed25519.Ed25519PublicKey) and algorithm.kty == "OKP":
        return _build_plain_check(key.verify, ED25519_SIGNATURE_BYTES)
    raise TypeError(f"{algorithm.name} does not fit the key")


def build_hmac_check(algorithm: Algorithm, secret: bytes) -> CheckSignature:
    """Bind an HMAC algorithm (RFC 7518 section 3.2) to its secret; the comparison takes constant time."""
    if algorithm.kty != "oct":
        raise TypeError(f"{algorithm.name} does not fit the key")
    digest = algorithm.digest

    def check(signature: bytes, signing_input: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(secret, signing_input, digest), signature)

    return check


def build_ml_dsa_check(algorithm: Algorithm, key: MlDsaPublicKey) -> CheckSignature:
    """Bind ML-DSA (RFC 9964 section 2) to a public key of the same parameter set.

    Raises:
        TypeError: the algorithm is another one: a mistake of the caller, never of a token.
    """
    if algorithm.kty != "AKP":
        raise TypeError(f"{algorithm.name} does not fit the key")
    return _build_plain_check(key.verify, SIGNATURE_BYTES[algorithm.name])


def _build_rsa_check(algorithm: Algorithm, key: rsa.RSAPublicKey) -> CheckSignature:
    hash_algorithm = _HASHES[algorithm.digest]()
    scheme: padding.AsymmetricPadding = (
        padding.PKCS1v15()
        if algorithm.name.startswith("RS")
        # RFC 7518 section 3.5: salt as long as the digest, and no other length.
        else padding.PSS(mgf=padding.MGF1(_HASHES[algorithm.digest]()), salt_length=algorithm.hash_bytes)
    )
    signature_bytes = (key.key_size + 7) // 8
    verify = key.verify

    def check(signature: bytes, signing_input: bytes) -> bool:
        if len(signature) != signature_bytes:
            return False
        try:
            verify(signature, signing_input, scheme, hash_algorithm)
        except (InvalidSignature, ValueError):
            return False
        return True

    return check


def _build_ecdsa_check(algorithm: Algorithm, key: ec.EllipticCurvePublicKey) -> CheckSignature:
    scheme = ec.ECDSA(_HASHES[algorithm.digest]())
    part_bytes = (key.key_size + 7) // 8
    verify = key.verify
    from_bytes = int.from_bytes

    def check(signature: bytes, signing_input: bytes) -> bool:
        # RFC 7518 section 3.4: R || S, each exactly as long as the curve's order. So DER and the short
        # `MAYCAQACAQA` never get further; zero and values of n or above are refused by the verification.
        if len(signature) != 2 * part_bytes:
            return False
        der = encode_dss_signature(
            from_bytes(signature[:part_bytes], "big"), from_bytes(signature[part_bytes:], "big")
        )
        try:
            verify(der, signing_input, scheme)
        except (InvalidSignature, ValueError):
            return False
        return True

    return check


def _build_plain_check(verify: Callable[[bytes, bytes], None], signature_bytes: int) -> CheckSignature:
    """The check of a scheme that has no settings of its own."""

    def check(signature: bytes, signing_input: bytes) -> bool:
        if len(signature) != signature_bytes:
            return False
        try:
            verify(signature, signing_input)
        except (InvalidSignature, ValueError):
            return False
        return True

    return check
