"""Operators about the exchange with the upstream, on a whole data path."""

from typing import Any

import pytest

from fastproxy.format.compile import compile_json
from fastproxy.format.context import REQUEST_END, REQUEST_START, FormatContext
from fastproxy.format.exchange import EXCHANGE_OPERATORS, address_text
from fastproxy.http.messages import Request
from tests.listener.support import CLUSTER, GET, OK, Proxy

TIMES = "%REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %DURATION%"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


def test_each_part_has_its_time() -> None:
    """A request that comes slowly, an upstream that thinks, a response that comes slowly."""
    with Proxy(log_format=TIMES) as proxy:
        proxy.send(CHUNKED)
        proxy.advance(0.1)
        proxy.send(b"0\r\n\r\n")
        proxy.advance(0.25)
        proxy.upstream.respond(OK[:-1])
        proxy.advance(0.5)
        proxy.upstream.respond(OK[-1:])
        times = [int(one) for one in proxy.log.lines[0].split()]
    for found, wanted in zip(times, (100, 100, 350, 500, 850), strict=True):
        assert abs(found - wanted) <= 1, times


def test_a_request_without_a_body_takes_no_time() -> None:
    """It is there when it begins."""
    with Proxy(log_format=TIMES) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK)
        assert proxy.log.lines == ["0 0 0 0 0"]


@pytest.mark.parametrize("sent", [b"", b"1\r\n"])
def test_what_never_happened_has_no_time(sent: bytes) -> None:
    """The downstream left in the middle of its body, and the upstream did not answer."""
    with Proxy(log_format=TIMES) as proxy:
        proxy.send(CHUNKED + sent)
        proxy.advance(1)
        proxy.leave()
        assert proxy.log.lines == ["- - - - 1000"]


def test_the_connection_to_the_upstream_is_told_apart() -> None:
    """Both ends, and a number that stays the connection's."""
    names = "%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_REMOTE_PORT% %UPSTREAM_PROTOCOL% %UPSTREAM_HOST_NAME%"
    with Proxy(log_format=f"{names} %UPSTREAM_CONNECTION_ID% %CONNECTION_ID% %UPSTREAM_CLUSTER%") as proxy:
        for _ in range(2):
            proxy.send(GET)
            proxy.upstream.respond(OK)
        first, second = proxy.log.lines
    assert first == second
    assert first.startswith("203.0.113.9:443 4711 HTTP/1.1 service.example ")
    upstream, downstream = first.split()[4:6]
    assert upstream != downstream
    assert first.endswith(f" {CLUSTER}")


def test_a_header_cannot_say_how_long_the_response_took() -> None:
    """It is still to be sent."""
    request = Request(b"GET", b"/", {})
    request.response_monotonic, request.details = 5.0, "via_upstream"
    line = compile_json({"t": "%RESPONSE_TX_DURATION%"})
    assert line(FormatContext(request, 6.0)) == '{"t":null}\n'
    assert line(FormatContext(request, 6.0, log_type=REQUEST_START)) == '{"t":null}\n'
    assert line(FormatContext(request, 6.0, log_type=REQUEST_END)) == '{"t":1000}\n'


def test_a_response_that_was_cut_has_no_last_byte() -> None:
    """Its log would otherwise say how long the client had waited for what never came."""
    with Proxy(
        log_format="%RESPONSE_TX_DURATION% %COMMON_DURATION(US_RX_BEG:DS_TX_END)% %RESPONSE_FLAGS%"
    ) as proxy:
        proxy.send(GET)
        proxy.upstream.respond(OK[:-1])
        proxy.advance(0.5)
        proxy.leave()
        assert proxy.log.lines == ["- - DC"]


@pytest.mark.parametrize(
    ("unit", "expected"), [("", 250), (":ms", 250), (":us", 250_000), (":ns", 250_000_000)]
)
def test_durations_come_in_three_units(unit: str, expected: int) -> None:
    """Milliseconds where nothing is said."""
    with Proxy(log_format=f"%COMMON_DURATION(DS_RX_BEG:US_RX_BEG{unit})%") as proxy:
        proxy.send(GET)
        proxy.advance(0.25)
        proxy.upstream.respond(OK)
        assert abs(int(proxy.log.lines[0]) - expected) <= max(expected // 250, 1)


@pytest.mark.parametrize("name", sorted(EXCHANGE_OPERATORS))
def test_without_an_upstream_there_is_nothing_to_tell(name: str) -> None:
    """A direct response; Envoy numbers no connection 0."""
    found: Any = EXCHANGE_OPERATORS[name](FormatContext(Request(b"GET", b"/", {}), 1.0, log_type=REQUEST_END))
    assert found == (0 if name == "UPSTREAM_CONNECTION_ID" else None)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("", 0), None),
        (("192.0.2.1", 80), "192.0.2.1:80"),
        (("2001:db8::1", 80), "[2001:db8::1]:80"),
        (("/run/a.sock", 0), "/run/a.sock"),
        (("@abstract", 0), "@abstract"),
    ],
)
def test_addresses(address: tuple[str, int], text: str | None) -> None:
    """As Envoy writes them."""
    assert address_text(address) == text
