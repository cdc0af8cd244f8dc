"""How a request without an acceptable token is answered (spec/jwt_authn.md section 4; RFC 6750 section 3)."""

from fastproxy.filters.jwt_authn.verdict import Refusal
from fastproxy.http.messages import LocalReply, Request

#: Envoy cuts the path at this length.
_MAX_REALM_PATH = 256
_RETRY_AFTER_S = b"1"


def deny(request: Request, refusal: Refusal, *, strip: bool = False) -> LocalReply:
    """The reply to a request that was refused. The body is a fixed text (S55).

    `strip` (`strip_failure_response`) leaves nothing but the status code.
    """
    body = b"" if strip else refusal.text.encode()
    if refusal.unavailable:
        # The token was not judged, so it is not refused.
        return LocalReply(
            refusal.http_status,
            body,
            details=f"jwt_authn_keys_unavailable{{{refusal.unavailable}}}",
            headers=((b"retry-after", _RETRY_AFTER_S),),
        )
    challenge = b'Bearer realm="' + _realm(request) + b'"'
    if not refusal.is_missing:
        challenge += b', error="invalid_token"'
    return LocalReply(
        refusal.http_status,
        body,
        details=f"jwt_authn_access_denied{{{refusal.text.replace(' ', '_')}}}",
        headers=() if strip else ((b"www-authenticate", challenge),),
    )


def _realm(request: Request) -> bytes:
    """The request's URL as a quoted-string (RFC 9110 section 5.6.4); Envoy does not escape it."""
    if request.method == b"CONNECT":
        return b""
    # A query token must not come back in the challenge, where logs and caches would keep it.
    path = (request.log_target or request.target)[:_MAX_REALM_PATH]
    realm = request.scheme + b"://" + request.authority + path
    return realm.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
