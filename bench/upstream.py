"""The upstream of the benchmarks: as little work per request as Python allows, so that it is not what is measured.

`python -m bench.upstream PORT` answers every request with 200 and a small JSON body, on uvloop and httptools.
"""

import asyncio
import sys

import httptools
import uvloop

_BODY = b'{"birds":[{"name":"coot","position":[52.1,11.6]}]}'
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


class UpstreamProtocol:
    """One connection."""

    __slots__ = ("_parser", "_transport")

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._transport = None

    def eof_received(self) -> bool:
        """Called by the event loop."""
        return False

    def pause_writing(self) -> None:
        """Called by the event loop; answers are too small to care."""

    def resume_writing(self) -> None:
        """Called by the event loop."""

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if data.startswith(b"GET ") and data.endswith(b"\r\n\r\n"):
            # A whole request: the proxies do not pipeline, and send the head in one write. Without this shortcut
            # upstream and load generator, which share a core, are slower than what they are to measure.
            self.on_message_complete()
        else:
            self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self._transport is not None:
            self._transport.write(_ANSWER)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    # uvloop asks for the methods only, not for a subclass of asyncio.Protocol.
    server = await loop.create_server(UpstreamProtocol, "127.0.0.1", port, backlog=1024)  # type: ignore[arg-type]  # ditto
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
