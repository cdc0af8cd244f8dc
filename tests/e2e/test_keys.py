"""Keys from a key server: waiting for them, rotating them, and living through the server's outage."""

from collections.abc import Iterator

import pytest

from fastproxy.clock import monotonic
from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.jwt_setup import json_answer
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, RunningProxy
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, jwt_authn, listener, rule
from tests.e2e.support.tokens import ISSUER, RsaKey, jwks
from tests.e2e.support.upstream import Answer, ScriptedUpstream
from tests.e2e.support.wire import PATIENCE_S, Downstream, WireResponse, encode_request


@pytest.fixture(scope="module")
def first_key() -> RsaKey:
    """The key that the issuer signs with at first."""
    return RsaKey("first")


@pytest.fixture(scope="module")
def second_key() -> RsaKey:
    """The key that the issuer changes to."""
    return RsaKey("second")


@pytest.fixture
def key_server(first_key: RsaKey) -> Iterator[ScriptedUpstream]:
    """The issuer's key server."""
    with ScriptedUpstream(paths={"/certs": json_answer(jwks(first_key.jwk()).encode())}) as server:
        yield server


def keys_template(
    upstream: ScriptedUpstream, key_server_port: int, *, cache_duration: str = "300s", timeout: str = "5s"
) -> ConfigTemplate:
    """Everything needs a token of one issuer."""
    provider = {
        "issuer": ISSUER,
        "forward_payload_header": "x-jwt-payload",
        "remote_jwks": {
            "http_uri": {"uri": "http://issuer.test/certs?a=b", "cluster": "keys", "timeout": timeout},
            "cache_duration": cache_duration,
        },
    }

    def template(ports: Ports) -> Config:
        filters = [jwt_authn({"p": provider}, [rule({"prefix": "/"}, "p")])]
        listeners = [listener("plain", ports["plain"], EVERYTHING_TO_ECHO, filters=filters)]
        return bootstrap(
            ports["admin"], listeners, [cluster("echo", upstream.port), cluster("keys", key_server_port)]
        )

    return template


def ask(proxy: RunningProxy, token: str) -> WireResponse:
    """One request with this token."""
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/", ("authorization", f"Bearer {token}")))
        return downstream.read_response()


def ask_until(proxy: RunningProxy, token: str, status: int) -> WireResponse:
    """Ask again until the answer has this status; fails when it never has."""
    deadline = monotonic() + PATIENCE_S
    while (response := ask(proxy, token)).status != status:
        assert monotonic() < deadline, response
    return response


def test_requests_before_the_first_keys_wait_and_pass(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    key_server: ScriptedUpstream,
    first_key: RsaKey,
) -> None:
    """A restart of the proxy must not answer 401 to good tokens for the length of a fetch."""
    document = key_server.paths["/certs"]
    key_server.paths["/certs"] = Answer(document.parts, held=True)
    proxy = start_fastproxy(keys_template(upstream, key_server.port))
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/", ("authorization", f"Bearer {first_key.issue()}")))
        key_server.wait_until(lambda: bool(key_server.requests))
        assert not upstream.take_requests()

        key_server.release()

        assert downstream.read_response().status == 200


def test_the_key_server_sees_a_plain_get_for_the_uri(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    key_server: ScriptedUpstream,
    first_key: RsaKey,
) -> None:
    """Host is the authority of the `uri`, whatever address the cluster connects to; nothing of a request leaks."""
    proxy = start_fastproxy(keys_template(upstream, key_server.port))
    assert ask(proxy, first_key.issue()).status == 200

    (seen,) = key_server.take_requests()

    assert seen.request_line == b"GET /certs?a=b HTTP/1.1"
    assert seen.values(b"host") == [b"issuer.test"]
    assert not seen.values(b"authorization")
    assert not seen.values(b"cookie")


def test_a_key_server_that_is_down_answers_503_with_retry_after(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, first_key: RsaKey
) -> None:
    """The token was not judged, so 401 would be a lie that makes clients throw good tokens away."""
    proxy = start_fastproxy(keys_template(upstream, 1, timeout="1s"))

    response = ask(proxy, first_key.issue())

    assert response.status == 503
    assert int(response.value(b"retry-after") or 0) > 0
    assert response.value(b"www-authenticate") is None
    assert not upstream.take_requests()


