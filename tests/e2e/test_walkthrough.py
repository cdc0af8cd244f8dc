"""The first minutes of a new user: curl against a proxy that asks for a token."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from fastproxy.clock import unix_time
from tests.conftest import require_peer
from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.jwt_setup import json_answer
from tests.e2e.support.proxies import Config, Ports, RunningProxy
from tests.e2e.support.templates import (
    EVERYTHING_TO_ECHO,
    bootstrap,
    cluster,
    file_log,
    jwt_authn,
    listener,
    rule,
)
from tests.e2e.support.tokens import ISSUER, RsaKey, jwks, standard_claims, tampered
from tests.e2e.support.upstream import ScriptedUpstream


@pytest.fixture
def key() -> RsaKey:
    """The issuer's key."""
    return RsaKey("k")


@pytest.fixture
def access_log(tmp_path: Path) -> Path:
    """Where the proxy writes its access log."""
    return tmp_path / "access.log"


@pytest.fixture
def proxy(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream, key: RsaKey, access_log: Path
) -> RunningProxy:
    """A proxy in the manner of the demo: /docs is open, everything else needs a token."""
    upstream.paths["/certs"] = json_answer(jwks(key.jwk()).encode())
    provider = {
        "issuer": ISSUER,
        "forward_payload_header": "x-jwt-payload",
        "clock_skew_seconds": 1,
        "remote_jwks": {
            "http_uri": {"uri": "http://issuer.test/certs", "cluster": "echo", "timeout": "1s"},
            "cache_duration": {"seconds": 300},
        },
    }

    def template(ports: Ports) -> Config:
        filters = [jwt_authn({"p": provider}, [rule({"prefix": "/docs"}), rule({"prefix": "/"}, "p")])]
        options = {"access_log": [file_log(str(access_log))]}
        listeners = [listener("plain", ports["plain"], EVERYTHING_TO_ECHO, filters=filters, options=options)]
        return bootstrap(ports["admin"], listeners, [cluster("echo", upstream.port)])

    return start_fastproxy(template)


def curl(proxy: RunningProxy, path: str, token: str | None = None) -> tuple[int, str]:
    """Status and body, as curl shows them."""
    program = str(require_peer("curl"))
    auth = ["-H", f"Authorization: Bearer {token}"] if token else []
    url = f"http://127.0.0.1:{proxy.ports['plain']}{path}"
    command = [program, "-sS", "--max-time", "20", "-w", "\n%{http_code}", *auth, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.mark.peer("curl")
def test_the_walkthrough(proxy: RunningProxy, upstream: ScriptedUpstream, key: RsaKey) -> None:
    """Every line of the story, with the words that the reader is told to expect."""
    token = key.issue()
    expired = key.issue(standard_claims(exp=int(unix_time()) - 10))

    assert curl(proxy, "/docs") == (200, "ok")
    assert curl(proxy, "/users") == (401, "Jwt is missing")
    assert curl(proxy, "/users", tampered(token)) == (401, "Jwt verification fails")
    assert curl(proxy, "/users", expired) == (401, "Jwt is expired")
    upstream.take_requests()
    assert curl(proxy, "/users?query=a%20b", token) == (200, "ok")

    (seen,) = upstream.take_requests()
    assert seen.request_line == b"GET /users?query=a%20b HTTP/1.1"
    assert not seen.values(b"authorization")
    (payload,) = seen.values(b"x-jwt-payload")
    padded = payload + b"=" * (-len(payload) % 4)
    assert json.loads(base64.b64decode(padded, altchars=b"-_"))["preferred_username"] == "alice"


@pytest.mark.peer("curl")
def test_the_access_log_has_a_line_per_request_when_the_proxy_ends(
    proxy: RunningProxy, access_log: Path, key: RsaKey
) -> None:
    """The log is written in batches; an orderly end must not lose the last one."""
    assert curl(proxy, "/docs")[0] == 200
    assert curl(proxy, "/users")[0] == 401
    assert curl(proxy, "/users", key.issue())[0] == 200

    assert proxy.stop() == 0

    lines = access_log.read_text().splitlines()
    assert len(lines) == 3
    assert '"GET /docs HTTP/1.1" 200 - 0 2 ' in lines[0]
    assert '"GET /users HTTP/1.1" 401 - 0 14 ' in lines[1]
    assert '"GET /users HTTP/1.1" 200 - 0 2 ' in lines[2]


@pytest.mark.peer("curl")
def test_the_admin_tells_what_happened(proxy: RunningProxy, key: RsaKey) -> None:
    """The counters an operator looks at first, under Envoy's names."""
    assert curl(proxy, "/docs")[0] == 200
    assert curl(proxy, "/users")[0] == 401
    assert curl(proxy, "/users", key.issue())[0] == 200

    stats = dict(line.split(": ", 1) for line in proxy.admin("/stats")[1].splitlines() if ": " in line)
    assert stats["http.plain.downstream_rq_total"] == "3"
    assert stats["http.plain.downstream_rq_2xx"] == "2"
    assert stats["http.plain.downstream_rq_4xx"] == "1"
    assert stats["http.plain.jwt_authn.allowed"] == "2"
    assert stats["http.plain.jwt_authn.denied"] == "1"
    assert stats["cluster.echo.upstream_rq_200"] == "2"
    assert proxy.admin("/ready") == (200, "LIVE\n")
    assert "envoy_http_downstream_rq_total{" in proxy.admin("/stats/prometheus")[1]
    assert "echo::127.0.0.1:" in proxy.admin("/clusters")[1]
    assert json.loads(proxy.admin("/config_dump")[1])["configs"]
    assert json.loads(proxy.admin("/server_info")[1])["state"] == "LIVE"
    assert proxy.admin("/quitquitquit")[0] == 405
    assert proxy.admin("/quitquitquit", "POST") == (200, "OK\n")
    assert proxy.process.wait(20) == 0
