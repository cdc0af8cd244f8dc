"""What is kept of a request body."""

import tracemalloc

from fastproxy.router.replay import ReplayBody


def test_everything_within_the_limit_is_kept() -> None:
    """In order, and in a list that the next try may change."""
    body = ReplayBody(5)
    body.add([b"a", b"bc"])
    body.add([])
    body.add([b"de"])

    body.copy().clear()

    assert (body.is_whole, b"".join(body.copy())) == (True, b"abcde")


def test_above_the_limit_nothing_is() -> None:
    """Half a body is of no use, and costs memory."""
    body = ReplayBody(5)
    told = [body.add([piece]) for piece in (b"abc", b"def", b"g")]

    assert told == [True, False, True], "told once"
    assert (body.is_whole, body.copy()) == (False, [])


def test_what_is_dropped_stays_dropped() -> None:
    """A later piece alone would be another body."""
    body = ReplayBody(5)
    body.add([b"a"])
    body.drop()
    body.add([b"b"])

    assert (body.is_whole, body.copy()) == (False, [])


def test_a_body_in_tiny_pieces_takes_little_more_than_its_bytes() -> None:
    """A downstream that sends chunks of two bytes must not cost twenty times what it sends."""
    size = 400_000
    body = ReplayBody(size)
    tracemalloc.start()
    try:
        for _ in range(size // 200):
            body.add([bytes([65 + number % 26, 66]) for number in range(100)])
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert body.is_whole
    assert taken < 2 * size
