"""Pipes for `splice`: the kernel moves bytes from a socket into a pipe and on to another socket, without copies.

A pipe costs two file descriptors, so only a direction with much to move holds one. The number is bounded, a few empty
ones are kept for the next, and whoever gets none copies. Always true: a pipe in the pool is empty. One that holds
bytes of a connection that was cut is closed, never lent again.
"""

import contextlib
import fcntl
import os

#: As much as Linux lets an ordinary process ask for (`fs.pipe-max-size`).
PIPE_BYTES = 1024 * 1024
#: A smaller pipe moves less at once than copying does. A user with many pipes gets small ones from Linux
#: (`fs.pipe-user-pages-soft`).
_SMALLEST_BYTES = 128 * 1024
#: Directions of one worker that hold a pipe at the same time; the rest copies.
_MAX_PIPES = 256
_KEPT_PIPES = 16
HAS_SPLICE = hasattr(os, "splice")


class Pipe:
    """An empty pipe, and how much it takes."""

    __slots__ = ("capacity", "read_fd", "write_fd")

    def __init__(self, read_fd: int, write_fd: int, capacity: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.capacity = capacity
        """Bytes."""

    def close(self) -> None:
        """Close both ends; what was inside is gone."""
        for fd in (self.read_fd, self.write_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


class PipePool:
    """The pipes of one worker."""

    __slots__ = ("_free", "_is_short", "_max_pipes", "lent")

    def __init__(self, max_pipes: int = _MAX_PIPES) -> None:
        self._max_pipes = max_pipes if HAS_SPLICE else 0
        self._free: list[Pipe] = []
        self._is_short = False
        """The system has refused: until `relax` nobody asks it again."""
        self.lent = 0

    def take(self) -> Pipe | None:
        """An empty pipe; None: there is none to be had now."""
        if self._free:
            self.lent += 1
            return self._free.pop()
        if self._is_short or self.lent >= self._max_pipes:
            return None
        pipe = _open_pipe()
        if pipe is None:
            self._is_short = True
        else:
            self.lent += 1
        return pipe

    def give_back(self, pipe: Pipe, *, is_empty: bool) -> None:
        """Take back what `take` gave; `is_empty`: nothing of any connection is left in it."""
        self.lent -= 1
        if is_empty and len(self._free) < _KEPT_PIPES:
            self._free.append(pipe)
        else:
            pipe.close()

    def relax(self) -> None:
        """Ask the system again when it is needed; called about once a second."""
        self._is_short = False

    def close(self) -> None:
        """Close those that nobody uses."""
        for pipe in self._free:
            pipe.close()
        self._free.clear()


def _open_pipe() -> Pipe | None:
    """Make a pipe; None if there are no file descriptors for it, or only a small one is to be had."""
    try:
        read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    capacity = 0
    for wanted in (PIPE_BYTES, PIPE_BYTES // 4, _SMALLEST_BYTES):
        try:
            capacity = fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, wanted)
        except OSError:
            continue
        break
    pipe = Pipe(read_fd, write_fd, capacity)
    if capacity < _SMALLEST_BYTES:
        pipe.close()
        return None
    return pipe
