"""Path conditions, compiled (Envoy `RouteMatch`; spec/http.md section 8.2, spec/jwt_authn.md section 5.1)."""

from collections.abc import Callable

import re2

from fastproxy.match.settings import PathKind, PathMatch

#: Says whether a path (without query) satisfies the condition.
PathMatcher = Callable[[bytes], bool]


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
    options = re2.Options()
    options.log_errors = False
    # Paths are bytes; Latin-1 keeps one byte one character, so that no path fails to decode.
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        compiled = re2.compile(pattern.encode(), options)
    except re2.error as error:
        detail = error.args[0] if error.args else "invalid regular expression"
        text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        raise ValueError(text) from error

    def matches(path: bytes) -> bool:
        return compiled.fullmatch(path) is not None

    return matches
