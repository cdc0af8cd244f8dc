"""The first bytes of a TLS client: real ones, broken ones, any."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.listener.client_hello import ClientHello, FirstBytes, inspect_first_bytes


def hello_of(name: str | None = "a.example", protocols: tuple[str, ...] = ()) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(hello: bytes, size: int) -> bytes:
    """The same message, cut into records."""
    message = hello[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@pytest.mark.parametrize("size", [1, 7, 100, 16384])
def test_name_and_protocols_are_found_however_the_message_is_cut(size: int) -> None:
    """A ClientHello may span records (RFC 8446 section 5.1)."""
    hello = in_records(hello_of("A.Example", ("h2", "http/1.1")), size)
    assert inspect_first_bytes(hello) == ClientHello("a.example", ("h2", "http/1.1"))


def test_a_client_may_send_neither() -> None:
    """Health checks often do not."""
    assert inspect_first_bytes(hello_of(None)) == ClientHello("", ())


def test_every_beginning_of_a_hello_is_incomplete() -> None:
    """Nothing may be decided on half a message."""
    hello = hello_of()
    assert {inspect_first_bytes(hello[:size]) for size in range(len(hello))} == {FirstBytes.INCOMPLETE}


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\n", b"\x16\x02", b"\0", b"PRI * HTTP/2.0"])
def test_what_is_not_tls_is_plain_at_its_first_bytes(data: bytes) -> None:
    """Plain clients must not wait."""
    assert inspect_first_bytes(data) is FirstBytes.PLAIN


def _with_extensions(extensions: bytes) -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def _extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


def _name(*names: bytes, kind: int = 0) -> bytes:
    entries = b"".join(bytes((kind,)) + len(name).to_bytes(2, "big") + name for name in names)
    return _extension(0, len(entries).to_bytes(2, "big") + entries)


def test_the_builder_of_these_tests_makes_good_ones() -> None:
    """Or every refusal below would prove nothing."""
    assert inspect_first_bytes(_with_extensions(_name(b"a.test"))) == ClientHello("a.test", ())


@pytest.mark.parametrize(
    "hello",
    [
        _with_extensions(_name(b"a.test") + _name(b"b.test")),
        _with_extensions(_name(b"a.test", b"b.test")),
        _with_extensions(_name(b"a.test", kind=1)),
        _with_extensions(_name(b"")),
        _with_extensions(_name(b"a\0.test")),
        _with_extensions(_name(b"a/test")),
        _with_extensions(_name(b"x" * 256)),
        _with_extensions(_extension(0, b"")),
        _with_extensions(_extension(0, b"\0\x09\0\0\x01a")),
        _with_extensions(_extension(16, b"\0\x01\0")),
        _with_extensions(_extension(16, b"\0\0")),
        _with_extensions(b"\0\0\0\x09a"),
        b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\0\x04\x02\0\0\0",
        b"\x16\x03\x01\0\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\0\x04\x01\0\0\0",
        b"\x16\x03\x01\0\x01\x01\x17\x03\x03\0\x01a",
        b"\x16\x03\x01\x40\x01" + b"\x01" * 10,
    ],
)
def test_what_contradicts_itself_is_malformed(hello: bytes) -> None:
    """Two parsers could read two names out of it."""
    assert inspect_first_bytes(hello) is FirstBytes.MALFORMED


def test_an_endless_hello_is_malformed() -> None:
    """It must be bounded before it is complete."""
    assert inspect_first_bytes(b"\x16\x03\x01\0\x01\x01" * 4000) is FirstBytes.MALFORMED


@given(st.binary(max_size=400))
def test_any_bytes_give_an_answer(data: bytes) -> None:
    """No exception, whatever a stranger sends."""
    assert isinstance(inspect_first_bytes(data), ClientHello | FirstBytes)


@given(st.integers(0, 400), st.integers(0, 255))
def test_any_changed_byte_gives_an_answer(at: int, value: int) -> None:
    """As above, near the real thing."""
    hello = bytearray(hello_of("a.example", ("http/1.1",)))
    hello[at % len(hello)] = value
    assert isinstance(inspect_first_bytes(bytes(hello)), ClientHello | FirstBytes)
