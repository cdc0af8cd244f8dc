"""`ConfigSource`: the file that resources come from (envoy.config.core.v3)."""

from fastproxy.config.view import View

_REMOTE = {
    "ads": "an aggregated stream from a management server",
    "api_config_source": "a management server",
    "self": "the server that the resource itself came from",
}


def find_source_file(source: View, instead: str = "") -> tuple[View, str] | None:
    """The file that a `ConfigSource` names, and the message that names it; None if it names none (reported).

    Args:
        source: the message; it is consumed whole.
        instead: what else the operator can use.
    """
    source.accept("resource_api_version", "initial_fetch_timeout")
    kind = source.selected("config_source_specifier")
    if kind == "path_config_source":
        holder = source.child_or_empty(kind)
        directory = holder.child("watched_directory")
        if directory is not None:
            # The file is looked at by its name, which sees every way of replacing it, this directory's included.
            directory.accept("path")
        return holder, holder.text("path")
    if kind == "path":
        return source, source.text(kind)
    if kind is not None:
        source.accept(kind)
    what = "nothing" if kind is None else _REMOTE.get(kind, kind)
    source.error(
        f"resources can come from files only, not from {what}",
        f"Use path_config_source: {{path: FILE}}{instead}",
        field=kind,
    )
    return None
