"""`LocalReplyConfig`: what becomes of the answers that the proxy gives itself."""

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.data_source import read_data_source
from fastproxy.config.build.format_string import build_format_string
from fastproxy.config.build.header_rules import build_header_values
from fastproxy.config.build.log_filter import build_log_filter
from fastproxy.config.view import View
from fastproxy.listener.settings import LocalReplySettings, ReplyMapperSettings


def build_local_replies(manager: View, context: BuildContext) -> LocalReplySettings | None:
    """The settings of a connection manager; None if it has none."""
    config = manager.child("local_reply_config")
    if config is None:
        return None
    body_format = config.child("body_format")
    mappers = [_build_mapper(view, context) for view in config.children("mappers")]
    return LocalReplySettings(
        tuple(one for one in mappers if one is not None),
        None if body_format is None else build_format_string(body_format),
    )


def _build_mapper(view: View, context: BuildContext) -> ReplyMapperSettings | None:
    filter_ = build_log_filter(view.child_or_empty("filter"), context)
    body, body_format = view.child("body"), view.child("body_format_override")
    status = view.integer_or("status_code", 0)
    headers = build_header_values(view, "headers_to_add")
    content = None if body is None else read_data_source(body) or b""
    override = None if body_format is None else build_format_string(body_format)
    if filter_ is None:
        return None
    return ReplyMapperSettings(filter_, status or None, content, headers, override)
