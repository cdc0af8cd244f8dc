"""One request on its way to an upstream, and its response on the way back.

States of an `Exchange`, all transitions in this module:

    start() --> WAITING (for a connection) --> SENDING/RECEIVING --> DONE
       no endpoint, connect error, reset before the head, timeout: a LocalReply goes to the downstream, DONE
       failure after the response head: the downstream connection is cut, DONE
       abort() by the downstream: the upstream connection is closed, DONE

A request that may be tried more than once is a `RetryingExchange`. Only one thing is tried again here, unasked: what
met a reused connection that the upstream had closed. It is safe if nothing was written, whatever the request is; or if
no byte of an answer came, the method is idempotent and the body can be sent again.

Always true: the exchange holds one of the cluster's `requests` (circuit breaker) exactly while it has a connection.

Request body bytes that arrive before the connection is there stay in `_waiting_body`; the downstream is not read
meanwhile, so they are at most what one read delivered.
"""

from fastproxy import clock
from fastproxy.http.chunks import encode_chunks
from fastproxy.http.forwarding import rewrite_host
from fastproxy.http.headers import HeaderMap, append
from fastproxy.http.messages import LocalReply, Request
from fastproxy.http.name_case import MessageNames
from fastproxy.http.trailers import MessageTrailers, encode_body_end
from fastproxy.router.downstream import Downstream
from fastproxy.router.replies import NO_HEALTHY_UPSTREAM, REQUEST_TIMEOUT, build_error_reply
from fastproxy.router.request_head import encode_request_head
from fastproxy.router.route import Route
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.endpoint import Endpoint
from fastproxy.upstream.errors import (
    CircuitBreakerOverflow,
    ConnectFailed,
    StreamTooLong,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamReset,
)
from fastproxy.upstream.pool import ConnectionPool

