"""How a request without an acceptable token is answered (spec/jwt_authn.md section 4; RFC 6750 section 3)."""

from fastproxy.http.messages import LocalReply, Request
from fastproxy.jwt import JwtStatus

#: Envoy cuts the path at this length.
_MAX_REALM_PATH = 256
_RETRY_AFTER_S = b"1"

MULTIPLE_TOKENS_TEXT = "Found multiple Jwt tokens"


def deny(request: Request, status: JwtStatus) -> LocalReply:
    """The reply to a token that was refused, or to none. The body is a fixed text (S55)."""
    return _denial(request, status.http_status, status.text, is_missing=status is JwtStatus.MISSING)


def deny_multiple(request: Request) -> LocalReply:
    """The reply to two tokens for one requirement: whichever were checked, the other might be used (S48)."""
    return _denial(request, 401, MULTIPLE_TOKENS_TEXT, is_missing=False)


def keys_unavailable(details: str) -> LocalReply:
    """The reply while keys cannot be had: the token was not judged, so it is not refused."""
    return LocalReply(
        503,
        JwtStatus.JWKS_FETCH_FAILED.text.encode(),
        details=f"jwt_authn_keys_unavailable{{{details}}}",
        headers=((b"retry-after", _RETRY_AFTER_S),),
    )


def _denial(request: Request, http_status: int, text: str, *, is_missing: bool) -> LocalReply:
    challenge = b'Bearer realm="' + _realm(request) + b'"'
    if not is_missing:
        challenge += b', error="invalid_token"'
    return LocalReply(
        http_status,
        text.encode(),
        details=f"jwt_authn_access_denied{{{text.replace(' ', '_')}}}",
        headers=((b"www-authenticate", challenge),),
    )


def _realm(request: Request) -> bytes:
    """The request's URL as a quoted-string (RFC 9110 section 5.6.4); Envoy does not escape it."""
    if request.method == b"CONNECT":
        return b""
    # A query token must not come back in the challenge, where logs and caches would keep it.
    path = (request.log_target or request.target)[:_MAX_REALM_PATH]
    realm = request.scheme + b"://" + request.authority + path
    return realm.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
