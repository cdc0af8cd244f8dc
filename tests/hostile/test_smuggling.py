"""S51: a message that two parsers could read differently is refused, and nothing of it reaches the upstream."""

import pytest

from tests.e2e.support.http_setup import SCRIPTS
from tests.e2e.support.wire import Downstream, encode_request
from tests.hostile.conftest import Target

_POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
_GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
_HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n"

REFUSED: dict[str, bytes] = {
    "cl_te": _POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _HIDDEN,
    "te_cl": _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n" + _HIDDEN,
    "two_cl": _POST + b"Content-Length: 0\r\nContent-Length: 38\r\n\r\n" + _HIDDEN,
    "two_equal_cl": _POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "cl_list": _POST + b"Content-Length: 0, 38\r\n\r\n" + _HIDDEN,
    "cl_plus": _POST + b"Content-Length: +1\r\n\r\na",
    "cl_minus": _POST + b"Content-Length: -1\r\n\r\na",
    "cl_hex": _POST + b"Content-Length: 0x1\r\n\r\na",
    "cl_underscore": _POST + b"Content-Length: 1_0\r\n\r\n0123456789",
    "cl_space_inside": _POST + b"Content-Length: 1 0\r\n\r\n0123456789",
    "cl_empty": _POST + b"Content-Length: \r\n\r\n",
    "cl_huge": _POST + b"Content-Length: 99999999999999999999\r\n\r\na",
    "cl_arabic_digits": _POST + b"Content-Length: \xd9\xa1\r\n\r\na",
    "te_xchunked": _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te_chunked_gzip": _POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "te_gzip_chunked": _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te_identity_chunked": _POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "te_identity": _POST + b"Transfer-Encoding: identity\r\n\r\n",
    "te_twice": _CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te_twice_identity": _CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "te_empty": _POST + b"Transfer-Encoding: \r\n\r\n",
    "te_quoted": _POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "te_parameter": _POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "te_vertical_tab": _POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "te_tab_behind": _POST + b"Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n" + _HIDDEN,
    "te_nul": _POST + b"Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n",
    "te_space_before_colon": _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "te_tab_before_colon": _POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "te_folded": _POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "te_behind_bare_lf": _POST + b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te_behind_bare_cr": _POST + b"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te_in_http_1_0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "obs_fold": _GET + b"X: a\r\n b\r\n\r\n",
    "obs_fold_first": _GET + b" X: a\r\n\r\n",
    "bare_lf_everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare_lf_one_header": _GET + b"X: a\nY: b\r\n\r\n",
    "bare_lf_ends_head": _GET + b"\n",
    "bare_cr_in_value": _GET + b"X: a\rY: b\r\n\r\n",
    "space_before_colon": _GET + b"X : a\r\n\r\n",
    "space_in_name": _GET + b"X Y: a\r\n\r\n",
    "nul_in_name": _GET + b"X\x00: a\r\n\r\n",
    "nul_in_value": _GET + b"X: a\x00b\r\n\r\n",
    "nul_in_target": b"GET /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n",
    "control_in_value": _GET + b"X: a\x08b\r\n\r\n",
    "no_colon": _GET + b"Just words\r\n\r\n",
    "empty_name": _GET + b": a\r\n\r\n",
    "two_hosts": _GET + b"Host: b\r\n\r\n",
    "two_equal_hosts": _GET + b"Host: a\r\n\r\n",
    "no_host": b"GET / HTTP/1.1\r\n\r\n",
    "host_with_path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "tab_in_request_line": b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "space_in_target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "lf_in_target": b"GET /a\nb HTTP/1.1\r\nHost: a\r\n\r\n",
    "version_1_2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "version_11": b"GET / HTTP/11\r\nHost: a\r\n\r\n",
    "lower_case_version": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "http2_preface_settings": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "connection_names_host": _GET + b"Connection: host\r\n\r\n",
    "connection_names_content_length_and_te": _POST + b"Connection: :path\r\nContent-Length: 0\r\n\r\n",
}

