"""The demo's issuer answers as a Keycloak realm does, so that what works here works there."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import TestClient, TestServer

from fastproxy.demo.issuer import (
    CERTS_PATH,
    CLIENT_ID,
    DISCOVERY_PATH,
    TOKEN_PATH,
    Issuer,
    TokenRequestError,
    build_issuer_app,
)
from fastproxy.demo.signing import decode_object, payload_segment

PASSWORD = {"grant_type": "password", "client_id": CLIENT_ID, "username": "demo", "password": "demo"}


class SteppedClock:
    """Unix time that moves when told."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.5

    def __call__(self) -> float:
        """Read the clock."""
        return self.time


@pytest.fixture
def clock() -> SteppedClock:
    """A clock of the test's own."""
    return SteppedClock()


@pytest.fixture(scope="module")
def made() -> Issuer:
    """One issuer for the module: its keys take a while to make."""
    return Issuer("http://issuer.test")


@pytest.fixture
def issuer(made: Issuer, clock: SteppedClock) -> Iterator[Issuer]:
    """The issuer, on the test's clock."""
    made._now = clock
    made.access_token_life_s = 300
    yield made
    made._sessions.clear()


@pytest.fixture
async def client(issuer: Issuer) -> AsyncIterator[TestClient[Any, Any]]:
    """The issuer behind a real socket."""
    async with TestClient(TestServer(build_issuer_app(issuer))) as client:
        yield client


def test_password_grant_has_every_field_of_keycloak(issuer: Issuer) -> None:
    """Programs written for Keycloak read these fields."""
    answer = issuer.grant(PASSWORD)

    assert list(answer) == [
        "access_token",
        "expires_in",
        "refresh_expires_in",
        "refresh_token",
        "token_type",
        "not-before-policy",
        "session_state",
        "scope",
    ]
    assert (answer["expires_in"], answer["refresh_expires_in"]) == (300, 1800)
    assert (answer["token_type"], answer["not-before-policy"]) == ("bearer", 0)


def test_access_token_verifies_with_the_signing_key_of_the_set(issuer: Issuer, clock: SteppedClock) -> None:
    """The key set is all that the proxy ever sees of the issuer."""
    token = issuer.grant(PASSWORD)["access_token"]
    (key,) = (jwk for jwk in issuer.jwks()["keys"] if jwk["use"] == "sig")

    claims = jwt.decode(
        token, jwt.PyJWK(key).key, algorithms=["RS256"], audience="account", options={"verify_iat": False}
    )

    assert claims["iss"] == "http://issuer.test/auth/realms/funnel"
    assert claims["preferred_username"] == "demo"
    assert (claims["iat"], claims["exp"]) == (1_800_000_000, 1_800_000_300)


def test_key_set_has_a_signing_and_an_encryption_key(issuer: Issuer) -> None:
    """A verifier must be seen to choose between them."""
    assert [(key["use"], key["alg"]) for key in issuer.jwks()["keys"]] == [
        ("sig", "RS256"),
        ("enc", "RSA-OAEP"),
    ]


def test_changed_life_holds_for_the_next_token(issuer: Issuer, clock: SteppedClock) -> None:
    """The story needs tokens that expire while one looks, the user afterwards needs others."""
    issuer.access_token_life_s = 5

    answer = issuer.grant(PASSWORD)

    assert answer["expires_in"] == 5
    assert decode_object(payload_segment(answer["access_token"]))["exp"] == int(clock.time) + 5


def test_refresh_token_gives_the_same_user_and_session_a_new_token(
    issuer: Issuer, clock: SteppedClock
) -> None:
    """RFC 6749 section 6: nobody signs in again because five minutes have passed."""
    first = issuer.grant(PASSWORD)
    clock.time += 600

    second = issuer.grant(_refresh_form(first["refresh_token"]))

    before, after = (decode_object(payload_segment(grant["access_token"])) for grant in (first, second))
    assert (after["sub"], after["session_state"]) == (before["sub"], before["session_state"])
    assert after["exp"] == before["exp"] + 600
    assert after["jti"] != before["jti"]


def test_old_refresh_token_is_refused(issuer: Issuer, clock: SteppedClock) -> None:
    """A session that nobody used for half an hour is over."""
    token = issuer.grant(PASSWORD)["refresh_token"]
    clock.time += 1801

    with pytest.raises(TokenRequestError, match="Token is not active"):
        issuer.grant(_refresh_form(token))


def test_access_token_is_no_refresh_token(issuer: Issuer) -> None:
    """Whoever sees one access token must not be able to live on it for ever."""
    token = issuer.grant(PASSWORD)["access_token"]

    with pytest.raises(TokenRequestError, match="Invalid refresh token"):
        issuer.grant(_refresh_form(token))


@pytest.mark.parametrize(
    ("change", "status", "error", "description"),
    [
        ({"password": "wrong"}, 401, "invalid_grant", "Invalid user credentials"),
        ({"password": ""}, 401, "invalid_grant", "Invalid user credentials"),
        ({"username": "nobody"}, 401, "invalid_grant", "Invalid user credentials"),
        ({"username": None}, 401, "invalid_request", "Missing parameter: username"),
        ({"client_id": "other"}, 401, "invalid_client", "Invalid client or Invalid client credentials"),
        ({"client_id": None}, 401, "invalid_client", "Invalid client or Invalid client credentials"),
        ({"grant_type": None}, 400, "invalid_request", "Missing form parameter: grant_type"),
        ({"grant_type": "implicit"}, 400, "unsupported_grant_type", "Unsupported grant_type"),
        ({"grant_type": "refresh_token"}, 400, "invalid_request", "No refresh token"),
        (
            {"grant_type": "refresh_token", "refresh_token": "x.y.z"},
            400,
            "invalid_grant",
            "Invalid refresh token",
        ),
    ],
)
async def test_refusals_have_keycloak_words(
    client: "TestClient[Any, Any]", change: dict[str, str | None], status: int, error: str, description: str
) -> None:
    """Programs show or match these texts (RFC 6749 section 5.2)."""
    form = {name: value for name, value in {**PASSWORD, **change}.items() if value is not None}

    response = await client.post(TOKEN_PATH, data=form)

    assert response.status == status
    assert await response.json() == {"error": error, "error_description": description}
    assert response.headers["cache-control"] == "no-store"


async def test_token_answer_is_json_that_nobody_stores(client: "TestClient[Any, Any]") -> None:
    """RFC 6749 section 5.1: a cache that keeps the answer keeps the credential."""
    response = await client.post(TOKEN_PATH, data=PASSWORD)

    assert response.status == 200
    assert response.content_type == "application/json"
    assert response.headers["cache-control"] == "no-store"


async def test_discovery_document_leads_to_the_keys(client: "TestClient[Any, Any]", issuer: Issuer) -> None:
    """OpenID Connect Discovery section 4.3: the issuer named there must be the one in the tokens."""
    document = await (await client.get(DISCOVERY_PATH)).json()
    keys = await (await client.get(CERTS_PATH)).json()

    assert document["issuer"] == issuer.issuer
    assert document["jwks_uri"].endswith(CERTS_PATH)
    assert document["token_endpoint"].endswith(TOKEN_PATH)
    assert keys == issuer.jwks()


def _refresh_form(token: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": token}
