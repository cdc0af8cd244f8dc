"""`headers_to_add` and `headers_to_remove`, at every level that has them."""

from dataclasses import dataclass

from fastproxy.config.build.matchers import build_string_match
from fastproxy.config.problems import quote
from fastproxy.config.view import View
from fastproxy.format.compile import compile_header_value
from fastproxy.format.settings import AppendAction, HeaderRuleSettings, HeaderValueSettings
from fastproxy.http.headers import FRAMING_NAMES


@dataclass(frozen=True, slots=True)
class HeaderLevels:
    """The header rules of a route, or of one of its weighted clusters, and of everything around it."""

    _request: tuple[HeaderRuleSettings, ...] = ()
    """Most specific first."""
    _response: tuple[HeaderRuleSettings, ...] = ()
    _specific_last: bool = False

    @classmethod
    def of_table(cls, config: View) -> "HeaderLevels":
        """Begin with a `RouteConfiguration`."""
        return cls(_specific_last=config.flag("most_specific_header_mutations_wins")).below(config)

    def below(self, view: View) -> "HeaderLevels":
        """One level more: that of a virtual host, a route or a weighted cluster."""
        return HeaderLevels(
            (_build_rules(view, "request"), *self._request),
            (_build_rules(view, "response"), *self._response),
            self._specific_last,
        )

    @property
    def request(self) -> tuple[HeaderRuleSettings, ...]:
        """What is done to requests, in the order in which it is applied."""
        return self._in_order(self._request)

    @property
    def response(self) -> tuple[HeaderRuleSettings, ...]:
        """What is done to responses, in the order in which it is applied."""
        return self._in_order(self._response)

    def _in_order(self, levels: tuple[HeaderRuleSettings, ...]) -> tuple[HeaderRuleSettings, ...]:
        """Most specific first, so that what is said for the whole table wins; or the other way round (Envoy)."""
        kept = tuple(level for level in levels if level.add or level.remove)
        return kept[::-1] if self._specific_last else kept


def _build_rules(view: View, message: str) -> HeaderRuleSettings:
    remove = f"{message}_headers_to_remove"
    removed = tuple(name.lower() for name in view.texts(remove))
    for name in removed:
        check_header_name(view, name, field=remove)
    return HeaderRuleSettings(build_header_values(view, f"{message}_headers_to_add"), removed)


def build_header_values(view: View, field: str) -> tuple[HeaderValueSettings, ...]:
    """A repeated field of `HeaderValueOption`; those that cannot be sent are reported."""
    built = [build_header_value(option) for option in view.children(field)]
    return tuple(one for one in built if one is not None)


def build_header_value(option: View) -> HeaderValueSettings | None:
    """One `HeaderValueOption`; None if it cannot be sent (reported)."""
    header = option.child_or_empty("header")
    name, value = header.text("key").lower(), header.text("value")
    action = AppendAction(option.choice("append_action"))
    if option.has("append"):
        if action is not AppendAction.APPEND:
            option.error("both append and append_action are set", "Keep append_action", field="append")
        action = AppendAction.APPEND if option.flag_or("append", default=True) else AppendAction.OVERWRITE
    keep_empty = option.flag("keep_empty_value")
    if not check_header_name(header, name, field="key"):
        return None
    try:
        compile_header_value(value)
    except ValueError as error:
        header.error(str(error), field="value")
        return None
    return HeaderValueSettings(name, value, action, keep_empty)


def check_header_name(view: View, name: str, *, field: str) -> bool:
    """Report a header that no rule may touch."""
    if name.startswith(":") or name == "host":
        view.error(
            f"{quote(name)} is a part of the request line, and no header that can be added or removed",
            "The host is changed by host_rewrite_literal and its like, the path by prefix_rewrite",
            field=field,
        )
    elif name.encode() in FRAMING_NAMES:
        view.error(
            f"{quote(name)} belongs to one connection and cannot be set",
            "Remove it: FastProxy writes and removes such headers itself",
            field=field,
        )
    else:
        return True
    return False


def build_header_mutations(view: View, field: str) -> list[HeaderRuleSettings]:
    """A repeated `HeaderMutation` of `mutation_rules.v3`: each is a level of its own, in the order of the file."""
    found = []
    for mutation in view.children(field):
        kind = mutation.selected("action")
        if kind == "append":
            value = build_header_value(mutation.child_or_empty("append"))
            if value is not None:
                found.append(HeaderRuleSettings((value,)))
        elif kind == "remove":
            name = mutation.text("remove").lower()
            check_header_name(mutation, name, field="remove")
            found.append(HeaderRuleSettings(remove=(name,)))
        elif kind == "remove_on_match":
            match = build_string_match(mutation.child_or_empty(kind).child_or_empty("key_matcher"))
            if match is not None:
                found.append(HeaderRuleSettings(remove_matching=(match,)))
    return found
