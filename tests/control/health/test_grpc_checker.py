"""gRPC health checks against a real gRPC server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fastproxy.control.health.checkers import make_checker
from fastproxy.control.health.grpc_checker import decode_status, encode_varint
from fastproxy.control.health.state import CheckResult, FailureKind
from fastproxy.control.health.target import Target
from fastproxy.upstream.health.settings import GrpcCheckSettings, HealthCheckSettings
from fastproxy.upstream.settings import Address, UpstreamTlsSettings
from tests.config.support import cluster, load, minimal
from tests.control.health.support import INTERVALS
from tests.tls.pki import Authority, Issued

Behaviour = Callable[[bytes, Any], Awaitable[bytes]]


@asynccontextmanager
async def health_server(
    behaviour: Behaviour, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[int]:
    server = grpc.aio.server()
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(behaviour)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),)
    )
    place = "127.0.0.1:0"
    port = server.add_secure_port(place, credentials) if credentials else server.add_insecure_port(place)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def check(
    port: int, *, tls: UpstreamTlsSettings | None = None, hostname: str = "", **more: Any
) -> CheckResult:
    settings = HealthCheckSettings(GrpcCheckSettings(**more), 5.0, INTERVALS, 1, 1)
    target = Target(Address("127.0.0.1", port, hostname), "service", tls, alpn=("h2",))
    one = make_checker(settings, target)
    try:
        return await one.check()
    finally:
        await one.close()


async def test_service_is_asked_by_name_and_authority() -> None:
    """One server may serve many services."""
    asked = []

    async def behaviour(request: bytes, context: Any) -> bytes:
        asked.append((request, dict(context.invocation_metadata()).get("x-a")))
        return b"\x08\x01"

    async with health_server(behaviour) as port:
        assert (await check(port, service="orders", metadata=(("x-a", "1"),))).failure is None
        assert (await check(port)).failure is None
    assert asked == [(b"\x0a\x06orders", "1"), (b"", None)]


@pytest.mark.parametrize("answer", [b"", b"\x08\x00", b"\x08\x02", b"\x08\x03", b"\x12\x00", b"\x08"])
async def test_every_answer_but_serving_is_a_failure(answer: bytes) -> None:
    """Also one that is no answer at all."""

    async def behaviour(_request: bytes, _context: Any) -> bytes:
        return answer

    async with health_server(behaviour) as port:
        assert (await check(port)).failure is FailureKind.ACTIVE


async def test_unknown_service_is_an_answer_and_a_closed_port_is_none() -> None:
    """The first counts at once, the second up to the threshold."""

    async def behaviour(_request: bytes, context: Any) -> bytes:
        await context.abort(code, "nobody")
        raise AssertionError

    code = grpc.StatusCode.NOT_FOUND
    async with health_server(behaviour) as port:
        found = await check(port)
        code = grpc.StatusCode.UNAVAILABLE
        said = await check(port)
    assert (found.failure, found.reason) == (FailureKind.ACTIVE, "gRPC status NOT_FOUND")
    assert (said.failure, said.reason) == (FailureKind.ACTIVE, "gRPC status UNAVAILABLE")
    assert (await check(port)).failure is FailureKind.NETWORK


async def test_server_that_never_answers_is_given_up() -> None:
    """By the time limit of whoever calls."""

    async def behaviour(_request: bytes, _context: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with health_server(behaviour) as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await check(port)


async def serves(_request: bytes, _context: Any) -> bytes:
    return b"\x08\x01"


def tls_of(text: str) -> UpstreamTlsSettings:
    """What a cluster with such a `common_tls_context` and a gRPC check has."""
    socket = (
        "{name: tls, typed_config: {'@type': "
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, "
        f"sni: service.test, common_tls_context: {text}}}}}"
    )
    check = "{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, grpc_health_check: {}}"
    fields = f"health_checks: [{check}]\ntransport_socket: {socket}"
    (found,) = load(minimal(clusters=cluster(fields))).settings.clusters
    assert found.tls is not None
    assert found.health.checks[0].alpn == ("h2",)
    return found.tls


def trusts(path: Path, more: str = "") -> str:
    return f"{{validation_context: {{trusted_ca: {{filename: {path}}}{more}}}}}"


def credentials(shown: Issued, clients: Authority | None = None) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(shown.private_key, shown.chain)],
        root_certificates=None if clients is None else clients.pem,
        require_client_auth=clients is not None,
    )


_SAN = ", match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: NAME}}]"


@pytest.mark.parametrize(
    ("names", "more", "days", "reason"),
    [
        (("service.test",), "", 1, ""),
        (("other.test",), "", 1, "certificate refused"),
        (("service.test",), "", -1, "certificate refused"),
        (("other.test",), _SAN.replace("NAME", "other.test"), 1, ""),
        (("service.test",), _SAN.replace("NAME", "other.test"), 1, "certificate refused"),
        (("service.test",), ", verify_certificate_hash: [HASH]", 1, ""),
        (("service.test",), f", verify_certificate_hash: [{'ab' * 32}]", 1, "certificate refused"),
    ],
)
async def test_server_is_verified_as_for_requests(
    tmp_path: Path, names: tuple[str, ...], more: str, days: float, reason: str
) -> None:
    """An endpoint that requests would not reach must not look healthy, nor the other way round."""
    authority = Authority()
    shown = authority.issue(*names, days=days)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    tls = tls_of(trusts(tmp_path / "ca.pem", more.replace("HASH", shown.sha256)))
    async with health_server(serves, credentials(shown)) as port:
        result = await check(port, tls=tls)
    assert result.reason == reason
    assert result.failure is (FailureKind.NETWORK if reason else None)


async def test_client_certificate_is_shown_and_missed(tmp_path: Path) -> None:
    """Endpoints that ask for one are checked with the cluster's."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    chain, key = authority.issue("client").write(tmp_path, "client")
    trust = trusts(tmp_path / "ca.pem")[1:-1]
    pair = f"{{certificate_chain: {{filename: {chain}}}, private_key: {{filename: {key}}}}}"
    async with health_server(serves, credentials(authority.issue("service.test"), authority)) as port:
        shown = await check(port, tls=tls_of(f"{{{trust}, tls_certificates: [{pair}]}}"))
        missing = await check(port, tls=tls_of(f"{{{trust}}}"))
    assert shown.failure is None
    assert missing.failure is FailureKind.NETWORK


async def test_renewed_trust_is_used_by_the_next_connection(tmp_path: Path) -> None:
    """As for requests: the old authority is gone, and the check says so."""
    old, new = Authority("old"), Authority("new")
    path = tmp_path / "ca.pem"
    path.write_bytes(new.pem)
    renewed = tls_of(trusts(path))
    path.write_bytes(old.pem)
    tls = tls_of(trusts(path))
    async with health_server(serves, credentials(old.issue("service.test"))) as port:
        assert (await check(port, tls=tls)).failure is None
        tls.renew(renewed)
        assert (await check(port, tls=tls)).reason == "certificate refused"


def test_numbers_are_protobufs() -> None:
    """A service name of more than 127 bytes."""
    assert encode_varint(300) == b"\xac\x02"
    assert decode_status(b"\x08\xac\x02") == 300
    assert decode_status(b"\x08" + b"\xff" * 20) is None
