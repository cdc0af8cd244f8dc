"""Path normalisation (Envoy `normalize_path`, `merge_slashes`; RFC 3986 section 6.2.2)."""

import re
from collections.abc import Callable

from fastproxy.http.errors import ProtocolError

_SLASHES = re.compile(rb"//+")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def build_path_normalization(*, normalize_path: bool, merge_slashes: bool) -> Callable[[bytes], bytes] | None:
    """One listener's path rules, None if there are none. The result is what is matched and what is forwarded (S49)."""
    if normalize_path and merge_slashes:
        return lambda target: _merge(_normalize(target))
    if normalize_path:
        return _normalize
    return _merge if merge_slashes else None


_ESCAPED_DOT_OR_SLASH = re.compile(rb"%(2[EeFf]|5[Cc])")
_DECODED = {b"2e": b".", b"2f": b"/", b"5c": b"/"}


def has_dot_segments(path: bytes) -> bool:
    """Whether some reader may find a `.` or `..` segment in a path: encoded, behind a backslash, or before a `;`."""
    if b"." not in path and b"%" not in path:
        return False
    plain = _ESCAPED_DOT_OR_SLASH.sub(lambda found: _DECODED[found.group(1).lower()], path)
    return any(
        segment.partition(b";")[0] in (b".", b"..") for segment in plain.replace(b"\\", b"/").split(b"/")
    )


_ESCAPED_SLASH = re.compile(rb"%(?:2[Ff]|5[Cc])")


def unescape_slashes(target: bytes) -> bytes:
    """Decode `%2F` and `%5C` in the path (Envoy `path_with_escaped_slashes_action`); the query stays as it is."""
    path, mark, query = target.partition(b"?")
    return (
        _ESCAPED_SLASH.sub(lambda found: b"/" if found.group(0)[1:2] == b"2" else b"\\", path) + mark + query
    )


def _merge(target: bytes) -> bytes:
    path, mark, query = target.partition(b"?")
    return _SLASHES.sub(b"/", path) + mark + query


def _normalize(target: bytes) -> bytes:
    """Decode unreserved escapes, turn backslashes into `/`, resolve dot segments; the query stays as it is.

    Raises:
        ProtocolError: `%00` in the path, or an escape that decoding another one completes.
    """
    path, mark, query = target.partition(b"?")
    if not path.startswith(b"/"):
        return target
    decoded = _ESCAPE.sub(_decode_unreserved, path)
    if decoded != path and _ESCAPE.sub(_decode_unreserved, decoded) != decoded:
        # `%2%65` has become `%2e`: whoever decodes next sees another path than we do (S49).
        raise ProtocolError("path_normalization_failed", body=b"", flag="")
    path = decoded.replace(b"\\", b"/")
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    normalized = b"/" + b"/".join(kept)
    if segments[-1] in (b".", b"..") and not normalized.endswith(b"/"):
        normalized += b"/"
    return normalized + mark + query


def _decode_unreserved(escape: re.Match[bytes]) -> bytes:
    value = int(escape.group(1), 16)
    if value == 0:
        raise ProtocolError("path_normalization_failed", body=b"", flag="")
    return bytes((value,)) if value in _UNRESERVED else escape.group(0)
