"""The name server of `dns_server` for tests that do not run an event loop themselves."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.control.dns_server import DnsServer


@contextmanager
def dns_thread() -> Iterator[DnsServer]:
    """Serve in a thread until the block ends; the zone may be changed meanwhile."""
    ready, server = threading.Event(), DnsServer()
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await stopped.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        loop.close()
