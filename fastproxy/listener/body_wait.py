"""A request body that is kept until a filter has all of it, or enough to refuse it."""

import asyncio

from fastproxy.http.messages import Request

# Pieces that may be small, chunks of one byte for instance, are brought together by this number: what a piece costs
# beside its bytes would otherwise be a multiple of the limit that the filter set.
_PIECES = 1024


class BodyWait:
    """One filter's wait for one request's body. Made and waited for in a task, ended by the connection."""

    __slots__ = ("_future", "_joined", "_limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._joined = 0
        """How many of the first pieces have been brought together already."""
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(self, request: Request) -> bool:
        """Look at what the last read brought; says whether the wait is over."""
        pieces = request.waiting_body
        if len(pieces) - self._joined > _PIECES:
            pieces[self._joined :] = [b"".join(pieces[self._joined :])]
            self._joined += 1
        if not request.body_complete and request.bytes_received <= self._limit_bytes:
            return False
        if not self._future.done():
            self._future.set_result(None)
        return True

    async def end(self) -> None:
        """Return when the wait is over."""
        await self._future
