"""The pool of pipes: bounded, and never with a byte of one connection for the next."""

import fcntl
import os

import pytest

from fastproxy.listener.tcp_proxy.pipes import PIPE_BYTES, Pipe, PipePool


def take(pool: PipePool) -> Pipe:
    pipe = pool.take()
    assert pipe is not None
    return pipe


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_an_empty_pipe_is_lent_again() -> None:
    """Making one costs three system calls."""
    pool = PipePool()
    pipe = take(pool)
    pool.give_back(pipe, is_empty=True)
    assert take(pool) is pipe
    pool.give_back(pipe, is_empty=True)
    pool.close()
    assert not is_open(pipe.read_fd)


def test_a_pipe_with_bytes_in_it_is_closed() -> None:
    """They are of a connection that was cut, and would be sent to a stranger."""
    pool = PipePool()
    pipe = take(pool)
    os.write(pipe.write_fd, b"secret of one client")
    pool.give_back(pipe, is_empty=False)
    assert not is_open(pipe.read_fd)
    assert not is_open(pipe.write_fd)
    assert pool.lent == 0


def test_no_more_pipes_than_allowed_are_lent() -> None:
    """Each costs two file descriptors."""
    pool = PipePool(2)
    lent = [take(pool), take(pool)]
    assert pool.take() is None
    pool.give_back(lent.pop(), is_empty=True)
    assert pool.take() is not None
    for one in lent:
        one.close()
    pool.close()


def test_without_pipes_at_all_none_is_asked_for() -> None:
    """Everything is copied then."""
    assert PipePool(0).take() is None


def test_a_refusal_by_the_system_is_remembered_until_the_next_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file descriptors left: asking for each read would only cost."""
    asked: list[int] = []

    def refuse(flags: int) -> tuple[int, int]:
        asked.append(flags)
        raise OSError(24, "Too many open files")

    pool = PipePool()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pipe2", refuse)
        assert pool.take() is None
        assert pool.take() is None
        assert len(asked) == 1
    assert pool.take() is None
    pool.relax()
    pipe = take(pool)
    pool.give_back(pipe, is_empty=True)
    pool.close()


@pytest.mark.parametrize(("granted", "expected"), [(PIPE_BYTES, PIPE_BYTES), (262144, 262144), (4096, 0)])
def test_a_smaller_pipe_is_taken_unless_copying_moves_more(
    granted: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fs.pipe-user-pages-soft`: to a user with many pipes Linux refuses large ones."""

    def resize(_fd: int, _command: int, wanted: int) -> int:
        if wanted > granted:
            raise PermissionError
        return wanted

    monkeypatch.setattr(fcntl, "fcntl", resize)
    pool = PipePool()
    pipe = pool.take()
    assert (0 if pipe is None else pipe.capacity) == expected
    if pipe is not None:
        pool.give_back(pipe, is_empty=True)
    pool.close()
