"""One HTTP/1.1 connection to an endpoint: bytes of a request out, callbacks for its response in.

States, all transitions are in this module:

    IDLE --start()--> BUSY --response complete--> IDLE (given back to the pool)
    BUSY --101 that was asked for, or start_raw()--> SWITCHED (HTTP is over; never given back)
      any --close, error, end of stream--> CLOSED

The parser's callbacks only collect; what a read brought is looked at when it is parsed to its end. So bytes behind a
response can never become the response of whoever uses the connection next.

Always true: a handler is set exactly while BUSY; a connection in the pool is IDLE and has no unread bytes; a response
that cannot be followed by another (close-delimited, `connection: close`, early, or to HEAD with surplus bytes) closes.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import httptools

from fastproxy.http.connection_info import UpstreamLink
from fastproxy.http.headers import SINGLE_SLOT_RESPONSE_NAMES, HeaderMap, add_repeated, encode_headers
from fastproxy.upstream.circuit_breaker import CircuitBreaker
from fastproxy.upstream.dialing import set_keepalive
from fastproxy.upstream.errors import UpstreamError, UpstreamInvalidResponse, UpstreamReset

if TYPE_CHECKING:
    from fastproxy.upstream.pool import ConnectionPool

#: Bytes of a response that may arrive without completing its head or carrying body: a head, trailers, chunk
#: extensions. Envoy accepts heads of 70 KB; nothing honest comes near.
MAX_UNPRODUCTIVE_BYTES = 256 * 1024


class ResponseHandler(Protocol):
    """Who made the request on this connection and wants its response.

    The connection calls once per read, with everything that the read brought, so that a head and its body can be
    passed on in one write.
    """

    def on_response_head(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        """A final (not 1xx) response head, and what came with it of the body, transfer coding removed.

        Framing and hop-by-hop headers are still in `headers`. `complete`: the response has ended, and the connection
        no longer belongs to the handler.
        """

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        """More of the body, in pieces; `complete` as above."""

    def on_upstream_error(self, error: UpstreamError) -> None:
        """No complete response will come; the connection no longer belongs to the handler."""

    def on_upstream_blocked(self) -> None:
        """The connection's write buffer is above its high-water mark."""

    def on_upstream_drained(self) -> None:
        """The write buffer is below its low-water mark again."""


class SwitchHandler(ResponseHandler, Protocol):
    """A handler whose request asks to leave HTTP."""

    def on_switched(self, status: int, headers: HeaderMap, early: list[bytes]) -> None:
        """The upstream has agreed; all that follows comes as body, as it is, `early` being the first of it."""


