"""`access_log` entries to settings (envoy.extensions.access_loggers)."""

from dataclasses import replace

from fastproxy.config.build.context import BuildContext
from fastproxy.config.build.format_string import build_format_string, check_json, check_text
from fastproxy.config.build.log_filter import build_log_filter
from fastproxy.config.view import View
from fastproxy.listener.settings import AccessLogSettings

_FILE = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_STREAMS = {
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog": "/dev/stdout",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog": "/dev/stderr",
}


def build_access_log(entry: View, context: BuildContext) -> AccessLogSettings | None:
    """One logger; None for a kind that FastProxy lacks, with a warning: requests are served the same without."""
    entry.accept("name")
    logger = entry.typed("typed_config")
    if logger is None:
        entry.error(
            "an access logger needs a typed_config",
            f'For example "@type": type.googleapis.com/{_FILE} with path: /dev/stdout',
        )
        return None
    path = _STREAMS.get(logger.type_name) or (logger.text("path") if logger.type_name == _FILE else None)
    if path is None:
        # Its fields need no reading of their own.
        entry.accept("typed_config")
        for field, _ in logger.message.ListFields():
            logger.accept(field.name)
        entry.warn(
            f"has no effect: FastProxy has no access logger {logger.type_name}", "Log to a file or stdout"
        )
        return None
    settings = _build_format(logger, AccessLogSettings(path))
    condition = entry.child("filter")
    if condition is None:
        return settings
    return replace(settings, filter=build_log_filter(condition, context))


def _build_format(logger: View, settings: AccessLogSettings) -> AccessLogSettings:
    kind = logger.selected("access_log_format")
    if kind == "format":
        # Envoy: an empty text means the default line.
        text = logger.text("format")
        check_text(logger, text, kind)
        return replace(settings, text_format=text or None)
    if kind in ("json_format", "typed_json_format"):
        template = logger.struct(kind)
        check_json(logger, template, kind)
        return replace(settings, json_format=template)
    if kind != "log_format":
        return settings
    log_format = logger.child_or_empty("log_format")
    log_format.without_effect("content_type", "a log line has none")
    built = build_format_string(log_format)
    return replace(
        settings, text_format=built.text or None, json_format=built.json, omit_empty=built.omit_empty
    )
