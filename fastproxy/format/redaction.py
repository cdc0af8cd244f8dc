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
# Possessive: what the first part has taken cannot be the point behind it.
_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_=-]++(?:\.|%2[Ee])[A-Za-z0-9_=-]++(?:(?:\.|%2[Ee])[A-Za-z0-9_=-]*+)*+")
_RUN = re.compile(rb"[A-Za-z0-9_=-]*+")


def redact_tokens(value: bytes) -> bytes:
    """Replace everything that looks like a JSON Web Token, also in headers and parameters nobody thought of."""
    at = value.find(_MARK)
    if at < 0:
        return value
    out: list[bytes] = []
    copied = 0
    while at >= 0:
        found = _TOKEN.match(value, at)
        if found is not None:
            out += (value[copied:at], REDACTED)
            copied = end = found.end()
        else:
            # Nor is a later mark of this run the begin of a token: its end is the same, and so is what follows it.
            # To try each of them would cost the square of their number, and a client chooses that.
            run = _RUN.match(value, at)
            assert run is not None
            end = run.end()
        at = value.find(_MARK, end)
    out.append(value[copied:])
    return b"".join(out)


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
