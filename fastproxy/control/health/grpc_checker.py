"""`grpc_health_check`: asks `grpc.health.v1.Health/Check`, over HTTP/2.

The two messages have one field each, so they are written and read here rather than by generated code.
"""

from typing import Any, Final

import grpc
import grpc.aio

from fastproxy.control.health.state import CheckResult, FailureKind
from fastproxy.control.health.target import Target
from fastproxy.control.health.tls_relay import TlsRelay
from fastproxy.upstream.health.settings import GrpcCheckSettings
from fastproxy.upstream.settings import Address

_METHOD: Final = "/grpc.health.v1.Health/Check"
#: An honest answer has two bytes.
_MAX_ANSWER_BYTES: Final = 4096
_SERVING: Final = 1
#: What the library says when the peer could not be reached, or gave up; everything else is an answer.
_NO_ANSWER: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


class GrpcChecker:
    """Asks one endpoint for the health of one service."""

    def __init__(self, settings: GrpcCheckSettings, target: Target, *, reuse: bool) -> None:
        self._settings = settings
        self._target = target
        self._reuse = reuse
        self._channel: Any = None
        self._relay = TlsRelay(target) if target.tls is not None or target.announces is not None else None
        """Towards an endpoint with TLS or a PROXY header; open as long as the channel is."""
        name = settings.service.encode()
        self._request = b"\x0a" + encode_varint(len(name)) + name if name else b""

    async def check(self) -> CheckResult:
        """Ask once."""
        try:
            answer: bytes = await (await self._open()).unary_unary(_METHOD)(
                self._request, metadata=self._settings.metadata or None
            )
        except grpc.aio.AioRpcError as error:
            code = error.code()
            # An endpoint that says UNAVAILABLE itself has answered, and its connection stands.
            has_answered = (
                code not in _NO_ANSWER or self._channel.get_state() is grpc.ChannelConnectivity.READY
            )
            await self.close()
            if self._relay is not None and self._relay.failure:
                return CheckResult(FailureKind.NETWORK, reason=self._relay.failure)
            kind = FailureKind.ACTIVE if has_answered else FailureKind.NETWORK
            # Its details may quote the peer's bytes; the code says enough.
            return CheckResult(kind, reason=f"gRPC status {code.name}")
        except BaseException:
            await self.close()
            raise
        if not self._reuse:
            await self.close()
        status = decode_status(answer)
        if status == _SERVING:
            return CheckResult()
        return CheckResult(FailureKind.ACTIVE, reason="the service does not serve")

    async def close(self) -> None:
        """Close the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        if self._relay is not None:
            await self._relay.close()

    async def _open(self) -> Any:
        if self._channel is None:
            place = (
                _place(self._target.address)
                if self._relay is None
                else f"unix-abstract:{await self._relay.open()}"
            )
            options = (
                # What the server sees is TLS, and some servers check that.
                ("grpc.http2_scheme", "http" if self._target.tls is None else "https"),
                ("grpc.default_authority", self._target.authority(self._settings.authority)),
                ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
                ("grpc.enable_http_proxy", 0),
                ("grpc.enable_retries", 0),
                # A connection of its own, and no waiting between two attempts: the schedule is the check's.
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.primary_user_agent", "Envoy/HC"),
            )
            self._channel = grpc.aio.insecure_channel(place, options=options)
        return self._channel


def _place(address: Address) -> str:
    if address.is_pipe:
        abstract = address.host.startswith("@")
        return f"unix-abstract:{address.host[1:]}" if abstract else f"unix:{address.host}"
    # An address as it stands: nothing is resolved, no proxy of the environment is used.
    return f"ipv6:[{address.host}]:{address.port}" if ":" in address.host else f"ipv4:{address}"


def encode_varint(value: int) -> bytes:
    """Protobuf's form of an unsigned number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_status(answer: bytes) -> int | None:
    """The `status` of a `HealthCheckResponse`; 0 if it has none, None if the bytes are no such message."""
    status, at = 0, 0
    while at < len(answer):
        # Field 1, a number. There is no other field.
        if answer[at] != 0x08:
            return None
        value, shift = 0, 0
        while True:
            at += 1
            if at >= len(answer) or shift > 63:
                return None
            value |= (answer[at] & 0x7F) << shift
            shift += 7
            if answer[at] < 0x80:
                break
        status, at = value, at + 1
    return status
