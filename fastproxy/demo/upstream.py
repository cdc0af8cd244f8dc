"""The service behind the proxy: positions of birds, each user's own, and a page of documentation for all.

It never sees a token. Who is asking it reads from `x-jwt-payload`, which the proxy writes after it has
verified the token and which no downstream can write (the proxy removes the header from every request first).
That holds only while nothing but the proxy reaches this service: it listens on loopback.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web

from fastproxy.demo.signing import Json, decode_object

PAYLOAD_HEADER = "x-jwt-payload"

DOCS = """\
Funnel data service

GET /users/OWNER/data/funnel/Update?query=QUERY   the owner's birds; only for OWNER
    QUERY: coord within DISTANCE km of LATITUDE,LONGITUDE   (m instead of km is fine too)
GET /whoami                                       what this service was told about you
GET /docs                                         this page
"""

#: The answer to all but the owner; the same when there is no such owner, or it would tell who exists.
FORBIDDEN = "Only the owner may read this.\n"

_QUERY = re.compile(
    r"coord within (?P<distance>\d{1,6}(?:\.\d{1,6})?) ?(?P<unit>km|m)"
    r" of \(?(?P<latitude>-?\d{1,2}(?:\.\d{1,8})?), ?(?P<longitude>-?\d{1,3}(?:\.\d{1,8})?)\)?",
    re.ASCII,
)
_EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True, slots=True)
class Bird:
    """Where a ringed bird was seen last."""

    name: str
    latitude: float
    longitude: float
    time: str

    def as_json(self) -> Json:
        """Give the form that it is served in."""
        return {"name": self.name, "coord": [self.latitude, self.longitude], "time": self.time}


#: Who owns which birds. The first owner's are spread around the Camargue, some of them far from it.
BIRDS: dict[str, tuple[Bird, ...]] = {
    "demo": (
        Bird("greater flamingo", 43.4516, 4.4291, "2022-10-21T06:12:09Z"),
        Bird("glossy ibis", 43.4938, 4.3877, "2022-10-21T06:14:41Z"),
        Bird("purple heron", 43.5302, 4.5120, "2022-10-21T06:15:03Z"),
        Bird("white stork", 43.8367, 4.3601, "2022-10-21T06:11:55Z"),
        Bird("arctic tern", 69.6492, 18.9553, "2022-10-21T06:09:30Z"),
    ),
    "alice": (Bird("dodo", -20.3484, 57.5522, "1662-01-01T00:00:00Z"),),
}


@dataclass(frozen=True, slots=True)
class Circle:
    """A query: everything within a distance of a point."""

    radius_km: float
    latitude: float
    longitude: float

    def holds(self, bird: Bird) -> bool:
        """Say whether the bird is inside, by the great-circle distance."""
        here = _haversine(self.latitude, self.longitude, bird.latitude, bird.longitude)
        return here <= self.radius_km


def parse_query(text: str) -> Circle:
    """Parse `coord within 10 km of 43.45,4.43`.

    Raises:
        ValueError: the text is no such query; the message shows one.
    """
    found = _QUERY.fullmatch(text.strip())
    if found is None:
        raise ValueError("cannot read the query; write: coord within 10 km of 43.45,4.43")
    distance = float(found["distance"])
    latitude, longitude = float(found["latitude"]), float(found["longitude"])
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise ValueError("latitude goes from -90 to 90, longitude from -180 to 180")
    return Circle(distance if found["unit"] == "km" else distance / 1000, latitude, longitude)


def build_upstream_app() -> web.Application:
    """Serve the birds."""
    app = web.Application()
    app.router.add_get("/docs", _on_docs)
    app.router.add_get("/whoami", _on_whoami)
    app.router.add_get("/users/{owner}/data/funnel/Update", _on_update)
    return app


async def _on_docs(_request: web.Request) -> web.Response:
    return web.Response(text=DOCS)


async def _on_whoami(request: web.Request) -> web.Response:
    claims = _claims(request)
    seen = {
        "authorization": request.headers.get("authorization"),
        PAYLOAD_HEADER: request.headers.get(PAYLOAD_HEADER),
        "decoded": claims,
    }
    return web.json_response(text=json.dumps(seen, indent=1) + "\n")


async def _on_update(request: web.Request) -> web.Response:
    owner = request.match_info["owner"]
    claims = _claims(request)
    # The proxy has authenticated the user. What the user may see is for this service to say.
    if claims is None or claims.get("preferred_username") != owner:
        return web.Response(status=403, text=FORBIDDEN)
    try:
        circle = parse_query(request.query.get("query", ""))
    except ValueError as exc:
        return web.Response(status=400, text=f"{exc}\n")
    return _json_lines(bird.as_json() for bird in BIRDS.get(owner, ()) if circle.holds(bird))


def _claims(request: web.Request) -> Json | None:
    values = request.headers.getall(PAYLOAD_HEADER, [])
    if len(values) != 1:
        return None
    try:
        return decode_object(values[0])
    except ValueError:
        return None


def _json_lines(items: Iterable[Json]) -> web.Response:
    """Answer with a JSON array, one item a line: as easy to read as to parse."""
    lines = ",\n ".join(json.dumps(item) for item in items)
    return web.json_response(text=f"[{lines}]\n")


def _haversine(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    half_dphi = (phi2 - phi1) / 2
    half_dlambda = math.radians(lon2 - lon1) / 2
    chord = math.sin(half_dphi) ** 2 + math.cos(phi1) * math.cos(phi2) * math.sin(half_dlambda) ** 2
    return 2 * _EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(chord)))
