"""Why TLS failed, in words for logs."""

import ssl


def tls_failure(error: BaseException | None) -> str:
    """Word an error of TLS; empty: it was none, the peer has just gone or the network failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS_error: CERTIFICATE_VERIFY_FAILED: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        # Only those that OpenSSL raised have a reason.
        return f"TLS_error: {getattr(error, 'reason', None) or type(error).__name__}"
    return ""
