"""The `redirect` route action (spec/http.md section 9.2; RFC 9110 section 15.4)."""

from collections.abc import Callable

from fastproxy.http.messages import LocalReply, Request
from fastproxy.match.settings import PathMatch
from fastproxy.router.rewrite import PathRewrite, build_path_rewrite
from fastproxy.router.settings import RedirectAction

_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


def build_redirect(action: RedirectAction, match: PathMatch) -> Callable[[Request], LocalReply]:
    """Compile a redirect into a function from request to reply.

    Raises:
        ValueError: `regex_rewrite` is invalid (the configuration has checked this before).
    """
    rewrite = build_path_rewrite(match, action.prefix_rewrite, action.regex_rewrite)

    def reply(request: Request) -> LocalReply:
        scheme = _scheme(action, request)
        location = scheme + b"://" + _authority(action, request, scheme) + _target(action, rewrite, request)
        return LocalReply(
            action.status, details="direct_response", headers=((b"location", location),), is_of_route=True
        )

    return reply


def own_location(request: Request) -> bytes:
    """The address that was asked for."""
    return b"".join((request.scheme, b"://", request.authority, request.target))


def redirect_to_https(request: Request) -> LocalReply:
    """What a virtual host with `require_tls` answers to a request in the clear: the same, port and all, over TLS."""
    location = b"https://" + request.authority + request.target
    return LocalReply(301, details="direct_response", headers=((b"location", location),), is_of_route=True)


def _scheme(action: RedirectAction, request: Request) -> bytes:
    if action.scheme_redirect:
        return action.scheme_redirect.encode()
    return b"https" if action.https_redirect else request.scheme


def _authority(action: RedirectAction, request: Request, scheme: bytes) -> bytes:
    """Host and port: a port given wins, else the request's own unless it was its scheme's default."""
    host, port = _split_port(request.authority)
    if action.host_redirect:
        host, port = action.host_redirect.encode(), b""
    if action.port_redirect:
        return host + b":%d" % action.port_redirect
    if scheme != request.scheme and port == _DEFAULT_PORTS.get(request.scheme):
        port = b""
    return host + port


def _split_port(authority: bytes) -> tuple[bytes, bytes]:
    name, colon, port = authority.rpartition(b":")
    if not colon or not port.isdigit():
        return authority, b""
    return name, colon + port


def _target(action: RedirectAction, rewrite: PathRewrite | None, request: Request) -> bytes:
    query = b"" if action.strip_query or not request.query else b"?" + request.query
    if action.path_redirect:
        path = action.path_redirect.encode()
        # A query of its own replaces the request's.
        return path if b"?" in path else path + query
    return (request.path if rewrite is None else rewrite(request.path)) + query
