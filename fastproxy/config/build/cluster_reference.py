"""References to clusters: from routes and from key sources."""

import difflib

from fastproxy.config.build.context import BuildContext
from fastproxy.config.problems import quote
from fastproxy.config.view import View


def check_cluster(view: View, field: str, name: str, context: BuildContext) -> None:
    """Report a reference to a cluster that is not configured."""
    known = context.cluster_names
    if name in known or not context.clusters_complete:
        return
    if context.clusters_may_be_gone:
        view.warn(f"the cluster '{quote(name)[1:-1]}' is gone: its requests get 503", field=field)
        return
    near = difflib.get_close_matches(name, known, n=1)
    fix = f"Did you mean {quote(near[0])}?" if near else "Define it in static_resources.clusters"
    view.error(f"unknown cluster '{quote(name)[1:-1]}'", fix, field=field)
