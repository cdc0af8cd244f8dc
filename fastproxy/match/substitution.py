"""Replacing what a regular expression matches (Envoy `RegexMatchAndSubstitute`), with RE2's own rules.

Envoy calls `RE2::GlobalReplace`. The Python binding has only Python's `re.sub`, whose templates know more escapes and
which also replaces an empty match right behind another one; so the replacing is done here.
"""

import re
from collections.abc import Callable

import re2

from fastproxy.match.settings import RegexSubstitution

_TEMPLATE = re.compile(rb"\\(.?)|([^\\]+)", re.DOTALL)


def build_substitution(setting: RegexSubstitution) -> Callable[[bytes], bytes]:
    """Compile a substitution into a function from text to text.

    Raises:
        ValueError: the pattern is not valid RE2, or the substitution names a group that the pattern does not have.
    """
    options = re2.Options()
    options.log_errors = False
    # Latin-1 keeps one byte one character, so that no text fails to decode.
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        pattern = re2.compile(setting.pattern.encode(), options)
    except re2.error as error:
        detail = error.args[0] if error.args else "invalid regular expression"
        raise ValueError(
            detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        ) from error
    pieces = parse_template(setting.substitution.encode(), groups=pattern.groups)

    def substitute(text: bytes) -> bytes:
        out: list[bytes] = []
        copied = 0
        last_end = -1
        for match in pattern.finditer(text):
            start, end = match.span()
            if start == end == last_end:
                # RE2: no empty match at the end of the one before.
                continue
            out.append(text[copied:start])
            out += [piece if isinstance(piece, bytes) else match.group(piece) or b"" for piece in pieces]
            copied = last_end = end
        if not out:
            return text
        out.append(text[copied:])
        return b"".join(out)

    return substitute


def parse_template(template: bytes, *, groups: int) -> tuple[bytes | int, ...]:
    """Split a substitution into literal bytes and group numbers.

    Raises:
        ValueError: a backslash before anything but a digit or a backslash, or a group above `groups`.
    """
    pieces: list[bytes | int] = []
    for escaped, literal in _TEMPLATE.findall(template):
        if literal:
            pieces.append(literal)
        elif escaped == b"\\":
            pieces.append(b"\\")
        elif escaped.isdigit():
            if int(escaped) > groups:
                raise ValueError(
                    f"the substitution uses group {int(escaped)}, and the pattern has {groups} groups"
                )
            pieces.append(int(escaped))
        else:
            raise ValueError("in a substitution a backslash stands before a digit or another backslash")
    return tuple(pieces)
