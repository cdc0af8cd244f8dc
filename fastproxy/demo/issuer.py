"""A token issuer that looks like a Keycloak realm called `funnel`: sign-in, refresh, keys, discovery.

RFC 6749 sections 4.3, 5 and 6 for the token endpoint, RFC 7517 for the key set, OpenID Connect Discovery
for the document that names both. The answers have Keycloak's fields and Keycloak's error texts, so that what
works here works there.
"""

import hmac
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from fastproxy import clock
from fastproxy.demo.signing import Json, RsaKey, sign_hs256, verify_hs256

REALM_PATH = "/auth/realms/funnel"
TOKEN_PATH = f"{REALM_PATH}/protocol/openid-connect/token"
CERTS_PATH = f"{REALM_PATH}/protocol/openid-connect/certs"
DISCOVERY_PATH = f"{REALM_PATH}/.well-known/openid-configuration"

CLIENT_ID = "funnel"
_SCOPE = "email profile"
_REFRESH_TOKEN_LIFE_S = 1800


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can sign in."""

    username: str
    password: str
    given_name: str
    family_name: str
    subject: str = field(default_factory=lambda: str(uuid.uuid4()))


#: The users of the demo, with the passwords that its commands show.
DEMO_USERS = (
    User("demo", "demo", "Demo", "User"),
    User("alice", "wonderland", "Alice", "Liddell"),
)


class TokenRequestError(Exception):
    """A token request is refused (RFC 6749 section 5.2); `status`, `error` and `description` answer it."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.description = description


class Issuer:
    """The realm: its keys, its users, its sessions.

    `access_token_life_s` may be changed at any time and holds for the tokens issued afterwards.
    """

    def __init__(
        self,
        base_url: str,
        *,
        access_token_life_s: int = 300,
        users: tuple[User, ...] = DEMO_USERS,
        now: Callable[[], float] = clock.unix_time,
    ) -> None:
        """Make the realm's keys.

        Args:
            base_url: scheme, host and port that it is reached by, no slash at the end; goes into `iss`.
            access_token_life_s: seconds from `iat` to `exp`.
            users: who can sign in.
            now: Unix time in seconds.
        """
        self.issuer = base_url + REALM_PATH
        self.access_token_life_s = access_token_life_s
        self._base_url = base_url
        self._now = now
        self._users = {user.username: user for user in users}
        self._sessions: dict[str, User] = {}
        self._signing_key = RsaKey()
        self._encryption_key = RsaKey(use="enc", algorithm="RSA-OAEP")
        self._refresh_secret = secrets.token_bytes(32)

    def jwks(self) -> Json:
        """Give the realm's public keys: one to verify with, and one that must not be used for it."""
        return {"keys": [self._signing_key.jwk(), self._encryption_key.jwk()]}

    def discovery_document(self) -> Json:
        """Give the OpenID Connect discovery document, section 3 of that specification."""
        return {
            "issuer": self.issuer,
            "token_endpoint": self._base_url + TOKEN_PATH,
            "jwks_uri": self._base_url + CERTS_PATH,
            "grant_types_supported": ["password", "refresh_token"],
            "response_types_supported": ["none"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["none"],
        }

    def grant(self, form: Mapping[str, str]) -> Json:
        """Answer a token request (RFC 6749 sections 4.3.2 and 6).

        Raises:
            TokenRequestError: with Keycloak's words for the reason.
        """
        grant_type = form.get("grant_type")
        if grant_type is None:
            raise TokenRequestError(400, "invalid_request", "Missing form parameter: grant_type")
        if form.get("client_id") != CLIENT_ID:
            raise TokenRequestError(401, "invalid_client", "Invalid client or Invalid client credentials")
        if grant_type == "password":
            return self._sign_in(form)
        if grant_type == "refresh_token":
            return self._refresh(form)
        raise TokenRequestError(400, "unsupported_grant_type", "Unsupported grant_type")

    def _sign_in(self, form: Mapping[str, str]) -> Json:
        if "username" not in form:
            raise TokenRequestError(401, "invalid_request", "Missing parameter: username")
        user = self._users.get(form["username"])
        expected = user.password if user is not None else secrets.token_hex(16)
        if not hmac.compare_digest(expected.encode(), form.get("password", "").encode()) or user is None:
            raise TokenRequestError(401, "invalid_grant", "Invalid user credentials")
        session = str(uuid.uuid4())
        self._sessions[session] = user
        return self._token_answer(session, user)

    def _refresh(self, form: Mapping[str, str]) -> Json:
        if "refresh_token" not in form:
            raise TokenRequestError(400, "invalid_request", "No refresh token")
        try:
            claims = verify_hs256(form["refresh_token"], self._refresh_secret)
        except ValueError as exc:
            raise TokenRequestError(400, "invalid_grant", "Invalid refresh token") from exc
        if claims["exp"] < self._now():
            raise TokenRequestError(400, "invalid_grant", "Token is not active")
        session = claims["session_state"]
        return self._token_answer(session, self._sessions[session])

    def _token_answer(self, session: str, user: User) -> Json:
        issued_at = int(self._now())
        return {
            "access_token": self._signing_key.sign(self._access_claims(session, user, issued_at)),
            "expires_in": self.access_token_life_s,
            "refresh_expires_in": _REFRESH_TOKEN_LIFE_S,
            "refresh_token": sign_hs256(self._refresh_claims(session, user, issued_at), self._refresh_secret),
            "token_type": "bearer",
            "not-before-policy": 0,
            "session_state": session,
            "scope": _SCOPE,
        }

    def _access_claims(self, session: str, user: User, issued_at: int) -> Json:
        return {
            "exp": issued_at + self.access_token_life_s,
            "iat": issued_at,
            "jti": str(uuid.uuid4()),
            "iss": self.issuer,
            "aud": "account",
            "sub": user.subject,
            "typ": "Bearer",
            "azp": CLIENT_ID,
            "session_state": session,
            "acr": "1",
            "realm_access": {"roles": ["offline_access", "uma_authorization"]},
            "scope": _SCOPE,
            "email_verified": False,
            "name": f"{user.given_name} {user.family_name}",
            "preferred_username": user.username,
            "given_name": user.given_name,
            "family_name": user.family_name,
        }

    def _refresh_claims(self, session: str, user: User, issued_at: int) -> Json:
        return {
            "exp": issued_at + _REFRESH_TOKEN_LIFE_S,
            "iat": issued_at,
            "jti": str(uuid.uuid4()),
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": user.subject,
            "typ": "Refresh",
            "azp": CLIENT_ID,
            "session_state": session,
            "scope": _SCOPE,
        }


def build_issuer_app(issuer: Issuer) -> web.Application:
    """Serve a realm over HTTP."""

    async def token(request: web.Request) -> web.Response:
        form = await request.post()
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        # RFC 6749 section 5.1: an answer that holds a token must not be stored on its way.
        headers = {"cache-control": "no-store", "pragma": "no-cache"}
        try:
            return web.json_response(issuer.grant(fields), headers=headers)
        except TokenRequestError as refused:
            answer = {"error": refused.error, "error_description": refused.description}
            return web.json_response(answer, status=refused.status, headers=headers)

    async def certs(_request: web.Request) -> web.Response:
        return web.json_response(issuer.jwks())

    async def discovery(_request: web.Request) -> web.Response:
        return web.json_response(issuer.discovery_document())

    app = web.Application(client_max_size=64 * 1024)
    app.router.add_post(TOKEN_PATH, token)
    app.router.add_get(CERTS_PATH, certs)
    app.router.add_get(DISCOVERY_PATH, discovery)
    return app
