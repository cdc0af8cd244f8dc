"""Path normalisation (Envoy `normalize_path`, `merge_slashes`; RFC 3986 section 6.2.2)."""

import re
from collections.abc import Callable

from fastproxy.http.errors import ProtocolError
from fastproxy.http.octets import DOT, PERCENT

_SLASHES = re.compile(rb"//+")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_COMPLETED = re.compile(rb"\0(?=[0-9A-Fa-f]{2})")
# RFC 3986 section 3.3 has none of these in a path; the same ones as in Envoy.
_NOT_IN_PATH = re.compile(rb"[\"<>^`{|}]")
# Without one of these a path is as it should be: the usual case.
_NOT_NORMAL = re.compile(rb"[%\\\"<>^`{|}]|/\.")
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
    if DOT not in path and PERCENT not in path:
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
    """Resolve dot segments, decode unreserved escapes, encode what no path may hold, turn backslashes into `/`.

    The query stays as it is. A dot segment is one whatever parameters it has: many a server takes `..;x` for `..`.

    Raises:
        ProtocolError: `%00` in the path.
    """
    path, mark, query = target.partition(b"?")
    if not path.startswith(b"/") or _NOT_NORMAL.search(path) is None:
        return target
    # NUL, which no target holds, stands for a `%` that begins no escape. Where decoding another escape would make it
    # begin one (`%2%65` is no `%2e`), it is encoded: whoever decodes next must not see another path (S49).
    path = _ESCAPE.sub(_decode_unreserved, _STRAY_PERCENT.sub(b"\0", path))
    path = _COMPLETED.sub(b"%25", path).replace(b"\0", b"%").replace(b"\\", b"/")
    path = _NOT_IN_PATH.sub(_encode, path)
    kept: list[bytes] = []
    name = b""
    for segment in path.split(b"/")[1:]:
        name = segment.partition(b";")[0]
        if name == b"..":
            if kept:
                kept.pop()
        elif name != b".":
            kept.append(segment)
    if name in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept) + mark + query


def _decode_unreserved(escape: re.Match[bytes]) -> bytes:
    value = int(escape.group(1), 16)
    if value == 0:
        raise ProtocolError("path_normalization_failed", body=b"", flag="")
    return bytes((value,)) if value in _UNRESERVED else escape.group(0)


def _encode(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(found.group(0))
