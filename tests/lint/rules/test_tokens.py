"""Which tokens are accepted."""

import pytest

from tests.lint.support import CLEAN_PROVIDERS, CLOSED, LOCAL, line, names, only, text

NO_AUDIENCE = CLEAN_PROVIDERS.replace("  audiences: [api]\n", "")
OTHER_KEY = '{"kty":"OKP","crv":"Ed25519","x":"JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}'
OTHER = f"""
other:
  issuer: https://other.example
  audiences: [api]
  local_jwks: {{inline_string: '{{"keys":[{OTHER_KEY}]}}'}}
"""
BOTH = """
- match: {prefix: /}
  requires: {requires_any: {requirements: [{provider_name: idp}, {provider_name: other}]}}
"""


@pytest.mark.parametrize(
    "rules",
    [
        CLOSED,
        "- match: {prefix: /}\n  requires: {allow_missing: {}}",
        ("- match: {path: /a}\n  requires: {provider_and_audiences: {provider_name: idp, audiences: [x]}}\n")
        + CLOSED.strip(),
    ],
)
def test_provider_without_audiences(rules: str) -> None:
    """Tokens for any other service of the issuer pass."""
    source = text(rules, providers=NO_AUDIENCE)

    assert line(source, only(source, "no-audience")) == "idp:"


def test_provider_whose_requirements_bring_audiences() -> None:
    """They take the place of its own."""
    rules = "- match: {prefix: /}\n  requires: {provider_and_audiences: {provider_name: idp, audiences: [x]}}"

    assert names(text(rules, providers=NO_AUDIENCE)) == []


def test_provider_whose_requirements_bring_audiences_beside_allow_missing() -> None:
    """Which then speaks of that one alone."""
    rules = (
        "- match: {prefix: /}\n  requires:\n    requires_any:\n      requirements:\n"
        "      - provider_and_audiences: {provider_name: idp, audiences: [x]}\n      - allow_missing: {}"
    )

    assert names(text(rules, providers=NO_AUDIENCE)) == ["allow-missing-in-any"]


def test_provider_without_issuer() -> None:
    """`iss` is not looked at."""
    only(text(providers=CLEAN_PROVIDERS.replace("  issuer: https://idp.example\n", "")), "no-issuer")


LAX = "layered_runtime: {layers: [{name: s, static_layer: {fastproxy.jwt.allow_missing_exp: true}}]}"


def test_tokens_that_never_expire() -> None:
    """One leak is for ever."""
    only(text(top=LAX), "no-expiration")


@pytest.mark.parametrize("field", ["require_expiration: true", "max_lifetime: 3600s"])
def test_provider_that_asks_for_exp_itself(field: str) -> None:
    """Whatever the setting for all says."""
    assert names(text(top=LAX, providers=CLEAN_PROVIDERS + f"  {field}\n")) == []


@pytest.mark.parametrize(("seconds", "found"), [(0, []), (60, []), (120, []), (121, ["large-clock-skew"])])
def test_clock_skew(seconds: int, found: list[str]) -> None:
    """It is added to the life of every token."""
    assert names(text(providers=CLEAN_PROVIDERS + f"  clock_skew_seconds: {seconds}\n")) == found


def test_one_issuer_with_two_sources_of_keys() -> None:
    """Either can speak for it."""
    source = text(
        BOTH, providers=CLEAN_PROVIDERS + OTHER.replace("https://other.example", "https://idp.example")
    )

    assert line(source, only(source, "same-issuer")).startswith("issuer:")


def test_one_issuer_with_one_source_of_keys() -> None:
    """Two audiences, two places to look: one trust."""
    other = OTHER.replace("https://other.example", "https://idp.example").splitlines()[:-1]
    providers = CLEAN_PROVIDERS + "\n".join([*other, f"  {LOCAL}", "  from_headers: [{name: x-other}]", ""])

    assert names(text(BOTH, providers=providers)) == []


def test_two_issuers_with_the_same_keys() -> None:
    """Each can speak for the other."""
    providers = CLEAN_PROVIDERS + "\n".join([*OTHER.splitlines()[:-1], f"  {LOCAL}", ""])
    source = text(BOTH, providers=providers)

    assert line(source, only(source, "shared-keys")) == "other:"


def test_two_issuers_with_keys_of_their_own() -> None:
    """As it should be."""
    assert names(text(BOTH, providers=CLEAN_PROVIDERS + OTHER)) == []


def test_token_in_the_query() -> None:
    """It is written down everywhere."""
    source = text(providers=CLEAN_PROVIDERS + "  from_params: [access_token]\n")

    assert line(source, only(source, "query-token")) == "from_params: [access_token]"


@pytest.mark.parametrize("field", ["from_headers: [{name: x-token}]", "from_cookies: [session]"])
def test_token_elsewhere(field: str) -> None:
    """And the default, which nobody chose, is not reported either."""
    assert names(text(providers=CLEAN_PROVIDERS + f"  {field}\n")) == []
