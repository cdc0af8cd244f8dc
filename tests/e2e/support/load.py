"""Load that notices every lost request: keep-alive connections and new ones mixed, nothing is retried."""

import asyncio
from dataclasses import dataclass, field

#: A request of a proxy that is busy with a reload may take a moment; one that is lost never ends.
_ANSWER_S = 20.0


@dataclass(slots=True)
class LoadReport:
    """What became of the requests."""

    answered: int = 0
    refused: int = 0
    """Connections that could not be made."""
    failures: list[str] = field(default_factory=list)
    """Every request without the right answer."""
    bodies: set[bytes] = field(default_factory=set)


class LoadClient:
    """Sends requests to one port until it is told to stop.

    Args:
        port: of the proxy.
        keep_alive: connections that are used again and again, as long as the proxy allows.
        fresh: clients that open a connection for every request.
        path: what is asked for.
        pause_s: between two requests of one client.
    """

    def __init__(
        self, port: int, *, keep_alive: int = 4, fresh: int = 2, path: str = "/", pause_s: float = 0.002
    ) -> None:
        self.report = LoadReport()
        self._port = port
        self._kinds = [True] * keep_alive + [False] * fresh
        self._pause_s = pause_s
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._request = f"GET {path} HTTP/1.1\r\nhost: load\r\n".encode()

    async def __aenter__(self) -> "LoadClient":
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run(keep_alive=kind)) for kind in self._kinds]
        await self.answered(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Let every client finish its request, and end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def answered(self, more: int) -> None:
        """Wait until so many more requests were answered."""
        wanted = self.report.answered + more
        while self.report.answered < wanted:
            await asyncio.sleep(0.005)

    async def _run(self, *, keep_alive: bool) -> None:
        while not self._stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError as error:
                self.report.refused += 1
                self.report.failures.append(f"connect: {error}")
                await asyncio.sleep(0.01)
                continue
            try:
                await self._use(reader, writer, keep_alive=keep_alive)
            finally:
                writer.close()

    async def _use(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep_alive: bool
    ) -> None:
        while not self._stopping:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    closes = await self._exchange(reader, writer, keep_alive=keep_alive)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self.report.failures.append(f"{'kept' if keep_alive else 'new'}: {error!r}")
                return
            if closes or not keep_alive:
                return
            await asyncio.sleep(self._pause_s)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep_alive: bool
    ) -> bool:
        """Send a request and read its answer; whether the proxy then closes."""
        writer.write(self._request + (b"\r\n" if keep_alive else b"connection: close\r\n\r\n"))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200 "):
            raise ValueError(head.partition(b"\r\n")[0].decode())
        length = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
        self.report.bodies.add(await reader.readexactly(length))
        self.report.answered += 1
        return b"\r\nconnection: close" in head
