"""An endpoint as a process of its own, to be killed, stopped and misled: `python -P endpoint.py PORT LOG`.

A word on its standard input says how it behaves from then on. It answers on standard output when that is so. The value
of `x-id` of every request that arrives completely is appended to LOG before anything else happens.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"


class Endpoint:
    """Serves on one port, well or badly."""

    def __init__(self, log: Callable[[bytes], object]) -> None:
        self.mode = "well"
        self._log = log

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until one side has had enough."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                await reader.readexactly(int(fields.get(b"content-length", b"0")))
                self._log(fields.get(b"x-id", b"-") + b"\n")
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
            return False
        if self.mode == "close":
            return False
        writer.write(_UNAVAILABLE if self.mode == "503" else _OK)
        return True


async def main(port: int, path: str) -> None:
    """Serve until standard input ends."""
    with Path(path).open("ab", buffering=0) as log:
        endpoint = Endpoint(log.write)
        server = await asyncio.start_server(endpoint.serve, "127.0.0.1", port)
        loop = asyncio.get_running_loop()
        async with server:
            print(server.sockets[0].getsockname()[1], flush=True)
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                endpoint.mode = line.strip()
                print(endpoint.mode, flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
