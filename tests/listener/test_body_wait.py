"""Waiting for a body costs about as much memory as the body."""

from fastproxy.http.messages import Request
from fastproxy.listener.body_wait import BodyWait


def arriving(request: Request, piece: bytes) -> None:
    """What the parser does with a piece."""
    request.waiting_body.append(piece)
    request.bytes_received += len(piece)


async def test_small_pieces_are_brought_together() -> None:
    """A million chunks of one byte would otherwise be forty megabytes."""
    request = Request(b"POST", b"/", {})
    wait = BodyWait(100_000)
    for number in range(50_000):
        arriving(request, b"%d" % (number % 10))
        assert not wait.look(request)
    assert len(request.waiting_body) < 1200
    assert b"".join(request.waiting_body) == b"0123456789" * 5000


async def test_the_wait_ends_once_with_the_body_or_above_the_limit() -> None:
    """Whatever comes first; later looks change nothing."""
    whole, large = Request(b"POST", b"/", {}), Request(b"POST", b"/", {})
    for request, wait in ((whole, BodyWait(2)), (large, BodyWait(2))):
        arriving(request, b"ab")
        assert not wait.look(request)
        if request is whole:
            request.body_complete = True
        else:
            arriving(request, b"c")
        assert wait.look(request)
        assert wait.look(request)
        await wait.end()
