"""Query strings as raw bytes: read a parameter, cut one out, and leave every other byte as it was."""

from urllib.parse import unquote_to_bytes


def query_values(query: bytes, name: bytes) -> list[bytes]:
    """Percent-decoded values of a parameter, in order. `+` is not a space, `;` is no separator (Envoy).

    The name is compared after decoding, so that `%61ccess_token` cannot slip past.
    """
    found = []
    for pair in query.split(b"&"):
        raw_name, _, raw_value = pair.partition(b"=")
        if _decode(raw_name) == name:
            found.append(_decode(raw_value))
    return found


def remove_parameter(target: bytes, name: bytes) -> bytes:
    """Cut every occurrence of a parameter out of `path?query`; all other bytes stay as received.

    Envoy rebuilds the query from decoded values, which lets `%26` become a separator (spec/jwt_authn.md 12.4).
    """
    path, mark, query = target.partition(b"?")
    if not mark:
        return target
    kept = [pair for pair in query.split(b"&") if _decode(pair.partition(b"=")[0]) != name]
    return path + b"?" + b"&".join(kept) if kept else path


def _decode(raw: bytes) -> bytes:
    return unquote_to_bytes(raw) if b"%" in raw else raw
