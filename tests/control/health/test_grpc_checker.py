"""gRPC health checks against a real gRPC server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from fastproxy.control.health.checkers import make_checker
from fastproxy.control.health.grpc_checker import decode_status, encode_varint
from fastproxy.control.health.state import CheckResult, FailureKind
from fastproxy.control.health.target import Target
from fastproxy.upstream.health.settings import GrpcCheckSettings, HealthCheckSettings
from fastproxy.upstream.settings import Address
from tests.control.health.support import INTERVALS

Behaviour = Callable[[bytes, Any], Awaitable[bytes]]


@asynccontextmanager
async def health_server(behaviour: Behaviour) -> AsyncIterator[int]:
    server = grpc.aio.server()
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(behaviour)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def check(port: int, **more: Any) -> CheckResult:
    settings = HealthCheckSettings(GrpcCheckSettings(**more), 5.0, INTERVALS, 1, 1)
    one = make_checker(settings, Target(Address("127.0.0.1", port), "service"))
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
        await context.abort(grpc.StatusCode.NOT_FOUND, "nobody")
        raise AssertionError

    async with health_server(behaviour) as port:
        found = await check(port)
    assert (found.failure, found.reason) == (FailureKind.ACTIVE, "gRPC status NOT_FOUND")
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


def test_numbers_are_protobufs() -> None:
    """A service name of more than 127 bytes."""
    assert encode_varint(300) == b"\xac\x02"
    assert decode_status(b"\x08\xac\x02") == 300
    assert decode_status(b"\x08" + b"\xff" * 20) is None
