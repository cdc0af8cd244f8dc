"""What is measured."""

from dataclasses import dataclass
from pathlib import Path

from bench.tokens import TokenFiles


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load."""

    name: str
    what: str
    path: str = "/jwt/users"
    method: str = "GET"
    body_bytes: int = 0
    algorithm: str = "RS256"
    """Empty: no token."""
    every_token_new: bool = False
    tls: bool = False

    def environment(self, tokens: TokenFiles) -> dict[str, str]:
        """The variables that wrk.lua and the loader read."""
        files: dict[str, Path | str] = {"": "", "RS256": tokens.rs256, "ES256": tokens.es256}
        return {
            "BENCH_METHOD": self.method,
            "BENCH_PATH": self.path,
            "BENCH_BODY_BYTES": str(self.body_bytes),
            "BENCH_TOKENS": str(files[self.algorithm]),
            "BENCH_ONCE": "1" if self.every_token_new else "0",
            "BENCH_TLS": "1" if self.tls else "0",
        }


SCENARIOS = (
    Scenario("hit", "one RS256 token, found in the token cache (Envoy: jwt_cache_config on)"),
    Scenario(
        "every-token-new", "RS256, each token used once: every signature is verified", every_token_new=True
    ),
    Scenario("es256", "ES256, each token used once", algorithm="ES256", every_token_new=True),
    Scenario("plain", "no token, no jwt_authn rule: forwarding alone", path="/plain/users", algorithm=""),
    Scenario("post-1k", "the token of `hit`, and a body of 1 KiB", method="POST", body_bytes=1024),
    Scenario("tls", "the token of `hit`, over connections by TLS that are kept", tls=True),
)
