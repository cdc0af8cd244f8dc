"""The load generator for machines without wrk: slower than wrk, with the same result line.

`python -m bench.loader PORT CONNECTIONS SECONDS`, and the environment variables of wrk.lua.
"""

import asyncio
import json
import os
import ssl
import sys
from itertools import chain, repeat
from pathlib import Path
from typing import cast

import uvloop

from fastproxy.clock import monotonic


class LoaderConnection(asyncio.Protocol):
    """One connection that always has one request under way."""

    def __init__(self, run: "LoadRun") -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._sent_at = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        # uvloop's transports are no subclass of asyncio.Transport, and have all its methods.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy closed: that is a failure unless the run is over."""
        if not self._run.over.is_set():
            self._run.broken += 1
            self._run.stop()

    def data_received(self, data: bytes) -> None:
        """Count a complete answer and send the next request."""
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        at = head.find(b"\r\ncontent-length:")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < head_end + 4 + length:
            return
        self._run.latencies_s.append(monotonic() - self._sent_at)
        if not head.startswith(b"http/1.1 2"):
            self._run.bad_statuses += 1
        self._buffer = b""
        self._send()

    def _send(self) -> None:
        request = self._run.next_request()
        if request is None or self._transport is None:
            self._run.stop()
            return
        self._sent_at = monotonic()
        self._transport.write(request)


class LoadRun:
    """One run: its requests and what was measured."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.latencies_s: list[float] = []
        self.bad_statuses = 0
        self.broken = 0
        tokens_path = os.environ["BENCH_TOKENS"]
        tokens = Path(tokens_path).read_text().split() if tokens_path else [""]
        once = os.environ["BENCH_ONCE"] == "1"
        self._requests = map(_encode, tokens) if once else chain(repeat(_encode(tokens[0])))

    def next_request(self) -> bytes | None:
        """The next request; None when the tokens are used up or the time is."""
        return None if self.over.is_set() else next(self._requests, None)

    def stop(self) -> None:
        """End the run."""
        self.over.set()

    def result(self, seconds: float) -> dict[str, float]:
        """The same members as wrk.lua prints."""
        ordered = sorted(self.latencies_s) or [0.0]
        return {
            "requests": len(self.latencies_s),
            "seconds": seconds,
            "p50_us": ordered[len(ordered) // 2] * 1e6,
            "p99_us": ordered[len(ordered) * 99 // 100] * 1e6,
            "bad_statuses": self.bad_statuses,
            "broken": self.broken,
        }


def _encode(token: str) -> bytes:
    body = b"x" * int(os.environ["BENCH_BODY_BYTES"])
    lines = [f"{os.environ['BENCH_METHOD']} {os.environ['BENCH_PATH']} HTTP/1.1", "Host: bench.test"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _tls_context() -> ssl.SSLContext:
    """Like wrk's: whose certificate it is does not matter here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _run(port: int, connections: int, seconds: float) -> None:
    run = LoadRun()
    loop = asyncio.get_running_loop()
    tls = _tls_context() if os.environ["BENCH_TLS"] == "1" else None
    started = monotonic()
    loop.call_later(seconds, run.stop)
    pairs = [
        await loop.create_connection(lambda: LoaderConnection(run), "127.0.0.1", port, ssl=tls)
        for _ in range(connections)
    ]
    await run.over.wait()
    elapsed = monotonic() - started
    for transport, _ in pairs:
        transport.close()
    print("RESULT", json.dumps(run.result(elapsed)))


def main() -> None:
    """Run and print."""
    port, connections, seconds = sys.argv[1:4]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(int(port), int(connections), float(seconds)))


if __name__ == "__main__":
    main()
