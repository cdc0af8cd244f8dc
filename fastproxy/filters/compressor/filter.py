"""The compressor filter: compresses responses that are worth it for clients that ask for it (RFC 9110 section 8.4).

On the request it remembers `accept-encoding` and asks to see the response. On the response head it decides: worth
compressing at all, and by this filter and not by another one of the chain. Then every read of the body is compressed
and flushed, so a stream stays one. What is compressed at once is what one read brought, at most 256 KiB.

Never compressed: what is encoded already, `cache-control: no-transform`, a part of a representation (`content-range`),
bodyless responses. A strong `etag` is for the bytes as the upstream sent them, and goes (RFC 9110 section 8.8.3).
"""

from collections.abc import Sequence

from fastproxy.filters.compressor.codecs import Codec, Encoder
from fastproxy.filters.compressor.negotiation import Choice, Reason, choose_encoding
from fastproxy.filters.compressor.settings import CompressorPerRoute, CompressorSettings
from fastproxy.http.headers import HeaderMap, first, values
from fastproxy.http.messages import LocalReply, Request
from fastproxy.stats import StatsSink

#: Choices are remembered up to this number: clients send few different values, attackers many.
_MAX_REMEMBERED = 256
#: Longer ones are not: each could be as long as a whole head.
_MAX_REMEMBERED_BYTES = 256
_STATUS_HEADER = b"x-envoy-compression-status"


