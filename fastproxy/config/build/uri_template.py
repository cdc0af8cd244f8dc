"""URI templates in routes: `path_match_policy` and `path_rewrite_policy` (envoy.path.match.uri_template and its like).

A template such as `/users/{id}/files/{path=**}` is translated into the regular expression that says the same, and a
rewrite such as `/{id}/{path}` into a substitution with its groups. So the data plane knows nothing of templates: routes
with them are indexed, explained and checked like those with `safe_regex`.
"""

import re
from dataclasses import dataclass

from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.match.settings import PathKind, PathMatch, RegexSubstitution

MATCH = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
REWRITE = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"

# Envoy's: RFC 3986 `pchar` without the asterisk.
_LITERAL = r"a-zA-Z0-9\-._~%!$&'()+,;:@="
_LITERAL_TEXT = re.compile(f"[{_LITERAL}]*")
_REWRITE_TEXT = re.compile(f"[{_LITERAL}*/]*")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,15}")
_MAX_VARIABLES = 5
_SEGMENT = f"[{_LITERAL}]+"
_REST = f"[{_LITERAL}/]*"
# What stands between two slashes: text, then a variable or an asterisk, then text.
_PIECE = re.compile(r"([^{}*]*)(?:\{([^{}=]*)(?:=([^{}]*))?\}|(\*\*?))?([^{}*]*)")
# A slash inside of braces separates nothing.
_SLASH = re.compile(r"/(?![^{}]*\})")


@dataclass(frozen=True, slots=True)
class UriTemplate:
    """A template, translated."""

    text: str
    regex: str
    """RE2 syntax; a group for each variable."""
    variables: tuple[str, ...]


class _Translator:
    """Translates one template from left to right."""

    def __init__(self) -> None:
        self.variables: list[str] = []
        self._rest_seen = False

    def piece(self, text: str) -> str:
        """What stands between two slashes of the template."""
        found = _PIECE.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{quote(text)} is neither text nor one variable or asterisk with text around it"
            )
        before, name, inner, glob, after = found.groups()
        _check_literal(before)
        _check_literal(after)
        middle = ""
        if name is not None:
            middle = self._variable(name, inner)
        elif glob:
            middle = self._glob(glob)
        if before and (glob or "**" in (inner or "")):
            # Envoy takes these for something else, each in its own way: `b*c` for the regular expression.
            raise ValueError(f"in {quote(text)} an asterisk stands behind text")
        return re.escape(before) + middle + re.escape(after)

    def _variable(self, name: str, inner: str | None) -> str:
        if _NAME.fullmatch(name) is None:
            raise ValueError(
                f"{quote(name)} is no name: a letter, then up to 15 letters, digits and underscores"
            )
        if name in self.variables:
            raise ValueError(f"the variable {quote(name)} occurs twice")
        self.variables.append(name)
        if len(self.variables) > _MAX_VARIABLES:
            raise ValueError(f"there are more than {_MAX_VARIABLES} variables")
        parts = ["*"] if inner is None else inner.split("/")
        return "(" + "/".join(self._inner(part) for part in parts) + ")"

    def _inner(self, part: str) -> str:
        if part in ("*", "**"):
            return self._glob(part)
        if not part:
            raise ValueError("a variable must not stand for nothing, nor for an empty segment")
        _check_literal(part)
        return re.escape(part)

    def _glob(self, glob: str) -> str:
        # Two of them could share out a path in many ways (Envoy: "Glob after text glob").
        if self._rest_seen:
            raise ValueError("nothing that varies may follow **")
        self._rest_seen = glob == "**"
        return _REST if self._rest_seen else _SEGMENT


