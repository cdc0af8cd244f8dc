"""One provider: verdicts, what follows from them, and waiting for keys."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from fastproxy.filters.jwt_authn.settings import HeaderLocation
from fastproxy.http.messages import LocalReply
from tests.filters.jwt_authn.support import (
    JWKS,
    OTHER_JWKS,
    bearer,
    denial,
    jwt_filter,
    request,
    token,
)
from tests.jwt.support import claims, sign
from tests.listener.support import NOW, OK, Proxy, status_of

GOOD = token()


async def verdict(outcome: LocalReply | Awaitable[LocalReply | None] | None) -> LocalReply | None:
    assert outcome is not None
    assert not isinstance(outcome, LocalReply)
    return await outcome


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (b"", (401, "Jwt is missing")),
        (b"a.b", (401, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")),
        (token(exp=NOW - 100), (401, "Jwt is expired")),
        (token(nbf=NOW + 100), (401, "Jwt not yet valid")),
        (token(iss="https://other"), (401, "Jwt issuer is not configured")),
        (token(aud="other"), (403, "Audiences in Jwt are not allowed")),
        (GOOD[:-8] + b"AAAAAAAA", (401, "Jwt verification fails")),
        (token(kid="unknown"), (401, "Jwks doesn't have key to match kid or alg from Jwt")),
    ],
    ids=["empty", "two-parts", "expired", "early", "issuer", "audience", "signature", "kid"],
)
def test_every_refusal_has_envoys_status_and_text(bad: bytes, expected: tuple[int, str]) -> None:
    """Dashboards and clients written for Envoy keep working (spec/jwt_authn.md section 4)."""
    value = bearer(bad) if bad else (b"authorization", b"Bearer")
    outcome = jwt_filter().on_request(request(b"/", value))
    assert denial(outcome) == expected
    assert isinstance(outcome, LocalReply)
    ((name, challenge),) = outcome.headers
    assert name == b"www-authenticate"
    assert challenge.endswith(b'"' if expected[1] == "Jwt is missing" else b', error="invalid_token"')


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (b"/?access_token=" + GOOD, (bearer(GOOD),)),
        (b"/?access_token=" + GOOD + b"&access_token=" + GOOD, ()),
        (b"/?access_token=", (bearer(GOOD),)),
        (b"/?%61ccess_token=x", (bearer(GOOD),)),
    ],
)
def test_s48_two_tokens_are_refused(target: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """Even two good ones: which of them the upstream would believe is anybody's guess."""
    assert denial(jwt_filter().on_request(request(target, *headers))) == (401, "Found multiple Jwt tokens")


def test_s48_the_verified_token_is_the_one_that_is_forwarded() -> None:
    """`forward: true` leaves the request as it was and adds the payload."""
    made = request(b"/", bearer(GOOD))
    assert jwt_filter(forward=True).on_request(made) is None
    assert made.headers == {b"authorization": b"Bearer " + GOOD, b"x-jwt-payload": GOOD.split(b".")[1]}


@pytest.mark.parametrize("extra", ["", "a", "ab", "abc"])
def test_payload_header_is_padded_if_wanted(extra: str) -> None:
    """`pad_forward_payload_header`; otherwise the segment as received (12.1)."""
    signed = token(x=extra)
    segment = signed.split(b".")[1]
    for pad, expected in ((False, segment), (True, segment + b"=" * (-len(segment) % 4))):
        made = request(b"/", bearer(signed))
        assert jwt_filter(pad_forward_payload_header=pad).on_request(made) is None
        assert made.headers[b"x-jwt-payload"] == expected


def test_without_payload_header_nothing_is_added() -> None:
    """`forward_payload_header` is optional."""
    made = request(b"/", bearer(GOOD))
    assert jwt_filter(forward_payload_header="").on_request(made) is None
    assert made.headers == {}


