"""What must not come out of a format that is read by more people than the request (S53).

Formats of access logs and of local replies are compiled with redaction. Header values are not: they go to the upstream
or the downstream that the request is shared with anyway, and only because the configuration says so by name.
"""

import re

from fastproxy.format.context import FormatContext, Operator

#: Headers whose value is a credential, whatever it looks like.
SECRET_HEADERS = frozenset((b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"))
REDACTED = b"[redacted]"

# Every JOSE header that is written without blanks begins with `{"`, in base64url `eyJ`.
_MARK = b"eyJ"
_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_=-]+(?:\.|%2[Ee])[A-Za-z0-9_=-]+(?:(?:\.|%2[Ee])[A-Za-z0-9_=-]*)*")


def redact_tokens(value: bytes) -> bytes:
    """Replace everything that looks like a JSON Web Token, also in headers and parameters nobody thought of."""
    return value if _MARK not in value else _TOKEN.sub(REDACTED, value)


def redacting(operator: Operator) -> Operator:
    """Wrap an operator that gives what a peer sent."""

    def redacted(context: FormatContext) -> object:
        value = operator(context)
        if isinstance(value, bytes):
            return redact_tokens(value)
        if isinstance(value, str):
            return redact_tokens(value.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
        return value

    return redacted
