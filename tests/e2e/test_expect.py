"""`proxy_100_continue` together with a filter that waits for the body."""

from tests.e2e.conftest import StartFastProxy
from tests.e2e.support.proxies import Config, Ports
from tests.e2e.support.templates import EVERYTHING_TO_ECHO, bootstrap, cluster, listener
from tests.e2e.support.upstream import ScriptedUpstream
from tests.e2e.support.wire import Downstream, encode_request

_BUFFER = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer"


def test_a_filter_that_wants_the_body_asks_for_it(
    start_fastproxy: StartFastProxy, upstream: ScriptedUpstream
) -> None:
    """The upstream hears of the request only when the body is here: waiting for its 100 would be waiting for ever."""

    def template(ports: Ports) -> Config:
        buffer = {"name": "buffer", "typed_config": {"@type": _BUFFER, "max_request_bytes": 100}}
        one = listener(
            "plain",
            ports["plain"],
            EVERYTHING_TO_ECHO,
            filters=[buffer],
            options={"proxy_100_continue": True},
        )
        return bootstrap(ports["admin"], [one], [cluster("echo", upstream.port)])

    proxy = start_fastproxy(template)
    request = encode_request("POST", "/x", ("Expect", "100-continue"), body=b"abc", script="100-first")
    head = request[: -len(b"abc")]
    with Downstream(proxy.ports["plain"]) as downstream:
        downstream.send(head)
        assert downstream.read_some(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        downstream.send(b"abc")
        answer = downstream.read_response()
    assert (answer.status, answer.interim) == (200, ())
    (seen,) = upstream.take_requests()
    assert (seen.body, seen.values(b"expect")) == (b"abc", [b"100-continue"])
