"""Status lines: Envoy's reason phrases (RFC 9110 section 15), encoded once."""

from http import HTTPStatus

_REASONS = {status.value: status.phrase for status in HTTPStatus}
# Names in which Envoy follows an older registry than Python's `http` module.
_REASONS |= {
    413: "Payload Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Entity",
    425: "Too Early",
}
# Envoy does not know these.
for _unknown in (103, 418, 430):
    _REASONS.pop(_unknown, None)
_REASONS |= {302: "Found", 599: "Last Unassigned Server Error Code"}

_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n".encode() for status in range(100, 1000)
}


def status_line(status: int) -> bytes:
    """The HTTP/1.1 status line with its line end; a code nobody knows has the reason `Unknown`, as in Envoy."""
    return _STATUS_LINES[status]
