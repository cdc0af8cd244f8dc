"""Keys from a watched file, from discovery and from the last run, through the whole proxy."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from fastproxy.clock import monotonic
from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.jwt_setup import json_answer
from tests.e2e.support.proxies import Config, ConfigTemplate, Ports, RunningProxy, workers_of
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, jwt_authn, listener, rule
from tests.e2e.support.tokens import ISSUER, RsaKey, hmac_jwk, issue_hmac, jwks, standard_claims
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import PATIENCE_S, Downstream, encode_request

NEW_SECRET = b"another secret, of forty-one bytes length"


def template(
    upstream: ScriptedUpstream, provider: dict[str, Any], *clusters: Config, **settings: object
) -> ConfigTemplate:
    """Everything needs a token of this provider; `settings` are those below `fastproxy.jwks`."""

    def fill(ports: Ports) -> Config:
        filters = [jwt_authn({"p": {"issuer": ISSUER, **provider}}, [rule({"prefix": "/"}, "p")])]
        listeners = [listener("plain", ports["plain"], EVERYTHING_TO_ECHO, filters=filters)]
        config = bootstrap(ports["admin"], listeners, [cluster("echo", upstream.port), *clusters])
        layer = {f"fastproxy.jwks.{name}": value for name, value in settings.items()}
        if layer:
            config["layered_runtime"] = {"layers": [{"name": "own", "static_layer": layer}]}
        return config

    return fill


def status(proxy: RunningProxy, token: str) -> int:
    """What one request with this token is answered with."""
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(encode_request("GET", "/", ("authorization", f"Bearer {token}")))
        return downstream.read_response().status


def wait_for(proxy: RunningProxy, token: str, expected: int) -> None:
    """Ask until 20 connections in a row, so every worker, answer with this status."""
    deadline = monotonic() + PATIENCE_S
    while {status(proxy, token) for _ in range(20)} != {expected}:
        assert monotonic() < deadline, proxy.log()


def shown_keys(proxy: RunningProxy) -> dict[str, Any]:
    """What /jwks says about the provider."""
    found: dict[str, Any] = json.loads(proxy.admin("/jwks")[1])["providers"][0]
    return found


def test_s4_symmetric_key_file_is_replaced_while_running(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """All workers switch, old tokens die, a broken file changes nothing, and a new worker has the same keys."""
    file = tmp_path / "jwks.json"
    file.write_text(jwks(hmac_jwk()))
    proxy = start_fastproxy(template(upstream, {"local_jwks": {"filename": str(file)}}), "--concurrency", "2")
    old, new = issue_hmac(), issue_hmac(secret=NEW_SECRET)
    assert (status(proxy, old), status(proxy, new)) == (200, 401)

    (tmp_path / "next").write_text(jwks(hmac_jwk(secret=NEW_SECRET)))
    (tmp_path / "next").replace(file)
    wait_for(proxy, new, 200)
    wait_for(proxy, old, 401)

    file.write_text("broken")
    before = workers_of(proxy)
    os.kill(before[0], signal.SIGKILL)
    deadline = monotonic() + PATIENCE_S
    while len(now := workers_of(proxy)) < 2 or now == before:
        assert monotonic() < deadline
    wait_for(proxy, new, 200)
    while shown_keys(proxy)["last_error"] is None:
        assert monotonic() < deadline

    assert status(proxy, new) == 200
    assert shown_keys(proxy)["epoch"] == 2
    assert "stay in force" in proxy.log()
    assert hmac_jwk(secret=NEW_SECRET)["k"] not in proxy.log()


def test_restart_during_an_outage_has_the_keys_of_the_last_run(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """A deployment must not depend on the identity provider being up at that moment."""
    key = RsaKey("a")
    folder = tmp_path / "snapshots"
    with ScriptedUpstream(paths={"/certs": json_answer(jwks(key.jwk()).encode())}) as server:
        provider = {
            "remote_jwks": {
                "http_uri": {"uri": "http://issuer.test/certs", "cluster": "keys", "timeout": "5s"}
            }
        }
        config = template(upstream, provider, cluster("keys", server.port), snapshot_dir=str(folder))
        proxy = start_fastproxy(config)
        assert status(proxy, key.issue()) == 200
        deadline = monotonic() + PATIENCE_S
        while not list(folder.glob("*.json")):
            assert monotonic() < deadline, proxy.log()
        proxy.stop()
        server.paths["/certs"] = json_answer(b"<html>maintenance</html>")
        proxy = start_fastproxy(config)

        assert status(proxy, key.issue()) == 200
        assert status(proxy, RsaKey("a").issue()) == 401
        assert shown_keys(proxy)["from_snapshot"] is True


def test_s38_issuer_alone_finds_its_keys(start_fastproxy: StartFastProxy, upstream: ScriptedUpstream) -> None:
    """By the metadata below it, and only if that names the same issuer."""
    key = RsaKey("a")
    with ScriptedUpstream(paths={"/certs": json_answer(jwks(key.jwk()).encode())}) as server:
        base = f"http://127.0.0.1:{server.port}"
        for realm, named in (("good", "good"), ("bad", "other")):
            metadata = {"issuer": f"{base}/{named}", "jwks_uri": f"{base}/certs"}
            path = f"/{realm}/.well-known/openid-configuration"
            server.paths[path] = json_answer(json.dumps(metadata).encode())
        good = start_fastproxy(template(upstream, {"issuer": f"{base}/good"}))
        bad = start_fastproxy(template(upstream, {"issuer": f"{base}/bad"}))

        assert status(good, key.issue(standard_claims(iss=f"{base}/good"))) == 200
        assert status(bad, key.issue(standard_claims(iss=f"{base}/bad"))) == 503
        assert shown_keys(good)["source"] == f"{base}/certs"
        assert "another issuer" in shown_keys(bad)["last_error"]
