"""What only a certified OpenID provider does: several algorithms, overlapping keys, opaque tokens, many services."""

import pytest

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.upstream import ScriptedUpstream
from tests.providers.support.identity_provider import claims_of, header_of
from tests.providers.support.oidc_provider import ALGORITHMS, OTHER_RESOURCE, KeyPair, OidcProvider
from tests.providers.support.private_ca import PrivateCa
from tests.providers.support.proxy import ask, ask_until, fetches, provider_template

pytestmark = pytest.mark.peer("node", "oidc-provider")


def test_every_algorithm_of_the_provider_is_verified(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    oidc_provider: OidcProvider,
    authority: PrivateCa,
) -> None:
    """Its RSA key names no algorithm and signs with two: the key set alone does not say which to expect."""
    proxy = start_fastproxy(provider_template(upstream, oidc_provider, authority.certificate_file))

    for algorithm in ALGORITHMS:
        token = oidc_provider.ask_for_token(oidc_provider.token_request(algorithm=algorithm))
        assert header_of(token) | {"kid": ""} == {"alg": algorithm, "typ": "at+jwt", "kid": ""}
        assert ask(proxy, token).status == 200, algorithm

    assert fetches(proxy, "success") == 1


def test_keys_that_overlap_refuse_nobody_until_the_old_one_leaves(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    oidc_provider: OidcProvider,
    authority: PrivateCa,
) -> None:
    """The rotation that providers recommend: publish both, sign with the new one, withdraw the old one later."""
    template = provider_template(upstream, oidc_provider, authority.certificate_file, cache_duration="1s")
    proxy = start_fastproxy(template)
    first, second = oidc_provider.keys, KeyPair("second")
    old = oidc_provider.token()
    assert ask(proxy, old).status == 200

    oidc_provider.publish(second, first)
    new = oidc_provider.token()
    assert header_of(new)["kid"] == second.rsa.kid
    assert ask(proxy, new).status == 200
    assert ask(proxy, old).status == 200
    not_seen_before = first.rsa.issue(claims_of(old), typ="at+jwt")
    assert ask(proxy, not_seen_before).status == 200

    oidc_provider.publish(second)
    refused = ask_until(proxy, old, 401)
    assert refused.body == b"Jwks doesn't have key to match kid or alg from Jwt"
    assert ask(proxy, not_seen_before).status == 401
    assert ask(proxy, new).status == 200


def test_a_token_for_another_service_of_the_provider_is_refused(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    oidc_provider: OidcProvider,
    authority: PrivateCa,
) -> None:
    """Same issuer, same key, same client: `aud` is all that tells two services of one provider apart."""
    proxy = start_fastproxy(provider_template(upstream, oidc_provider, authority.certificate_file))
    token = oidc_provider.ask_for_token(oidc_provider.token_request(resource=OTHER_RESOURCE))

    response = ask(proxy, token)

    assert (response.status, response.body) == (403, b"Audiences in Jwt are not allowed")


def test_an_opaque_token_is_refused_for_its_form(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    oidc_provider: OidcProvider,
    authority: PrivateCa,
) -> None:
    """A client that forgot to name the resource: the answer must lead to that, and cause no fetch of keys."""
    proxy = start_fastproxy(provider_template(upstream, oidc_provider, authority.certificate_file))
    assert ask(proxy, oidc_provider.token()).status == 200
    token = oidc_provider.ask_for_token(oidc_provider.token_request(resource=""))

    response = ask(proxy, token)

    assert response.status == 401
    assert response.body == b"Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
    assert fetches(proxy, "success") == 1
