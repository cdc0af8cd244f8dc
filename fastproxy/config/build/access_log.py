"""`access_log` entries to settings (envoy.extensions.access_loggers)."""

from fastproxy.config.build.data_source import read_data_source
from fastproxy.config.view import View
from fastproxy.listener.settings import AccessLogSettings

_FILE = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_STREAMS = {
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog": "/dev/stdout",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog": "/dev/stderr",
}


def build_access_log(entry: View) -> AccessLogSettings | None:
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
    text, json = _build_format(logger)
    return AccessLogSettings(path, text, json)


def _build_format(logger: View) -> tuple[str | None, dict[str, object] | None]:
    kind = logger.selected("access_log_format")
    if kind == "format":
        return logger.text("format") or None, None
    if kind in ("json_format", "typed_json_format"):
        return None, logger.struct(kind)
    if kind != "log_format":
        return None, None
    log_format = logger.child_or_empty("log_format")
    kind = log_format.selected("format")
    if kind == "text_format":
        # Envoy: an empty text means the default line.
        return log_format.text(kind) or None, None
    if kind == "json_format":
        return None, log_format.struct(kind)
    if kind == "text_format_source":
        source = log_format.child_or_empty(kind)
        content = read_data_source(source)
        try:
            return (content or b"").decode() or None, None
        except UnicodeDecodeError:
            source.error("a log format must be UTF-8 text")
    return None, None
