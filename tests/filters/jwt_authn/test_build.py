"""Requirements from settings: what is shared, and what `allow_missing` speaks of."""

import pytest

from fastproxy.filters.jwt_authn.build import RequirementBuilder
from fastproxy.filters.jwt_authn.requirement import (
    AllowMissing,
    AllowMissingOrFailed,
    RequireAll,
    RequireAny,
    RequireNothing,
)
from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    AllowsMissingOrFailed,
    JwtAuthnSettings,
    RequirementSettings,
    RequiresAll,
    RequiresAny,
    RequiresNothing,
    RequiresProvider,
)
from fastproxy.filters.jwt_authn.verdict import Requirement
from tests.filters.jwt_authn.support import provider

A, B = RequiresProvider("a"), RequiresProvider("b")


def builder() -> RequirementBuilder:
    settings = JwtAuthnSettings({"a": provider("a"), "b": provider("b")})
    return RequirementBuilder(settings, ask=lambda _source: None)


@pytest.mark.parametrize(
    ("settings", "kind", "names"),
    [
        (RequiresAny((A, B)), RequireAny, ["a", "b"]),
        (RequiresAll((B, A)), RequireAll, ["b", "a"]),
        (RequiresAny((A, AllowsMissing())), RequireAny, ["a"]),
        (RequiresAny((AllowsMissing(), AllowsMissing())), AllowMissing, ["a", "b"]),
        (RequiresAny((AllowsMissing(), AllowsMissingOrFailed())), AllowMissingOrFailed, ["a", "b"]),
        (AllowsMissing(), AllowMissing, ["a", "b"]),
        (RequiresNothing(), RequireNothing, []),
        (RequiresAll((A, RequiresAny((A, B)))), RequireAll, ["a", "b"]),
    ],
)
def test_what_is_built(settings: RequirementSettings, kind: type[Requirement], names: list[str]) -> None:
    """Alone `allow_missing` speaks of all providers, beside others of theirs (spec/jwt_authn.md 7.2)."""
    made = builder().build(settings)
    assert type(made) is kind
    assert [one.settings.name for one in made.providers()] == names


def test_requirements_share_their_providers() -> None:
    """One verifier, one cache."""
    one = builder()
    assert one.build(A) is one.build(A)
    assert one.build(RequiresProvider("a", ("api",))) is one.build(A)


def test_s29_other_audiences_make_a_twin_and_only_one() -> None:
    """Whatever their order; its keys come from the same source."""
    one = builder()
    twin = one.build(RequiresProvider("a", ("x", "y")))
    assert twin is one.build(RequiresProvider("a", ("y", "x")))
    assert twin is not one.build(A)
    assert len(one.providers) == 3
    assert {made.keys.source_id for made in one.providers.values() if made.settings.name == "a"} == {
        one.providers["a"].keys.source_id
    }


def test_an_unknown_provider_is_our_mistake() -> None:
    """The configuration has checked it."""
    with pytest.raises(KeyError):
        builder().build(RequiresProvider("c"))
