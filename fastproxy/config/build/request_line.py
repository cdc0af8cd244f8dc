"""What a route puts in the place of a host, a path or a scheme: it is sent as it stands, and must be one."""

import re

from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.http.framing import is_authority

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
# Printable ASCII without blanks: what is not, or a fragment, would end the request line where nobody expects it.
_PATH = re.compile(r"[!-~]*")


def take_host(view: View, field: str) -> str:
    """A host to be sent instead of the one that was asked for; one that is none is reported."""
    host = view.text(field)
    if host and not is_authority(host.encode()):
        view.error(
            f"{quote(host)} is no host", "Write a name or an address, with or without :port", field=field
        )
    return host


def take_path(view: View, field: str, *, may_have_fragment: bool = False) -> str:
    """A path, or the begin of one, to be sent instead; one that cannot be sent is reported."""
    path = view.text(field)
    if not _PATH.fullmatch(path) or ("#" in path and not may_have_fragment):
        view.error(f"{quote(path)} cannot be a part of a path", "Write such characters as %20", field=field)
    return path


def take_scheme(view: View, field: str) -> str:
    """The scheme of an address to go to (RFC 3986 section 3.1); one that is none is reported."""
    scheme = view.text(field)
    if scheme and not _SCHEME.fullmatch(scheme):
        view.error(f"{quote(scheme)} is no scheme", "Write https, or leave it to https_redirect", field=field)
    return scheme
