"""Chunked transfer coding, outgoing (RFC 9112 section 7.1)."""


def encode_chunks(pieces: list[bytes], *, last: bool) -> list[bytes]:
    """Frame body pieces as chunks, one each; `last` adds the end of the body, without trailers."""
    framed = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece]
    if last:
        framed.append(b"0\r\n\r\n")
    return framed
