"""The `cookie` request header (RFC 6265 section 5.4): read a cookie, take one out, leave the others as they were."""

from fastproxy.http.headers import HeaderMap, values

_NAME = b"cookie"


def cookie_values(headers: HeaderMap, name: bytes) -> list[bytes]:
    """Values of a cookie, in order, without the quotation marks around them; nothing is percent-decoded (Envoy)."""
    found = []
    for line in values(headers, _NAME):
        for pair in line.split(b";"):
            found_name, equals, value = pair.partition(b"=")
            if equals and found_name.strip(b" \t") == name:
                found.append(_unquote(value.strip(b" \t")))
    return found


def remove_cookie(headers: HeaderMap, name: bytes) -> None:
    """Cut every occurrence of a cookie out; the header goes when nothing is left in it."""
    kept = []
    for line in values(headers, _NAME):
        pairs = [pair for pair in line.split(b";") if pair.partition(b"=")[0].strip(b" \t") != name]
        if rest := b";".join(pairs).strip(b" \t"):
            kept.append(rest)
    if not kept:
        headers.pop(_NAME, None)
    else:
        headers[_NAME] = kept[0] if len(kept) == 1 else kept


def _unquote(value: bytes) -> bytes:
    return value[1:-1] if len(value) >= 2 and value[:1] == value[-1:] == b'"' else value
