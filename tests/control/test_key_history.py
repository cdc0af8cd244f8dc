"""What became of the keys of a source: bounded, and told by content."""

import json
from typing import Any

from fastproxy.control.jwks_document import JwksDocument, parse_jwks
from fastproxy.control.key_history import MAX_REMOVED, KeyHistory
from tests.jwt.support import public_jwk


def document(*keys: Any) -> JwksDocument:
    return parse_jwks(json.dumps({"keys": keys}).encode())


OLD, NEW = public_jwk("ES256", kid="old"), public_jwk("RS256", kid="new")


def test_removed_key_is_remembered_with_its_time() -> None:
    """ "The token's kid was removed from the set 4 min ago"."""
    history = KeyHistory()
    history.on_document(document(OLD, NEW), 100.0)
    after = document(NEW)
    history.on_document(after, 200.0)

    assert [(key.kid, key.kty, key.removed_at) for key in history.removed] == [("old", "EC", 200.0)]
    assert history.since(after) == (100.0,)


def test_same_kid_with_another_content_is_another_key() -> None:
    """Then signatures stop fitting although the kid is there: the most puzzling of rotations."""
    history = KeyHistory()
    history.on_document(document(OLD), 100.0)
    replaced = document(public_jwk("RS384", "another", kid="old"))
    history.on_document(replaced, 200.0)

    assert [key.kid for key in history.removed] == ["old"]
    assert history.since(replaced) == (200.0,)


def test_key_that_came_back_is_young_again_and_still_listed() -> None:
    """It was away for a while, and that may be what somebody asks about."""
    history = KeyHistory()
    for moment, keys in ((1.0, (OLD, NEW)), (2.0, (NEW,)), (3.0, (OLD, NEW))):
        latest = document(*keys)
        history.on_document(latest, moment)

    assert history.since(latest) == (3.0, 1.0)
    assert [key.removed_at for key in history.removed] == [2.0]


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    """An issuer cannot fill it by changing its keys."""
    history = KeyHistory()
    for moment in range(MAX_REMOVED + 10):
        history.on_document(document(public_jwk("ES256", kid=f"k{moment}")), float(moment))

    assert len(history.removed) == MAX_REMOVED
    assert history.removed[0].kid == f"k{MAX_REMOVED + 8}"


def test_keys_without_a_name_and_twins_are_no_trouble() -> None:
    """A set may hold the same key twice, and keys without kid."""
    history = KeyHistory()
    nameless = public_jwk("ES256", kid=None)
    twice = document(OLD, OLD, nameless)
    history.on_document(twice, 1.0)
    history.on_document(document(NEW), 2.0)

    assert [key.kid for key in history.removed] == ["old"]