#: The head is sound and may have been forwarded; the body must not be completed, and nothing may follow it.
BODY_REFUSED: dict[str, bytes] = {
    "chunk_size_not_hex": _CHUNKED + b"\r\nzz\r\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_size_0x": _CHUNKED + b"\r\n0x3\r\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_size_minus": _CHUNKED + b"\r\n-1\r\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_size_plus": _CHUNKED + b"\r\n+3\r\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_size_underscore": _CHUNKED + b"\r\n1_0\r\n0123456789abcdef\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_size_space_before": _CHUNKED + b"\r\n 3\r\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_size_overflow": _CHUNKED + b"\r\n10000000000000003\r\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_size_empty": _CHUNKED + b"\r\n\r\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_bare_lf": _CHUNKED + b"\r\n3\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_data_bare_lf": _CHUNKED + b"\r\n3\r\nabc\n0\r\n\r\n" + _HIDDEN,
    "chunk_data_too_long": _CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_extension_bare_lf": _CHUNKED + b"\r\n3;a\nb\r\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_extension_bare_cr": _CHUNKED + b"\r\n3;a\rb\r\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "chunk_extension_nul": _CHUNKED + b"\r\n3;a=\x00\r\nabc\r\n0\r\n\r\n" + _HIDDEN,
    "last_chunk_bare_lf": _CHUNKED + b"\r\n3\r\nabc\r\n0\n\n" + _HIDDEN,
    "trailer_bare_lf": _CHUNKED + b"\r\n3\r\nabc\r\n0\r\nx: a\ny: b\r\n\r\n" + _HIDDEN,
    "trailer_without_colon": _CHUNKED + b"\r\n3\r\nabc\r\n0\r\nwords\r\n\r\n" + _HIDDEN,
}

_STEPS = pytest.mark.parametrize("step", [0, 1], ids=["whole", "one-byte-at-a-time"])


@_STEPS
@pytest.mark.parametrize("name", REFUSED)
def test_s51_ambiguous_head_is_refused(target: Target, name: str, step: int) -> None:
    """If an upstream read the message in another way, an attacker's bytes became somebody else's request."""
    responses, closed = target.attack(REFUSED[name], step=step)

    assert closed
    assert len(responses) <= 1, responses
    for response in responses:
        assert response.status in {400, 426, 501, 505}, response
        assert response.closes
    assert target.seen_after_fence() == []


@_STEPS
@pytest.mark.parametrize("name", BODY_REFUSED)
def test_s51_ambiguous_body_ends_the_connection(target: Target, name: str, step: int) -> None:
    """What follows a body of unknown length is no request, and the upstream must not think the body complete."""
    responses, closed = target.attack(BODY_REFUSED[name], step=step)

    assert closed
    assert all(response.status == 400 for response in responses), responses
    seen = target.seen_after_fence()
    assert all(request.path != b"/hidden" for request in seen)
    assert not any(request.complete for request in seen)


def test_s51_a_chunked_body_is_framed_anew(target: Target) -> None:
    """Extensions, leading zeros and upper case are legal, and one more thing for two parsers to disagree about."""
    wire = _CHUNKED + b'\r\n0003;a="b;c\\""\r\nabc\r\nA;x\r\n0123456789\r\n000\r\n\r\n'

    responses, _ = target.attack(wire)

    assert [response.status for response in responses] in ([200], [])
    for request in target.seen_after_fence():
        assert request.body == b"abc0123456789"
        assert request.trailer_lines == ()


def test_s51_request_behind_a_get_with_a_body_is_its_own(target: Target) -> None:
    """A GET may have a body; taking it for the next request is a desync."""
    wire = (
        _GET
        + b"Content-Length: %d\r\n\r\n" % len(_HIDDEN)
        + _HIDDEN
        + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    with Downstream(target.proxy.ports["open"]) as downstream:
        downstream.send(wire)
        assert [response.status for response in downstream.read_responses([b"GET", b"GET"])] == [200, 200]

    seen = target.seen_after_fence()
    assert [request.path for request in seen] == [b"/", b"/next"]
    assert seen[0].body == _HIDDEN


@pytest.mark.parametrize("answer", ["two-lengths", "length-and-chunked", "body-after-204", "bytes-after"])
def test_s51_response_smuggling_never_reaches_the_next_downstream(target: Target, answer: str) -> None:
    """A malicious or broken upstream must not answer a request that was never asked."""
    target.upstream.scripts[answer] = SCRIPTS[answer]
    with Downstream(target.proxy.ports["open"]) as downstream:
        downstream.send(encode_request("GET", "/1", script=answer))
        downstream.read_responses([b"GET"])
    with Downstream(target.proxy.ports["open"]) as downstream:
        downstream.send(encode_request("GET", "/2"))

        assert downstream.read_response().body == b"ok"
