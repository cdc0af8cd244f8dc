"""Where keys come from, in which order, and what is said about it."""

import json
from pathlib import Path

import pytest

from fastproxy.config.settings import ProxySettings
from fastproxy.explain.asked import BadQuestion
from fastproxy.explain.keybook import KeyBook, read_given
from fastproxy.explain.running import NoAnswer, RunningProxy, ask_running
from fastproxy.explain.session import Wishes, explain
from fastproxy.filters.jwt_authn.settings import ProviderSettings
from tests.e2e.support.jwt_setup import json_answer
from tests.e2e.support.upstream import Answer, ScriptedUpstream
from tests.explain.conftest import REMOTE_KEYS
from tests.explain.world import NOW, bearing, token
from tests.jwt.support import ISSUER, public_jwk

NAMES = frozenset({"main", "remote"})


def provider(settings: ProxySettings, name: str) -> ProviderSettings:
    return next(one for one in settings.providers() if one.name == name)


def running(**more: object) -> RunningProxy:
    entry = {"provider": "remote", "issuer": ISSUER, "kind": "remote", "state": "fresh", "keys": [], **more}
    return RunningProxy("127.0.0.1:9901", (entry,))


async def test_keys_are_fetched_through_the_configured_cluster(settings: ProxySettings) -> None:
    book = KeyBook(settings, {}, offline=False)
    keys = await book.fetch(provider(settings, "remote"))

    assert json.loads(keys.document) == json.loads(REMOTE_KEYS)
    assert keys.how == "fetched from http://keys.test/certs (cluster 'keys')"


async def test_failed_fetch_says_why(settings: ProxySettings) -> None:
    book = KeyBook(settings, {}, offline=False)

    assert "Connection refused" in (await book.fetch(provider(settings, "dead"))).error
    assert "HTML" in (await book.fetch(provider(settings, "html"))).error


async def test_offline_fetches_nothing(settings: ProxySettings, key_server: ScriptedUpstream) -> None:
    key_server.take_requests()
    book = KeyBook(settings, {}, offline=True)
    keys = await book.refetch(provider(settings, "remote"))

    assert not keys.is_known
    assert key_server.take_requests() == []


async def test_given_keys_come_first(settings: ProxySettings, key_server: ScriptedUpstream) -> None:
    """The operator's word, whatever a proxy or an issuer says."""
    key_server.take_requests()
    given = {"remote": json.dumps({"keys": [public_jwk("ES256", "g", kid="g1")]}).encode()}
    wishes = Wishes(at=NOW, given_keys=given)
    report = await explain(settings, bearing(token("ES256", name="g", kid="g1"), "/remote"), wishes)

    assert report.exit_code == 0
    assert report.keys == {"remote": "given by --jwks remote=..."}
    assert key_server.take_requests() == []


def test_keys_in_force_come_before_a_fetch(settings: ProxySettings) -> None:
    book = KeyBook(settings, {}, offline=False, running=running(jwks=json.loads(REMOTE_KEYS)))
    keys = book.keys_of(provider(settings, "remote"))

    assert keys.how == "those in force in the proxy at 127.0.0.1:9901"
    assert json.loads(keys.document) == json.loads(REMOTE_KEYS)


def test_stale_keys_and_failed_fetches_are_said(settings: ProxySettings) -> None:
    asked = provider(settings, "remote")
    stale = running(jwks=json.loads(REMOTE_KEYS), state="stale", last_error="status 500")
    none = running(state="no keys", last_error="status 500")

    assert "past their lifetime" in KeyBook(settings, {}, False, stale).keys_of(asked).note
    assert KeyBook(settings, {}, False, none).keys_of(asked).error == "status 500"


def test_proxy_with_another_issuer_of_this_name_is_not_believed(settings: ProxySettings) -> None:
    """It runs another configuration."""
    other = running(issuer="https://else.test", jwks=json.loads(REMOTE_KEYS))

    assert not KeyBook(settings, {}, False, other).keys_of(provider(settings, "remote")).is_known


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer((b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",)), "status 404"),
        (json_answer(b"[]"), "not that of a FastProxy"),
        (json_answer(b'{"providers": 1}'), "not that of a FastProxy"),
        (json_answer(b"nonsense"), "not that of a FastProxy"),
    ],
)
async def test_answer_of_somebody_else_is_no_answer(answer: Answer, words: str) -> None:
    with ScriptedUpstream(paths={"/jwks": answer}) as server, pytest.raises(NoAnswer, match=words):
        await ask_running(f"http://127.0.0.1:{server.port}")


async def test_odd_entries_of_an_answer_are_left_out(settings: ProxySettings) -> None:
    entry = {"provider": "remote", "issuer": ISSUER, "jwks": {"keys": 1}, "removed": [1, {"kid": "a"}, {}]}
    with ScriptedUpstream(
        paths={"/jwks": json_answer(json.dumps({"providers": [1, entry]}).encode())}
    ) as server:
        answer = await ask_running(f"127.0.0.1:{server.port}")
    found = answer.keys_of(provider(settings, "remote"))

    assert found is not None
    assert (found.document, found.removed) == (b"", ())


async def test_named_admin_interface_that_is_silent_is_an_error(settings: ProxySettings) -> None:
    """Who names one wants its keys, and no others."""
    with pytest.raises(BadQuestion, match="Connection refused"):
        await explain(settings, bearing(b"x"), Wishes(at=NOW, admin="127.0.0.1:1"))


def test_given_files_are_checked_before_anything_is_said(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(REMOTE_KEYS)
    bad.write_bytes(b"<html>")

    assert read_given((f"remote={good}",), NAMES) == {"remote": REMOTE_KEYS}
    for entry in (f"other={good}", f"remote={bad}", f"remote={tmp_path}", "remote", f"remote={good}\0"):
        with pytest.raises(BadQuestion):
            read_given((entry,), NAMES)
