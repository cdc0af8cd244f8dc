"""FastProxy behind which real identity providers stand, reached through TLS with a private CA.

Whatever a provider does that the tests with keys of their own did not think of shows here.
"""

import json
from urllib.parse import urlencode

import pytest

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import RunningProxy
from tests.e2e.support.tokens import RsaKey, encode_segment, tampered
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import Downstream, encode_request
from tests.providers.support.identity_provider import IdentityProvider, claims_of, header_of
from tests.providers.support.private_ca import PrivateCa
from tests.providers.support.proxy import ask, ask_until, fetches, provider_template, wait_for_failed_fetch

_UNKNOWN_KEY = b"Jwks doesn't have key to match kid or alg from Jwt"


@pytest.fixture
def proxy(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    provider: IdentityProvider,
    authority: PrivateCa,
) -> RunningProxy:
    """FastProxy with the keys of the provider."""
    return start_fastproxy(provider_template(upstream, provider, authority.certificate_file))


def test_a_token_of_the_provider_passes_and_its_claims_reach_the_upstream(
    proxy: RunningProxy, provider: IdentityProvider, upstream: ScriptedUpstream
) -> None:
    """What a provider really puts into a token is more than what the standard asks for."""
    token = provider.token()

    assert ask(proxy, token).status == 200
    assert ask(proxy, token).status == 200

    (payload,) = {value for seen in upstream.take_requests() for value in seen.values(b"x-jwt-payload")}
    assert payload.decode() == token.split(".")[1]
    assert claims_of(token)["iss"] == provider.issuer == provider.metadata()["issuer"]
    assert fetches(proxy, "success") == 1


def test_the_keys_are_found_by_the_metadata_of_the_provider(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    provider: IdentityProvider,
    authority: PrivateCa,
) -> None:
    """OpenID Connect Discovery: the issuer is all that an operator has to write down."""
    template = provider_template(upstream, provider, authority.certificate_file, discovery=True)
    proxy = start_fastproxy(template)

    assert ask(proxy, provider.token()).status == 200
    provider.rotate()
    assert ask(proxy, provider.token()).status == 200


def test_a_changed_token_is_refused(
    proxy: RunningProxy, provider: IdentityProvider, upstream: ScriptedUpstream
) -> None:
    """Claims and signature hang together, also right after the sound token was seen."""
    token = provider.token()
    assert ask(proxy, token).status == 200
    upstream.take_requests()
    header, _, signature = token.split(".")
    promoted = encode_segment(json.dumps({**claims_of(token), "sub": "admin"}).encode())

    for forged in (tampered(token), f"{header}.{promoted}.{signature}"):
        response = ask(proxy, forged)
        assert (response.status, response.body) == (401, b"Jwt verification fails")
        assert b'error="invalid_token"' in (response.value(b"www-authenticate") or b"")
    assert not upstream.take_requests()


def test_a_token_of_somebody_else_with_the_providers_key_id_is_refused(
    proxy: RunningProxy, provider: IdentityProvider
) -> None:
    """Everything about a token but its signature can be copied."""
    token = provider.token()
    impostor = RsaKey(header_of(token)["kid"])

    response = ask(proxy, impostor.issue(claims_of(token)))

    assert (response.status, response.body) == (401, b"Jwt verification fails")


def test_a_token_is_refused_once_it_has_expired(proxy: RunningProxy, provider: IdentityProvider) -> None:
    """The provider's clock and the proxy's are two, and so are the token's life and that of its verdict (S30)."""
    token = provider.token(life_s=1)

    response = ask_until(proxy, token, 401)

    assert response.body == b"Jwt is expired"


def test_a_token_for_another_audience_is_refused(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    provider: IdentityProvider,
    authority: PrivateCa,
) -> None:
    """One provider serves many services, and their tokens are not each other's."""
    template = provider_template(upstream, provider, authority.certificate_file, audience="payroll")
    proxy = start_fastproxy(template)

    response = ask(proxy, provider.token())

    assert (response.status, response.body) == (403, b"Audiences in Jwt are not allowed")
    assert not upstream.take_requests()


