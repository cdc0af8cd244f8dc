"""`RouteAction.hash_policy`: what of a request is hashed for clusters that choose endpoints by a hash."""

import re

from fastproxy.config.build.substitution import build_regex_substitution
from fastproxy.config.view import View
from fastproxy.router.settings import CookieHash, HashPolicy, HeaderHash, QueryHash, SourceAddressHash

# RFC 6265 section 4.1.1: what may stand in the parts of a set-cookie header.
_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_COOKIE_ATTRIBUTE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")


def build_hash_policies(action: View) -> tuple[HashPolicy, ...]:
    """Every entry; what is not supported is reported."""
    found = [_build_policy(view) for view in action.children("hash_policy")]
    return tuple(one for one in found if one is not None)


def _build_policy(view: View) -> HashPolicy | None:
    terminal = view.flag("terminal")
    kind = view.selected("policy_specifier")
    if kind == "header":
        header = view.child_or_empty(kind)
        rewrite = header.child("regex_rewrite")
        substitution = None if rewrite is None else build_regex_substitution(rewrite)
        return HashPolicy(HeaderHash(header.text("header_name").lower(), substitution), terminal)
    if kind == "cookie":
        return HashPolicy(_build_cookie(view.child_or_empty(kind)), terminal)
    if kind == "connection_properties":
        # `source_ip: false` asks for nothing.
        if not view.child_or_empty(kind).flag("source_ip"):
            view.warn("has no effect: source_ip is not set", field=kind)
            return None
        return HashPolicy(SourceAddressHash(), terminal)
    if kind == "query_parameter":
        return HashPolicy(QueryHash(view.child_or_empty(kind).text("name")), terminal)
    return None


def _build_cookie(view: View) -> CookieHash:
    name, path = view.text("name"), view.text("path")
    attributes = tuple((one.text("name"), one.text("value")) for one in view.children("attributes"))
    texts = [path, *(text for pair in attributes for text in pair)]
    if _COOKIE_NAME.fullmatch(name) is None:
        view.error("this is no name for a cookie", field="name")
    elif not all(_COOKIE_ATTRIBUTE.fullmatch(text) for text in texts):
        view.error("path and attributes must be printable ASCII without a semicolon")
    return CookieHash(name, view.duration_s("ttl", 0.0) if view.has("ttl") else None, path, attributes)
