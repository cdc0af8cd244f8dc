"""ML-DSA (FIPS 204), the post-quantum signature, as JOSE has it (RFC 9964): keys of type `AKP`.

Whether it can be verified depends on the installed `cryptography` and on the OpenSSL inside it. Version numbers do
not tell: distributions build both in their own ways. So a signature is made and verified once, when the first such
key is met or the proxy starts.
"""

from contextlib import suppress
from functools import cache, lru_cache
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

#: FIPS 204 table 2, in bytes.
PUBLIC_KEY_BYTES: Final = {"ML-DSA-44": 1312, "ML-DSA-65": 1952, "ML-DSA-87": 2592}
SIGNATURE_BYTES: Final = {"ML-DSA-44": 2420, "ML-DSA-65": 3309, "ML-DSA-87": 4627}

#: Private and public key class by algorithm; empty where `cryptography` is too old to have them.
_CLASSES: dict[str, tuple[Any, Any]] = {}
with suppress(ImportError):
    from cryptography.hazmat.primitives.asymmetric import mldsa

    _CLASSES = {
        "ML-DSA-44": (mldsa.MLDSA44PrivateKey, mldsa.MLDSA44PublicKey),
        "ML-DSA-65": (mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey),
        "ML-DSA-87": (mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey),
    }


class MlDsaPublicKey(Protocol):
    """What `cryptography` makes of a public key."""

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise InvalidSignature unless the signature is good; the context string is empty (RFC 9964 section 2)."""

    def public_bytes_raw(self) -> bytes:
        """The key as FIPS 204 encodes it."""


@cache
def available_algorithms() -> frozenset[str]:
    """The ML-DSA algorithms that were seen to work here; takes some milliseconds the first time."""
    return frozenset(name for name in _CLASSES if _works(name))


def describe_availability() -> str:
    """Say for a log whether ML-DSA signatures can be verified."""
    found = available_algorithms()
    if len(found) == len(PUBLIC_KEY_BYTES):
        return "available"
    needs = "needs a cryptography package built with OpenSSL 3.5 or newer"
    return f"only {', '.join(sorted(found))}; the rest {needs}" if found else f"not available: {needs}"


def load_public_key(algorithm: str, encoded: bytes) -> MlDsaPublicKey:
    """Make a key from its FIPS 204 encoding, which is the `pub` member of a JWK.

    Raises:
        ValueError: a wrong length, or an algorithm that is not available here.
    """
    if algorithm not in available_algorithms():
        raise ValueError(f"{algorithm} is not available")
    if len(encoded) != PUBLIC_KEY_BYTES[algorithm]:
        raise ValueError(f"{algorithm} public keys have {PUBLIC_KEY_BYTES[algorithm]} bytes")
    return _load(algorithm, encoded)


def find_algorithm(key: object) -> str | None:
    """The algorithm of a key that `cryptography` has loaded; None if it is of another kind."""
    return next((name for name, (_, public) in _CLASSES.items() if isinstance(key, public)), None)


@lru_cache(maxsize=64)
def _load(algorithm: str, encoded: bytes) -> MlDsaPublicKey:
    key: MlDsaPublicKey = _CLASSES[algorithm][1].from_public_bytes(encoded)
    return key


def _works(algorithm: str) -> bool:
    """Sign, verify, and see a changed signature refused."""
    text = b"FastProxy"
    try:
        private = _CLASSES[algorithm][0].generate()
        signature = private.sign(text)
        public = private.public_key()
        public.verify(signature, text)
    except (UnsupportedAlgorithm, InvalidSignature, ValueError):
        return False
    try:
        public.verify(bytes([signature[0] ^ 1]) + signature[1:], text)
    except InvalidSignature:
        return len(signature) == SIGNATURE_BYTES[algorithm]
    return False
