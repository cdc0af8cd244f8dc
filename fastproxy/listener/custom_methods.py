"""Methods that llhttp does not know (Envoy `allow_custom_methods`; RFC 9110 section 9.1: any token is a method).

llhttp has a fixed table of methods, and refuses a request line with another one. So where a message begins the method
is looked at here: an unknown token is kept, and `POST` given to llhttp in its place, which like it may have a body and
needs none. Everything else of the message llhttp sees as it is.

That is safe only where a message begins, and whether one does is llhttp's to say and nobody else's. So no message ends
within a piece that llhttp is given: a head and a chunked body are cut behind each empty line, for they end with one; a
body with a length is cut where that ends. Then llhttp has either called that the message is complete, or it has not.
If ever a message did end within a piece, llhttp would read the method behind it by itself, and refuse an unknown one:
what is put in its place is never anything but the first token of what llhttp takes for a new message (S51).

A class of its own in the parser's place, so that other listeners pay nothing for it.
"""

import re
from typing import Protocol

import httptools

#: The longest method that is taken for one. The longest that is registered has 17 bytes.
MAX_METHOD_BYTES = 64
#: What llhttp takes with `HTTP/` behind it. Those that it knows for other protocols alone are unknown with this one.
_KNOWN = frozenset(
    b"""ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY
    OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK
    UNLOCK UNSUBSCRIBE""".split()
)
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
_BLANK_LINES = re.compile(rb"[\r\n]*")
_STAND_IN = b"POST"
_EMPTY_LINE = b"\n\r\n"


class RequestParser(Protocol):
    """What is needed of httptools; `CustomMethodParser` has it, too."""

    def feed_data(self, data: bytes | memoryview) -> None:
        """Parse, and call back."""

    def get_method(self) -> bytes:
        """Of the message that is being read."""

    def get_http_version(self) -> str:
        """Of the message that is being read."""

    def should_keep_alive(self) -> bool:
        """Whether another message may follow."""

    def set_dangerous_leniencies(self, *, lenient_chunked_length: bool) -> None:
        """Take a length beside chunks."""


class MessageReader(Protocol):
    """Who is called back, as far as it says where in a message it is."""

    in_head: bool
    """A head has begun, and is not complete."""

    @property
    def has_fault(self) -> bool:
        """Nothing more is to be read."""

    @property
    def is_between_messages(self) -> bool:
        """Neither in a head nor in a body."""

    @property
    def body_left(self) -> int | None:
        """Bytes of the body that are still to come; None: no length says where it ends."""


class CustomMethodParser:
    """Stands for the `httptools.HttpRequestParser` of one connection."""

    __slots__ = ("_awaits_method", "_held", "_method", "_parser", "_reader", "_tail")

    def __init__(self, reader: MessageReader) -> None:
        self._reader = reader
        self._parser = httptools.HttpRequestParser(reader)
        self._awaits_method = True
        """Between two messages: what comes next is a method, or blank lines before one."""
        self._held = b""
        """The begin of a token whose end is not here."""
        self._method = b""
        """The method of the message that is being read; empty if llhttp knows it."""
        self._tail = b""
        """The last bytes that were fed of this message: an empty line may have begun in them."""

    def get_method(self) -> bytes:
        """As it was sent."""
        return self._method or self._parser.get_method()

    def get_http_version(self) -> str:
        """Of the message that is being read."""
        return self._parser.get_http_version()

    def should_keep_alive(self) -> bool:
        """Whether the message that is being read leaves the connection open."""
        return self._parser.should_keep_alive()

    def set_dangerous_leniencies(self, *, lenient_chunked_length: bool) -> None:
        """Let llhttp take what it would refuse."""
        self._parser.set_dangerous_leniencies(lenient_chunked_length=lenient_chunked_length)

    def feed_data(self, data: bytes | memoryview) -> None:
        """Parse what was read.

        Raises:
            httptools.HttpParserError: it is not HTTP.
            httptools.HttpParserUpgrade: with the position in `data` behind the message that asks for it.
        """
        held, self._held = self._held, b""
        whole = held + data
        at = 0
        while at < len(whole) and not self._reader.has_fault:
            if self._awaits_method:
                at = self._feed_method(whole, at)
            else:
                begin, at = at, self._next_cut(whole, at)
                self._feed(whole, begin, at, len(held))

    def _feed_method(self, whole: bytes, at: int) -> int:
        """Feed what stands before a request line, and its method if that is unknown; returns where the rest begins."""
        found = _BLANK_LINES.match(whole, at)
        start = at if found is None else found.end()
        if start > at:
            self._parser.feed_data(whole[at:start])
        token = _TOKEN.match(whole, start, start + MAX_METHOD_BYTES + 1)
        end = start if token is None else token.end()
        if end == len(whole) and end - start <= MAX_METHOD_BYTES:
            self._held = whole[start:]
            if self._held:
                # For the timeouts: this is no idle connection.
                self._reader.in_head = True
            return end
        method = whole[start:end]
        self._awaits_method = False
        self._tail = b""
        is_method = 0 < len(method) <= MAX_METHOD_BYTES and whole[end : end + 1] == b" "
        if is_method and method not in _KNOWN:
            self._method = method
            self._parser.feed_data(_STAND_IN)
            return end
        # Known, or for llhttp to refuse.
        self._method = b""
        return start

    def _next_cut(self, whole: bytes, at: int) -> int:
        """How far the next piece goes: to where the message could end, or as far as there is something."""
        left = self._reader.body_left
        if left is not None:
            return min(len(whole), at + max(1, left))
        tail = self._tail
        if tail:
            # Begun in an earlier piece.
            across = (tail + whole[at : at + len(_EMPTY_LINE) - 1]).find(_EMPTY_LINE)
            if across >= 0:
                return at + across + len(_EMPTY_LINE) - len(tail)
        found = whole.find(_EMPTY_LINE, at)
        return len(whole) if found < 0 else found + len(_EMPTY_LINE)

    def _feed(self, whole: bytes, begin: int, end: int, held: int) -> None:
        piece = whole[begin:end]
        self._tail = (self._tail + piece)[-(len(_EMPTY_LINE) - 1) :]
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._awaits_method = True
            raise httptools.HttpParserUpgrade(begin + upgrade.args[0] - held) from None
        if self._reader.is_between_messages:
            self._awaits_method = True
