"""A request body that is kept while it passes, to be sent again if it has to be."""

# Pieces are brought together by this number: a downstream chooses how small its chunks are, and each piece costs some
# forty bytes beside its own.
_PIECES = 1024


class ReplayBody:
    """All of a body so far, as long as it is within a limit and somebody may need it."""

    __slots__ = ("_limit_bytes", "_pieces", "_size", "is_whole")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self.is_whole = True
        """Everything that was added is still here, so the body can be sent again."""

    def add(self, body: list[bytes]) -> bool:
        """Keep more of it.

        Returns:
            False: with this it is too long, and nothing is kept any longer.
        """
        if not self.is_whole:
            return True
        for piece in body:
            self._size += len(piece)
        if self._size > self._limit_bytes:
            self.drop()
            return False
        self._pieces += body
        if len(self._pieces) > _PIECES:
            self._pieces = [b"".join(self._pieces)]
        return True

    def drop(self) -> None:
        """Nobody will need it again."""
        self.is_whole = False
        self._pieces = []

    def copy(self) -> list[bytes]:
        """The body, in a list of the caller's own."""
        return self._pieces.copy()
