"""Reading into a shared buffer loses and mixes nothing; large buffers lie on pages of their own."""

import asyncio
import ctypes
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

from fastproxy.large_reads import SharedBufferProtocol
from tests.config.test_upstream_tls import make_pair

_MAPPED = """
import ctypes
from fastproxy.large_reads import keep_large_buffers_apart

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

c = ctypes.CDLL(None)
c.mallinfo2.restype = Info
c.malloc.restype = ctypes.c_void_p
c.free.argtypes = [ctypes.c_void_p]
assert keep_large_buffers_apart()
# From a freed mapping the C library would learn to take such sizes from the heap.
c.free(c.malloc(1024 * 1024))
before = c.mallinfo2().hblks
c.malloc(256 * 1024)
assert c.mallinfo2().hblks == before + 1
c.malloc(256_000)
assert c.mallinfo2().hblks == before + 1
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs the GNU C library")
def test_buffers_of_tls_connections_are_mapped_and_plain_reads_are_not() -> None:
    """Also after a larger block was freed; in a process of its own, for the setting is for good."""
    subprocess.run([sys.executable, "-c", _MAPPED], check=True)


class _Echo:
    """Sends back what it gets, and pauses reading after every piece."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self.sizes: list[int] = []

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self.sizes.append(len(data))
        self._transport.write(data)
        self._transport.pause_reading()
        asyncio.get_running_loop().call_soon(self._transport.resume_reading)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is held."""

    def pause_writing(self) -> None:
        """The test reads all the time."""

    def resume_writing(self) -> None:
        """Nothing was paused."""


async def _echo(port: int, context: ssl.SSLContext, letter: bytes, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    sent = b"".join(letter + number.to_bytes(4, "big") for number in range(size // 5))
    writer.write(sent)
    assert await reader.readexactly(len(sent)) == sent
    writer.close()
    await writer.wait_closed()


def test_many_tls_connections_share_the_buffer_and_mix_nothing(tmp_path: Path) -> None:
    """More than the buffer holds, from several at once, with pauses in the middle."""
    chain, key = make_pair(tmp_path)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(chain, key)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.load_verify_locations(chain)
    echoes: list[_Echo] = []

    def accept() -> SharedBufferProtocol:
        echoes.append(_Echo())
        return SharedBufferProtocol(echoes[-1])

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(accept, "127.0.0.1", 0, ssl=server_context)  # type: ignore[arg-type]  # by shape
        port = server.sockets[0].getsockname()[1]
        async with asyncio.TaskGroup() as group:
            for letter in (b"a", b"b", b"c", b"d"):
                group.create_task(_echo(port, client_context, letter, 1_000_000))
        server.close()
        await server.wait_closed()

    uvloop.run(run())
    assert [sum(echo.sizes) for echo in echoes] == [1_000_000] * 4
    assert max(size for echo in echoes for size in echo.sizes) <= 64 * 1024
