"""`header_key_format` of a cluster, at each of its places; that of a listener is in test_http_options.py."""

import pytest

from fastproxy.http.name_case import KeptCaseSettings
from tests.config.support import cluster, load, minimal

_PRESERVE = (
    "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
)
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_KEEP = (
    "http_protocol_options: {header_key_format: {stateful_formatter: {name: keep, "
    f"typed_config: {{'@type': {_PRESERVE}, forward_reason_phrase: true}}}}}}}}"
)


@pytest.mark.parametrize("place", ["explicit_http_config", "use_downstream_protocol_config", "auto_config"])
def test_the_spelling_of_the_upstream_can_be_kept(place: str) -> None:
    """The older place on the cluster gives way to the newer one."""
    options = f"{_OPTIONS}: {{'@type': type.googleapis.com/{_OPTIONS}, {place}: {{{_KEEP}}}}}"
    old = "http_protocol_options: {header_key_format: {proper_case_words: {}}}"
    text = f"{old}\ntyped_extension_protocol_options: {{{options}}}"
    found = load(minimal(clusters=cluster(text))).settings.clusters[0]
    assert (found.kept_case, found.proper_case_words) == (KeptCaseSettings(reason_phrase=True), False)


def test_the_older_place_works_alone() -> None:
    """Nothing is kept unless the file says so."""
    assert load(minimal(clusters=cluster(_KEEP))).settings.clusters[0].kept_case is not None
    assert load(minimal()).settings.clusters[0].kept_case is None
