"""`JwtRequirement` to settings (spec/jwt_authn.md section 1.4)."""

import difflib
from collections.abc import Collection

from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    AllowsMissingOrFailed,
    RequirementSettings,
    RequiresAll,
    RequiresAny,
    RequiresNothing,
    RequiresProvider,
)


def build_requirement(view: View, providers: Collection[str]) -> RequirementSettings | None:
    """Build a requirement; None when a part of it cannot be honoured (reported): half of one is none (S28).

    `providers` are the names of the configured ones.
    """
    kind = view.selected("requires_type")
    if kind is None:
        view.warn("an empty requirement lets every request through", "Remove it, or name a provider")
        return RequiresNothing()
    if kind == "provider_name":
        name = view.text(kind)
        return RequiresProvider(name) if _check_provider(view, name, providers) else None
    if kind == "provider_and_audiences":
        inner = view.child_or_empty(kind)
        name, audiences = inner.text("provider_name"), inner.texts("audiences")
        return RequiresProvider(name, audiences) if _check_provider(inner, name, providers) else None
    if kind in ("requires_any", "requires_all"):
        children = [
            build_requirement(child, providers)
            for child in view.child_or_empty(kind).children("requirements")
        ]
        built = tuple(child for child in children if child is not None)
        if len(built) < len(children):
            return None
        return RequiresAny(built) if kind == "requires_any" else RequiresAll(built)
    if kind == "allow_missing":
        view.accept(kind)
        return AllowsMissing()
    if kind == "allow_missing_or_failed":
        view.accept(kind)
        return AllowsMissingOrFailed()
    view.unsupported(kind)
    return None


def check_requirement_name(view: View, field: str, name: str, known: Collection[str]) -> bool:
    """Report a reference to a requirement that `requirement_map` does not have, in Envoy's words."""
    if name in known:
        return True
    near = difflib.get_close_matches(name, known, n=1)
    names = ",".join(quote(one)[1:-1] for one in sorted(known))
    view.error(
        f"Wrong requirement_name: {quote(name)[1:-1]}. It should be one of [{names}]",
        f"Did you mean {quote(near[0])}?" if near else "Add it to requirement_map",
        field=field,
    )
    return False


def _check_provider(view: View, name: str, providers: Collection[str]) -> bool:
    if name in providers:
        return True
    near = difflib.get_close_matches(name, providers, n=1)
    fix = f"Did you mean {quote(near[0])}?" if near else "Add it to providers"
    view.error(f"Required provider ['{quote(name)[1:-1]}'] is not configured", fix, field="provider_name")
    return False
