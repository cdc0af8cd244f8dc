"""An upstream that speaks TLS, shows one certificate, and answers with what it learned in the handshake."""

import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from tests.tls.pki import Authority, Issued


class TlsUpstream:
    """Answers every request with `sni=NAME peer=COMMON NAME`; with `ask` only clients of that authority are served.

    `with TlsUpstream(certificate) as upstream`.
    """

    def __init__(self, shown: Issued, ask: Authority | None = None, *, closes: bool = False) -> None:
        self.requests = 0
        """Requests of which a byte arrived."""
        self._names: dict[ssl.SSLSocket, str] = {}
        self._ask = ask
        self._closes = closes
        """After every answer: the next one shows what is in force."""
        self.show(shown)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def show(self, shown: Issued) -> None:
        """Show another certificate from now on."""
        from fastproxy.tls.openssl import load_pair

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_pair(context, shown.chain, shown.private_key, "")
        if self._ask is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self._ask.pem.decode())
        context.sni_callback = self._on_name
        self._context = context

    def __enter__(self) -> "TlsUpstream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)

    def _on_name(self, sock: Any, name: str | None, _context: ssl.SSLContext) -> None:
        self._names[sock] = name or ""

    def _accept(self) -> None:
        while True:
            try:
                bare, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(bare,), daemon=True).start()

    def _serve(self, bare: socket.socket) -> None:
        with suppress(OSError, ssl.SSLError), bare:
            bare.settimeout(20)
            with self._context.wrap_socket(bare, server_side=True, do_handshake_on_connect=False) as sock:
                sock.do_handshake()
                while head := sock.recv(65536):
                    self.requests += head.startswith(b"GET")
                    sock.sendall(self._answer(sock))

    def _answer(self, sock: ssl.SSLSocket) -> bytes:
        shown: Any = sock.getpeercert() or {}
        peer = dict(pair for parts in shown.get("subject", ()) for pair in parts)
        body = f"sni={self._names.get(sock, '')} peer={peer.get('commonName', '')}".encode()
        close = b"connection: close\r\n" if self._closes else b""
        return b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s" % (close, len(body), body)
