"""Requirements seen as a whole: their parts with their paths, and whether they ask for a token at all."""

from collections.abc import Iterator

from fastproxy.config.problems import quote
from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    AllowsMissingOrFailed,
    JwtAuthnSettings,
    RequirementSettings,
    RequiresAll,
    RequiresAny,
    RequiresProvider,
)


def parts(requirement: RequirementSettings, path: str) -> Iterator[tuple[str, RequirementSettings]]:
    """The requirement itself and everything inside it, each with its field path."""
    yield path, requirement
    if isinstance(requirement, RequiresAny | RequiresAll):
        name = "requires_any" if isinstance(requirement, RequiresAny) else "requires_all"
        for index, child in enumerate(requirement.requirements):
            yield from parts(child, f"{path}.{name}.requirements[{index}]")


def roots(settings: JwtAuthnSettings) -> Iterator[tuple[str, RequirementSettings]]:
    """Every requirement that the filter's configuration writes down, wherever it is used, with its field path."""
    for rule in settings.rules:
        if rule.requires is not None and not rule.requirement_name:
            yield f"{rule.config_path}.requires", rule.requires
    for name, requirement in settings.requirement_map.items():
        yield f"{settings.config_path}.requirement_map[{quote(name)}]", requirement


def all_parts(settings: JwtAuthnSettings) -> Iterator[tuple[str, RequirementSettings]]:
    """Every part of every requirement."""
    for path, requirement in roots(settings):
        yield from parts(requirement, path)


def needs_token(requirement: RequirementSettings | None) -> bool:
    """Whether a request without any token is certainly refused."""
    if isinstance(requirement, RequiresProvider):
        return True
    if isinstance(requirement, RequiresAny):
        return all(needs_token(child) for child in requirement.requirements)
    if isinstance(requirement, RequiresAll):
        return any(needs_token(child) for child in requirement.requirements)
    return False


def accepted(requirement: RequirementSettings, settings: JwtAuthnSettings) -> Iterator[RequiresProvider]:
    """The providers that a requirement may accept a token of, with the audiences that it asks for instead of theirs.

    `allow_missing` and `allow_missing_or_failed` speak of every provider, unless others beside them in a
    `requires_any` say of which.
    """
    if isinstance(requirement, RequiresProvider):
        yield requirement
    elif isinstance(requirement, AllowsMissing | AllowsMissingOrFailed):
        yield from (RequiresProvider(name) for name in settings.providers)
    elif isinstance(requirement, RequiresAny):
        children = [
            child
            for child in requirement.requirements
            if not isinstance(child, AllowsMissing | AllowsMissingOrFailed)
        ]
        for child in children or requirement.requirements:
            yield from accepted(child, settings)
    elif isinstance(requirement, RequiresAll):
        for child in requirement.requirements:
            yield from accepted(child, settings)
