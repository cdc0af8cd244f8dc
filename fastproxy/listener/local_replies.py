"""What the configuration makes of local replies (Envoy `local_reply_config`; spec/http.md section 12)."""

from fastproxy.format.body import BodyFormat
from fastproxy.format.context import FormatContext
from fastproxy.format.header_rules import build_header_rules
from fastproxy.format.settings import HeaderRuleSettings
from fastproxy.http.local_reply import ReplyDraft
from fastproxy.http.messages import Request
from fastproxy.listener.log_filter import build_log_filter
from fastproxy.listener.settings import LocalReplySettings, ReplyMapperSettings


class _Mapper:
    __slots__ = ("_body", "_holds", "_rules", "_status", "body_format")

    def __init__(self, settings: ReplyMapperSettings) -> None:
        self._holds = build_log_filter(settings.filter)
        self._status = settings.status
        self._body = settings.body
        self._rules = build_header_rules([HeaderRuleSettings(settings.headers)])
        self.body_format = None if settings.body_format is None else BodyFormat(settings.body_format)

    def apply(self, draft: ReplyDraft, request: Request, now: float) -> bool:
        """Change the reply if it is one of those meant; says whether it was."""
        if not self._holds(FormatContext(request, now, draft.body)):
            return False
        if self._body is not None:
            draft.body = self._body
            # It is another body, whatever the route has said of its own (Envoy).
            draft.headers.pop(b"content-type", None)
        if self._rules is not None:
            before = draft.headers.get(b"content-type")
            self._rules.apply_to_response(request, draft.headers)
            draft.has_own_type = draft.headers.get(b"content-type") != before
        if self._status is not None:
            draft.status = request.response_status = self._status
        return True


class LocalReplies:
    """Maps and formats every answer that the proxy gives itself; one for all connections of a manager."""

    __slots__ = ("_body_format", "_mappers")

    def __init__(self, settings: LocalReplySettings) -> None:
        self._mappers = tuple(_Mapper(one) for one in settings.mappers)
        self._body_format = None if settings.body_format is None else BodyFormat(settings.body_format)

    def apply(self, draft: ReplyDraft, request: Request, now: float) -> None:
        """Change a reply: by the first mapper that is for it, then by the format; `now` is monotonic seconds."""
        if draft.is_whole:
            return
        request.response_status = draft.status
        request.response_headers = draft.headers
        body_format = self._body_format
        for mapper in self._mappers:
            if mapper.apply(draft, request, now):
                body_format = mapper.body_format or body_format
                break
        if body_format is not None:
            draft.body = body_format.write(request, now, draft.body)
            draft.content_type = body_format.content_type
