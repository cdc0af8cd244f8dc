"""A connection between `accept` and its filter chain: listener filters look at its first bytes.

States: LOOKING (waiting for bytes, reader and timer set) -> DECIDED, or CLOSED. Bytes are looked at where they lie, in
the kernel; only a PROXY header is taken off. So what comes after, TLS or not, reads the connection from its begin.

Bytes that stay where they are make the socket readable. Of a TCP socket the kernel can be told to report only more of
them; of a Unix domain socket it cannot, and such a one is looked at again after a pause.
"""

import asyncio
import select
import socket
from collections.abc import Callable, Sequence
from enum import Enum

from fastproxy.http.connection_info import ConnectionInfo
from fastproxy.listener.client_hello import ClientHello, FirstBytes, inspect_first_bytes
from fastproxy.listener.proxy_header import (
    MAX_V1_BYTES,
    V2_HEAD_BYTES,
    V2_SIGNATURE,
    ProxyHeader,
    ProxyStart,
    find_proxy_header,
    parse_v2,
)
from fastproxy.listener.settings import ListenerFilterSettings, ProxyProtocolSettings, TlsInspectorSettings
from fastproxy.listener.stats import ListenerStats

#: The first and the longest pause before a Unix domain socket is looked at again.
_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.1


class Outcome(Enum):
    """What a look at the first bytes came to."""

    DONE = "done"
    WAIT = "wait"
    """More bytes are needed."""
    REFUSED = "refused"


