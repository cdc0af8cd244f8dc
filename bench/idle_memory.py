"""Memory of idle connections: what each of 10,000 keeps, with FastProxy and with Envoy, plain and by TLS.

Run: `make bench-idle`. Every connection makes one request and then stays open: that is what a keep-alive connection
between two requests is. What is measured is how much the proportional set size of all processes of the contender grows,
so memory that processes share counts once. The kernel's own memory of a socket is in none of the figures.

The client's sockets are plain ones. For TLS it ends TLS over memory buffers, one connection at a time, and forgets the
session: an idle connection needs no more of its client than an open socket.
"""

import argparse
import platform
import resource
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.certificate import prepare_certificate
from bench.contenders import Contender, commands, fastproxy_form, running, running_upstream
from bench.tokens import prepare_tokens

_RESULTS = Path(__file__).parent / "results"
_REQUEST = b"GET /plain/users HTTP/1.1\r\nHost: bench.test\r\n\r\n"
#: What each side needs besides the connections.
_OTHER_FILES = 200
#: Opened and left open before the first look: what is there once only is made by then.
_WARM_UP = 200


def pss_bytes(pids: list[int]) -> int:
    """Proportional set size of some processes together."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def connect_plain(port: int) -> socket.socket:
    """Open a connection that has served one request."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.sendall(_REQUEST)
    head = b""
    while b"\r\n\r\n" not in head:
        head += _received(sock)
    _check(head)
    return sock


def connect_tls(port: int, context: ssl.SSLContext) -> socket.socket:
    """Open a connection by TLS that has served one request; what it needs besides the socket is dropped."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")

    def complete(step: Callable[[], object]) -> object:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(_received(sock))
            else:
                sock.sendall(outgoing.read())
                return done

    complete(tls.do_handshake)
    complete(lambda: tls.write(_REQUEST))
    head = b""
    while b"\r\n\r\n" not in head:
        data = complete(tls.read)
        assert isinstance(data, bytes)
        head += data
    _check(head)
    return sock


def measure(contender: Contender, connect: Callable[[], socket.socket], connections: int) -> float:
    """Bytes that one more idle connection costs."""
    with ExitStack() as stack:
        for _ in range(_WARM_UP):
            stack.enter_context(connect())
        before = pss_bytes(contender.pids())
        for _ in range(connections):
            stack.enter_context(connect())
        return (pss_bytes(contender.pids()) - before) / connections


def main() -> int:
    """Measure and print; 0."""
    names = sorted(commands())
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--contender", action="append", choices=names, help="only this one; may be repeated")
    options = parser.parse_args()
    needed = options.connections + _WARM_UP + _OTHER_FILES
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A worker of FastProxy leaves half of its file descriptors to upstream connections.
    if hard != resource.RLIM_INFINITY and hard < 2 * needed:
        parser.error(f"ulimit -Hn is {hard}: at most --connections {hard // 2 - _WARM_UP - _OTHER_FILES}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * needed, hard))
    tokens = prepare_tokens(_RESULTS / "tokens", 1)
    certificate = prepare_certificate(_RESULTS / "tokens")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate.chain)
    print(
        f"{options.connections:,} idle connections after one request each, {platform.machine()}, "
        f"Python {platform.python_version()}, FastProxy {fastproxy_form()}",
        flush=True,
    )
    for name in options.contender or names:
        for kind in ("plain", "tls"):
            # A process for each: none finds memory that the other kind left.
            with ExitStack() as stack:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastproxy-idle-")))
                upstream_port = stack.enter_context(running_upstream(None))
                contender = stack.enter_context(
                    running(name, directory, upstream_port, tokens.jwks, None, certificate)
                )
                each = measure(contender, _connector(contender, kind, context), options.connections)
            total_mib = each * options.connections / 2**20
            print(f"{name:10} {kind:6} {each / 1024:7.1f} KiB each {total_mib:8.0f} MiB", flush=True)
    return 0


def _connector(contender: Contender, kind: str, context: ssl.SSLContext) -> Callable[[], socket.socket]:
    if kind == "tls":
        return lambda: connect_tls(contender.tls_port, context)
    return lambda: connect_plain(contender.port)


def _received(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise RuntimeError("the contender closed a connection")
    return data


def _check(head: bytes) -> None:
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"not the answer that was expected: {head[:80]!r}")


if __name__ == "__main__":
    sys.exit(main())
