"""Header rules and bodies as the configuration fixes them (Envoy `HeaderValueOption`, `SubstitutionFormatString`)."""

from dataclasses import dataclass
from enum import Enum

from fastproxy.match.settings import StringMatch


class AppendAction(Enum):
    """What happens when the header is there already, and when it is not."""

    APPEND = "APPEND_IF_EXISTS_OR_ADD"
    ADD_IF_ABSENT = "ADD_IF_ABSENT"
    OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"
    OVERWRITE_IF_EXISTS = "OVERWRITE_IF_EXISTS"


@dataclass(frozen=True, slots=True)
class HeaderValueSettings:
    """One header to add; `value` is a format."""

    name: str
    """Lower case."""
    value: str
    action: AppendAction = AppendAction.APPEND
    keep_empty: bool = False
    """Send the header also when its value comes out empty."""


@dataclass(frozen=True, slots=True)
class HeaderRuleSettings:
    """What one level of the configuration removes and adds; removals come first."""

    add: tuple[HeaderValueSettings, ...] = ()
    remove: tuple[str, ...] = ()
    """Lower case."""
    remove_matching: tuple[StringMatch, ...] = ()
    """Conditions on names; what frames a message stays."""


@dataclass(frozen=True, slots=True)
class BodyFormatSettings:
    """How the body of a local reply is written (Envoy `SubstitutionFormatString`); text or JSON."""

    text: str = ""
    json: dict[str, object] | None = None
    content_type: str = ""
    """Empty: that of the form."""
    omit_empty: bool = False
