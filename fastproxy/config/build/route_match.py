"""`RouteMatch` of a route: path and every other condition."""

from dataclasses import replace

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.fraction import build_fraction
from fastproxy.config.build.matchers import build_conditions
from fastproxy.config.build.metadata_match import build_metadata_match
from fastproxy.config.build.path_match import build_path_match
from fastproxy.config.build.uri_template import build_template_match
from fastproxy.config.view import View
from fastproxy.match.settings import PathKind, PathMatch, RequestConditions


def build_route_match(view: View, context: BuildContext) -> tuple[PathMatch, RequestConditions] | None:
    """Both halves of the condition; None when a part of it is not supported (reported).

    What is not supported stays unread, and so is refused: a route that applied more widely than it says would be a
    hole.
    """
    if view.selected("path_specifier") == "connect_matcher":
        view.accept("connect_matcher")
        # CONNECT has no path.
        path: PathMatch | None = PathMatch(PathKind.PREFIX, "")
    elif view.has("path_match_policy"):
        path = build_template_match(view)
    else:
        path = build_path_match(view)
    conditions = build_conditions(view)
    metadata = [build_metadata_match(one) for one in view.children("dynamic_metadata")]
    fraction = view.child("runtime_fraction")
    share = None if fraction is None else build_fraction(fraction, context)
    grpc = view.child("grpc") is not None
    certificate = _build_certificate_condition(view.child("tls_context"))
    if path is None or conditions is None or None in metadata:
        return None
    return path, replace(
        conditions,
        grpc=grpc,
        fraction=share,
        metadata=tuple(one for one in metadata if one is not None),
        has_client_certificate=certificate,
    )


def _build_certificate_condition(view: View | None) -> bool | None:
    """A `tls_context`. What FastProxy calls a client certificate is verified, so both questions are the same one."""
    if view is None:
        return None
    asked = [view.flag_or(name, default=True) for name in ("presented", "validated") if view.has(name)]
    if len(set(asked)) > 1:
        view.error(
            "never matches: FastProxy takes no client certificate that it has not verified",
            "Give one of presented and validated",
        )
    return asked[0] if asked else None