def test_s42_forged_tokens_cannot_cause_503_once_keys_are_there(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    key_server: ScriptedUpstream,
    first_key: RsaKey,
) -> None:
    """Otherwise anybody could make the proxy look down, and monitoring would blame the issuer."""
    proxy = start_fastproxy(keys_template(upstream, key_server.port))
    assert ask(proxy, first_key.issue()).status == 200
    key_server.paths["/certs"] = Answer((b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",))
    stranger = RsaKey("first")

    statuses = {ask(proxy, stranger.issue()).status for _ in range(3)}
    unknown = {ask(proxy, stranger.issue(kid=f"made-up-{number}")).status for number in range(3)}

    assert statuses | unknown == {401}
    assert ask(proxy, first_key.issue()).status == 200


def test_s36_made_up_kids_cause_one_fetch(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    key_server: ScriptedUpstream,
    first_key: RsaKey,
) -> None:
    """The client chooses `kid`: a stream of made-up ones must not become a stream of requests to the issuer."""
    proxy = start_fastproxy(keys_template(upstream, key_server.port))
    assert ask(proxy, first_key.issue()).status == 200
    key_server.take_requests()

    statuses = [ask(proxy, first_key.issue(kid=f"made-up-{number}")).status for number in range(50)]

    assert statuses == [401] * 50
    assert len(key_server.take_requests()) == 1


def test_a_new_key_is_fetched_when_its_first_token_comes(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    key_server: ScriptedUpstream,
    first_key: RsaKey,
    second_key: RsaKey,
) -> None:
    """Envoy refuses tokens of a new key until `cache_duration` is over; here the first one waits for the refetch."""
    proxy = start_fastproxy(keys_template(upstream, key_server.port))
    assert ask(proxy, first_key.issue()).status == 200
    key_server.paths["/certs"] = json_answer(jwks(first_key.jwk(), second_key.jwk()).encode())

    assert ask(proxy, second_key.issue()).status == 200
    assert ask(proxy, first_key.issue()).status == 200


def test_s31_a_withdrawn_key_takes_its_cached_tokens_with_it(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    key_server: ScriptedUpstream,
    first_key: RsaKey,
    second_key: RsaKey,
) -> None:
    """A compromised key is of no use after the next refresh, also for a token that was seen before."""
    proxy = start_fastproxy(keys_template(upstream, key_server.port, cache_duration="1s"))
    token = first_key.issue()
    assert ask(proxy, token).status == 200
    assert ask(proxy, token).status == 200
    key_server.paths["/certs"] = json_answer(jwks(second_key.jwk()).encode())

    ask_until(proxy, token, 401)

    assert ask(proxy, second_key.issue()).status == 200


def test_s41_the_last_good_keys_serve_through_an_outage(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    key_server: ScriptedUpstream,
    first_key: RsaKey,
) -> None:
    """An issuer that is down, or that shows a sign-in page, must not take every service behind the proxy with it."""
    proxy = start_fastproxy(keys_template(upstream, key_server.port, cache_duration="1s"))
    assert ask(proxy, first_key.issue()).status == 200
    key_server.paths["/certs"] = json_answer(b"<html>maintenance</html>")
    key_server.take_requests()
    key_server.wait_until(lambda: len(key_server.requests) >= 2)

    assert ask(proxy, first_key.issue()).status == 200


def test_all_workers_share_one_fetch(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    key_server: ScriptedUpstream,
    first_key: RsaKey,
) -> None:
    """The issuer's load must not grow with the number of cores in front of it."""
    proxy = start_fastproxy(keys_template(upstream, key_server.port), "--concurrency", "2")

    statuses = {ask(proxy, first_key.issue()).status for _ in range(30)}

    assert statuses == {200}
    assert len(key_server.take_requests()) == 1


def test_s53_no_token_and_no_key_appears_in_the_log_or_the_admin(
    start_fastproxy: StartFastProxy,
    upstream: ScriptedUpstream,
    key_server: ScriptedUpstream,
    first_key: RsaKey,
) -> None:
    """Logs and admin pages are read by more people than may act as the user."""
    proxy = start_fastproxy(keys_template(upstream, key_server.port), "-l", "debug")
    token = first_key.issue()
    assert ask(proxy, token).status == 200
    assert ask(proxy, token[:-8] + "AAAAAAAA").status == 401
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", f"/?access_token={token}"))
        assert downstream.read_response().status == 200
        downstream.send(encode_request("GET", f"/?access_token={token[:-8]}AAAAAAAA"))
        assert downstream.read_response().status == 401

    pages = [
        proxy.admin(path)[1] for path in ("/stats", "/config_dump", "/jwks", "/clusters", "/server_info")
    ]

    signature = token.rpartition(".")[2][:40]
    payload = token.split(".")[1]
    for text in [proxy.log(), *pages]:
        assert signature not in text
        assert payload not in text
