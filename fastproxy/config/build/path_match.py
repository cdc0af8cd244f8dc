"""`RouteMatch` to `PathMatch`; shared by routes and `jwt_authn` rules."""

import re2

from fastproxy.config.view import View
from fastproxy.match.settings import PathKind, PathMatch

_OPTIONS = re2.Options()
# Its messages go to standard error otherwise; ours carry file and line.
_OPTIONS.log_errors = False


def build_path_match(match: View) -> PathMatch | None:
    """The path condition; None when there is none that is supported (reported).

    Every other condition of a `RouteMatch` stays unread, and so is refused: a route or a rule that applied
    more widely than it says would be a hole.
    """
    case_sensitive = match.flag_or("case_sensitive", default=True)
    kind = match.selected("path_specifier")
    if kind == "safe_regex":
        if not case_sensitive:
            match.warn("has no effect on safe_regex", "Begin the regex with (?i)", field="case_sensitive")
        regex = match.child_or_empty("safe_regex")
        return PathMatch(PathKind.REGEX, build_regex(regex))
    for known in (PathKind.PREFIX, PathKind.EXACT, PathKind.SEPARATED_PREFIX):
        if kind == known.value:
            value = match.text(known.value)
            if "?" in value:
                match.warn("never matches: a path is compared without its query", field=kind)
            return PathMatch(known, value, case_sensitive)
    return None


def build_regex(matcher: View) -> str:
    """The pattern of a `RegexMatcher`; one that RE2 cannot compile is reported."""
    matcher.accept("google_re2")
    pattern = matcher.text("regex")
    try:
        re2.compile(pattern, _OPTIONS)
    except re2.error as exc:
        words = exc.args[0] if exc.args else exc
        text = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
        matcher.error(
            f"invalid regex: {text}", "The syntax is RE2's: no lookaround, no backreferences", field="regex"
        )
    return pattern
