"""The Python part of a proxied request: microseconds of CPU per request, without sockets and without an event loop.

A downstream and an upstream connection are driven by hand over transports that swallow what is written, so neither the
kernel nor uvloop is in the numbers. What is left is what FastProxy itself does: parse, prepare, route, verify, forward,
answer, count. Run it under the interpreted and under the compiled form to compare the two:

    .venv/bin/python bench/data_path.py
    .venv-compiled/bin/python -P bench/data_path.py
"""

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Callable
from typing import Any, cast

import uvloop
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

from fastproxy.build_info import form
from fastproxy.clock import unix_time
from fastproxy.filters.chain import FilterChain
from fastproxy.filters.jwt_authn.filter import JwtAuthnFilter
from fastproxy.filters.jwt_authn.settings import (
    JwtAuthnSettings,
    LocalJwksSettings,
    ProviderSettings,
    RequiresProvider,
    RuleSettings,
)
from fastproxy.jwt.encoding import encode_base64url
from fastproxy.listener.connection import DownstreamConnection
from fastproxy.listener.manager import HttpConnectionManager
from fastproxy.listener.settings import FilterChainSettings, HttpConnectionManagerSettings, ListenerSettings
from fastproxy.match.settings import PathKind, PathMatch
from fastproxy.router.router import Router
from fastproxy.router.settings import (
    ForwardAction,
    RouteConfigurationSettings,
    RouteSettings,
    VirtualHostSettings,
)
from fastproxy.upstream.cluster import Cluster
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.settings import Address, ClusterSettings

_WARM_UP = 2_000
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"


class SinkTransport:
    """A transport that takes everything at once and keeps only how much it was."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: bytes) -> None:
        """Swallow bytes."""
        self.written += len(data)

    def is_closing(self) -> bool:
        """Never."""
        return False

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing is buffered."""

    def get_extra_info(self, name: str) -> tuple[str, int]:
        """One address for both ends."""
        return ("127.0.0.1", 1234)

    def abort(self) -> None:
        """A connection that is cut here answers nothing more: the benchmark has failed."""
        raise AssertionError("the proxy cut the connection")


def make_token() -> tuple[bytes, bytes]:
    """A token of about 850 bytes, and the key set that verifies it."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256"}
    jwk |= {
        name: encode_base64url(value.to_bytes(32, "big")).decode()
        for name, value in (("x", point.x), ("y", point.y))
    }
    header = {"alg": "ES256", "kid": "k1", "typ": "JWT"}
    claims = {"iss": "https://issuer", "exp": int(unix_time()) + 36_000, "sub": "a" * 36, "rest": "y" * 440}
    signing_input = b".".join(encode_base64url(json.dumps(part).encode()) for part in (header, claims))
    r, s = utils.decode_dss_signature(key.sign(signing_input, ec.ECDSA(SHA256())))
    signature = encode_base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return signing_input + b"." + signature, json.dumps({"keys": [jwk]}).encode()


def make_manager(jwks: bytes, cluster: Cluster) -> HttpConnectionManager:
    """One listener: `/open` is open to all, everything else needs a token."""
    provider = ProviderSettings(
        "provider",
        "https://issuer",
        (),
        LocalJwksSettings(jwks, "inline"),
        forward_payload_header="x-jwt-payload",
    )
    rules = (
        RuleSettings(PathMatch(PathKind.PREFIX, "/open")),
        RuleSettings(PathMatch(PathKind.PREFIX, "/"), RequiresProvider("provider")),
    )
    route = RouteSettings(PathMatch(PathKind.PREFIX, "/"), ForwardAction(cluster.name))
    routes = RouteConfigurationSettings("routes", (VirtualHostSettings("all", ("*",), (route,)),))
    http = HttpConnectionManagerSettings("ingress_http", routes)
    settings = ListenerSettings("ingress", "127.0.0.1", 8080, (FilterChainSettings(http),))
    jwt_authn = JwtAuthnFilter(JwtAuthnSettings({"provider": provider}, rules), ask=lambda _source: None)
    router = Router(http.route_config, {cluster.name: cluster})
    return HttpConnectionManager(
        settings,
        http,
        router=router,
        filters=FilterChain([jwt_authn], router.select_route),
        access_logs=[],
        loop=asyncio.get_running_loop(),
    )


class DataPath:
    """A downstream connection and the upstream connection that serves it."""

    def __init__(self, manager: HttpConnectionManager, cluster: Cluster) -> None:
        self.to_upstream, self.to_downstream = SinkTransport(), SinkTransport()
        pool = cluster.endpoints[0].pool
        self._upstream = UpstreamConnection(pool)
        self._upstream.connection_made(cast("Any", self.to_upstream))
        # As if a request had just given it back.
        pool.release(self._upstream)
        self._downstream: DownstreamConnection = manager()
        self._downstream.connection_made(cast("Any", self.to_downstream))

    def serve(self, request: bytes, count: int) -> None:
        """Serve the same request `count` times."""
        from_downstream, from_upstream = self._downstream.data_received, self._upstream.data_received
        for _ in range(count):
            from_downstream(request)
            from_upstream(_ANSWER)


def requests(token: bytes) -> dict[str, bytes]:
    """The requests to measure, by name."""
    usual = b" HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"
    bearer = b"authorization: Bearer " + token + b"\r\n"
    body = b"x" * 1024
    return {
        "hit": b"GET /x" + usual + bearer + b"\r\n",
        "plain": b"GET /open" + usual + b"\r\n",
        "post-1k": b"POST /x" + usual + bearer + b"content-length: 1024\r\n\r\n" + body,
    }


def best_us(serve: Callable[[int], None], *, rounds: int, per_round: int) -> float:
    """CPU microseconds per call in the fastest round: what disturbs a round only ever adds to it."""
    serve(_WARM_UP)
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time_ns()
        serve(per_round)
        best = min(best, (time.process_time_ns() - started) / per_round / 1000)
    return best


async def measure(rounds: int, per_round: int) -> dict[str, float]:
    """Measure every kind of request; microseconds by name."""
    token, jwks = make_token()
    cluster = Cluster(ClusterSettings("upstream"))
    cluster.update_endpoints([Address("127.0.0.1", 1)])
    path = DataPath(make_manager(jwks, cluster), cluster)
    # As the worker does before it serves.
    gc.collect()
    gc.freeze()
    found = {}
    for name, request in requests(token).items():
        before = cluster.stats.statuses.get(200, 0)
        found[name] = best_us(
            lambda count, request=request: path.serve(request, count),  # type: ignore[misc]
            rounds=rounds,
            per_round=per_round,
        )
        served = cluster.stats.statuses.get(200, 0) - before
        # A benchmark of refusals would look splendid.
        assert served == rounds * per_round + _WARM_UP, f"{name}: only {served} requests were served"
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="the fastest one counts (default: 7)")
    parser.add_argument("--requests", type=int, default=20_000, help="requests in a round (default: 20000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    found = uvloop.run(measure(arguments.rounds, arguments.requests))
    if arguments.json:
        print(json.dumps({"form": form(), "us": found}))
        return
    print(f"{form()} form, microseconds of Python per request:")
    for name, microseconds in found.items():
        print(f"  {name:10}{microseconds:8.2f}")


if __name__ == "__main__":
    main()
