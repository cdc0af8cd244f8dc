"""What a route changes about a request on its way out: path and host (spec/http.md section 9.1).

Each change is compiled into a function that is called with the request, once, before it is forwarded. The host comes
before the path, as in Envoy: it may be made out of the path that was requested.
"""

from collections.abc import Callable

from fastproxy import clock
from fastproxy.format.compile import compile_path
from fastproxy.format.context import FormatContext
from fastproxy.http.forwarding import rewrite_host
from fastproxy.http.framing import is_authority
from fastproxy.http.headers import first
from fastproxy.http.messages import Request
from fastproxy.http.paths import has_dot_segments
from fastproxy.match.settings import PathKind, PathMatch, RegexSubstitution
from fastproxy.match.substitution import build_substitution
from fastproxy.router.settings import ForwardAction


class PathRefused(Exception):
    """What a request says would make a path of it that readers disagree about (S49)."""


#: One change to a request; may raise `PathRefused`.
Edit = Callable[[Request], None]
#: From path to path, without query.
PathRewrite = Callable[[bytes], bytes]


def build_edits(action: ForwardAction, match: PathMatch, *, envoy_headers: bool) -> tuple[Edit, ...]:
    """Compile the rewrites of one route; empty if it has none.

    Args:
        action: the route's action.
        match: the route's path condition; `prefix_rewrite` replaces what it matched.
        envoy_headers: leave the old host and path in `x-envoy-original-host` and `-path`.

    Raises:
        ValueError: a regular expression is invalid (the configuration has checked this before).
    """
    edits: list[Edit] = []
    host = _build_host_rewrite(action, envoy_headers=envoy_headers)
    if host is not None:
        edits.append(host)
    rewrite = build_path_rewrite(match, action.prefix_rewrite, action.regex_rewrite)
    if rewrite is not None:
        edits.append(_build_path_edit(rewrite, envoy_headers=envoy_headers))
    elif action.path_rewrite:
        edits.append(_build_formatted_edit(action.path_rewrite, envoy_headers=envoy_headers))
    return tuple(edits)


def build_host_edit(host: str) -> Edit:
    """Send `host` upstream, and do not tell of the old one."""
    new = host.encode()

    def edit(request: Request) -> None:
        request.authority = new

    return edit


def build_path_rewrite(
    match: PathMatch, prefix_rewrite: str, regex_rewrite: RegexSubstitution | None
) -> PathRewrite | None:
    """Compile a rewrite of the path without its query; None if there is none.

    `prefix_rewrite` replaces what the route matched: the prefix, or for `path` and `safe_regex` the whole path (Envoy).
    """
    if prefix_rewrite:
        new = prefix_rewrite.encode()
        if match.kind not in (PathKind.PREFIX, PathKind.SEPARATED_PREFIX):
            return lambda _path: new
        cut = len(match.value.encode())
        return lambda path: new + path[cut:]
    return None if regex_rewrite is None else build_substitution(regex_rewrite)


def _build_path_edit(rewrite: PathRewrite, *, envoy_headers: bool) -> Edit:
    def edit(request: Request) -> None:
        old = request.target.partition(b"?")[0]
        new = rewrite(old)
        # `/api../x` with `/api` replaced by `/` is `/../x`. What had such segments before has been judged with them.
        if has_dot_segments(new) and not has_dot_segments(old):
            raise PathRefused
        _replace_path(request, new, envoy_headers=envoy_headers)

    return edit


def _build_formatted_edit(text: str, *, envoy_headers: bool) -> Edit:
    """`path_rewrite`: an empty result leaves the path as it is (Envoy)."""
    compiled = compile_path(text)

    def edit(request: Request) -> None:
        path = (
            compiled if isinstance(compiled, bytes) else compiled(FormatContext(request, clock.monotonic()))
        )
        if not path:
            return
        if has_dot_segments(path):
            raise PathRefused
        _replace_path(request, path, envoy_headers=envoy_headers)

    return edit


def _replace_path(request: Request, path: bytes, *, envoy_headers: bool) -> None:
    target = request.target
    _, mark, query = target.partition(b"?")
    request.original_path = target
    if envoy_headers:
        request.headers[b"x-envoy-original-path"] = target
    # What does not begin with a slash is no path, and an empty one would make a request line without a target.
    request.set_target((path if path[:1] == b"/" else b"/" + path) + mark + query)


def _build_host_rewrite(action: ForwardAction, *, envoy_headers: bool) -> Edit | None:
    append_old = action.append_x_forwarded_host

    def rewrite(request: Request, host: bytes) -> None:
        rewrite_host(request, host, tell=envoy_headers, append_forwarded_host=append_old)

    if action.host_rewrite_literal:
        literal = action.host_rewrite_literal.encode()
        return lambda request: rewrite(request, literal)
    if action.host_rewrite_header:
        name = action.host_rewrite_header.encode()

        def from_header(request: Request) -> None:
            value = first(request.headers, name)
            # The client may have sent it, so it gets the same check as `host` itself.
            if value and is_authority(value):
                rewrite(request, value)

        return from_header
    if action.host_rewrite_path_regex is not None:
        substitute = build_substitution(action.host_rewrite_path_regex)

        def from_path(request: Request) -> None:
            value = substitute(request.path)
            if value and is_authority(value):
                rewrite(request, value)

        return from_path
    return None
