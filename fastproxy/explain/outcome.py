"""What the rehearsed request came to, apart from tokens: the answer, and answers of the proxy's other parts."""

from dataclasses import dataclass

from fastproxy.advice import Advice
from fastproxy.advice.words import quote
from fastproxy.explain.cors import is_cors_answer
from fastproxy.explain.rehearsal import Rehearsal
from fastproxy.listener.settings import HttpConnectionManagerSettings

_REJECTIONS = {
    400: (
        "The proxy cannot read this as one plain HTTP/1.1 request: a forbidden character, no host or two, odd framing.",
        "Send it as RFC 9112 has it; control characters and blanks in the path must be percent-encoded.",
    ),
    403: ("The request asks for another protocol (upgrade), which is refused.", "Leave the upgrade out."),
    426: ("The request is HTTP/1.0 or older, which is refused.", "Use HTTP/1.1."),
    501: ("The request has a transfer-encoding other than chunked.", "Use chunked, or content-length."),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer, and where it came from."""

    status: int
    body: str
    www_authenticate: str
    is_forwarded: bool
    """The request would go to an upstream; the status is then not the proxy's."""
    cluster: str
    upstream_head: bytes
    reached_routes: bool
    """Every filter has let it pass, or one has answered it as it should be: a preflight."""

    @property
    def is_allowed(self) -> bool:
        """No filter refused it, and something is there that answers it."""
        return self.is_forwarded or (self.reached_routes and self.status < 400)


def read_outcome(rehearsal: Rehearsal) -> Outcome:
    """Read the answer of a rehearsal."""
    status, headers, body = _read_response(rehearsal.response)
    request = rehearsal.request
    cluster = "" if request is None else request.upstream_cluster
    head = next(iter(rehearsal.upstream_heads), b"")
    # Without a usable endpoint the router answers 503: which ones there are is the moment's business, not the file's.
    forwarded = bool(head) or (bool(cluster) and request is not None and request.flags == "UH")
    return Outcome(
        0 if forwarded else status,
        "" if forwarded else body.decode("utf-8", "backslashreplace")[:1000],
        headers.get(b"www-authenticate", b"").decode("utf-8", "backslashreplace"),
        forwarded,
        cluster,
        head,
        rehearsal.passed_filters or is_cors_answer(rehearsal),
    )


def advise_outcome(rehearsal: Rehearsal, outcome: Outcome, http: HttpConnectionManagerSettings) -> Advice:
    """Why a request is refused by something else than a token."""
    if rehearsal.seen is None:
        return _rejected(outcome.status, http)
    if not outcome.reached_routes:
        return Advice("A filter answers the request itself.", "Look at the filters of this listener.")
    if rehearsal.route is None:
        domains = sorted({domain for host in http.route_config.virtual_hosts for domain in host.domains})
        return Advice(
            f"No route matches host {quote(rehearsal.seen.authority.decode('utf-8', 'replace'))} and this path. The"
            f" domains are: {quote(domains)}.",
            "Ask for a host and path that a route matches, or add a route.",
        )
    if outcome.cluster or outcome.status == 503:
        return Advice("The route's cluster does not exist.", "Name a cluster that the configuration has.")
    return Advice(
        "The route answers the request itself.", "Change the route, if that is not what it should do."
    )


def _rejected(status: int, http: HttpConnectionManagerSettings) -> Advice:
    if status == 431:
        return Advice(
            f"The request head is larger than {http.max_request_headers_bytes} bytes, or has more than"
            f" {http.max_headers_count} headers: it is refused unread.",
            "Send a smaller token or fewer headers, or raise max_request_headers_kb.",
        )
    cause, fix = _REJECTIONS.get(
        status, ("The request is refused before any filter sees it.", "Mend the request.")
    )
    return Advice(cause, fix)


def _read_response(response: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    while True:
        head, _, rest = response.partition(b"\r\n\r\n")
        line, *headers = head.split(b"\r\n")
        status = int(line[9:12]) if line[9:12].isdigit() else 0
        if not 100 <= status < 200:
            break
        response = rest
    pairs = (header.partition(b": ") for header in headers)
    return status, {name.lower(): value for name, _, value in pairs}, rest
