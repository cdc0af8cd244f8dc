"""`SubstitutionFormatString`: the formats of log lines and of local replies."""

from fastproxy.config.build.data_source import read_data_source
from fastproxy.config.view import View
from fastproxy.format.compile import compile_json, compile_text
from fastproxy.format.settings import BodyFormatSettings


def build_format_string(view: View) -> BodyFormatSettings:
    """A format; one that cannot be compiled is reported."""
    content_type, omit_empty = view.text("content_type"), view.flag("omit_empty_values")
    kind = view.selected("format")
    if kind == "json_format":
        template = view.struct(kind)
        check_json(view, template, kind)
        return BodyFormatSettings("", template, content_type, omit_empty)
    text = view.text(kind) if kind == "text_format" else ""
    if kind == "text_format_source":
        source = view.child_or_empty(kind)
        try:
            text = (read_data_source(source) or b"").decode()
        except UnicodeDecodeError:
            source.error("a format must be UTF-8 text")
    check_text(view, text, kind)
    return BodyFormatSettings(text, None, content_type, omit_empty)


def check_text(view: View, text: str, field: str | None) -> None:
    """Report a format of text that cannot be compiled."""
    try:
        compile_text(text)
    except ValueError as error:
        view.error(str(error), field=field)


def check_json(view: View, template: dict[str, object], field: str) -> None:
    """Report a format of JSON that cannot be compiled."""
    try:
        compile_json(template)
    except ValueError as error:
        view.error(str(error), field=field)
