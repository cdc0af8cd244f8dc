"""A header in which a trusted proxy names the client, such as `cf-connecting-ip` (Envoy `CustomHeaderConfig`)."""

from fastproxy.addresses import read_ip
from fastproxy.http.headers import HeaderMap, first
from fastproxy.http.messages import LocalReply

_REFUSED = "rejecting_because_detection_failed"


class ClientHeader:
    """Reads the header; nothing here knows who may send it."""

    __slots__ = ("_name", "is_trusted", "refusal")

    def __init__(self, name: str, *, is_trusted: bool = False, reject_status: int = 0) -> None:
        """Settle what is read.

        Args:
            name: of the header, in any case.
            is_trusted: the address may be one of the inside (`allow_extension_to_set_address_as_trusted`).
            reject_status: answers a request without a usable header; 0 has the next way tried.
        """
        self._name = name.lower().encode()
        self.is_trusted = is_trusted
        self.refusal = LocalReply(reject_status, details=_REFUSED) if reject_status else None
        """The answer to a request that does not name its client."""

    def read(self, headers: HeaderMap) -> str:
        """The client's IP address, from the first line of the header; empty if that is none."""
        value = first(headers, self._name)
        try:
            return "" if value is None else read_ip(value.decode("ascii"))
        except UnicodeDecodeError:
            return ""
