"""Secrets stay out of what is printed, whole, in parts and cut off."""

from fastproxy.explain.asked import AskedRequest
from fastproxy.explain.redaction import NOT_SHOWN, Redactor
from tests.explain.world import GOOD, ask

PAYLOAD, SIGNATURE = (part.decode() for part in GOOD.split(b".")[1:])


def redactor(asked: AskedRequest | None = None, token: bytes | None = GOOD) -> Redactor:
    return Redactor(asked or ask(), token)


def test_s53_token_and_its_parts_are_replaced() -> None:
    clean = redactor().clean

    assert clean(f"a {GOOD.decode()} b") == f"a {NOT_SHOWN} b"
    assert SIGNATURE not in clean(f"x-jwt-payload: {PAYLOAD}, {SIGNATURE}")


def test_s53_part_that_was_cut_is_replaced_too() -> None:
    """A challenge holds 256 bytes of the path and no more."""
    assert redactor().clean(f'realm="/?t={GOOD.decode()[:-20]}"') == f'realm="/?t={NOT_SHOWN}"'
    assert PAYLOAD[:20] not in redactor().clean(f"see {PAYLOAD[:40]}...")


def test_tokens_are_found_in_the_request_itself() -> None:
    asked = ask("/?t=" + GOOD.decode(), ("x-any", GOOD), ("cookie", b"session=a-session-identifier"))
    clean = redactor(asked, None).clean

    assert SIGNATURE not in clean(SIGNATURE)
    assert "a-session-identifier" not in clean("session=a-session-identifier")


def test_credentials_are_never_shown_and_other_headers_are() -> None:
    made = redactor()

    assert made.header(b"authorization", b"Basic abc") == "(not shown, 9 bytes)"
    assert made.header(b"cookie", b"a=b") == "(not shown, 3 bytes)"
    assert made.header(b"x-jwt-payload", PAYLOAD.encode()).startswith("(not shown")
    assert made.header(b"x-sub", b"demo") == "demo"
    assert len(made.header(b"x-long", b"a" * 5000)) < 300


def test_ordinary_words_stay_though_they_are_parts_of_a_token() -> None:
    """`a.b.c` is a token too, and no reason to black out the alphabet."""
    assert redactor(token=b"a.b.c").clean("abc, a.b.c") == "abc, a.b.c"


def test_what_is_left_is_escaped() -> None:
    assert "\x1b" not in redactor().clean("\x1b[2J")
