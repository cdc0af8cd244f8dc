"""What replies that the proxy makes itself look like (Envoy `LocalReplyConfig`)."""

from dataclasses import dataclass

from fastproxy.format.settings import BodyFormatSettings, HeaderValueSettings
from fastproxy.listener.settings.access_log import LogFilterSettings


@dataclass(frozen=True, slots=True)
class ReplyMapperSettings:
    """What becomes of some local replies (Envoy `ResponseMapper`)."""

    filter: LogFilterSettings
    status: int | None = None
    body: bytes | None = None
    headers: tuple[HeaderValueSettings, ...] = ()
    body_format: BodyFormatSettings | None = None
    """Instead of that for all replies."""


@dataclass(frozen=True, slots=True)
class LocalReplySettings:
    """`local_reply_config`: the first mapper whose filter holds, then the format."""

    mappers: tuple[ReplyMapperSettings, ...] = ()
    body_format: BodyFormatSettings | None = None