def test_a_cached_verdict_has_the_same_effects() -> None:
    """The second request with a token must not differ from the first."""
    made = jwt_filter()
    results = []
    for _ in range(2):
        one = request(b"/", bearer(GOOD))
        assert made.on_request(one) is None
        results.append(one.headers)
    assert results[0] == results[1]
    assert made.providers["p"].verifier.cache_hits == 1


def test_a_token_in_a_header_of_its_own() -> None:
    """`from_headers` switches the defaults off."""
    settings: dict[str, Any] = {"from_headers": (HeaderLocation("x-token"),), "from_params": ()}
    assert jwt_filter(**settings).on_request(request(b"/", (b"x-token", GOOD))) is None
    assert denial(jwt_filter(**settings).on_request(request(b"/", bearer(GOOD))))[1] == "Jwt is missing"


# -- keys --------------------------------------------------------------------------------------------------


async def test_without_keys_a_request_waits_for_them() -> None:
    """It is answered as soon as they come, however long the fetch's timeout is."""
    asked: list[str] = []
    made = jwt_filter(remote=True, ask=asked.append)
    keys = made.providers["p"].keys
    one = request(b"/", bearer(GOOD))
    waiting = asyncio.get_running_loop().create_task(verdict(made.on_request(one)))
    await asyncio.sleep(0)
    assert asked == ["p|issuer|https://issuer/certs"]
    keys.on_update(1, JWKS)
    assert await waiting is None
    assert b"x-jwt-payload" in one.headers


async def test_keys_that_do_not_come_are_a_503_with_retry_after() -> None:
    """The token was not judged, so it is not refused (a difference from Envoy)."""
    made = jwt_filter(remote=True)
    waiting = asyncio.get_running_loop().create_task(verdict(made.on_request(request(b"/", bearer(GOOD)))))
    await asyncio.sleep(0)
    made.providers["p"].keys.on_fetch_failed()
    reply = await waiting
    assert reply is not None
    assert (reply.status, reply.body) == (503, b"Jwks remote fetch is failed")
    assert (b"retry-after", b"1") in reply.headers
    assert "www-authenticate" not in str(reply.headers)


async def test_s42_forged_tokens_cannot_cause_503() -> None:
    """What can be judged without keys is; no fetch is asked for."""
    asked: list[str] = []
    made = jwt_filter(remote=True, ask=asked.append)
    for bad in (b"a.b.c", token(exp=1), token(iss="https://other"), token(aud="x")):
        assert denial(made.on_request(request(b"/", bearer(bad))))[0] in {401, 403}
    assert asked == []


async def test_an_unknown_kid_asks_once_and_is_judged_again() -> None:
    """The key may be new; the client chose the `kid`, so once is enough."""
    asked: list[str] = []
    made = jwt_filter(remote=True, ask=asked.append)
    keys = made.providers["p"].keys
    keys.on_update(1, JWKS)
    late = token(kid="rotated")
    waiting = asyncio.get_running_loop().create_task(verdict(made.on_request(request(b"/", bearer(late)))))
    await asyncio.sleep(0)
    assert len(asked) == 1
    keys.on_update(2, JWKS.replace(b'"k1"', b'"rotated"'))
    assert await waiting is None


async def test_an_unknown_kid_that_stays_unknown_is_401() -> None:
    """Not 503: there are keys, and none of them is this one."""
    made = jwt_filter(remote=True)
    keys = made.providers["p"].keys
    keys.on_update(1, JWKS)
    waiting = asyncio.get_running_loop().create_task(
        verdict(made.on_request(request(b"/", bearer(token(kid="x")))))
    )
    await asyncio.sleep(0)
    keys.on_update(1, JWKS)
    assert denial(await waiting) == (401, "Jwks doesn't have key to match kid or alg from Jwt")


def test_a_kid_that_does_not_fit_the_algorithm_asks_for_nothing() -> None:
    """Fresher keys would not help."""
    asked: list[str] = []
    made = jwt_filter(remote=True, ask=asked.append)
    made.providers["p"].keys.on_update(1, JWKS)
    wrong = sign("HS256", claims(iat=NOW, exp=NOW + 300), kid="k1")
    assert denial(made.on_request(request(b"/", bearer(wrong))))[0] == 401
    assert asked == []