class CompressorFilter:
    """One compressor of a filter chain."""

    def __init__(self, settings: CompressorSettings) -> None:
        self.codec = Codec(settings.codec)
        self.settings = settings
        self._choices: dict[tuple[bytes, tuple[tuple[bytes, bool], ...]], Choice] = {}
        self._reasons: dict[str, int] = dict.fromkeys(
            (
                "header_compressor_overshadowed",
                "header_compressor_used",
                "header_identity",
                "header_not_valid",
                "header_wildcard",
                "no_accept_header",
                "not_compressed_etag",
            ),
            0,
        )
        self._compressed = 0
        self._not_compressed = 0
        self._too_small = 0
        self.bytes_in = 0
        """Of bodies that were compressed, before it."""
        self.bytes_out = 0
        """After it."""

    def on_request(self, request: Request) -> LocalReply | None:
        """Remember what the client accepts. Never answers."""
        settings = self.settings
        of_route = self._of_route(request)
        if settings.is_off_by_default if of_route is None else of_route.is_skipped:
            return None
        state = request.compression
        if not isinstance(state, Compression):
            state = request.compression = Compression(first(request.headers, b"accept-encoding"))
        state.offered.append(self)
        removes = settings.remove_accept_encoding_header
        if of_route is not None and of_route.remove_accept_encoding_header is not None:
            removes = of_route.remove_accept_encoding_header
        if removes:
            request.headers.pop(b"accept-encoding", None)
        return None

    def on_response(self, request: Request, headers: HeaderMap) -> None:
        """Decide about a response, and change its head if it is to be compressed."""
        of_route = self._of_route(request)
        enabled = self.settings.enabled
        if of_route is not None:
            if of_route.is_skipped:
                return
            if of_route.enabled is not None:
                enabled = of_route.enabled
        elif self.settings.is_off_by_default:
            return
        if not enabled or b"content-encoding" in headers or b"content-range" in headers:
            self._not_compressed += 1
            return
        state = request.compression
        accept = state.accept if isinstance(state, Compression) else None
        if not self._is_worth_it(request.response_status, headers, asked=accept is not None):
            self._not_compressed += 1
            return
        if request.response_has_body and isinstance(state, Compression) and self._is_chosen(state, headers):
            self._compressed += 1
            self._begin(request, headers)
        else:
            self._not_compressed += 1
        _add_vary(headers)

    def _of_route(self, request: Request) -> CompressorPerRoute | None:
        configs = request.filter_configs
        found = None if configs is None else configs.get(self.settings.name)
        return found if isinstance(found, CompressorPerRoute) else None

    def _begin(self, request: Request, headers: HeaderMap) -> None:
        etag = first(headers, b"etag")
        if etag is not None and not (len(etag) > 2 and etag[:2].lower() == b"w/"):
            del headers[b"etag"]
        if self.settings.tells_status:
            self._tell(headers, b"Compressed;OriginalLength=" + (first(headers, b"content-length") or b""))
        headers.pop(b"content-length", None)
        headers[b"content-encoding"] = self.codec.encoding
        request.body_transform = CompressedBody(self, self.codec.make())

    def _choose(self, accept: bytes, offered: Sequence["CompressorFilter"]) -> Choice:
        """The encoding for a client, out of those that the filters which are for this response offer."""
        # The first of two filters with one encoding counts; their order is that of the configuration.
        unique: dict[bytes, bool] = {}
        for one in offered:
            unique.setdefault(one.codec.encoding, one.settings.choose_first)
        key = (accept, tuple(unique.items()))
        known = self._choices.get(key)
        if known is None:
            known = choose_encoding(accept, key[1])
            if len(accept) <= _MAX_REMEMBERED_BYTES:
                if len(self._choices) >= _MAX_REMEMBERED:
                    self._choices.clear()
                self._choices[key] = known
        return known

    def takes(self, content_type: bytes | None) -> bool:
        """Whether responses of this type are for it; one that does not say its type is."""
        if content_type is None or not self.settings.content_types:
            return True
        return content_type.partition(b";")[0].strip().lower() in self.settings.content_types

    def _is_worth_it(self, status: int, headers: HeaderMap, *, asked: bool) -> bool:
        """Whether a response like this one is ever compressed, whoever asks."""
        settings = self.settings
        length = first(headers, b"content-length")
        refusal = b""
        if length is not None and not (
            length.isdigit() and len(length) < 19 and int(length) >= settings.min_content_length
        ):
            self._too_small += 1
            refusal = b"ContentLengthTooSmall"
        elif not self.takes(first(headers, b"content-type")):
            refusal = b"ContentTypeNotAllowed"
        elif settings.disable_on_etag_header and b"etag" in headers:
            self._reasons["not_compressed_etag"] += 1
            refusal = b"EtagNotAllowed"
        elif status in settings.uncompressible_statuses:
            refusal = b"StatusCodeNotAllowed"
        if refusal:
            if settings.tells_status and asked:
                self._tell(headers, refusal)
            return False
        return not any(b"no-transform" in value.lower() for value in values(headers, b"cache-control"))

    def _is_chosen(self, state: "Compression", headers: HeaderMap) -> bool:
        if state.accept is None:
            self._reasons["no_accept_header"] += 1
            return False
        content_type = first(headers, b"content-type")
        offered = [one for one in state.offered if one.takes(content_type)]
        encoding, reason = self._choose(state.accept, offered)
        is_mine = encoding == self.codec.encoding
        overshadowed = reason is Reason.USED and not is_mine
        self._reasons["header_compressor_overshadowed" if overshadowed else reason.value] += 1
        return is_mine

    def _tell(self, headers: HeaderMap, what: bytes) -> None:
        headers[_STATUS_HEADER] = self.codec.encoding + b";" + what

    def write_stats(self, sink: StatsSink, prefix: str) -> None:
        """Add the filter's counters under Envoy's names."""
        prefix += f"compressor.{self.settings.library_name}.{self.codec.stat_name}."
        for name, count in self._reasons.items():
            sink.counter(prefix + name, count)
        if self.settings.has_response_prefix:
            prefix += "response."
        sink.counter(prefix + "compressed", self._compressed)
        sink.counter(prefix + "not_compressed", self._not_compressed)
        sink.counter(prefix + "content_length_too_small", self._too_small)
        sink.counter(prefix + "total_uncompressed_bytes", self.bytes_in)
        sink.counter(prefix + "total_compressed_bytes", self.bytes_out)


class Compression:
    """What the compressors of a chain have to know about one request."""

    __slots__ = ("accept", "offered")

    def __init__(self, accept: bytes | None) -> None:
        self.accept = accept
        """`accept-encoding` as the client sent it."""
        self.offered: list[CompressorFilter] = []
        """The compressors that the request has passed, in configured order."""


class CompressedBody:
    """A body on its way through an encoder."""

    __slots__ = ("_encoder", "_filter")

    def __init__(self, compressor: CompressorFilter, encoder: Encoder) -> None:
        self._filter = compressor
        self._encoder = encoder

    def transform(self, body: list[bytes], *, complete: bool) -> list[bytes]:
        """Compress what a read brought of the body."""
        if not (body or complete):
            return body
        encoded = self._encoder.encode(body, complete=complete)
        compressor = self._filter
        for piece in body:
            compressor.bytes_in += len(piece)
        compressor.bytes_out += len(encoded)
        return [encoded] if encoded else []


def _add_vary(headers: HeaderMap) -> None:
    """Caches must keep the answers to different `accept-encoding` apart, also if this one is not compressed."""
    known = headers.get(b"vary")
    if known is None:
        headers[b"vary"] = b"Accept-Encoding"
    elif isinstance(known, bytes) and b"accept-encoding" not in known.lower():
        headers[b"vary"] = known + b", Accept-Encoding"
