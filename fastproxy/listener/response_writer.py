"""The response of the request that a connection serves, on its way downstream: an upstream's, or the proxy's own.

How a response ends, and with it the request:

    on_response_head(), on_response_body(): complete --> the stream's end, and the connection goes on
    reply(): the proxy's own answer, head and body at once --> likewise
    on_response_aborted(): the connection is cut, for a response that broke off must not look complete
    on_switched(): HTTP is over on this connection --> on_tunnel_closed() ends both
"""

from typing import TYPE_CHECKING

from fastproxy import clock
from fastproxy.format.context import REQUEST_TUNNEL
from fastproxy.http.chunks import encode_chunks
from fastproxy.http.headers import HeaderMap
from fastproxy.http.local_reply import begin_reply, finish_reply
from fastproxy.http.messages import LocalReply, Request
from fastproxy.http.trailers import encode_body_end
from fastproxy.listener.transport import PAUSED_BY_UPSTREAM

if TYPE_CHECKING:
    from fastproxy.listener.stream import Stream


#: Status of the interim response that a downstream may wait for before it sends the body.
_CONTINUE = 100


class ResponseWriter:
    """Writes the responses of one connection; `Downstream` of its exchanges."""

    __slots__ = ("_chunked", "_paused_request", "_stream", "started")

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self._chunked = False
        self._paused_request = False
        """An upstream is too slow for the request body."""
        self.started = False
        """The head has been written: another answer can no longer be given."""

    # -- the upstream's ------------------------------------------------------------------------------------

    def on_interim(self, headers: HeaderMap) -> None:
        """Pass a 100 on (`proxy_100_continue`), the first one for a request."""
        stream = self._stream
        request = stream.request
        # An HTTP/1.0 peer would take it for the answer (RFC 9110 section 15.2).
        if request is None or not stream.manager.proxies_continue or request.version != "1.1":
            return
        if request.response_status != _CONTINUE:
            request.response_status = _CONTINUE
            stream.deadlines.on_movement()
            self.write_interim(headers)

    def write_interim(self, headers: HeaderMap) -> None:
        """Tell the downstream to go on with the body of the request being served."""
        self._write(self._stream.manager.responses.encode_interim(headers))

    def on_response_head(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        """Write an upstream's response head and what came with it. Hot path: once per request."""
        stream = self._stream
        request = stream.request
        if request is None:
            return
        manager = stream.manager
        if request.response_rules is not None:
            request.response_status = status
            request.response_rules(request, headers)
        on_response = manager.on_response
        if request.upgrade:
            on_response = manager.upgrades.response_filters(request)
            manager.stats.count_endless(request)
        if on_response is not None:
            request.response_status = status
            request.response_has_body = not complete or bool(body)
            if not on_response(request, headers):
                self._fail()
                return
            if request.body_transform is not None:
                body = request.body_transform.transform(body, complete=complete)
        self._chunked = manager.responses.frame(request, status, headers)
        if not request.body_complete:
            # Answered before the request was complete: the rest of it is not worth reading.
            manager.stats.downstream_rq_response_before_rq_complete += 1
            request.keep_alive = False
        if not complete:
            stream.deadlines.on_movement()
        self.started = True
        if manager.draining:
            manager.end_keep_alive(request)
        head = manager.responses.encode(request, status, headers)
        self._write_body(request, body, head, complete=complete)

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        """Write more of an upstream's response body."""
        request = self._stream.request
        if request is not None:
            self._stream.deadlines.on_movement()
            if request.body_transform is not None:
                body = request.body_transform.transform(body, complete=complete)
            self._write_body(request, body, b"", complete=complete)

    def on_response_aborted(self, details: str, flag: str) -> None:
        """Cut the connection: a response that broke off must not look complete."""
        stream = self._stream
        stream.exchange = None
        request = stream.request
        if request is not None:
            request.details, request.flags = details, flag
            stream.manager.stats.downstream_rq_tx_reset += 1
            # Of others `end` counts it.
            stream.manager.stats.downstream_rq_rx_reset += request.body_complete
            stream.end(request)
        stream.connection.abort()

    def pause_request(self) -> None:
        """The upstream cannot take more of the request body."""
        if not self._paused_request:
            self._paused_request = True
            self._stream.manager.stats.downstream_flow_control_paused_reading_total += 1
            self._stream.connection.pause(PAUSED_BY_UPSTREAM)

    def hold_request(self) -> None:
        """There is no connection to an upstream for the request body yet."""
        self._stream.connection.pause(PAUSED_BY_UPSTREAM)

    def resume_request(self) -> None:
        """The upstream takes more again."""
        connection = self._stream.connection
        if connection.paused & PAUSED_BY_UPSTREAM:
            if self._paused_request:
                self._paused_request = False
                self._stream.manager.stats.downstream_flow_control_resumed_reading_total += 1
            connection.resume(PAUSED_BY_UPSTREAM)

    # -- another protocol's --------------------------------------------------------------------------------

    def on_switched(self, status: int, headers: HeaderMap, early: list[bytes]) -> None:
        """The upstream speaks what was asked for: HTTP is over on this connection, and bytes pass as they are."""
        stream = self._stream
        request = stream.request
        if request is None:
            return
        manager = stream.manager
        if request.response_rules is not None:
            request.response_status = status
            request.response_rules(request, headers)
        on_response = manager.upgrades.response_filters(request)
        if on_response is not None:
            request.response_status = status
            if not on_response(request, headers):
                self._fail()
                return
        headers.pop(b"keep-alive", None)
        headers.pop(b"proxy-connection", None)
        stream.deadlines.stop_timeout()
        stream.deadlines.on_movement()
        manager.stats.downstream_rq_response_before_rq_complete += 1
        self.started = True
        self._chunked = False
        # Its `connection` is the new protocol's. The connection ends with it, but that is not said here.
        request.keep_alive = True
        head = manager.responses.encode(request, status, headers)
        request.keep_alive = False
        stream.connection.start_tunnel(request)
        if manager.log_moments.at_tunnel:
            manager.log_access(request, clock.monotonic(), REQUEST_TUNNEL)
        self._write_body(request, early, head, complete=False)
        stream.connection.serve()

    def on_tunnel_closed(self, details: str, flag: str) -> None:
        """The upstream has closed: close when the downstream has everything."""
        stream = self._stream
        stream.exchange = None
        request = stream.request
        if request is not None:
            request.details, request.flags = details, flag
            # It has no end of its own (and so Envoy counts it).
            stream.manager.stats.downstream_rq_tx_reset += 1
            stream.end(request)
        stream.connection.end()

    # -- the proxy's own -----------------------------------------------------------------------------------

    def on_local_reply(self, reply: LocalReply) -> None:
        """Answer instead of the upstream."""
        self._stream.exchange = None
        self.reply(reply)

    def reply(self, reply: LocalReply) -> None:
        """Answer the request being served locally; nothing of it is forwarded, or no longer."""
        stream = self._stream
        request = stream.request
        if request is None:
            return
        manager = stream.manager
        # Envoy: a protocol error is a flag for the log alone, the rules for local replies do not see it.
        request.details, request.flags = reply.details, "" if reply.flag == "DPE" else reply.flag
        if request.upgrade and request.body_complete:
            request.keep_alive = False
            manager.stats.count_endless(request)
        elif reply.close or not request.body_complete:
            request.keep_alive = False
            manager.stats.downstream_rq_response_before_rq_complete += not request.body_complete
        draft = begin_reply(reply, request)
        if manager.local_replies is not None:
            manager.local_replies.apply(draft, request, clock.monotonic())
        request.flags = reply.flag
        status, headers, body = finish_reply(draft, request)
        on_response = manager.on_response
        if request.upgrade:
            on_response = manager.upgrades.response_filters(request)
        if on_response is not None:
            request.response_status = status
            request.response_has_body = bool(body) and not request.is_head
            if not on_response(request, headers):
                self._fail()
                return
            if request.body_transform is not None:
                pieces = request.body_transform.transform([body], complete=True)
                self._chunked = manager.responses.frame(request, status, headers)
                self._write_body(request, pieces, self._encode_head(request, status, headers), complete=True)
                return
        data = self._encode_head(request, status, headers)
        if body and not request.is_head:
            request.bytes_sent += len(body)
            data += body
        self._write(data)
        stream.end(request)
        stream.connection.go_on(request)

    # -- inside --------------------------------------------------------------------------------------------

    def _encode_head(self, request: Request, status: int, headers: HeaderMap) -> bytes:
        """Settle what the head of a local reply says about the connection, and encode it."""
        manager = self._stream.manager
        self.started = True
        if manager.draining:
            manager.end_keep_alive(request)
        return manager.responses.encode(request, status, headers)

    def _write_body(self, request: Request, body: list[bytes], head: bytes, *, complete: bool) -> None:
        """Write head, body and the body's end in one go. Hot path: once per request."""
        for piece in body:
            request.bytes_sent += len(piece)
        if self._chunked:
            if complete and request.trailers is not None and request.trailers.response:
                end = self._encode_body_end(request, request.trailers.response)
                if end is None:
                    self._fail()
                    return
                body = encode_chunks(body, last=True, end=end)
            else:
                body = encode_chunks(body, last=complete)
        data = b"".join((head, *body)) if head or len(body) != 1 else body[0]
        stream = self._stream
        if data:
            stream.manager.stats.downstream_cx_tx_bytes_total += len(data)
            stream.connection.write(data)
        if complete:
            stream.exchange = None
            stream.end(request)
            stream.connection.go_on(request)

    def _encode_body_end(self, request: Request, trailers: HeaderMap) -> bytes | None:
        """The last chunk of an upstream's response with its trailers; None: a filter failed over them (S56)."""
        manager = self._stream.manager
        counts = request.byte_counts
        if counts is not None:
            counts.add_response_trailers(trailers)
        if not manager.filters.on_response_trailers(request, trailers):
            return None
        if manager.trailer_rules is None:
            # They are for the log alone.
            return encode_body_end({})
        if counts is not None:
            counts.add_sent_trailers(trailers, upstream=False)
        return encode_body_end(trailers)

    def _write(self, data: bytes) -> None:
        self._stream.manager.stats.downstream_cx_tx_bytes_total += len(data)
        self._stream.connection.write(data)

    def _fail(self) -> None:
        """A filter failed over the response: what it was to keep back must not leave (S56)."""
        if self._stream.exchange is not None:
            self._stream.exchange.abort()
        self.on_response_aborted("filter_failed", "")