def test_s31_after_a_rotation_new_tokens_pass_at_once_and_old_ones_do_not(
    proxy: RunningProxy, provider: IdentityProvider
) -> None:
    """The first token of the new key waits for one fetch; that fetch takes the old key's verdicts with it."""
    old = provider.token()
    assert ask(proxy, old).status == 200
    provider.rotate()
    assert ask(proxy, old).status == 200, "nothing has told the proxy of the rotation yet"

    new = provider.token()
    assert header_of(new)["kid"] != header_of(old)["kid"]
    assert ask(proxy, new).status == 200

    refused = [ask(proxy, old) for _ in range(5)]
    assert {(one.status, one.body) for one in refused} == {(401, _UNKNOWN_KEY)}
    assert fetches(proxy, "success") == 2


def test_s41_known_keys_go_on_working_while_the_provider_is_down(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    provider: IdentityProvider,
    authority: PrivateCa,
) -> None:
    """Tokens that were issued before the outage are good, seen before or not."""
    template = provider_template(upstream, provider, authority.certificate_file, cache_duration="1s")
    proxy = start_fastproxy(template)
    seen, unseen = provider.token(), provider.token()
    assert ask(proxy, seen).status == 200

    provider.stop()
    wait_for_failed_fetch(proxy)

    assert ask(proxy, seen).status == 200
    assert ask(proxy, unseen).status == 200
    forged = ask(proxy, tampered(unseen))
    assert (forged.status, forged.body) == (401, b"Jwt verification fails")


@pytest.mark.parametrize("mistake", ["another authority", "another name"])
def test_s39_a_provider_that_cannot_be_trusted_means_503_and_the_log_says_why(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    provider: IdentityProvider,
    authority: PrivateCa,
    mistake: str,
) -> None:
    """The token was not judged: 401 would send its owner to sign in again, over and over."""
    stranger = PrivateCa("another-ca", authority.certificate_file.parent)
    template = {
        "another authority": provider_template(upstream, provider, stranger.certificate_file),
        "another name": provider_template(
            upstream, provider, authority.certificate_file, sni="sso.company.test"
        ),
    }[mistake]
    proxy = start_fastproxy(template)
    token = provider.token()

    for candidate in (token, token, tampered(token)):
        response = ask(proxy, candidate)
        assert (response.status, response.body) == (503, b"Jwks remote fetch is failed")
        assert int(response.value(b"retry-after") or 0) > 0
        assert response.value(b"www-authenticate") is None

    assert not upstream.take_requests()
    assert "certificate refused" in proxy.log()
    expected = {"another authority": "unable to get local issuer", "another name": "sso.company.test"}[
        mistake
    ]
    assert expected in proxy.log()


def test_s53_no_token_and_no_secret_appears_in_the_log_or_the_admin(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    provider: IdentityProvider,
    authority: PrivateCa,
) -> None:
    """Also when the sign-in itself goes through the proxy, and the client shows its credentials there."""
    template = provider_template(upstream, provider, authority.certificate_file)
    proxy = start_fastproxy(template, "-l", "debug")
    token = sign_in_through(proxy, provider)
    assert ask(proxy, token).status == 200
    assert ask(proxy, tampered(token)).status == 401
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", f"/birds?access_token={token}"))
        assert downstream.read_response().status == 200
    provider.rotate()
    assert ask(proxy, provider.token()).status == 200

    pages = [proxy.admin(path)[1] for path in ("/stats", "/config_dump", "/jwks", "/clusters")]
    # Its end writes what the access log still holds back.
    assert proxy.stop() == 0
    log = proxy.log()

    assert "/birds" in log, "there is no access log to look at"
    _, payload, signature = token.split(".")
    for text in (log, *pages):
        for secret in (payload, signature[:40], *provider.secrets):
            assert secret not in text


def sign_in_through(proxy: RunningProxy, provider: IdentityProvider) -> str:
    """A token of the provider, asked for through the proxy."""
    request = provider.token_request()
    body = urlencode(request.form).encode()
    with Downstream(proxy.ports["plain"]) as downstream:
        wire = encode_request(
            "POST",
            provider.token_path,
            ("content-type", "application/x-www-form-urlencoded"),
            *request.headers.items(),
            body=body,
        )
        downstream.send(wire)
        response = downstream.read_response(b"POST")
    assert response.status == 200, response
    return str(json.loads(response.body)["access_token"])