#: RFC 9110 section 9.2.2. Sent again unasked only if the upstream closed a reused connection before answering a byte.
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class Exchange:
    """Forwards one request. `ResponseHandler` of its connection, `ConnectionWaiter` of its pool."""

    __slots__ = (
        "_blocked_response",
        "_breaker",
        "_cluster",
        "_connection",
        "_downstream",
        "_endpoint",
        "_pool",
        "_request_ended",
        "_requests",
        "_response_started",
        "_retried",
        "_route",
        "_sent_at",
        "_waiting_body",
        "is_done",
        "limits",
        "request",
        "timeout_reply",
        "timeout_s",
    )

    def __init__(self, request: Request, route: Route, cluster: Cluster, downstream: Downstream) -> None:
        self.request = request
        self._route = route
        self._cluster = cluster
        breaker = self._breaker = cluster.breakers[route.priority]
        self._requests = breaker.requests
        self._downstream = downstream
        self._endpoint: Endpoint | None = None
        self._pool: ConnectionPool | None = None
        self._connection: UpstreamConnection | None = None
        self._waiting_body: list[bytes] = []
        self._request_ended = False
        self._response_started = False
        self._blocked_response = False
        self._retried = False
        self.is_done = False
        """The exchange has ended, well or not."""
        self._sent_at = 0.0
        self.timeout_s = route.timeout_s
        """From the end of the request (spec/http.md section 9.1); 0 is none."""
        self.timeout_reply = REQUEST_TIMEOUT
        """What the downstream gets when it has passed."""
        self.limits = route.limits
        """What the route says about the stream's duration; None if nothing."""

    # -- the downstream's side -----------------------------------------------------------------------------

    def start(self, body: list[bytes], *, complete: bool) -> None:
        """Choose an endpoint and send what is there, at once if a connection is idle. Hot path: once per request.

        Args:
            body: the part of the body that was read with the head; the list is the exchange's from now on.
            complete: the request ends with it.
        """
        self._request_ended = complete
        route = self._route
        endpoint = self._select_endpoint() if route.is_choosy else self._cluster.select_endpoint()
        if endpoint is None:
            self._fail_unsent()
        else:
            self._begin(endpoint, body)

    def _select_endpoint(self) -> Endpoint | None:
        return self._route.select_endpoint(self._cluster, self.request)

    def _begin(self, endpoint: Endpoint, body: list[bytes]) -> None:
        """Try an endpoint. Hot path: once per request."""
        cluster = self._cluster
        self._endpoint = endpoint
        self.request.upstream_host = endpoint.text
        self.request.upstream_host_name = endpoint.address.hostname
        self.request.upstream_metadata = endpoint.filter_metadata
        if self._route.auto_host_rewrite and endpoint.address.hostname:
            self._rewrite_host(endpoint.address.hostname.encode())
        cluster.stats.upstream_rq_total += 1
        endpoint.stats.rq_total += 1
        pool = self._pool = (
            cluster.pool_for(endpoint, self.request) if cluster.has_named_pools else endpoint.pool
        )
        connection = pool.take_idle()
        if connection is None:
            cluster.stats.upstream_rq_waiting += 1
            endpoint.stats.rq_waiting += 1
            self._wait_for_connection(pool, body)
        elif not self._requests.acquire():
            pool.release(connection)
            self._count_unsent(endpoint)
            self._overflow()
        else:
            self._send_request(connection, body)

    def _rewrite_host(self, host: bytes) -> None:
        route = self._route
        rewrite_host(
            self.request,
            host,
            tell=route.envoy_headers,
            append_forwarded_host=route.append_forwarded_host,
        )

    def _wait_for_connection(self, pool: ConnectionPool, body: list[bytes]) -> None:
        if body:
            self._waiting_body = body
            if not self._request_ended:
                self._downstream.hold_request()
        pool.connect(self, self._breaker)

    def send_body(self, body: list[bytes], *, complete: bool) -> None:
        """Pass on more of the request body, transfer coding removed; `complete`: this was the last of it."""
        self._request_ended = complete
        connection = self._connection
        if connection is not None:
            self._write_body(connection, body, b"", complete=complete)
        elif not self.is_done:
            self._waiting_body += body
            if not complete:
                self._downstream.hold_request()

    def abort(self) -> None:
        """The downstream is gone: nobody wants the response."""
        if self.is_done:
            return
        self._release_upstream()
        self.is_done = True
        self._end_try()

    def on_timeout(self) -> None:
        """The time for the response has passed."""
        if self.is_done:
            return
        endpoint = self._endpoint
        # Between two tries no upstream is to blame (Envoy).
        is_tried = endpoint is not None
        if endpoint is not None:
            self._cluster.stats.upstream_rq_timeout += 1
            endpoint.count_timeout()
        self._release_upstream()
        self._fail(self.timeout_reply, charged=is_tried)

    def count_abandoned(self) -> None:
        """The upstream was too slow for a copy of a request (Envoy `retry_or_shadow_abandoned`)."""
        self._cluster.stats.retry_or_shadow_abandoned += 1

    def pause_response(self) -> None:
        """The downstream's write buffer is full: stop reading the response."""
        self._blocked_response = True
        if self._connection is not None:
            self._connection.pause_reading()

    def resume_response(self) -> None:
        """The downstream can take more."""
        self._blocked_response = False
        if self._connection is not None:
            self._connection.resume_reading()

    # -- the pool's side -----------------------------------------------------------------------------------

    def on_connection(self, connection: UpstreamConnection) -> bool:
        """Send what is there of the request, unless there are too many already."""
        is_free = self._requests.acquire()
        self._end_waiting(sent=is_free)
        if not is_free:
            self._overflow()
            return False
        waiting, self._waiting_body = self._waiting_body, []
        self._send_request(connection, waiting)
        if not connection.is_blocked:
            self._downstream.resume_request()
        return True

    def on_connect_error(self, error: UpstreamError) -> None:
        """No connection could be made."""
        self._end_waiting(sent=False)
        self.on_upstream_error(error)

    # -- the connection's side -----------------------------------------------------------------------------

    def on_interim(self, headers: HeaderMap) -> None:
        """The upstream is ready for the body."""
        self._downstream.on_interim(headers)

    def on_response_head(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        """Pass the head on, with what came with it. Hot path: once per request."""
        self._response_started = True
        request = self.request
        request.details = "via_upstream"
        self._cluster.stats.statuses[status] += 1
        if b"x-envoy-internal" in request.headers:
            self._cluster.stats.internal_statuses[status] += 1
        now = request.response_monotonic = clock.monotonic()
        if self._route.envoy_headers:
            if self._sent_at:
                headers[b"x-envoy-upstream-service-time"] = b"%d" % ((now - self._sent_at) * 1000)
            else:
                # Answered before the request was sent completely: there is no such time.
                headers.pop(b"x-envoy-upstream-service-time", None)
        endpoint = self._endpoint
        if endpoint is not None:
            if status < 500 and not endpoint.is_watched:
                endpoint.stats.rq_success += 1
            else:
                endpoint.count_response(status, headers)
        if request.set_cookies is not None:
            for cookie in request.set_cookies:
                append(headers, b"set-cookie", cookie)
        if self._cluster.notes_responses:
            self._note_response()
        if complete:
            self._complete(now)
        self._downstream.on_response_head(status, headers, body, complete=complete)

    def _note_response(self) -> None:
        """Keep what there is about the response besides its head and its body."""
        request, connection = self.request, self._connection
        if connection is None:
            return
        if connection.trailers is not None:
            if request.trailers is None:
                request.trailers = MessageTrailers()
            # Empty before the response is complete.
            request.trailers.response = connection.trailers
        if self._cluster.keeps_case:
            self._keep_names()

    def _keep_names(self) -> None:
        """Have the header names of the response passed on as the upstream wrote them."""
        request, connection = self.request, self._connection
        if connection is not None:
            if request.names is None:
                request.names = MessageNames()
            request.names.response = connection.names

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        """Pass more of the body on."""
        if complete:
            self._complete(clock.monotonic())
        self._downstream.on_response_body(body, complete=complete)

    def on_upstream_error(self, error: UpstreamError) -> None:
        """Answer for the upstream, or cut the response that had begun."""
        if self.is_done:
            return
        was_sent = self._connection is not None
        if was_sent:
            self._connection = None
            self._requests.release()
        if self._may_send_again(error):
            self._send_again()
            return
        # That it has enough to do is not its failure.
        if self._endpoint is not None and not isinstance(error, CircuitBreakerOverflow):
            self._endpoint.count_failure()
        if isinstance(error, UpstreamReset):
            if self._response_started and error.at_end and not self.request.upgrade:
                # The body is shorter than its head has said.
                self._cluster.stats.upstream_cx_protocol_error += 1
                error = UpstreamInvalidResponse()
        elif isinstance(error, ConnectFailed):
            self.request.transport_failure = error.cause
        self._on_failure(error, was_sent=was_sent)

    def _on_failure(self, error: UpstreamError, *, was_sent: bool) -> None:
        """The try has failed; `was_sent`: there was a connection, so the upstream may have seen the request."""
        self._fail_with(error)

    def _fail_with(self, error: UpstreamError) -> None:
        # Of a stream that took too long no status is counted (Envoy).
        self._fail(self._build_reply(error), charged=not isinstance(error, StreamTooLong))

    def _build_reply(self, error: UpstreamError) -> LocalReply:
        return build_error_reply(
            error,
            retried=self.request.retries > 0,
            envoy_headers=self._route.envoy_headers,
            is_request_complete=self._request_ended and not self.request.upgrade,
        )

    def on_upstream_blocked(self) -> None:
        """The upstream is slower than the downstream."""
        if not self._request_ended:
            self._downstream.pause_request()

    def on_upstream_drained(self) -> None:
        """The upstream can take more.

        Also after the request's end: its last bytes may have been read when reading was already paused.
        """
        self._downstream.resume_request()

    # -- inside --------------------------------------------------------------------------------------------

    def _send_request(self, connection: UpstreamConnection, body: list[bytes]) -> None:
        """Take the connection and send what is there of the request. Hot path: once per request."""
        request = self.request
        self._connection = connection
        request.upstream_link = connection.link
        if request.counting is not None:
            request.counting.on_sent()
        connection.start(self, head_only=request.is_head)
        if self._blocked_response:
            connection.pause_reading()
        head = encode_request_head(request, self._cluster.name_case)
        counts = request.byte_counts
        if counts is not None:
            counts.add_request_head(head)
            connection.count_into(counts)
        if request.has_body:
            self._write_body(connection, body, head, complete=self._request_ended)
        elif connection.write(head):
            connection.request_sent = True
            self._sent_at = request.sent_monotonic = clock.monotonic()
        else:
            self._leave_unused(connection, body)

    def _write_body(
        self, connection: UpstreamConnection, body: list[bytes], head: bytes, *, complete: bool
    ) -> None:
        pieces = body
        if self.request.content_length is None:
            if complete and self.request.trailers is not None and self._cluster.passes_trailers:
                pieces = encode_chunks(body, last=True, end=self._encode_body_end(self.request.trailers))
            else:
                pieces = encode_chunks(body, last=complete)
        data = b"".join((head, *pieces)) if head or len(pieces) != 1 else pieces[0]
        if data and not connection.write(data) and head:
            self._leave_unused(connection, body)
            return
        if complete:
            connection.request_sent = True
            self._sent_at = self.request.sent_monotonic = clock.monotonic()

    def _encode_body_end(self, trailers: MessageTrailers) -> bytes:
        """The last chunk of the request, with what came behind its body."""
        fields = trailers.request or {}
        if self.request.byte_counts is not None:
            self.request.byte_counts.add_sent_trailers(fields, upstream=True)
        return encode_body_end(fields)

    def _leave_unused(self, connection: UpstreamConnection, body: list[bytes]) -> None:
        """The connection was closing when it was taken, and nothing was written: any request may go elsewhere.

        Not if it is new: an upstream that accepts and closes at once would be asked for ever.
        """
        pool = self._pool
        if pool is None or not connection.served or self._retried:
            return
        connection.close()
        self._connection = None
        self._requests.release()
        self._retried = True
        self._cluster.stats.upstream_rq_retry += 1
        self._wait_for_connection(pool, body)

    def _may_send_again(self, error: UpstreamError) -> bool:
        """Whether the request is safe to send once more on a fresh connection.

        The upstream's idle timer may have fired while the request was on its way: then it closed a reused connection
        without answering a byte. Envoy answers 503 here; a bodyless idempotent request loses nothing by a second try.
        """
        return (
            isinstance(error, UpstreamReset)
            and error.reused
            and not self._response_started
            and not self._retried
            and not self.request.has_body
            and self.request.method in IDEMPOTENT
        )

    def _send_again(self) -> None:
        self._retried = True
        self._sent_at = 0.0
        self._cluster.stats.upstream_rq_retry += 1
        if self._pool is not None:
            self._pool.connect(self, self._breaker)

    def _end_waiting(self, *, sent: bool) -> None:
        """The try waits for a connection no longer, because it has one (`sent`) or will have none."""
        endpoint = self._endpoint
        # What waits once more had a connection before.
        if endpoint is None or self._retried:
            return
        self._cluster.stats.upstream_rq_waiting -= 1
        endpoint.stats.rq_waiting -= 1
        if not sent:
            self._count_unsent(endpoint)

    def _count_unsent(self, endpoint: Endpoint) -> None:
        self._cluster.stats.upstream_rq_unsent += 1
        endpoint.stats.rq_unsent += 1

    def _overflow(self) -> None:
        """The upstream has as many requests as it may have."""
        self._cluster.stats.upstream_rq_active_overflow += 1
        if self._endpoint is not None:
            # An error of the endpoint's for who looks at it (Envoy), and no reason to eject it.
            self._endpoint.stats.rq_error += 1
        self._on_failure(CircuitBreakerOverflow(), was_sent=False)

    def _release_upstream(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._requests.release()
            connection.close()
        elif self._pool is not None and self._pool.forget(self):
            self._end_waiting(sent=False)

    def _complete(self, now: float) -> None:
        """The response is complete, the connection already back in its pool. Hot path: once per request."""
        self._connection = None
        self._requests.release()
        self.is_done = True
        stats = self._cluster.stats
        if self._sent_at:
            stats.rq_time.record((now - self._sent_at) * 1000)
        if self._retried:
            stats.upstream_rq_retry_success += 1
        endpoint = self._endpoint
        if endpoint is not None:
            stats.upstream_rq_ended += 1
            endpoint.stats.rq_ended += 1

    def _end_try(self) -> None:
        """Count that a try has ended; without an endpoint there is none."""
        endpoint = self._endpoint
        if endpoint is not None:
            self._cluster.stats.upstream_rq_ended += 1
            endpoint.stats.rq_ended += 1

    def _fail_unsent(self) -> None:
        """There is no endpoint to try."""
        self._cluster.stats.upstream_cx_none_healthy += 1
        self._fail(NO_HEALTHY_UPSTREAM)

    def _fail(self, reply: LocalReply, *, charged: bool = True) -> None:
        """Answer for the upstream; `charged`: the status counts among the answers of the cluster."""
        self.is_done = True
        self._end_try()
        if self._response_started:
            details = reply.details.replace("before_response_started", "after_response_started")
            self._downstream.on_response_aborted(details, reply.flag)
        else:
            if charged:
                self._cluster.stats.statuses[reply.status] += 1
                if b"x-envoy-internal" in self.request.headers:
                    self._cluster.stats.internal_statuses[reply.status] += 1
            self._downstream.on_local_reply(reply)
