"""Bytes in, requests out: the parsing half of a downstream connection.

httptools calls back for the pieces of a message while one read is parsed. The callbacks only collect: complete heads
go into `_queue`, body bytes into `Request.waiting_body`, the first fault into `_fault`. When the read is parsed the
serving half (`DownstreamConnection`, and its `Stream`) looks at what there is. So a head and the body that came with it
travel on in one write, and nothing re-enters the parser.

Always true: what follows a request that waits to be served is parsed only as far as one slice reaches; the rest stays
as bytes in `_unread` with reading paused, so a pipelining peer cannot make us hold more than one read. Trailers never
become headers. After a fault nothing more is parsed. Behind a request for another protocol nothing is parsed either:
what follows it is held as bytes until the protocol is agreed on, and dropped with the connection if it is not (S52).
"""

import asyncio
from collections import deque
from collections.abc import Callable

import httptools

from fastproxy import clock
from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.http.errors import ProtocolError, protocol_error_of
from fastproxy.http.framing import check_framing, requested_upgrade
from fastproxy.http.headers import SINGLE_SLOT_REQUEST_NAMES, HeaderMap, add_repeated, count_header_bytes
from fastproxy.http.messages import Request
from fastproxy.http.special import SPECIAL_REQUEST_NAMES
from fastproxy.listener.custom_methods import CustomMethodParser, RequestParser
from fastproxy.listener.request_line import find_other_protocol
from fastproxy.listener.transport import PAUSED_BY_PIPELINE, DownstreamTransport

#: Reads above this are parsed in slices, so that pipelined requests wait as bytes and not as objects.
SLICE_BYTES = 4096
_CHUNKED_BODY_SLICE = 16384
#: What is left of a body that never ends.
_ENDLESS = 1 << 62


