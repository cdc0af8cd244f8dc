"""Path conditions, compiled (Envoy `RouteMatch`; spec/http.md section 8.2, spec/jwt_authn.md section 5.1)."""

from collections.abc import Callable
from typing import Any

import re2

from fastproxy.match.settings import PathKind, PathMatch

#: Says whether a path (without query) satisfies the condition.
PathMatcher = Callable[[bytes], bool]

#: How much of a pattern's beginning is worth knowing.
_LITERAL_PREFIX_BYTES = 128


def build_path_matcher(match: PathMatch) -> PathMatcher:
    """Compile one path condition.

    Raises:
        ValueError: the regular expression is not valid RE2; the text is RE2's own message.
    """
    value = match.value.encode()
    if match.kind is PathKind.REGEX:
        return _regex(match.value)
    if not match.case_sensitive:
        return _ignoring_case(build_path_matcher(PathMatch(match.kind, match.value.lower())))
    if match.kind is PathKind.EXACT:
        return value.__eq__
    if match.kind is PathKind.SEPARATED_PREFIX:
        return _separated_prefix(value)
    if value in (b"", b"/"):
        # Every path that reaches a matcher starts with a slash, but `OPTIONS *` does not.
        return _any_path if not value else _any_rooted_path
    return _prefix(value)


def literal_prefix(pattern: str) -> bytes:
    """The bytes that every path begins with which the regular expression matches; may be empty.

    RE2 knows the least and the greatest text that a pattern can match; all others lie between, and so begin with what
    those two begin with.
    """
    try:
        least, greatest = _compile(pattern).possiblematchrange(_LITERAL_PREFIX_BYTES)
    except re2.error:
        # There is no such range, for example because the pattern begins with `.*`.
        return b""
    size = 0
    while size < min(len(least), len(greatest)) and least[size] == greatest[size]:
        size += 1
    return bytes(least[:size])


def _any_path(path: bytes) -> bool:  # the matcher signature
    return True


def _any_rooted_path(path: bytes) -> bool:
    return path[:1] == b"/"


def _prefix(prefix: bytes) -> PathMatcher:
    def matches(path: bytes) -> bool:
        return path.startswith(prefix)

    return matches


def _separated_prefix(prefix: bytes) -> PathMatcher:
    below = prefix + b"/"

    def matches(path: bytes) -> bool:
        return path == prefix or path.startswith(below)

    return matches


def _ignoring_case(matcher: PathMatcher) -> PathMatcher:
    def matches(path: bytes) -> bool:
        return matcher(path.lower())

    return matches


def _regex(pattern: str) -> PathMatcher:
    compiled = _compile(pattern)

    def matches(path: bytes) -> bool:
        return compiled.fullmatch(path) is not None

    return matches


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    # Paths are bytes; Latin-1 keeps one byte one character, so that no path fails to decode.
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        detail = error.args[0] if error.args else "invalid regular expression"
        text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        raise ValueError(text) from error