class UpstreamConnection:
    """An `asyncio.Protocol` by shape only: uvloop and httptools want the methods, not the base class."""

    __slots__ = (
        "_blocked",
        "_body",
        "_close_delimited",
        "_closed",
        "_closed_here",
        "_done",
        "_fault",
        "_feed",
        "_handler",
        "_head_only",
        "_headers",
        "_keep_alive",
        "_parser",
        "_pool",
        "_reading_paused",
        "_repeated",
        "_request_sent",
        "_response_headers",
        "_status",
        "_surplus",
        "_switch_handler",
        "_switched",
        "_transport",
        "_unproductive_bytes",
        "charged_to",
        "epoch",
        "idle_since",
        "link",
        "opened_at",
        "served",
    )

    def __init__(self, pool: "ConnectionPool") -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data
        """Takes what is read: the parser, or what comes after it when HTTP is over."""
        self._switch_handler: SwitchHandler | None = None
        """The handler, if its request asks to leave HTTP."""
        self._switched = False
        self._handler: ResponseHandler | None = None
        # Collected by the parser's callbacks during one read.
        self._headers: HeaderMap = {}
        self._repeated = 0
        self._status = 0
        """Of a final head that was read and not yet handed over; 0 if there is none."""
        self._response_headers: HeaderMap = {}
        self._body: list[bytes] = []
        self._done = False
        self._fault = False
        self._surplus = False
        # About the response under way.
        self._head_only = False
        self._request_sent = False
        self._keep_alive = True
        self._close_delimited = False
        self._unproductive_bytes = 0
        # About the connection.
        self._closed = False
        self._closed_here = False
        """It was closed by us, not by the upstream."""
        self._blocked = False
        self._reading_paused = False
        self.served = 0
        """Responses completed so far; above 0 the upstream's idle timer may close it under us."""
        self.idle_since = 0.0
        self.opened_at = 0.0
        """Monotonic seconds."""
        self.link: UpstreamLink | None = None
        """Both ends; None until the connection is there."""
        self.charged_to: CircuitBreaker | None = None
        """Whose connections it counts among; None if it counts no more. The pool's affair."""
        self.epoch = 0
        """The pool's: connections of earlier ones are not used again."""

    # -- for the exchange that uses it ---------------------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """Whether a request can be started: open, and not being closed by either side."""
        return not self._closed and self._transport is not None

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """Its TLS, once the handshake is done; None without."""
        found: ssl.SSLObject | None = None
        if self._transport is not None:
            found = self._transport.get_extra_info("ssl_object")
        return found

    @property
    def is_blocked(self) -> bool:
        """Whether the write buffer is above its high-water mark."""
        return self._blocked

    def start(self, handler: ResponseHandler, *, head_only: bool) -> None:
        """Take the connection for one request. `head_only`: the request is HEAD, its response has no body."""
        self._handler = handler
        self._head_only = head_only
        self._request_sent = False
        self._close_delimited = False
        self._unproductive_bytes = 0

    def expect_switch(self, handler: SwitchHandler) -> None:
        """The request that `handler` is about to send asks to leave HTTP: its connection serves no other one."""
        self._switch_handler = handler
        self._surplus = True

    def start_raw(self, handler: ResponseHandler) -> None:
        """Take a fresh connection for bytes that are no HTTP."""
        self._handler = handler
        self._close_delimited = True
        self._become_raw()

    def close_after_flush(self) -> None:
        """Close without telling the handler, when everything that was written has left."""
        self._handler = None
        if not self._closed:
            self._closed = self._closed_here = True
            if self._transport is not None:
                self._transport.close()

    def write(self, data: bytes) -> bool:
        """Send request bytes; what cannot be sent at once is buffered, and `on_upstream_blocked` says so.

        Returns:
            False: not a byte of `data` was or will be sent, for the connection is closing.
        """
        transport = self._transport
        if transport is None:
            return False
        try:
            transport.write(data)
        except RuntimeError:
            # uvloop's answer on a transport that is closing; connection_lost will tell the handler.
            return False
        return True

    def finish_request(self) -> None:
        """The whole request was written; only then may the connection be used again."""
        self._request_sent = True

    def pause_reading(self) -> None:
        """Stop reading the response: the downstream is slower."""
        if self._transport is not None and not self._transport.is_closing() and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading the response."""
        if self._transport is not None and not self._transport.is_closing() and self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """Close without telling the handler; unsent bytes are dropped."""
        self._handler = None
        self._discard()

    # -- asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Called by the event loop."""
        transport.set_write_buffer_limits(high=self._pool.buffer_limit_bytes)
        self._transport = transport
        keepalive = self._pool.keepalive
        if keepalive is not None:
            set_keepalive(transport.get_extra_info("socket"), keepalive)
        self.link = UpstreamLink(
            _address_of(transport.get_extra_info("sockname")),
            _address_of(transport.get_extra_info("peername")),
        )
        self._pool.on_opened(self)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop. Hot path: about once per request."""
        handler = self._handler
        if handler is None:
            # Nobody asked: a response to nothing, or bytes behind one. Such a connection is never reused.
            self._discard()
            return
        self._unproductive_bytes += len(data)
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._switched and not self._fault:
                self._on_switched(data[error.args[0] :])
                return
            # After a complete response it is what follows that is wrong.
            self._surplus = True
            self._fault |= not self._done
        if self._fault or self._unproductive_bytes > MAX_UNPRODUCTIVE_BYTES:
            self._fail(handler)
            return
        complete = self._done
        if complete:
            # Before the handler hears of it, for it may want a connection for its next request.
            self._finish()
        status, body = self._status, self._body
        if body:
            self._body = []
        if status:
            self._status = 0
            handler.on_response_head(status, self._response_headers, body, complete=complete)
        elif body or complete:
            handler.on_response_body(body, complete=complete)

    def eof_received(self) -> bool:
        """Called by the event loop: the upstream will send no more; the transport closes itself."""
        if self._handler is None:
            # Must not be taken from the pool in the moment until connection_lost is called.
            self._closed = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        handler, self._handler = self._handler, None
        was_closed, self._closed = self._closed_here, True
        self._transport = None
        self._pool.on_closed(self, idle=handler is None, local=was_closed)
        if handler is None:
            return
        if self._close_delimited and exc is None:
            handler.on_response_body([], complete=True)
        elif self._unproductive_bytes and exc is None:
            # Part of a head, then the end: what was sent is no response.
            handler.on_upstream_error(UpstreamInvalidResponse())
        else:
            # A first byte of an answer shows that it was not the idle timer.
            handler.on_upstream_error(UpstreamReset(reused=self.served > 0 and not self._unproductive_bytes))

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._blocked = True
        if self._handler is not None:
            self._handler.on_upstream_blocked()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._blocked = False
        if self._handler is not None:
            self._handler.on_upstream_drained()

    # -- httptools -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._headers = {}
        self._repeated = 0
        if self._done:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser: a header, or after the head a trailer, which lands in a map nobody reads."""
        name = name.lower()
        headers = self._headers
        if name in headers:
            self._repeated += 1
            add_repeated(headers, name, value, SINGLE_SLOT_RESPONSE_NAMES)
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        """Called by the parser. Hot path: once per response."""
        if self._done:
            return
        status: int = self._parser.get_status_code()
        if status < 200:
            # A 1xx head is swallowed; nobody asked for an upgrade. llhttp takes 000 for a status and gives it a body.
            if status == 101 and self._switch_handler is not None and _is_switch(self._headers):
                # llhttp stops behind this head.
                self._switched = True
                return
            self._fault |= status == 101 or status < 100
            return
        headers = self._headers
        # What `on_header` finds from now on are trailers.
        self._headers = {}
        if not self._check_head(status, headers):
            self._fault = True
            return
        self._status = status
        self._response_headers = headers
        self._unproductive_bytes = 0
        self._keep_alive = self._parser.should_keep_alive()
        if self._head_only:
            self._done = True
            if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
                # llhttp cannot be told that no body follows; a parser that expects one is replaced.
                self._parser = httptools.HttpResponseParser(self)
                self._feed = self._parser.feed_data

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._unproductive_bytes = 0
        if self._done:
            self._surplus = True
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser; also after a 1xx head, which is swallowed."""
        if self._parser.get_status_code() >= 200:
            self._done = True

    # -- transitions ---------------------------------------------------------------------------------------

    def _on_switched(self, early: bytes) -> None:
        headers, self._headers = self._headers, {}
        handler, self._switch_handler = self._switch_handler, None
        self._become_raw()
        if handler is not None:
            handler.on_switched(101, headers, [early] if early else [])

    def _become_raw(self) -> None:
        self._surplus = True
        self._unproductive_bytes = 0
        self._feed = self._take_raw

    def _take_raw(self, data: bytes) -> None:
        self._unproductive_bytes = 0
        self._body.append(data)

    def _check_head(self, status: int, headers: HeaderMap) -> bool:
        """Refuse a head that could be framed in two ways (RFC 9112 section 6.3), and note how the body ends."""
        length = headers.get(b"content-length")
        coding = headers.get(b"transfer-encoding")
        self._close_delimited = (
            length is None and coding is None and not self._head_only and status not in (204, 304)
        )
        if coding is not None and (
            length is not None or not isinstance(coding, bytes) or coding.lower() != b"chunked"
        ):
            return False
        if status == 204 and (coding is not None or length not in (None, b"0")):
            return False
        limit = self._pool.max_head_bytes
        if limit and len(encode_headers(headers)) > limit:
            return False
        return len(headers) + self._repeated <= self._pool.max_headers

    def _finish(self) -> None:
        """The response has ended: back to the pool, or close. Hot path: once per response."""
        self._handler = None
        self._done = False
        self.served += 1
        if self._reading_paused:
            self.resume_reading()
        usable = self._keep_alive and self._request_sent and not self._surplus and not self._closed
        # Blocked: the upstream answered without reading the request; nobody knows whether it ever will.
        if usable and not self._blocked:
            self._pool.release(self)
        else:
            self._discard()

    def _fail(self, handler: ResponseHandler) -> None:
        """What was read is no response, or no longer one."""
        self._handler = None
        self._discard()
        if self._status:
            # The head was good; it is the body behind it that broke.
            status, self._status = self._status, 0
            self._body = []
            handler.on_response_head(status, self._response_headers, [], complete=False)
        handler.on_upstream_error(UpstreamInvalidResponse())

    def _discard(self) -> None:
        if not self._closed:
            self._closed = self._closed_here = True
            if self._transport is not None:
                self._transport.abort()


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


def _address_of(name: object) -> tuple[str, int]:
    """A socket's name: host and port, or the path of a Unix domain socket."""
    if isinstance(name, tuple) and len(name) >= 2:
        return str(name[0]), int(name[1])
    if isinstance(name, bytes):
        return name.decode("utf-8", "backslashreplace"), 0
    return (name, 0) if isinstance(name, str) else ("", 0)