def parse_template(text: str) -> UriTemplate:
    """Translate a template.

    Raises:
        ValueError: it is none, or one whose meaning is not plain, such as `/a*b*`.
    """
    if not text.startswith("/"):
        raise ValueError("a template begins with a slash")
    translator = _Translator()
    segments = _SLASH.split(text[1:])
    if "" in segments[:-1]:
        raise ValueError("two slashes stand side by side")
    pieces = [translator.piece(one) for one in segments]
    return UriTemplate(text, "/" + "/".join(pieces), tuple(translator.variables))


def _check_literal(text: str) -> None:
    if _LITERAL_TEXT.fullmatch(text) is None:
        raise ValueError(
            f"{quote(text)} has a character that cannot stand in a path, or an asterisk beside text"
        )


def parse_rewrite(text: str, template: UriTemplate) -> RegexSubstitution:
    """Translate a rewrite by the variables of a template.

    Raises:
        ValueError: it is no path, or has a variable that the template does not have.
    """
    if not text.startswith("/") or "//" in text:
        raise ValueError("a rewrite is a path: it begins with a slash, and no two stand side by side")
    out = []
    for literal, name, rest in re.findall(r"([^{}]+)|\{([^{}]*)\}|([{}])", text):
        if rest:
            raise ValueError("a brace is open, or closed, without the other one")
        if literal:
            if _REWRITE_TEXT.fullmatch(literal) is None:
                raise ValueError(f"{quote(literal)} has a character that cannot stand in a path")
            out.append(literal)
        elif name not in template.variables:
            raise ValueError(f"mismatch between variables: {quote(template.text)} has no {quote(name)}")
        else:
            out.append(f"\\{template.variables.index(name) + 1}")
    return RegexSubstitution(f"^{template.regex}$", "".join(out))


def build_template_match(match: View) -> PathMatch | None:
    """The `path_match_policy` of a `RouteMatch`; None if it is wrong or not supported (reported)."""
    template = _read_template(match)
    # Envoy: `case_sensitive` says nothing about templates.
    match.without_effect("case_sensitive", "a template is always compared with case")
    return None if template is None else PathMatch(PathKind.REGEX, template.regex)


def build_template_rewrite(action: View, match: View) -> RegexSubstitution | None:
    """The `path_rewrite_policy` of a `RouteAction`; None if there is none, or a wrong one (reported)."""
    policy = action.child("path_rewrite_policy")
    if policy is None:
        return None
    config = _read_policy(policy, REWRITE)
    if config is None:
        return None
    text = config.text("path_template_rewrite")
    template = _read_template(match) if match.has("path_match_policy") else None
    if template is None:
        action.error(
            "unable to use path_rewrite_policy without path_match_policy",
            "Match by a template, or use regex_rewrite",
            field="path_rewrite_policy",
        )
        return None
    try:
        return parse_rewrite(text, template)
    except ValueError as error:
        config.error(str(error), field="path_template_rewrite")
        return None


def check_prefix_rewrite(action: View, match: View) -> None:
    """Report a `prefix_rewrite` where a template matches: there is no prefix then (Envoy)."""
    if match.has("path_match_policy") and action.has("prefix_rewrite"):
        action.error(
            "Cannot use prefix_rewrite with path_match_policy",
            "Use path_rewrite_policy in a route, regex_rewrite in a redirect",
            field="prefix_rewrite",
        )


def _read_template(match: View) -> UriTemplate | None:
    policy = match.child("path_match_policy")
    config = None if policy is None else _read_policy(policy, MATCH)
    if config is None:
        return None
    try:
        return parse_template(config.text("path_template"))
    except ValueError as error:
        config.error(str(error), field="path_template")
        return None


def _read_policy(policy: View, supported: str) -> View | None:
    policy.accept("name")
    if not policy.has("typed_config"):
        policy.error("there is no typed_config", f"Give a {supported}")
        return None
    config = policy.typed("typed_config")
    if config is None or config.type_name == supported:
        return config
    config.accept(*(one.name for one, _ in config.message.ListFields()))
    policy.error(f"the only extension that is supported is {supported}", field="typed_config")
    return None
