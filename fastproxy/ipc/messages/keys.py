"""Keys that verify tokens, and certificates."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class JwksUpdate:
    """New keys for a source. Sent to all workers in one go; a higher `epoch` replaces a lower one.

    The epoch that the worker has already means: a fetch brought nothing new, or was not due. What it has is
    current, and requests that wait must be judged on it. This answer may go to the asking worker alone.
    An empty `jwks` withdraws the keys: `max_stale` has passed, fail closed.
    Keys of watched `local_jwks` files come in the same way, and only they may hold symmetric keys; which sources
    are local is for the receiver's configuration to say.
    """

    source_id: str
    epoch: int
    jwks: str
    fetched: bool = True
    """False: no fetch was made for this answer, so a key that is missing from it may exist all the same."""


@dataclass(frozen=True, slots=True)
class JwksFetchFailed:
    """A fetch failed; requests that wait for it must stop waiting. Keys that are held stay in force."""

    source_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class JwksRefreshRequest:
    """A worker met a token whose key it does not have (`kid` unknown, or no keys at all).

    The control plane decides whether a fetch is due (single flight, cool-down) and always answers with
    JwksUpdate or JwksFetchFailed for this source: to all workers if it fetched, else to the one that asked.
    """

    source_id: str


@dataclass(frozen=True, slots=True)
class TlsFilesUpdate:
    """What the files hold that TLS on listeners is made from. Never logged: private keys are among it.

    All of them together, for a certificate and its key only make sense as a pair; the control plane has tried them.
    """

    epoch: int
    files: dict[str, str] = field(repr=False)
    """Content by file name, base64."""
