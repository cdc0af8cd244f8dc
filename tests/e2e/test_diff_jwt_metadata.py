"""What `jwt_authn` writes into dynamic metadata and counts, as Envoy does: seen in access logs and statistics."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import require_peer
from tests.e2e.support.cases import CONTENDER
from tests.e2e.support.http_setup import SCRIPTS
from tests.e2e.support.jwt_algebra import AlgebraBook
from tests.e2e.support.proxies import (
    Config,
    ConfigTemplate,
    Ports,
    RunningProxy,
    admin_request,
    running_envoy,
    running_fastproxy,
)
from tests.e2e.support.templates import bootstrap, cluster, forward, jwt_authn, listener, rule, virtual_host
from tests.e2e.support.tokens import AUDIENCE, ISSUER, jwks
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import Downstream, encode_request, method_of

NAMESPACE = "envoy.filters.http.jwt_authn"
_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_FIELDS = {
    "code": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "sub": f"%DYNAMIC_METADATA({NAMESPACE}:payload:sub)%",
    "scope": f"%DYNAMIC_METADATA({NAMESPACE}:payload:scope)%",
    "alg": f"%DYNAMIC_METADATA({NAMESPACE}:header:alg)%",
    "header": f"%DYNAMIC_METADATA({NAMESPACE}:header)%",
    "v": f"%DYNAMIC_METADATA({NAMESPACE}:payload:v)%",
    "mixed": f"v=%DYNAMIC_METADATA({NAMESPACE}:payload:v)%",
    "absent": f"%DYNAMIC_METADATA({NAMESPACE}:payload:absent)%",
    "failure": f"%DYNAMIC_METADATA({NAMESPACE}:failure)%",
}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two proxies, and its access log."""

    proxy: RunningProxy
    log: Path


@dataclass(frozen=True, slots=True)
class Sides:
    """Both proxies over one configuration."""

    envoy: Side
    contender: Side
    book: AlgebraBook


def template(upstream_port: int, book: AlgebraBook, log: Path) -> ConfigTemplate:
    """One provider that writes everything it can into metadata."""
    provider: Config = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": jwks(book.rsa.jwk())},
        "payload_in_metadata": "payload",
        "header_in_metadata": "header",
        "failed_status_in_metadata": "failure",
        "normalize_payload_in_metadata": {"space_delimited_claims": ["scope", "v"]},
    }
    filter_ = jwt_authn({"p": provider}, [rule({"prefix": "/open"}), rule({"prefix": "/"}, "p")])
    filter_["typed_config"] |= {"stat_prefix": "api", "bypass_cors_preflight": True}
    options: Config = {
        "access_log": [
            {
                "name": "file",
                "typed_config": {"@type": _LOG, "path": str(log), "log_format": {"json_format": _FIELDS}},
            }
        ]
    }

    def fill(ports: Ports) -> Config:
        hosts = [virtual_host("any", ["*"], [forward({"prefix": "/"})])]
        return bootstrap(
            ports["admin"],
            [listener("ingress", ports["ingress"], hosts, filters=[filter_], options=options)],
            [cluster("echo", upstream_port)],
        )

    return fill


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """Both proxies, running."""
    require_peer("envoy")
    book = AlgebraBook()
    directory = tmp_path_factory.mktemp("metadata")
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(SCRIPTS))
        logs = [directory / "one.log", directory / "two.log"]
        templates = [template(upstream.port, book, log) for log in logs]
        second = directory / "second"
        second.mkdir()
        start = running_envoy if CONTENDER == "envoy" else running_fastproxy
        envoy = stack.enter_context(running_envoy(templates[0], ("ingress",), directory))
        contender = stack.enter_context(start(templates[1], ("ingress",), second))
        yield Sides(Side(envoy, logs[0]), Side(contender, logs[1]), book)


def play(side: Side, book: AlgebraBook, request: bytes) -> dict[str, object]:
    """Send a request; returns its access log line, which is written soon after the answer."""
    seen = len(side.log.read_text().splitlines()) if side.log.exists() else 0
    with Downstream(side.proxy.ports["ingress"]) as downstream:
        downstream.send(book.fill(request))
        downstream.read_responses([method_of(request)])
    # Both write their log when it is reopened, at the latest.
    admin_request(side.proxy.ports["admin"], "/reopen_logs", "POST")
    lines: list[str] = []
    for _ in range(2000):
        lines = side.log.read_text().splitlines() if side.log.exists() else []
        if len(lines) > seen:
            break
        admin_request(side.proxy.ports["admin"], "/ready")
    found: dict[str, object] = json.loads(lines[-1])
    return found


def get(token: str, path: str = "/x") -> bytes:
    return encode_request("GET", path, ("Authorization", f"Bearer <<{token}>>"))


@pytest.mark.parametrize(
    "token",
    [
        "alice", "no-sub", "expired", "bad", "claim-text", "claim-spaces-inside", "claim-leading-space",
        "claim-unicode", "claim-int", "claim-float", "claim-negative", "claim-true", "claim-null", "claim-list",
        "claim-object", "claim-list-mixed", "claim-empty", "a-foreign",
    ],
)  # fmt: skip
def test_metadata_in_the_access_log(sides: Sides, token: str) -> None:
    """Later filters and dashboards go by it."""
    request = get(token)
    assert play(sides.contender, sides.book, request) == play(sides.envoy, sides.book, request)


@pytest.mark.parametrize("path", ["/x", "/open/x"])
def test_metadata_of_a_request_without_token(sides: Sides, path: str) -> None:
    """A missing token has a status as well; an open path has none."""
    request = encode_request("GET", path)
    assert play(sides.contender, sides.book, request) == play(sides.envoy, sides.book, request)


def counters(side: Side) -> dict[str, int]:
    status, text = admin_request(side.proxy.ports["admin"], "/stats?filter=jwt_authn")
    assert status == 200
    found = dict(line.split(": ") for line in text.splitlines() if ": " in line)
    return {
        name.removeprefix("http.ingress.jwt_authn.api."): int(value)
        for name, value in found.items()
        if name.endswith((".allowed", ".denied", ".cors_preflight_bypassed"))
    }


def test_counters(sides: Sides) -> None:
    """Names with `stat_prefix`, and what is counted as allowed."""
    before = [counters(side) for side in (sides.envoy, sides.contender)]
    requests = [
        get("alice"),
        get("bad"),
        encode_request("GET", "/open/x"),
        encode_request("OPTIONS", "/x", ("origin", "https://a"), ("access-control-request-method", "PUT")),
    ]
    for side in (sides.envoy, sides.contender):
        for request in requests:
            play(side, sides.book, request)
    after = [counters(side) for side in (sides.envoy, sides.contender)]
    changes = [
        {name: value - old.get(name, 0) for name, value in new.items()}
        for old, new in zip(before, after, strict=True)
    ]
    assert changes[0] == changes[1] == {"allowed": 3, "denied": 1, "cors_preflight_bypassed": 1}
