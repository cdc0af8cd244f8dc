"""Conditions on text, compiled (Envoy `type.matcher.v3.StringMatcher`)."""

from collections.abc import Callable

import re2

from fastproxy.match.settings import StringKind, StringMatch

#: Says whether a text satisfies the condition.
StringMatcher = Callable[[bytes], bool]


def build_string_matcher(match: StringMatch) -> StringMatcher:
    """Compile one condition; it is a pure function of the bytes it is given.

    Raises:
        ValueError: the regular expression is not valid RE2; the text is RE2's own message.
    """
    if match.kind is StringKind.REGEX:
        return build_regex_matcher(match.value)
    value = match.value.encode()
    if match.ignore_case:
        # bytes.lower changes ASCII letters alone, and so does Envoy.
        matcher = _plain(match.kind, value.lower())
        return lambda text: matcher(text.lower())
    return _plain(match.kind, value)


def build_regex_matcher(pattern: str) -> StringMatcher:
    """Compile a `RegexMatcher`: the whole text must match.

    Raises:
        ValueError: the regular expression is not valid RE2; the text is RE2's own message.
    """
    options = re2.Options()
    options.log_errors = False
    # Latin-1 keeps one byte one character, so that no text fails to decode.
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        compiled = re2.compile(pattern.encode(), options)
    except re2.error as error:
        detail = error.args[0] if error.args else "invalid regular expression"
        text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        raise ValueError(text) from error
    return lambda text: compiled.fullmatch(text) is not None


def _plain(kind: StringKind, value: bytes) -> StringMatcher:
    if kind is StringKind.EXACT:
        return lambda text: text == value
    if kind is StringKind.PREFIX:
        return lambda text: text.startswith(value)
    if kind is StringKind.SUFFIX:
        return lambda text: text.endswith(value)
    return lambda text: value in text
