"""Settings in the words of the configuration: rules, requirements, places, routes."""

import re
from collections.abc import Iterable

from fastproxy.advice.words import escape, quote
from fastproxy.filters.jwt_authn.extract import FoundToken
from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    AllowsMissingOrFailed,
    ProviderSettings,
    RequirementSettings,
    RequiresAll,
    RequiresAny,
    RequiresNothing,
    RequiresProvider,
    RuleSettings,
)
from fastproxy.match.settings import PathMatch, RequestConditions
from fastproxy.router.settings import DirectResponseAction, ForwardAction, RouteActionSettings

#: What looks like a token: a base64url JSON object, and two more parts.
TOKEN_SHAPE = re.compile(rb"eyJ[A-Za-z0-9_=+/-]+\.[A-Za-z0-9_=+/-]+(?:\.[A-Za-z0-9_=+/-]*)?")


def describe_path(match: PathMatch) -> str:
    """`prefix /api`, `path /x, case ignored`."""
    case = "" if match.case_sensitive else ", case ignored"
    return f"{match.kind.value} {escape(match.value)}{case}"


def describe_rule(rule: RuleSettings) -> str:
    """What a rule matches and what it requires."""
    requires = "no token" if rule.requires is None else describe_requirement(rule.requires)
    return f"{describe_match(rule.match, rule.conditions)} -> {requires}"


def describe_match(match: PathMatch, conditions: RequestConditions) -> str:
    """What a rule or route asks of a request."""
    parts = ["CONNECT requests" if conditions.connect_only else describe_path(match)]
    parts += [f"header {escape(one.name)}" for one in conditions.headers]
    parts += [f"query parameter {escape(one.name)}" for one in conditions.query_parameters]
    return " and ".join(parts)


def describe_requirement(requires: RequirementSettings) -> str:
    """A requirement in one line."""
    if isinstance(requires, RequiresProvider):
        audiences = f" for {quote(list(requires.audiences))}" if requires.audiences else ""
        return f"provider {quote(requires.provider_name)}{audiences}"
    if isinstance(requires, RequiresAny):
        return f"any of ({_listed(requires.requirements)})"
    if isinstance(requires, RequiresAll):
        return f"all of ({_listed(requires.requirements)})"
    if isinstance(requires, AllowsMissing):
        return "allow_missing"
    if isinstance(requires, AllowsMissingOrFailed):
        return "allow_missing_or_failed"
    assert isinstance(requires, RequiresNothing)
    return "nothing (an empty requirement)"


def _listed(requirements: Iterable[RequirementSettings]) -> str:
    return ", ".join(describe_requirement(one) for one in requirements)


def describe_places(provider: ProviderSettings) -> str:
    """Where a provider looks for its token."""
    places = [
        f"header {quote(one.name)}"
        + (f" after {quote(one.value_prefix)}" if one.value_prefix else " (the whole value)")
        for one in provider.from_headers
    ]
    places += [f"query parameter {quote(name)}" for name in provider.from_params]
    places += [f"cookie {quote(name)}" for name in provider.from_cookies]
    return ", ".join(places)


def describe_place(found: FoundToken) -> str:
    """Where a token was."""
    if found.header is not None:
        return f"header {escape(found.header.decode('utf-8', 'replace'))}"
    if found.parameter is not None:
        return f"query parameter {escape(found.parameter.decode('utf-8', 'replace'))}"
    return f"cookie {escape((found.cookie or b'').decode('utf-8', 'replace'))}"


def describe_action(action: RouteActionSettings) -> str:
    """What a route does."""
    if isinstance(action, ForwardAction):
        return f"cluster {quote(action.cluster)}"
    if isinstance(action, DirectResponseAction):
        return f"direct response {action.status}"
    return f"redirect {action.status}"
