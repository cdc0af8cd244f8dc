"""The status table is what clients and dashboards built for Envoy rely on."""

from fastproxy.jwt import JwtError, JwtStatus, KeysUnavailable, UnknownKey


def test_only_a_foreign_audience_answers_403() -> None:
    """Envoy answers 401 for every other status."""
    assert [status.number for status in JwtStatus if status.http_status == 403] == [25]
    assert {status.http_status for status in JwtStatus} == {401, 403}


def test_numbers_and_texts_are_unique() -> None:
    """Two members with one value would silently become aliases in an Enum."""
    assert (
        len({status.number for status in JwtStatus})
        == len({status.text for status in JwtStatus})
        == len(JwtStatus)
    )
    assert [status.number for status in JwtStatus] == [*range(1, 27), 31, 32, 40]


def test_missing_keys_and_unknown_keys_can_be_told_apart_from_refusals() -> None:
    """The filter waits or refetches for these, and answers everything else at once."""
    assert KeysUnavailable().status is JwtStatus.JWKS_FETCH_FAILED
    assert UnknownKey(kid_unknown=True).status is JwtStatus.NO_MATCHING_KEY
    assert str(JwtError(JwtStatus.EXPIRED)) == "Jwt is expired"
    assert (
        str(JwtError(JwtStatus.ISSUER_NOT_CONFIGURED, "no [iss]")) == "Jwt issuer is not configured: no [iss]"
    )
