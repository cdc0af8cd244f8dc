"""What must not be printed: tokens and their parts, cookies, credentials (S53).

Everything that is printed goes through one `Redactor`, so that no single sentence has to think of it.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

from fastproxy.advice.words import escape
from fastproxy.explain.asked import AskedRequest
from fastproxy.explain.describe import TOKEN_SHAPE

NOT_SHOWN: Final = "(not shown)"
#: Shorter pieces occur in ordinary words, and are no secret.
_LEAST_PIECE: Final = 12
_SENSITIVE_HEADERS: Final = frozenset(
    (
        b"authorization",
        b"proxy-authorization",
        b"cookie",
        b"set-cookie",
        b"x-api-key",
        b"x-forwarded-client-cert",
    )
)
_SHOWN_BYTES: Final = 200


class Redactor:
    """Knows the secrets of one request."""

    def __init__(self, asked: AskedRequest, token: bytes | None) -> None:
        pieces: set[bytes] = set()
        values = [value for _, value in asked.headers] + [asked.target, unquote_to_bytes(asked.target)]
        if token is not None:
            pieces.update(_pieces(token))
        for name, value in asked.headers:
            if name.lower() in _SENSITIVE_HEADERS:
                pieces.update(value.split())
        for value in values:
            for match in TOKEN_SHAPE.finditer(value):
                pieces.update(_pieces(match.group()))
        texts = {piece.decode("utf-8", "surrogateescape") for piece in pieces if len(piece) >= _LEAST_PIECE}
        # As it would be printed, and the longest first, so that none is left half.
        self._pieces = sorted(texts | {escape(text) for text in texts}, key=len, reverse=True)

    def add(self, tokens: Iterable[bytes]) -> None:
        """Learn of tokens that were found by whoever looked for them."""
        found = {
            piece.decode("utf-8", "surrogateescape")
            for token in tokens
            for piece in _pieces(token)
            if len(piece) >= _LEAST_PIECE
        }
        self._pieces = sorted({*self._pieces, *found, *map(escape, found)}, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """The text without secrets, and escaped for a terminal."""
        for piece in self._pieces:
            text = _mask(text, piece)
        return escape(text)

    def header(self, name: bytes, value: bytes) -> str:
        """A header's value, as far as it may be shown."""
        if name.lower() in _SENSITIVE_HEADERS:
            return f"{NOT_SHOWN[:-1]}, {len(value)} bytes)"
        cleaned = self.clean(value[:4096].decode("utf-8", "surrogateescape"))
        if NOT_SHOWN in cleaned:
            return f"{NOT_SHOWN[:-1]}, {len(value)} bytes of the token)"
        return (
            cleaned if len(cleaned) <= _SHOWN_BYTES else f"{cleaned[:_SHOWN_BYTES]}... ({len(value)} bytes)"
        )


def _mask(text: str, piece: str) -> str:
    """Replace a piece wherever it or its beginning stands: what was cut off is still a part of it."""
    start = text.find(piece[:_LEAST_PIECE])
    while start >= 0:
        size = _LEAST_PIECE
        while text[start + size : start + size + 1] == piece[size : size + 1] != "":
            size += 1
        text = text[:start] + NOT_SHOWN + text[start + size :]
        start = text.find(piece[:_LEAST_PIECE], start + len(NOT_SHOWN))
    return text


def _pieces(token: bytes) -> set[bytes]:
    """A token, and its parts: each of them says something by itself."""
    return {token, *token.split(b".", 6), *token.split()}
