"""Handing PEM to OpenSSL, which reads certificates, keys and revocation lists from files only."""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastproxy.tls.settings import PeerValidation

#: `X509_V_FLAG_NO_CHECK_TIME` of OpenSSL, for which Python has no name.
_NO_CHECK_TIME = 0x200000


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


def load_validation(ctx: ssl.SSLContext, validation: PeerValidation, purpose: ssl.Purpose) -> None:
    """Load what peers' certificates are verified with: authorities, revocation lists, whether time counts.

    Args:
        ctx: gets it.
        validation: says it.
        purpose: which of the system's roots count, where no authority is named.

    Raises:
        ssl.SSLError: something in it cannot be read. OSError, ValueError: as the library sees fit.
    """
    if validation.trusted_ca is None:
        ctx.load_default_certs(purpose)
    else:
        load_trust(ctx, validation.trusted_ca)
        # As in Envoy, an intermediate or self-signed certificate in trusted_ca is trusted as it stands.
        ctx.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if validation.crl is not None:
        load_trust(ctx, validation.crl)
        ctx.verify_flags |= (
            ssl.VERIFY_CRL_CHECK_LEAF if validation.crl_for_leaf_only else ssl.VERIFY_CRL_CHECK_CHAIN
        )
    if validation.allow_expired:
        ctx.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)


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