def test_local_keys_ask_for_nothing() -> None:
    """There is nobody to ask."""
    asked: list[str] = []
    made = jwt_filter(ask=asked.append)
    assert denial(made.on_request(request(b"/", bearer(token(kid="x")))))[0] == 401
    assert asked == []


async def test_s4_a_remote_symmetric_key_is_never_used() -> None:
    """Whoever can publish keys could otherwise publish a secret that everybody reads."""
    made = jwt_filter(remote=True)
    made.providers["p"].keys.on_update(1, OTHER_JWKS)
    signed = sign("HS256", claims(iat=NOW, exp=NOW + 300), kid="late")
    assert made.on_request(request(b"/", bearer(GOOD))) is None
    waiting = asyncio.get_running_loop().create_task(verdict(made.on_request(request(b"/", bearer(signed)))))
    await asyncio.sleep(0)
    made.providers["p"].keys.on_fetch_failed()
    assert denial(await waiting) == (401, "Jwks doesn't have key to match kid or alg from Jwt")


def wire(value: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + value + b"\r\n\r\n"


async def test_a_waiting_request_holds_up_its_connection_alone() -> None:
    """Others are served; its pipelined followers wait in order."""
    made = jwt_filter(remote=True)
    with Proxy(filters=[made]) as proxy:
        proxy.send(wire(GOOD) + wire(GOOD))
        await proxy.settle()
        assert proxy.take() == b""
        assert proxy.upstream.take() == b""
        made.providers["p"].keys.on_update(1, JWKS)
        await proxy.settle()
        proxy.upstream.respond(OK)
        await proxy.settle()
        proxy.upstream.respond(OK)
        assert proxy.take().count(b"HTTP/1.1 200 OK") == 2
        proxy.check_nothing_left()


async def test_s52_a_body_waits_with_its_request_and_reading_stops() -> None:
    """Nothing goes upstream, and no more than one read is held."""
    made = jwt_filter(remote=True)
    with Proxy(filters=[made]) as proxy:
        head = wire(GOOD).replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\ncontent-length: 5\r\n\r\n")
        proxy.send(head + b"he")
        await proxy.settle()
        assert not proxy.transport.is_reading()
        assert proxy.upstream.take() == b""
        made.providers["p"].keys.on_update(1, JWKS)
        await proxy.settle()
        assert proxy.transport.is_reading()
        proxy.send(b"llo")
        assert proxy.upstream.take().endswith(b"hello")
        proxy.upstream.respond(OK)
        assert status_of(proxy.take()) == 200
        proxy.check_nothing_left()


@pytest.mark.parametrize("started", [False, True])
async def test_s44_a_downstream_that_leaves_while_waiting_leaves_nothing(started: bool) -> None:
    """Also when it leaves before the waiting has begun: no coroutine is left unawaited, no waiter behind."""
    made = jwt_filter(remote=True)
    with Proxy(filters=[made]) as proxy:
        proxy.send(wire(GOOD))
        if started:
            await proxy.settle()
        proxy.leave(ConnectionResetError())
        await proxy.settle()
        assert not made.providers["p"].keys._waiting
        made.providers["p"].keys.on_update(1, JWKS)
        await proxy.settle()
        assert proxy.upstream.take() == b""
        assert proxy.log.lines == ["0 DC downstream_remote_disconnect"]
        proxy.check_nothing_left()


async def test_stream_idle_timeout_ends_a_request_that_waits_for_keys() -> None:
    """Nothing waits for ever; the keys that come later find nobody."""
    made = jwt_filter(remote=True)
    with Proxy(filters=[made], stream_idle_timeout_s=3) as proxy:
        proxy.send(wire(GOOD))
        await proxy.settle()
        proxy.advance(4)
        assert status_of(proxy.take()) in {408, 504}
        made.providers["p"].keys.on_update(1, JWKS)
        await proxy.settle()
        assert proxy.upstream.take() == b""
        proxy.check_nothing_left()
