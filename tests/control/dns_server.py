"""A name server for tests: real datagrams, answers from a table, every question written down (RFC 1035)."""

import asyncio
import ipaddress
from dataclasses import dataclass, field
from typing import cast

_TYPES = {1: "A", 28: "AAAA"}
SERVFAIL, NXDOMAIN = 2, 3


@dataclass(slots=True)
class Zone:
    """What the server knows; change it while the server runs."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Addresses by name and type."""
    ttl_s: int = 60
    failing: bool = False
    """Answer everything with SERVFAIL."""
    silent: bool = False
    """Answer nothing."""
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, query: bytes) -> bytes | None:
        """Answer one message."""
        end = 12
        labels = []
        while query[end]:
            labels.append(query[end + 1 : end + 1 + query[end]].decode().lower())
            end += query[end] + 1
        question = query[12 : end + 5]
        number = int.from_bytes(question[-4:-2], "big")
        name, kind = ".".join(labels), _TYPES.get(number, str(number))
        self.asked.append((name, kind))
        if self.silent:
            return None
        found = [] if self.failing else self.records.get((name, kind), [])
        known = any(one == name for one, _ in self.records)
        code = SERVFAIL if self.failing else 0 if known else NXDOMAIN
        head = query[:2] + bytes((0x81, 0x80 | code)) + b"\0\1" + len(found).to_bytes(2, "big") + bytes(4)
        return head + question + b"".join(self._record(number, address) for address in found)

    def _record(self, number: int, address: str) -> bytes:
        data = ipaddress.ip_address(address).packed
        fixed = number.to_bytes(2, "big") + b"\0\1" + self.ttl_s.to_bytes(4, "big")
        return b"\xc0\x0c" + fixed + len(data).to_bytes(2, "big") + data


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._zone.answer(data)
        if answer is not None:
            self._transport.sendto(answer, addr)


class DnsServer:
    """Serves a zone on loopback, by UDP and TCP on one port: `async with DnsServer() as server`."""

    def __init__(self, zone: Zone | None = None) -> None:
        self.zone = zone or Zone()
        self.port = 0
        self.tcp_questions = 0

    @property
    def address(self) -> str:
        """`ip:port`."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> "DnsServer":
        loop = asyncio.get_running_loop()
        for _ in range(20):
            # A port that is free for one protocol need not be for the other.
            self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", 0)
            self.port = self._tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Udp(self.zone), local_addr=("127.0.0.1", self.port)
                )
                break
            except OSError:
                self._tcp.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                self.tcp_questions += 1
                answer = self.zone.answer(await reader.readexactly(length))
                if answer is not None:
                    writer.write(len(answer).to_bytes(2, "big") + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
