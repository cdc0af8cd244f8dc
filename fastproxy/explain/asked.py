"""The request to explain, as a client would send it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

#: What a client may send and what is asked about: a whole body is not needed to judge a token.
MAX_INPUT_BYTES = 4 * 1024 * 1024

Header = tuple[bytes, bytes]


class BadQuestion(Exception):
    """What was asked cannot be a request; the text says why, and how to ask."""


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """One request, before the proxy has seen it."""

    method: bytes = b"GET"
    target: bytes = b"/"
    host: bytes = b""
    """Empty: not said."""
    headers: tuple[Header, ...] = ()
    """Without `host` and `content-length`."""
    body: bytes = field(default=b"", repr=False)
    port: int | None = None
    """The port that the client connects to, where it is known: it tells the listener."""
    notes: tuple[str, ...] = ()
    """What was left out of the question, and cannot change the verdict."""

    def encode(self, host: bytes) -> bytes:
        """The request as bytes of HTTP/1.1 (RFC 9112 section 2.1); `host` if none was said.

        Raises:
            BadQuestion: a line break in it would make it another request.
        """
        lines = [(b"host", self.host or host), *self.headers]
        if self.body or self.method in (b"POST", b"PUT", b"PATCH"):
            lines.append((b"content-length", b"%d" % len(self.body)))
        for what, value in [("method", self.method), ("path", self.target), ("host", self.host)]:
            _check_line(what, value)
        for name, value in lines:
            _check_line(f"header {name.decode('ascii', 'replace')}", name + value)
        head = [self.method + b" " + self.target + b" HTTP/1.1"]
        head += [name + b": " + value for name, value in lines]
        return b"\r\n".join(head) + b"\r\n\r\n" + self.body


def build_request(
    *,
    token: bytes | None,
    method: str,
    path: str,
    host: str,
    headers: Sequence[str],
) -> AskedRequest:
    """Make a request of the command line's options.

    Raises:
        BadQuestion: a header is not `name: value`.
    """
    lines = [parse_header(text) for text in headers]
    given = next((value for name, value in lines if name.lower() == b"host"), b"")
    lines = [(name, value) for name, value in lines if name.lower() not in (b"host", b"content-length")]
    if token is not None:
        lines.append(bearer(token))
    authority = os.fsencode(host) or given
    return AskedRequest(
        os.fsencode(method).upper(),
        os.fsencode(path),
        authority,
        tuple(lines),
        port=port_of(authority),
    )


def with_token(asked: AskedRequest, token: bytes) -> AskedRequest:
    """The same request with this token in `authorization`, whatever was there."""
    others = [(name, value) for name, value in asked.headers if name.lower() != b"authorization"]
    return AskedRequest(
        asked.method,
        asked.target,
        asked.host,
        (*others, bearer(token)),
        asked.body,
        asked.port,
        asked.notes,
    )


def bearer(token: bytes) -> Header:
    """Where a token goes that was given by itself (RFC 6750 section 2.1)."""
    return b"authorization", b"Bearer " + token


def parse_header(text: str) -> Header:
    """Read `name: value`.

    Raises:
        BadQuestion: it is not.
    """
    name, colon, value = os.fsencode(text).partition(b":")
    if not colon or not name.strip():
        # The text may be a token that somebody forgot to name.
        raise BadQuestion("a header must be written 'name: value'")
    return name.strip(), value.strip(b" \t")


def port_of(authority: bytes) -> int | None:
    """The port in `host:port`; None if there is none."""
    _, colon, port = authority.rpartition(b":")
    return int(port) if colon and port.isdigit() and len(port) <= 5 else None


def clean_token(raw: bytes) -> bytes:
    """A token without what people copy along: white space around it and the word `Bearer`.

    Raises:
        BadQuestion: nothing is left.
    """
    raw = raw.strip()
    if raw[:7].lower() == b"bearer ":
        raw = raw[7:].strip()
    if not raw:
        raise BadQuestion("the token is empty")
    return raw


def _check_line(what: str, value: bytes) -> None:
    if b"\r" in value or b"\n" in value:
        raise BadQuestion(f"there is a line break in the {what}: no client can send that")
