"""One exchange through a proxy, seen from both ends, and what differs between two of them."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.e2e.support.proxies import PORTS
from tests.e2e.support.upstream import ScriptedUpstream, SeenRequest
from tests.e2e.support.wire import Downstream, Headers, WireResponse, method_of

#: Puts tokens and other things that only exist at run time into the bytes of a request.
Fill = Callable[[bytes], bytes]

_UUID4 = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
#: The address that a proxy appends; those that the tests send are all from the documentation ranges of RFC 5737.
_OWN_ADDRESS = re.compile(rb"\b(?!203\.0\.113\.)(?!198\.51\.100\.)\d+\.\d+\.\d+\.\d+$")
_HTTP_DATE = re.compile(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


@dataclass(frozen=True, slots=True)
class Observed:
    """An exchange after the values that can never be equal were replaced by names (`differences.ALWAYS`)."""

    responses: tuple[dict[str, object], ...]
    upstream: tuple[dict[str, object], ...]
    closed: bool
    """The proxy closed the connection after its last response."""

    @property
    def statuses(self) -> tuple[object, ...]:
        """The status codes, in order."""
        return tuple(response["status"] for response in self.responses)

    def without_order(self) -> "Observed":
        """The same with the upstream's headers in alphabetical order; values of one name stay in their order."""
        return Observed(self.responses, tuple(map(_sorted_headers, self.upstream)), self.closed)


@dataclass(frozen=True, slots=True)
class Script:
    """What the downstream does: each request on the wire, sent together (pipelined) or one after the other."""

    requests: tuple[bytes, ...]
    pipelined: bool = False
    half_close: bool = False
    """Send FIN after the last request."""
    methods: tuple[bytes, ...] = field(default=())

    def expected_methods(self) -> tuple[bytes, ...]:
        """One method per response that is awaited."""
        return self.methods or tuple(method_of(request) for request in self.requests)


def perform(script: Script, port: int | str, upstream: ScriptedUpstream, fill: Fill) -> Observed:
    """Play `script` against the proxy at `port`."""
    upstream.take_requests()
    responses, closed = _talk(script, port, fill)
    seen = upstream.take_requests()
    return Observed(
        tuple(map(_response_view, responses)),
        tuple(map(_request_view, seen)),
        closed,
    )


def differences_between(first: Observed, second: Observed) -> list[str]:
    """Every difference, one line each; empty when the exchanges are the same."""
    found: list[str] = []
    if first.closed != second.closed:
        found.append(f"connection closed: {first.closed} != {second.closed}")
    for side, left, right in (
        ("response", first.responses, second.responses),
        ("upstream request", first.upstream, second.upstream),
    ):
        if len(left) != len(right):
            found.append(f"{side}s: {len(left)} != {len(right)}: {left} != {right}")
        for number, (one, other) in enumerate(zip(left, right, strict=False)):
            found += [
                f"{side} {number} {name}: {one[name]!r} != {other[name]!r}"
                for name in one
                if one[name] != other[name]
            ]
    return found


def _talk(script: Script, port: int | str, fill: Fill) -> tuple[list[WireResponse], bool]:
    requests = [fill(request) for request in script.requests]
    with Downstream(port) as downstream:
        responses: list[WireResponse] = []
        if script.pipelined:
            downstream.send(b"".join(requests))
            if script.half_close:
                downstream.half_close()
            responses = downstream.read_responses(script.expected_methods())
        else:
            for number, (request, method) in enumerate(zip(requests, script.expected_methods(), strict=True)):
                downstream.send(request)
                if script.half_close and number == len(requests) - 1:
                    downstream.half_close()
                answers = downstream.read_responses([method])
                responses += answers
                if downstream.eof or not answers or answers[0].closes:
                    break
        said_close = bool(responses) and responses[-1].closes
        if said_close or not responses:
            # A proxy that closes waits for our FIN first, or for its patience to end.
            downstream.half_close()
            assert downstream.read_to_end() == b""
        return responses, downstream.eof


def _response_view(response: WireResponse) -> dict[str, object]:
    return {
        "status": response.status,
        "status line": response.status_line,
        "headers": sorted(_normalised_response_headers(response.headers)),
        "body": response.body
        if len(response.body) < 2000
        else (len(response.body), hashlib.sha256(response.body).hexdigest()),
        "complete": response.complete,
        "interim": response.interim,
        "trailers": response.trailers,
    }


def _normalised_response_headers(headers: Headers) -> Headers:
    fields: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name.lower() == b"server" and value in {b"envoy", b"fastproxy"}:
            fields.append((name, b"<product>"))
        elif name.lower() == b"date" and _HTTP_DATE.fullmatch(value):
            fields.append((name, b"<date>"))
        elif name.lower() == b"x-envoy-upstream-service-time" and value.isdigit():
            fields.append((name, b"<ms>"))
        else:
            fields.append((name, value))
    return tuple(fields)


def _request_view(seen: SeenRequest) -> dict[str, object]:
    return {
        "request line": seen.request_line,
        "headers": [(name, _normalised_request_value(name, value)) for name, value in seen.headers],
        "body": seen.body if seen.body_length < 2000 else (seen.body_length, seen.digest.hexdigest()),
        "body length": seen.body_length,
        "trailers": seen.trailer_lines,
    }


def _sorted_headers(view: dict[str, object]) -> dict[str, object]:
    headers = view["headers"]
    assert isinstance(headers, list)
    return {**view, "headers": sorted(headers, key=lambda field: field[0])}


def _normalised_request_value(name: bytes, value: bytes) -> bytes:
    name = name.lower()
    if name == b"x-request-id" and _UUID4.fullmatch(value):
        return b"<uuid4>"
    if name == b"x-forwarded-port" and value.isdigit() and int(value) in PORTS:
        return b"<port>"
    if name == b"x-forwarded-for":
        return _OWN_ADDRESS.sub(b"<peer>", value)
    return value
