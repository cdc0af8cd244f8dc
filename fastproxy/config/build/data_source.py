"""`DataSource`: content from a file, the environment or the configuration itself (envoy.config.core.v3)."""

import os
from pathlib import Path

from fastproxy.config.view import View

# Certificates, key sets and error pages; whatever is larger was named by mistake.
_MAX_BYTES = 16 * 1024 * 1024


def read_data_source(source: View) -> bytes | None:
    """The content; None when it cannot be had, which is then reported with Envoy's words.

    File names are relative to the working directory, as in Envoy. The content is never put into a message.
    """
    kind = source.selected("specifier")
    if kind == "inline_string":
        return source.text(kind).encode()
    if kind == "inline_bytes":
        return source.blob(kind)
    if kind == "environment_variable":
        name = source.text(kind)
        value = os.environ.get(name)
        if value is None:
            source.error(f"Environment variable doesn't exist: {name}", "Set it, or use filename", field=kind)
            return None
        return os.fsencode(value)
    if kind == "filename":
        return _read_file(source, source.text(kind))
    return None


def describe_data_source(source: View) -> str:
    """Where the content comes from, for messages: `file keys.json`, `inline_string`."""
    kind = source.selected("specifier") or "nothing"
    if kind == "filename":
        return f"file {source.text(kind)}"
    return f"environment variable {source.text(kind)}" if kind == "environment_variable" else kind


def _read_file(source: View, name: str) -> bytes | None:
    path = Path(name)
    try:
        # A named pipe would hang the start, and a device need never end.
        if path.exists() and not path.is_file():
            source.error(f"Invalid path: {name} (not a regular file)", field="filename")
            return None
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not a usable name"
        source.error(
            f"Invalid path: {name} ({reason})",
            ""
            if path.is_absolute()
            else "The path is relative to the directory that fastproxy was started in",
            field="filename",
        )
        return None
    if len(content) > _MAX_BYTES:
        source.error(f"{name} is larger than {_MAX_BYTES} bytes", field="filename")
        return None
    return content
