"""Chunked transfer coding, outgoing (RFC 9112 section 7.1)."""

_END = b"0\r\n\r\n"


def encode_chunks(pieces: list[bytes], *, last: bool, end: bytes = _END) -> list[bytes]:
    """Frame body pieces as chunks, one each; `last` adds `end`, the end of the body with its trailers, if any."""
    framed = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece]
    if last:
        framed.append(end)
    return framed
