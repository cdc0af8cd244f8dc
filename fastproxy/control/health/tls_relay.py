"""Lets libraries that make their own connections speak through one of ours.

The gRPC library has TLS of its own, which knows neither pins, nor names to match, nor revocation lists; and no library
sends a PROXY header. So they are given a socket without either, and what they say there goes through a connection that
is made and verified like every other one to the cluster.

The socket has a name that the kernel chooses, in the abstract namespace; whoever else on this machine connects to it is
refused, for behind it is the client certificate.
"""

import asyncio
import os
import socket
import ssl
import struct
from typing import Final

from fastproxy.control.health.connecting import open_streams, os_reason
from fastproxy.control.health.target import Target
from fastproxy.tasks import cancel_and_wait, spawn

_CHUNK_BYTES: Final = 16 * 1024
_CREDENTIALS: Final = struct.Struct("3i")


class TlsRelay:
    """A socket that leads to one endpoint."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure = ""
        """Why the last connection could not be made; empty if it could."""

    async def open(self) -> str:
        """Begin; returns the name of the socket, without the NUL byte of the abstract namespace.

        Raises:
            OSError: there are no sockets left.
        """
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # Linux: an empty name asks for one that is free.
            listening.bind("")
            name: bytes = listening.getsockname()
            self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=_CHUNK_BYTES)
        except BaseException:
            listening.close()
            raise
        return name[1:].decode()

    async def close(self) -> None:
        """End all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        await cancel_and_wait(*self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("socket")
        found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(found)[0] != os.getpid():
            writer.transport.abort()
            return
        task = spawn(self._relay(reader, writer), name="health check relay")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, out = await open_streams(self._target, limit_bytes=_CHUNK_BYTES)
        except ssl.SSLCertVerificationError:
            self.failure = "certificate refused"
        except ssl.SSLError:
            self.failure = "TLS handshake failed"
        except OSError as error:
            self.failure = os_reason(error)
        else:
            self.failure = ""
            self._writers.add(out)
            await asyncio.gather(_pump(reader, out), _pump(there, writer))
            self._end(out)
        finally:
            self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        self._writers.discard(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes; with its end both directions end."""
    try:
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()
