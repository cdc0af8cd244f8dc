"""What an exchange needs from the connection that its request came from."""

from typing import Protocol

from fastproxy.http.headers import HeaderMap
from fastproxy.http.messages import LocalReply


class Downstream(Protocol):
    """Takes a response, or what stands for one."""

    def on_interim(self, headers: HeaderMap) -> None:
        """Pass on a 100 (Continue), if that is wanted; `response_status` of the request is 100 then."""

    def on_response_head(self, status: int, headers: HeaderMap, body: list[bytes], *, complete: bool) -> None:
        """Pass on a response head and what came with it of the body."""

    def on_response_body(self, body: list[bytes], *, complete: bool) -> None:
        """Pass on more of the body."""

    def on_local_reply(self, reply: LocalReply) -> None:
        """Answer instead of the upstream."""

    def on_response_aborted(self, details: str, flag: str) -> None:
        """The response broke off after its head: cut the connection, so that nobody takes it for complete."""

    def pause_request(self) -> None:
        """Stop reading the request body."""

    def hold_request(self) -> None:
        """Stop reading the request body until there is a connection for it: nobody is too slow for it (no counter)."""

    def resume_request(self) -> None:
        """Go on reading the request body."""


class UpgradableDownstream(Downstream, Protocol):
    """What an upgrade needs from the connection besides."""

    def on_switched(self, status: int, headers: HeaderMap, early: list[bytes]) -> None:
        """Answer with this head; from now on bytes pass as they are, `early` first."""

    def on_tunnel_closed(self, details: str, flag: str) -> None:
        """The upstream has closed: close when the downstream has everything."""
