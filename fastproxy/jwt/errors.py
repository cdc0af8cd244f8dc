"""How a token or a key set can fail. Hostile input leaves this package as one of these and as nothing else.

Numbers and texts are those of Envoy's `jwt_authn` filter, so that dashboards, clients and runbooks written
for Envoy keep working. The text goes to the downstream; `detail` is for logs and for `fastproxy jwt verify`.
"""

from enum import Enum


class JwtStatus(Enum):
    """Why a token was refused: the number and the response text that Envoy 1.40 uses.

    Envoy's 27 (`Found multiple Jwt tokens`) is never produced there and has no member here. 28-30 and 33-39
    concern key sets at load time and are texts of `JwksError`.
    """

    MISSING = (1, "Jwt is missing")
    NOT_YET_VALID = (2, "Jwt not yet valid")
    EXPIRED = (3, "Jwt is expired")
    BAD_FORMAT = (4, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")
    HEADER_BAD_BASE64 = (5, "Jwt header is an invalid Base64url encoded")
    HEADER_BAD_JSON = (6, "Jwt header is an invalid JSON")
    HEADER_BAD_ALG = (7, "Jwt header [alg] field is required and must be a string")
    HEADER_UNSUPPORTED_ALG = (8, "Jwt header [alg] is not supported")
    HEADER_BAD_KID = (9, "Jwt header [kid] field is not a string")
    PAYLOAD_BAD_BASE64 = (10, "Jwt payload is an invalid Base64url encoded")
    PAYLOAD_BAD_JSON = (11, "Jwt payload is an invalid JSON")
    PAYLOAD_BAD_ISS = (12, "Jwt payload [iss] field is not a string")
    PAYLOAD_BAD_SUB = (13, "Jwt payload [sub] field is not a string")
    PAYLOAD_IAT_NOT_NUMBER = (14, "Jwt payload [iat] field is not an integer")
    PAYLOAD_IAT_OUT_OF_RANGE = (15, "Jwt payload [iat] field is not a positive 64 bit integer")
    PAYLOAD_NBF_NOT_NUMBER = (16, "Jwt payload [nbf] field is not an integer")
    PAYLOAD_NBF_OUT_OF_RANGE = (17, "Jwt payload [nbf] field is not a positive 64 bit integer")
    PAYLOAD_EXP_NOT_NUMBER = (18, "Jwt payload [exp] field is not an integer")
    PAYLOAD_EXP_OUT_OF_RANGE = (19, "Jwt payload [exp] field is not a positive 64 bit integer")
    PAYLOAD_BAD_JTI = (20, "Jwt payload [jti] field is not a string")
    PAYLOAD_BAD_AUD = (21, "Jwt payload [aud] field is not a string or string list")
    SIGNATURE_BAD_BASE64 = (22, "Jwt signature is an invalid Base64url encoded")
    SIGNATURE_BAD_ED25519_LENGTH = (23, "Jwt ED25519 signature is wrong length")
    ISSUER_NOT_CONFIGURED = (24, "Jwt issuer is not configured")
    AUDIENCE_NOT_ALLOWED = (25, "Audiences in Jwt are not allowed")
    VERIFICATION_FAILED = (26, "Jwt verification fails")
    NO_VALID_KEYS = (31, "Jwks doesn't have any valid public key")
    NO_MATCHING_KEY = (32, "Jwks doesn't have key to match kid or alg from Jwt")
    JWKS_FETCH_FAILED = (40, "Jwks remote fetch is failed")

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text
        # Envoy: every refusal is 401, a foreign audience alone is 403.
        self.http_status = 403 if number == 25 else 401


class JwtError(Exception):
    """A token was refused. `status` says how to answer; `detail` why, in words that are safe to log.

    `detail` names claims and reasons of ours. It never holds text from the token, the keys or a secret.
    """

    def __init__(self, status: JwtStatus, detail: str = "") -> None:
        super().__init__(f"{status.text}: {detail}" if detail else status.text)
        self.status = status
        self.detail = detail


class KeysUnavailable(JwtError):
    """The verifier holds no key set (not fetched yet, or withdrawn): the token was not judged."""

    def __init__(self) -> None:
        super().__init__(JwtStatus.JWKS_FETCH_FAILED, "no key set is held")


class UnknownKey(JwtError):
    """Keys are held, but none fits the token's `kid` and `alg` (status 32).

    `kid_unknown`: the token names a kid that no key of the set has, so fresher keys might know it. False when
    the kid is there but its key does not fit `alg`: fetching again would not help.
    """

    def __init__(self, detail: str = "", *, kid_unknown: bool) -> None:
        super().__init__(JwtStatus.NO_MATCHING_KEY, detail)
        self.kid_unknown = kid_unknown


class JwksError(Exception):
    """A key set without one usable key. The message is Envoy's start-up text where Envoy has one."""
