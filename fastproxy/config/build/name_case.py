"""`header_key_format` of `Http1ProtocolOptions`: how header names are written."""

from dataclasses import dataclass

from fastproxy.config.view import View
from fastproxy.http.name_case import KeptCaseSettings

_PRESERVE_CASE = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"


@dataclass(frozen=True, slots=True)
class NameCaseOptions:
    """At most one of both."""

    proper_case_words: bool = False
    kept: KeptCaseSettings | None = None


def build_name_case(http1: View | None) -> NameCaseOptions:
    """Build it from `Http1ProtocolOptions`; None: there are none."""
    case = None if http1 is None else http1.child("header_key_format")
    if case is None:
        return NameCaseOptions()
    extension = case.child("stateful_formatter")
    if extension is None:
        return NameCaseOptions(proper_case_words=case.child("proper_case_words") is not None)
    extension.accept("name")
    config = extension.typed("typed_config")
    if config is None or config.type_name != _PRESERVE_CASE:
        if config is not None:
            config.accept(*(one.name for one, _ in config.message.ListFields()))
        extension.error(f"the only formatter that is supported is {_PRESERVE_CASE}", field="typed_config")
        return NameCaseOptions()
    return NameCaseOptions(
        kept=KeptCaseSettings(
            proper_case=config.choice("formatter_type_on_envoy_headers") == "PROPER_CASE",
            reason_phrase=config.flag("forward_reason_phrase"),
        )
    )