class RequestReader(DownstreamTransport):
    """Parses requests; what becomes of them is the subclass's business.

    No abstract base class: a metaclass would rule out compiling this module (DESIGN section 2.3).
    """

    __slots__ = (
        "_body_left",
        "_doubts_protocol",
        "_drops_length",
        "_fault",
        "_feed",
        "_headers",
        "_max_head_bytes",
        "_max_headers_count",
        "_parser",
        "_parsing",
        "_queue",
        "_repeated",
        "_split_head",
        "_target",
        "_unproductive_bytes",
        "_unread",
        "in_head",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        info: ConnectionInfo | None = None,
        *,
        max_head_bytes: int,
        max_headers_count: int,
        flush_timeout_s: float,
        linger_s: float,
    ) -> None:
        super().__init__(loop, info, flush_timeout_s=flush_timeout_s, linger_s=linger_s)
        self._max_head_bytes = max_head_bytes
        self._max_headers_count = max_headers_count
        self._parser: RequestParser = httptools.HttpRequestParser(self)
        self._feed: Callable[[bytes | memoryview], None] = self._parser.feed_data
        """Takes what is read: the parser, or what comes after it on a connection that leaves HTTP."""
        self._target = b""
        self._headers: HeaderMap = {}
        self._repeated = 0
        self.in_head = False
        """A head has begun and is not complete."""
        self._parsing: Request | None = None
        """The request whose body is being read."""
        self._body_left = 0
        self._unproductive_bytes = 0
        """Bytes since the last complete head or body byte: heads, trailers and chunk extensions must end."""
        self._queue: deque[Request] = deque()
        """Requests with a complete head that wait to be served."""
        self._fault: ProtocolError | None = None
        """What is wrong with the bytes behind the requests in the queue."""
        self._unread = b""
        self._split_head: bytearray | None = None
        """Earlier reads with the begin of the head that is being read; None: it begins in this one."""
        self._drops_length = False
        self._doubts_protocol = False
        """This read has brought a version that another protocol has, too."""

    def allow_custom_methods(self) -> None:
        """Take any token for a method; before anything is read."""
        self._parser = CustomMethodParser(self)
        self._feed = self._parser.feed_data

    @property
    def has_fault(self) -> bool:
        """Whether nothing more is parsed."""
        return self._fault is not None

    @property
    def is_between_messages(self) -> bool:
        """Whether what comes next begins a message."""
        return not self.in_head and self._parsing is None

    @property
    def body_left(self) -> int | None:
        """Bytes that are still to come of a body with a length; None: no such body is being read."""
        request = self._parsing
        return None if request is None or request.content_length is None else self._body_left

    def allow_chunked_length(self) -> None:
        """Take a chunked body that has a length besides; the length goes (RFC 9112 section 6.3)."""
        self._drops_length = True
        self._parser.set_dangerous_leniencies(lenient_chunked_length=True)

    def set_limits(
        self,
        *,
        max_head_bytes: int,
        max_headers_count: int,
        flush_timeout_s: float,
        linger_s: float,
        buffer_limit_bytes: int,
    ) -> None:
        """Replace the limits of an open connection."""
        self._max_head_bytes = max_head_bytes
        self._max_headers_count = max_headers_count
        self._flush_timeout_s = flush_timeout_s
        self._linger_s = linger_s
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=buffer_limit_bytes)

    def serve(self) -> None:
        """Look at what the last read brought."""
        raise NotImplementedError

    @property
    def waiting_bytes(self) -> tuple[int, int]:
        """How much waits here to be parsed, and to be sent."""
        transport = self._transport
        return len(self._unread), 0 if transport is None else transport.get_write_buffer_size()

    @property
    def has_spoken(self) -> bool:
        """Whether the downstream has sent anything at all."""
        return bool(self._target) or self._unproductive_bytes > 0

    def serve_last(self) -> None:
        """Let no request that is read from now on keep the connection."""
        if self._feed == self._parser.feed_data:
            self._feed = self._feed_last

    def _feed_last(self, data: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(data)
        finally:
            for request in self._queue:
                request.keep_alive = False

    def on_begin(self, request: Request) -> None:
        """A request is about to be served; asked only where every request is looked at."""

    def go_on(self, request: Request) -> None:
        """The response to `request` is written: what comes next?"""
        raise NotImplementedError

    def end(self) -> None:
        """Serve nothing more, and close when the last answer has left."""
        raise NotImplementedError

    def read_slices(self, data: bytes) -> None:
        """Parse a large read piece by piece, and stop as soon as a request waits behind the one being served."""
        at = 0
        view = memoryview(data)
        while at < len(data) and self._fault is None:
            if self._queue:
                self._unread += data[at:]
                break
            size = max(SLICE_BYTES, self._body_left)
            self.parse(view[at : at + size])
            at += size
            self.serve()
        if self._queue:
            self.pause(PAUSED_BY_PIPELINE)

    def parse(self, data: bytes | memoryview) -> None:
        """Run the parser over some bytes. Hot path: once per read."""
        # Tested through a local: `feed_data` sets the attribute behind the type checker's back, and compiled code
        # relies on what the type checker believes.
        fault = self._fault
        if fault is not None:
            return
        self._unproductive_bytes += len(data)
        read = data
        try:
            while True:
                try:
                    self._feed(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    # llhttp stops at CONNECT and at upgrades. Behind one that is never granted (`h2c`) is the next
                    # request. A loop, for one read may hold thousands of them.
                    data = bytes(data[upgrade.args[0] :])
                    if self._queue:
                        request = self._queue[-1]
                        request.is_plain = False
                        request.upgrade = requested_upgrade(request)
                        if request.upgrade:
                            self._feed = self._hold
                            if not data:
                                break
        except httptools.HttpParserError as error:
            if self._fault is None:
                self._fault = protocol_error_of(error)
                if self._fault.reply_status == 501 and self._queue:
                    # llhttp says so only when the head is complete, and thinks less of white space than we do: nothing
                    # of such a request may go upstream.
                    self._fault.request = self._queue.pop()
                    self._parsing = None
        else:
            if self._unproductive_bytes > self._max_head_bytes and self._fault is None:
                # Envoy's words, for trailers, too.
                self._fault = ProtocolError("http1.headers_too_large", status=431)
        if self.in_head or self._doubts_protocol or self._split_head is not None:
            self._check_protocols(read)

    def _check_protocols(self, read: bytes | memoryview) -> None:
        """Refuse a request line that is not HTTP's, and what follows it."""
        raw = self._split_head or bytearray()
        raw += read
        if not self.in_head:
            self._split_head = None
        else:
            # With a request in the queue it is another head that has begun; what came before may go.
            self._split_head = bytearray(read) if self._queue else raw
        if self._doubts_protocol:
            self._doubts_protocol = False
            position = find_other_protocol(raw, self._queue)
            if position >= 0:
                while len(self._queue) > position:
                    self._queue.pop()
                self._parsing = None
                self._fault = ProtocolError("http1.codec_error")

    def stop_parsing(self) -> None:
        """Take no further request from this connection; an answer under way is still written."""
        if self._fault is None:
            self._fault = ProtocolError("closed")
        self._parsing = None
        self.in_head = False
        self._unread = b""
        self._split_head = None
        self._queue.clear()

    def start_tunnel(self, request: Request) -> None:
        """From now on whatever comes is body of `request`, as it is; first of all what was held so far."""
        held, self._unread = self._unread, b""
        request.has_body = True
        request.body_complete = request.body_passed = False
        self._parsing = request
        self._body_left = _ENDLESS
        self._feed = self._take_body
        if held:
            self._take_body(held)
        self.resume(PAUSED_BY_PIPELINE)

    def _hold(self, data: bytes | memoryview) -> None:
        """Keep what follows a request for another protocol; nothing more is read, so it is one read at most."""
        self._unproductive_bytes = 0
        self._unread += data
        self.pause(PAUSED_BY_PIPELINE)

    def _take_body(self, data: bytes | memoryview) -> None:
        self.on_body(bytes(data))

    # -- httptools -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._headers = {}
        self._repeated = 0
        self._target = b""
        self.in_head = True

    def on_url(self, part: bytes) -> None:
        """Called by the parser, once per read that the target spans."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; after the head for trailers, which land in a map of their own (S46)."""
        name = name.lower()
        # llhttp leaves white space at the end, which is no part of the value (RFC 9112 section 5.1).
        value = value.rstrip(b" \t")
        headers = self._headers
        if name in headers:
            self._repeated += 1
            if self._repeated <= self._max_headers_count:
                # No more than may be there: joining thousands of lines costs the square of their number.
                add_repeated(headers, name, value, SINGLE_SLOT_REQUEST_NAMES)
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        """Called by the parser. Hot path: once per request."""
        if self._fault is not None:
            return
        headers = self._headers
        self.in_head = False
        parser = self._parser
        request = Request(parser.get_method(), self._target, headers, self.info)
        request.start_monotonic = clock.monotonic()
        request.start_unix = clock.unix_time()
        request.is_plain = SPECIAL_REQUEST_NAMES.isdisjoint(headers)
        if (
            not request.is_plain
            or b"content-length" in headers
            or not parser.should_keep_alive()
            or self._unproductive_bytes > self._max_head_bytes
            or len(headers) + self._repeated > self._max_headers_count
        ):
            try:
                self._check_head(request)
            except ProtocolError as error:
                error.request = request
                self._fault = error
                return
        self._unproductive_bytes = 0
        self._queue.append(request)
        if request.has_body:
            # What `on_header` finds from now on are trailers.
            self._headers = {}
            self._parsing = request
            self._body_left = request.content_length or _CHUNKED_BODY_SLICE
        else:
            request.body_complete = True

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        request = self._parsing
        if request is None:
            return
        self._unproductive_bytes = 0
        size = len(data)
        request.bytes_received += size
        if request.content_length is not None:
            self._body_left -= size
        request.waiting_body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser. Hot path: once per request."""
        request = self._parsing
        if request is not None:
            request.body_complete = True
            request.complete_monotonic = clock.monotonic()
            self._parsing = None
            self._body_left = 0
            self._unproductive_bytes = 0

    # -- inside --------------------------------------------------------------------------------------------

    def _check_head(self, request: Request) -> None:
        """Everything that a plain head without a body cannot violate."""
        if len(request.headers) + self._repeated > self._max_headers_count:
            raise ProtocolError("http1.too_many_headers", status=431)
        # Only a head out of more bytes than the limit needs its exact size.
        if self._unproductive_bytes > self._max_head_bytes:
            size = len(request.target) + count_header_bytes(request.headers)
            if size > self._max_head_bytes:
                raise ProtocolError("http1.headers_too_large", status=431)
        request.version = self._parser.get_http_version()
        if request.version != "1.1":
            request.is_plain = False
            # Neither RTSP nor ICE has a version 1.1.
            self._doubts_protocol = True
        if b"upgrade" in request.headers:
            request.upgrade = requested_upgrade(request)
        if self._drops_length:
            coding = request.headers.get(b"transfer-encoding")
            if isinstance(coding, bytes) and coding.lower() == b"chunked":
                request.headers.pop(b"content-length", None)
        check_framing(request)