class Opening:
    """Runs the listener filters over one accepted socket.

    Args:
        sock: the socket, non-blocking. Owned here until `on_decided` gets it.
        info: addresses; completed by what the filters find.
        filters: what looks, in order.
        stats: counts.
        loop: waits for bytes.
        on_decided: takes the opening over; called at most once, from `start` or from the event loop.
        on_closed: the connection ended here.
    """

    __slots__ = (
        "_at",
        "_filters",
        "_header",
        "_loop",
        "_on_closed",
        "_on_decided",
        "_pause",
        "_pause_s",
        "_peeked",
        "_reading",
        "_stats",
        "_timer",
        "info",
        "sock",
    )

    def __init__(
        self,
        sock: socket.socket,
        info: ConnectionInfo,
        filters: Sequence[ListenerFilterSettings],
        stats: ListenerStats,
        loop: asyncio.AbstractEventLoop,
        *,
        on_decided: Callable[["Opening"], None],
        on_closed: Callable[["Opening"], None],
    ) -> None:
        self.sock = sock
        self.info = info
        self._filters = filters
        self._stats = stats
        self._loop = loop
        self._on_decided = on_decided
        self._on_closed = on_closed
        self._at = 0
        self._header = b""
        """What was taken off of a version 2 PROXY header."""
        self._peeked = 0
        """How many bytes the last look saw; more must be there before the next one is worth it."""
        self._reading = False
        self._pause: asyncio.TimerHandle | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._timer: asyncio.TimerHandle | None = None

    def start(self, timeout_s: float, *, continues: bool) -> None:
        """Look at what is there, and wait for more if need be.

        Args:
            timeout_s: how long the peer may take; 0 = any time.
            continues: when that is over, go on with what is known instead of closing.
        """
        self._advance()
        if (self._reading or self._pause is not None) and timeout_s:
            self._timer = self._loop.call_later(timeout_s, self._on_timeout, continues)

    @property
    def is_silent(self) -> bool:
        """Whether the peer has sent nothing yet."""
        return self._at == 0 and not self._peeked and not self._header

    def close(self) -> None:
        """End the connection; not after `on_decided`."""
        self._stop_waiting()
        self.sock.close()
        self._on_closed(self)

    def _advance(self) -> None:
        while self._at < len(self._filters):
            one = self._filters[self._at]
            try:
                outcome = (
                    self._inspect_tls(one)
                    if isinstance(one, TlsInspectorSettings)
                    else self._take_proxy_header(one)
                )
            except BlockingIOError:
                outcome = Outcome.WAIT
            except OSError:
                # Reset by the peer.
                outcome = Outcome.REFUSED
            if outcome is Outcome.WAIT:
                self._wait()
                return
            if outcome is Outcome.REFUSED:
                self.close()
                return
            self._at += 1
            self._peeked = 0
        self._decide()

    def _decide(self) -> None:
        self._stop_waiting()
        self._on_decided(self)

    def _wait(self) -> None:
        # Bytes that were seen stay in the socket: without this the event loop would report them for ever.
        if self._peeked and self.sock.family == socket.AF_UNIX:
            self._stop_reading()
            self._pause = self._loop.call_later(self._pause_s, self._look_again)
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
            return
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, self._peeked + 1)
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self.sock, self._advance)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._stop_reading()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.sock)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def _look_again(self) -> None:
        self._pause = None
        self._advance()

    def _on_timeout(self, continues: bool) -> None:
        self._timer = None
        self._stats.downstream_pre_cx_timeout += 1
        if continues and not self._header:
            self._decide()
        else:
            self.close()

    def _peek(self, size: int) -> bytes | None:
        """Look at the first bytes; None: the peer ended the connection before there were enough."""
        data = self.sock.recv(size, socket.MSG_PEEK)
        if len(data) <= self._peeked:
            if data and self.sock.family == socket.AF_UNIX and not _has_ended(self.sock):
                raise BlockingIOError
            # Woken up without more than the last time: what follows is the end.
            self._stats.downstream_listener_filter_remote_close += 1
            return None
        self._peeked = len(data)
        return data

    def _inspect_tls(self, inspector: TlsInspectorSettings) -> Outcome:
        limit = inspector.max_client_hello_bytes
        data = self._peek(limit + 1)
        if data is None:
            return Outcome.REFUSED
        # What is behind the limit does not count, also if it came with the rest: who chooses how a hello is cut into
        # pieces would choose how it is read.
        found = inspect_first_bytes(data[:limit])
        stats, info = self._stats.tls_inspector, self.info
        if found is FirstBytes.INCOMPLETE:
            if len(data) <= limit:
                return Outcome.WAIT
            stats.client_hello_too_large += 1
            found = FirstBytes.MALFORMED
        if isinstance(found, ClientHello):
            info.transport_protocol = "tls"
            info.requested_server_name = found.server_name
            info.application_protocols = found.protocols
            stats.tls_found += 1
            stats.sni_found += bool(found.server_name)
            stats.sni_not_found += not found.server_name
            stats.alpn_found += bool(found.protocols)
            stats.alpn_not_found += not found.protocols
            return Outcome.DONE
        if found is FirstBytes.MALFORMED:
            stats.client_hello_malformed += 1
            if inspector.refuses_malformed:
                return Outcome.REFUSED
        stats.tls_not_found += 1
        info.transport_protocol = "raw_buffer"
        return Outcome.DONE

    def _take_proxy_header(self, settings: ProxyProtocolSettings) -> Outcome:
        if self._header:
            return self._take_rest()
        data = self._peek(max(MAX_V1_BYTES, V2_HEAD_BYTES))
        if data is None:
            return Outcome.REFUSED
        found = find_proxy_header(data)
        if found is ProxyStart.INCOMPLETE:
            return Outcome.WAIT
        if isinstance(found, ProxyHeader) and found.version in settings.versions:
            if found.version == 1:
                self.sock.recv(found.size)
                return self._accept_header(found)
            self._header = self.sock.recv(V2_HEAD_BYTES)
            return self._take_rest()
        if found is ProxyStart.ABSENT and settings.optional:
            self._stats.count_proxy_protocol("not_found_allowed")
            return Outcome.DONE
        if isinstance(found, ProxyHeader) and settings.optional:
            # A version that is disallowed counts as no header, as in Envoy.
            return Outcome.DONE
        if isinstance(found, ProxyHeader):
            self._stats.count_proxy_protocol(f"versions.v{found.version}.found")
            self._stats.count_proxy_protocol(f"versions.v{found.version}.disallowed")
            return Outcome.REFUSED
        if found is ProxyStart.ABSENT:
            return self._refuse_header("not_found_disallowed")
        return self._refuse_header(f"versions.v{2 if data.startswith(V2_SIGNATURE) else 1}.error")

    def _take_rest(self) -> Outcome:
        """Take the rest of a version 2 header, in as many pieces as it comes in, and not a byte more."""
        size = V2_HEAD_BYTES + int.from_bytes(self._header[14:16], "big")
        self._peeked = 0
        while len(self._header) < size:
            data = self.sock.recv(size - len(self._header))
            if not data:
                self._stats.downstream_listener_filter_remote_close += 1
                return Outcome.REFUSED
            self._header += data
        found = parse_v2(self._header)
        self._header = b""
        if isinstance(found, ProxyHeader):
            return self._accept_header(found)
        return self._refuse_header("versions.v2.error")

    def _accept_header(self, header: ProxyHeader) -> Outcome:
        self._stats.count_proxy_protocol(f"versions.v{header.version}.found")
        if header.source is not None and header.destination is not None:
            self.info.remote_address = header.source
            self.info.local_address = header.destination
        return Outcome.DONE

    def _refuse_header(self, why: str) -> Outcome:
        self._stats.count_proxy_protocol(why)
        self._stats.proxy_protocol_errors += 1
        return Outcome.REFUSED


def _has_ended(sock: socket.socket) -> bool:
    """Whether the peer will send no more than what is there."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))
