"""Handing PEM to OpenSSL, which reads certificates, keys and revocation lists from files only."""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def load_pair(ctx: ssl.SSLContext, chain: bytes, key: bytes, password: str) -> None:
    """Load a certificate chain with its key, without leaving the key on disk.

    Raises:
        ssl.SSLError: not PEM, or the two do not belong together. OSError, ValueError: as the library sees fit.
    """
    with _as_file(chain.rstrip() + b"\n" + key.rstrip() + b"\n") as path:
        # A password is always given: without one OpenSSL would ask for it on the terminal.
        ctx.load_cert_chain(path, password=password)


def load_trust(ctx: ssl.SSLContext, pem: bytes) -> None:
    """Add authorities or revocation lists to what a context trusts.

    Raises:
        ssl.SSLError: there are none in it.
    """
    with _as_file(pem) as path:
        ctx.load_verify_locations(path)


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """A file that only this process can open; in memory where the system offers it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("fastproxy-tls")
        try:
            with os.fdopen(os.dup(descriptor), "wb") as stream:
                stream.write(content)
            yield Path(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
    else:
        # Mode 0700 on the folder.
        with tempfile.TemporaryDirectory(prefix="fastproxy-") as folder:
            path = Path(folder, "tls.pem")
            path.write_bytes(content)
            yield path
