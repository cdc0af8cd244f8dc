"""Bytes of an upstream in, parts of a response out: the parsing half of an upstream connection.

httptools calls back for the pieces of a message while one read is parsed. The callbacks only collect; what a read
brought is looked at when it is parsed to its end. So bytes behind a response can never become the response of whoever
uses the connection next.

Always true: a head that could be framed in two ways is a fault; trailers never become headers; what comes behind a
complete response is surplus, and its connection serves no other request.

Trailers are for subclasses that keep them (`kept_trailers`).
"""

from collections import defaultdict
from collections.abc import Callable

import httptools

from fastproxy.http.byte_counts import received_header_bytes
from fastproxy.http.headers import SINGLE_SLOT_RESPONSE_NAMES, HeaderMap, add_repeated, count_header_bytes
from fastproxy.http.name_case import KeptCase
from fastproxy.http.trailers import remove_forbidden

#: In the place of a number of repeated names: an interim response is complete, and nothing of the next head is there.
_BETWEEN_HEADS = -1
#: Bytes of a response that may arrive without completing its head or carrying body: a head, trailers, chunk
#: extensions. Envoy accepts heads of 70 KB; nothing honest comes near.
MAX_UNPRODUCTIVE_BYTES = 256 * 1024


class ResponseReader:
    """Parses the responses of one connection.

    Who holds it adds what it reads to `unproductive_bytes`, gives it to `feed`, and then takes what there is: a method
    here that did so would be one call more for every response.
    """

    __slots__ = (
        "_max_head_bytes",
        "_max_headers",
        "_parser",
        "_reading",
        "_repeated",
        "_switched",
        "body",
        "close_delimited",
        "done",
        "expects_switch",
        "fault",
        "feed",
        "head_only",
        "headers",
        "interim",
        "interim_bytes",
        "interim_counts",
        "keep_alive",
        "names",
        "status",
        "surplus",
        "trailers",
        "unproductive_bytes",
    )

    def __init__(self, *, max_head_bytes: int, max_headers: int) -> None:
        """Make the reader of a new connection.

        Args:
            max_head_bytes: of a response; 0: no limit besides the one on unproductive bytes.
            max_headers: of a response, in number.
        """
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        self._parser = httptools.HttpResponseParser(self)
        self.feed: Callable[[bytes], None] = self._parser.feed_data
        """Takes what is read: the parser, whose errors are for `on_stop`, or what comes after it when HTTP is over."""
        self._reading: HeaderMap = {}
        """Header or trailer fields since the message began, or its head was complete."""
        self._repeated = 0
        self._switched = False
        # Set anew for each response, together with the last two.
        self.head_only = False
        """The request is HEAD: its response has no body, whatever it says."""
        # What there is for the handler.
        self.status = 0
        """Of a head that was read and not yet handed over; 0 if there is none. 101 only where it was asked for."""
        self.headers: HeaderMap = {}
        self.interim: HeaderMap | None = None
        """Of a 100 that was read and not yet handed over."""
        self.interim_bytes = 0
        """Of the header lines of 1xx responses, since somebody has set it to 0."""
        self.interim_counts: defaultdict[int, int] | None = None
        """Where 1xx responses are counted by their status, if they are."""
        self.names: KeptCase | None = None
        """How the upstream wrote the names of this head, if that is kept."""
        self.trailers: HeaderMap | None = None
        """What came behind the body, once the response is complete; None: trailers are not kept."""
        self.body: list[bytes] = []
        self.done = False
        """The response is complete."""
        self.fault = False
        """What was read is no response, or no longer one."""
        # What it means for the connection.
        self.surplus = False
        """Another response could not be told from what else may come."""
        self.keep_alive = True
        self.close_delimited = False
        """The response ends where the connection does."""
        self.unproductive_bytes = 0
        """Bytes since the last complete head or body byte."""
        self.expects_switch = False
        """The request asks to leave HTTP."""

    def start_raw(self) -> None:
        """Expect bytes that are no HTTP, and end with the connection."""
        self.close_delimited = True
        self._become_raw()

    @property
    def is_in_head(self) -> bool:
        """Whether a head, or what stands in the place of one, has begun and is not complete."""
        return self.unproductive_bytes > 0 and self._repeated != _BETWEEN_HEADS

    def on_stop(self, error: Exception, data: bytes) -> None:
        """The parser has stopped within `data`, or behind it: `feed` has raised `error`."""
        if self._switched and not self.fault:
            self.status = 101
            self._become_raw()
            early = data[error.args[0] :]
            if early:
                self.body.append(early)
            return
        # After a complete response it is what follows that is wrong.
        self.surplus = True
        self.fault |= not self.done

    # -- httptools -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._reading = {}
        self._repeated = 0
        if self.done:
            self.surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser: a header, or after the head a trailer, which lands in a map of its own."""
        name = name.lower()
        headers = self._reading
        if name in headers:
            self._repeated += 1
            if self._repeated <= self._max_headers:
                # No more than may be there: joining thousands of lines costs the square of their number.
                add_repeated(headers, name, value, SINGLE_SLOT_RESPONSE_NAMES)
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        """Called by the parser. Hot path: once per response."""
        if self.done or self.fault:
            return
        status: int = self._parser.get_status_code()
        if status < 200:
            # Nobody asked for an upgrade, and only for a 100 may somebody wait; other 1xx heads are swallowed. llhttp
            # takes 000 for a status and gives it a body.
            if status == 101 and self.expects_switch and _is_switch(self._reading):
                # llhttp stops behind this head.
                self._switched = True
                self.headers, self._reading = self._reading, {}
                return
            self.fault |= status == 101 or status < 100 or _has_content(self._reading)
            self.fault |= len(self._reading) + self._repeated > self._max_headers
            if self.interim_counts is not None and not self.fault:
                self.interim_counts[status] += 1
            self.interim_bytes += received_header_bytes(self._reading)
            if status == 100 and self.interim is None:
                self.interim = self._reading
            self._repeated = _BETWEEN_HEADS
            return
        headers = self._reading
        # What `on_header` finds from now on are trailers.
        self._reading = {}
        if not self._check_head(status, headers):
            self.fault = True
            return
        self.status = status
        self.headers = headers
        self.unproductive_bytes = 0
        self.keep_alive = self._parser.should_keep_alive()
        if self.head_only:
            self.done = True
            if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
                # llhttp cannot be told that no body follows; a parser that expects one is replaced.
                self._parser = httptools.HttpResponseParser(self)
                self.feed = self._parser.feed_data

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self.unproductive_bytes = 0
        if self.done:
            self.surplus = True
        else:
            self.body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser; also after a 1xx head, which is swallowed."""
        if self._parser.get_status_code() >= 200:
            self.done = True

    # -- inside --------------------------------------------------------------------------------------------

    def _begin_trailers(self) -> None:
        """A head has been read: if it was a final one, what comes behind its body is kept from now on."""
        if self.status >= 200 and not self.fault:
            # An object for each response: whoever takes it with the head finds in it what comes later.
            self.trailers = {}
            self._repeated = 0

    def _take_trailers(self) -> None:
        """The message is complete: hand over what came behind its body, which has the bounds of a head."""
        trailers = self.trailers
        if self.done or self.fault or trailers is None or self._parser.get_status_code() < 200:
            return
        found = self._reading
        limit = self._max_head_bytes or MAX_UNPRODUCTIVE_BYTES
        if len(found) + self._repeated > self._max_headers or count_header_bytes(found) > limit:
            self.fault = True
            return
        remove_forbidden(found)
        trailers.update(found)

    def _become_raw(self) -> None:
        self.surplus = True
        self.unproductive_bytes = 0
        self.feed = self._take_raw

    def _take_raw(self, data: bytes) -> None:
        self.unproductive_bytes = 0
        self.body.append(data)

    def _check_head(self, status: int, headers: HeaderMap) -> bool:
        """Refuse a head that could be framed in two ways (RFC 9112 section 6.3), and note how the body ends."""
        length = headers.get(b"content-length")
        coding = headers.get(b"transfer-encoding")
        self.close_delimited = (
            length is None and coding is None and not self.head_only and status not in (204, 304)
        )
        if coding is not None and (
            length is not None or not isinstance(coding, bytes) or coding.lower() != b"chunked"
        ):
            return False
        if status == 204 and _has_content(headers):
            return False
        limit = self._max_head_bytes
        if limit and count_header_bytes(headers) > limit:
            return False
        return len(headers) + self._repeated <= self._max_headers


def _is_switch(headers: HeaderMap) -> bool:
    """Whether a 101 head says what it switches to, and nothing about a body (RFC 9110 sections 7.8 and 15.2.2)."""
    connection = headers.get(b"connection")
    return (
        isinstance(connection, bytes)
        and b"upgrade" in (token.strip() for token in connection.lower().split(b","))
        and bool(headers.get(b"upgrade"))
        and b"content-length" not in headers
        and b"transfer-encoding" not in headers
    )


def _has_content(headers: HeaderMap) -> bool:
    """Whether a head announces content, where there must be none: 1xx and 204 (RFC 9110 sections 6.4.1 and 8.6).

    llhttp believes the head, and takes what follows some of them for a body.
    """
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or not isinstance(length, bytes) or length.strip() != b"0"
