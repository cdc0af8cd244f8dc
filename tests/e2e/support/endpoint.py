"""An endpoint as a process of its own, to be killed, stopped and misled.

    python -P endpoint.py HOST PORT LOG [CHAIN KEY]

A word on its standard input says how it behaves from then on; `certificate CHAIN KEY` shows another certificate to
whoever connects from then on, and `deaf` lets nobody connect any more. It answers on standard output when that is so.
`head ID` is appended to LOG when the head of a request has arrived, `whole ID` when all of it has, before anything else
happens; the ID is the value of `x-id`.
"""

import asyncio
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from pathlib import Path

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_LAST = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"


class Endpoint:
    """Serves on one port, well or badly."""

    def __init__(self, log: Callable[[bytes], object], tls: ssl.SSLContext | None) -> None:
        self.mode = "well"
        self._log = log
        self._tls = tls
        self.stop_listening: Callable[[], object] = lambda: None

    def obey(self, command: str) -> None:
        """Behave like this from now on."""
        word, *paths = command.split()
        if word == "certificate":
            assert self._tls is not None
            self._tls.load_cert_chain(*paths)
        elif word == "deaf":
            self.stop_listening()
        else:
            self.mode = word

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until one side has had enough."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                number = fields.get(b"x-id", b"-")
                self._log(b"head " + number + b"\n")
                await _read_body(reader, fields)
                self._log(b"whole " + number + b"\n")
                if not await self._answer(writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        if self.mode == "hang":
            await asyncio.Event().wait()
        if self.mode == "slow":
            await asyncio.sleep(2)
        if self.mode == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if self.mode == "close":
            return False
        if self.mode == "last":
            writer.write(_LAST)
            return False
        writer.write(_UNAVAILABLE if self.mode == "503" else _OK)
        return True


async def _read_body(reader: asyncio.StreamReader, fields: dict[bytes, bytes]) -> None:
    if fields.get(b"transfer-encoding") != b"chunked":
        await reader.readexactly(int(fields.get(b"content-length", b"0")))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


async def main(host: str, port: str, path: str, *pair: str) -> None:
    """Serve until standard input ends."""
    tls = None
    if pair:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*pair)
    with Path(path).open("ab", buffering=0) as log:
        endpoint = Endpoint(log.write, tls)
        server = await asyncio.start_server(endpoint.serve, host, int(port), ssl=tls)
        endpoint.stop_listening = server.close
        loop = asyncio.get_running_loop()
        # Handshakes that clients give up are what this is for.
        loop.set_exception_handler(lambda *_: None)
        async with server:
            print(server.sockets[0].getsockname()[1], flush=True)
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                endpoint.obey(line)
                print(line.strip(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
