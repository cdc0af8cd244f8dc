"""What can be said about path conditions without a request: inclusion, overlap, and sample paths.

Answers are certain or not given: `covers` and `are_disjoint` are True only when they hold for every path. For exact
paths and prefixes nothing is missed but unions of several conditions; of a regular expression only what it begins with
is known (RE2's range of possible matches).
"""

from collections.abc import Iterable, Iterator
from functools import cache

import re2

from fastproxy.match.path import PathMatcher, build_path_matcher, literal_prefix
from fastproxy.match.settings import PathKind, PathMatch

#: Stands for whatever else a client may write.
ANYTHING = "anything"
#: Regular expressions that match every path, once their anchors are gone.
_EVERYTHING = frozenset({".*", "/.*", "(.*)", "/(.*)", "(/.*)"})
_RANGE_BYTES = 64
#: Their value is where every path begins that they match.
_LITERAL = frozenset({PathKind.PREFIX, PathKind.EXACT, PathKind.SEPARATED_PREFIX})


@cache
def matcher_of(match: PathMatch) -> PathMatcher:
    """The data plane's own matcher: what it says about a path is what happens."""
    return build_path_matcher(match)


def is_universal(match: PathMatch) -> bool:
    """Whether it certainly matches every path that begins with a slash."""
    if match.kind is PathKind.REGEX:
        return match.value.removeprefix("^").removesuffix("$") in _EVERYTHING
    return match.kind is PathKind.PREFIX and match.value in ("", "/")


def covers(wide: PathMatch, narrow: PathMatch) -> bool:
    """Whether every path that `narrow` matches certainly satisfies `wide`, too."""
    if is_universal(wide) or wide == narrow:
        return True
    if wide.kind is PathKind.REGEX:
        return narrow.kind is PathKind.EXACT and narrow.case_sensitive and _matches(wide, narrow.value)
    low, value = begins_with(narrow), wide.value
    if not wide.case_sensitive:
        low, value = low.lower(), value.lower()
    elif not narrow.case_sensitive and value.lower() != value.upper():
        # `/ADMIN` satisfies the narrow one alone.
        return False
    if wide.kind is PathKind.PREFIX:
        return low.startswith(value)
    if wide.kind is PathKind.SEPARATED_PREFIX:
        whole = narrow.kind in (PathKind.EXACT, PathKind.SEPARATED_PREFIX) and low == value
        return whole or low.startswith(value + "/")
    return wide.kind is narrow.kind and low == value


def are_disjoint(one: PathMatch, other: PathMatch) -> bool:
    """Whether certainly no path satisfies both."""
    a, b = begins_with(one), begins_with(other)
    if not (one.case_sensitive and other.case_sensitive):
        a, b = a.lower(), b.lower()
    if not (a.startswith(b) or b.startswith(a)):
        return True
    for exact, wide in ((one, other), (other, one)):
        if exact.kind is PathKind.EXACT and exact.case_sensitive:
            return not _matches(wide, exact.value)
    return False


def begins_with(match: PathMatch) -> str:
    """What every path that it matches begins with, letter case aside if that does not count."""
    if match.kind in _LITERAL:
        return match.value
    return literal_prefix(match.value).decode("latin-1") if match.kind is PathKind.REGEX else ""


def sample(match: PathMatch) -> str | None:
    """A path that it matches, if one is easily found."""
    if match.kind in _LITERAL:
        return match.value or "/"
    begin = begins_with(match)
    tries = [
        _least(match.value) if match.kind is PathKind.REGEX else begin,
        begin + ANYTHING,
        f"{begin}/{ANYTHING}",
        f"/{ANYTHING}",
    ]
    return next((path for path in tries if _matches(match, path)), None)


def sample_paths(target: PathMatch, others: Iterable[PathMatch]) -> Iterator[str]:
    """Paths that tell `target` apart from the union of `others`, if any do; not all of them satisfy `target`.

    Conditions on prefixes cannot tell two paths apart that go on differently after the longest value that they have
    in common, but for whether a slash comes next. So one path of each kind after each value is enough.
    """
    first = sample(target)
    bases = {first if first is not None else "/": None}
    for other in others:
        value = sample(other)
        if value is not None and value.lower().startswith(begins_with(target).lower()):
            bases[value] = None
    for base in bases:
        stem = base.rstrip("/")
        for path in (f"{stem}/{ANYTHING}", base, base + ANYTHING, base + "/", f"{base}/{ANYTHING}"):
            yield path
            if path.upper() != path:
                yield path.upper()


def describe(match: PathMatch) -> str:
    """A condition as the file has it."""
    case = "" if match.case_sensitive or match.kind is PathKind.REGEX else ", case_sensitive: false"
    shown = match.value.encode("unicode_escape").decode("ascii")
    return f"{{{match.kind.value}: {shown[:80]}{'...' if len(shown) > 80 else ''}{case}}}"


def _matches(match: PathMatch, path: str) -> bool:
    return matcher_of(match)(path.encode("utf-8", "surrogateescape"))


@cache
def _least(pattern: str) -> str:
    """The first text, in alphabetical order, that a regular expression may match."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        least, _ = re2.compile(pattern.encode(), options).possiblematchrange(_RANGE_BYTES)
    except re2.error:
        return ""
    return str(least.decode("latin-1"))
