"""Path normalisation: what is matched is what is forwarded, and nobody behind us sees another path (S49)."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastproxy.http.errors import ProtocolError
from fastproxy.http.paths import build_path_normalization, has_dot_segments, unescape_slashes


def normalize(target: bytes) -> bytes:
    rules = build_path_normalization(normalize_path=True, merge_slashes=False)
    assert rules is not None
    return rules(target)


def normalize_and_merge(target: bytes) -> bytes:
    rules = build_path_normalization(normalize_path=True, merge_slashes=True)
    assert rules is not None
    return rules(target)


def test_no_rules_no_function() -> None:
    """Nothing is called per request where nothing is to be done."""
    assert build_path_normalization(normalize_path=False, merge_slashes=False) is None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/../../a", b"/a"),
        (b"/..", b"/"),
        (b"/a/..", b"/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/.", b"/a/"),
        (b"/a/%2e%2E/b", b"/b"),
        (b"/a\\..\\b", b"/b"),
        (b"/%41%7e", b"/A~"),
        (b"/a%2Fb%5C", b"/a%2Fb%5C"),
        (b"/%252e%252e/", b"/%252e%252e/"),
        (b"/%zz%4", b"/%zz%4"),
        (b"/a?x=/../%2e", b"/a?x=/../%2e"),
        (b"//a", b"//a"),
        (b"/...", b"/..."),
        (b"/a;..", b"/a;.."),
        (b"*", b"*"),
        (b"//a/..", b"//"),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"/a/..;/b", b"/b"),
        (b"/a/..;x=1;y/b", b"/b"),
        (b"/a/.;/b", b"/a/b"),
        (b"/a/..;x", b"/"),
        (b"/a/%2e%2E;/b", b"/b"),
        (b"/a/..;c\\b", b"/b"),
        (b"/a/..%3b/b", b"/a/..%3b/b"),
        (b"/a/x..;/b", b"/a/x..;/b"),
        (b"/a;x/../b", b"/b"),
        (b'/"<>^`{|}?"<', b'/%22%3C%3E%5E%60%7B%7C%7D?"<'),
        (b"/'!$&()*+,=:@[]~", b"/'!$&()*+,=:@[]~"),
    ],
)
def test_normalize_path(target: bytes, expected: bytes) -> None:
    """spec/http.md section 6.1."""
    assert normalize(target) == expected


def test_merge_slashes_works_on_the_path_part_after_normalisation() -> None:
    """The example of spec/http.md section 6.1."""
    assert normalize_and_merge(b"/u/../u//x/%2e%2e/%41%7e/./y") == b"/u/A~/y"
    rules = build_path_normalization(normalize_path=False, merge_slashes=True)
    assert rules is not None
    assert rules(b"//a///b?c//d") == b"/a/b?c//d"


def test_s49_an_encoded_nul_is_refused() -> None:
    """C programs behind us stop reading there."""
    with pytest.raises(ProtocolError) as caught:
        normalize(b"/a%00b")
    assert caught.value.reply_code == "path_normalization_failed"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/%2%65%2%65/admin", b"/%252e%252e/admin"),
        (b"/%2%45", b"/%252E"),
        (b"/%%32e", b"/%252e"),
        (b"/a%2%46b", b"/a%252Fb"),
        (b"/%%41%42", b"/%25AB"),
        (b"/%%30%30", b"/%2500"),
        (b"/%%%41", b"/%%A"),
        (b"/%2%2e", b"/%2."),
    ],
)
def test_s49_decoding_never_completes_another_escape(target: bytes, expected: bytes) -> None:
    """`%2%65` would become `%2e`, which the next server decodes to a dot, and `%2%46` the `%2F` that is not allowed."""
    assert normalize(target) == expected


ALPHABET = st.sampled_from(
    [b"/", b".", b"..", b"%2e", b"%2E", b"%2f", b"%", b"2", b"e", b"65", b"\\", b"a", b";", b"%25", b"?"]
)


@given(st.lists(ALPHABET, max_size=12))
@example([b".", b"%2e"])
def test_s49_normalisation_is_idempotent_and_never_climbs(parts: list[bytes]) -> None:
    """A second proxy with the same rules must see the same path; no dot segment may survive."""
    for rules in (normalize, normalize_and_merge):
        try:
            once = rules(b"/" + b"".join(parts))
        except ProtocolError:
            continue
        assert rules(once) == once
        path = once.partition(b"?")[0]
        assert path.startswith(b"/")
        assert not {b".", b".."} & {segment.partition(b";")[0] for segment in path.split(b"/")}
        assert b"%2e" not in path.lower()
        assert b"\\" not in path


@pytest.mark.parametrize(
    "path",
    [b"/..", b"/a/../b", b"/.", b"/%2e%2E/x", b"/a%2f..%2Fb", b"/a\\..\\b", b"/a%5c.%2e/", b"/..;a/b", b".."],
)
def test_s49_dot_segments_are_found_in_every_spelling(path: bytes) -> None:
    """Somebody behind the proxy decodes one more time than we do."""
    assert has_dot_segments(path)


@pytest.mark.parametrize("path", [b"/", b"/a.b/..c/d..", b"/...", b"/a%2e", b"/%252e%252e/", b"/;..", b""])
def test_dots_in_names_are_no_segments(path: bytes) -> None:
    """Files have them."""
    assert not has_dot_segments(path)


def test_a_hostile_path_is_normalised_in_linear_time() -> None:
    """Escapes nested thousands deep would make a loop until nothing changes quadratic."""
    assert normalize(b"/%6" + b"%3" * 20_000 + b"5") == b"/%6" + b"%3" * 19_998 + b"%2535"
    assert normalize(b"/" + b"%2%65" * 20_000) == b"/" + b"%252e" * 20_000


@pytest.mark.parametrize(
    ("target", "unescaped"),
    [
        (b"/a%2fb%2Fc%5cd%5C", b"/a/b/c\\d\\"),
        (b"/a?b%2fc", b"/a?b%2fc"),
        (b"/a%252fb", b"/a%252fb"),
        (b"/plain", b"/plain"),
    ],
)
def test_s49_escaped_slashes_are_decoded_once(target: bytes, unescaped: bytes) -> None:
    """And never in the query."""
    assert unescape_slashes(target) == unescaped
