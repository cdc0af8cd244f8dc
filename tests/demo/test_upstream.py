"""The demo's data service: it believes the proxy, and only about who is asking."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from fastproxy.demo.signing import encode_segment
from fastproxy.demo.upstream import BIRDS, DOCS, Circle, build_upstream_app, parse_query

BIRDS_PATH = "/users/demo/data/funnel/Update"
NEAR = {"query": "coord within 10 km of 43.45,4.43"}


def _payload(**claims: object) -> dict[str, str]:
    return {"x-jwt-payload": encode_segment(json.dumps(claims).encode())}


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    """The service behind a real socket."""
    async with TestClient(TestServer(build_upstream_app())) as client:
        yield client


async def test_owner_gets_the_birds_within_the_distance(client: "TestClient[Any, Any]") -> None:
    """The point of the service, and of the story."""
    response = await client.get(BIRDS_PATH, params=NEAR, headers=_payload(preferred_username="demo"))

    assert response.status == 200
    birds = await response.json()
    assert [bird["name"] for bird in birds] == ["greater flamingo", "glossy ibis"]
    assert set(birds[0]) == {"name", "coord", "time"}


async def test_wider_circle_holds_more_birds(client: "TestClient[Any, Any]") -> None:
    """Otherwise the filter could be a constant."""
    wide = {"query": "coord within 50 km of 43.45,4.43"}
    response = await client.get(BIRDS_PATH, params=wide, headers=_payload(preferred_username="demo"))

    assert len(await response.json()) == 4


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-jwt-payload": ""},
        {"x-jwt-payload": "not base64url!"},
        {"x-jwt-payload": encode_segment(b"[]")},
        {"x-jwt-payload": encode_segment(b"{")},
        _payload(),
        _payload(preferred_username="alice"),
        _payload(preferred_username=["demo"]),
        _payload(preferred_username="DEMO"),
    ],
)
async def test_everybody_but_the_owner_is_refused(
    client: "TestClient[Any, Any]", headers: dict[str, str]
) -> None:
    """The proxy says who it is; what they may see is decided here."""
    response = await client.get(BIRDS_PATH, params=NEAR, headers=headers)

    assert (response.status, await response.text()) == (403, "Only the owner may read this.\n")


async def test_two_payload_headers_are_nobodys(client: "TestClient[Any, Any]") -> None:
    """Of two identities none is certain; the proxy never sends two."""
    name, value = next(iter(_payload(preferred_username="demo").items()))
    response = await client.get(BIRDS_PATH, params=NEAR, headers=[(name, value), (name, value)])

    assert response.status == 403


async def test_unknown_owner_is_answered_like_a_known_one(client: "TestClient[Any, Any]") -> None:
    """A different answer would tell who has an account."""
    response = await client.get(
        "/users/nobody/data/funnel/Update", headers=_payload(preferred_username="demo")
    )

    assert (response.status, await response.text()) == (403, "Only the owner may read this.\n")


async def test_bad_query_is_answered_with_a_good_one(client: "TestClient[Any, Any]") -> None:
    """A reader who experiments should see what to write."""
    response = await client.get(
        BIRDS_PATH, params={"query": "everything"}, headers=_payload(preferred_username="demo")
    )

    assert response.status == 400
    assert "coord within 10 km of 43.45,4.43" in await response.text()


async def test_documentation_is_open(client: "TestClient[Any, Any]") -> None:
    """The story begins with it."""
    response = await client.get("/docs")

    assert (response.status, await response.text()) == (200, DOCS)


async def test_whoami_tells_what_arrived(client: "TestClient[Any, Any]") -> None:
    """It shows what the proxy forwards, and what it does not."""
    headers = _payload(preferred_username="demo")
    response = await client.get("/whoami", headers=headers)

    assert await response.json() == {
        "authorization": None,
        "x-jwt-payload": headers["x-jwt-payload"],
        "decoded": {"preferred_username": "demo"},
    }


@pytest.mark.parametrize(
    ("text", "circle"),
    [
        ("coord within 10 km of 43.45,4.43", Circle(10, 43.45, 4.43)),
        ("coord within 500 m of 43.45,4.43", Circle(0.5, 43.45, 4.43)),
        ("coord within 1.5km of (-43.45, -4.43)", Circle(1.5, -43.45, -4.43)),
        (" coord within 0 km of 90,180 ", Circle(0, 90, 180)),
    ],
)
def test_query_forms(text: str, circle: Circle) -> None:
    """What the documentation page shows must work."""
    assert parse_query(text) == circle


@pytest.mark.parametrize(
    "text",
    [
        "",
        "coord",
        "coord within ten km of 1,2",
        "coord within 10 miles of 1,2",
        "coord within -1 km of 1,2",
        "coord within 1 km of 91,0",
        "coord within 1 km of 0,181",
        "coord within 1 km of 1,2 or 1=1",
        "coord within 1 km of \N{ARABIC-INDIC DIGIT ONE},2",
    ],
)
def test_other_queries_are_refused(text: str) -> None:
    """A query is read one way or not at all."""
    with pytest.raises(ValueError, match=r"."):
        parse_query(text)


def test_distance_is_along_the_globe() -> None:
    """Paris to London is 344 km; a flat earth would say otherwise."""
    paris = BIRDS["demo"][0].__class__("p", 48.8566, 2.3522, "")

    assert Circle(345, 51.5074, -0.1278).holds(paris)
    assert not Circle(342, 51.5074, -0.1278).holds(paris)
