"""`RegexMatchAndSubstitute`: a regular expression and what its matches become."""

import re2

from fastproxy.config.build.path_match import build_regex
from fastproxy.config.view import View
from fastproxy.match.settings import RegexSubstitution
from fastproxy.match.substitution import build_substitution


def build_regex_substitution(view: View) -> RegexSubstitution:
    """Build one; a pattern or a substitution that cannot be used is reported."""
    pattern = build_regex(view.child_or_empty("pattern"))
    setting = RegexSubstitution(pattern, view.text("substitution"))
    if any(character.isspace() or not character.isprintable() for character in setting.substitution):
        view.error("the substitution has a blank or a control character in it", field="substitution")
    elif _compiles(pattern):
        try:
            build_substitution(setting)
        except ValueError as exc:
            view.error(
                str(exc), "Groups are written \\1 to \\9, \\0 is the whole match", field="substitution"
            )
    return setting


def _compiles(pattern: str) -> bool:
    """Whether the pattern itself was reported already."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        return False
    return True
