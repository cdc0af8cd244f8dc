"""The certified provider of the npm package oidc-provider, in a Node.js process (`provider.mjs`)."""

import base64
import json
import queue
import secrets
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.e2e.support.tokens import EcKey, RsaKey
from tests.e2e.support.wire import PATIENCE_S
from tests.providers.support.identity_provider import (
    BASE_URL,
    HOST_NAME,
    IdentityProvider,
    Json,
    TokenRequest,
)
from tests.providers.support.private_ca import PrivateCa

_SCRIPT = Path(__file__).resolve().parent.parent / "provider.mjs"
_CLIENT_ID = "reporting-job"
#: Tokens of these resources differ in nothing but the algorithm of their signature.
ALGORITHMS = ("RS256", "PS256", "ES256")
#: The lives of tokens that a test can ask for; a resource of the provider has one life.
_LIVES_S = (1, 300)
#: Another service of the same provider.
OTHER_RESOURCE = "urn:test:other"


class KeyPair:
    """What signs at one time: an RSA key without `alg`, so for RS256 and PS256, and a P-256 key."""

    def __init__(self, name: str) -> None:
        self.rsa = RsaKey(f"{name}-rsa")
        self.ec = EcKey(f"{name}-ec")

    def private_jwks(self) -> list[Json]:
        """Both with their private members."""
        return [
            _private(self.rsa.kid, RSAAlgorithm.to_jwk(self.rsa.private, as_dict=True)),
            _private(self.ec.kid, ECAlgorithm.to_jwk(self.ec.private, as_dict=True)),
        ]


class OidcProvider(IdentityProvider):
    """Gives tokens for client credentials (RFC 6749 section 4.4) and a resource (RFC 8707); each is an API."""

    issuer = BASE_URL
    audience = "api"

    def __init__(self, node: Path, authority: PrivateCa, directory: Path) -> None:
        """Start it and wait until it listens.

        Args:
            node: the Node.js program.
            authority: signs its certificate.
            directory: takes what it writes on stderr.
        """
        super().__init__(authority)
        self._client_secret = secrets.token_urlsafe(32)
        self._private: list[str] = []
        self._rotations = 0
        self.keys = KeyPair("first")
        self._log = directory / "oidc-provider.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(node), str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read_lines, name="oidc-provider", daemon=True)
        self._reader.start()
        try:
            self._say(self._settings(authority))
            self._await("keys")
            self.port = self._await("port")
        except BaseException:
            self.stop()
            raise

    def token_request(
        self, *, life_s: int = 300, algorithm: str = "RS256", resource: str | None = None
    ) -> TokenRequest:
        """The request for a JWT; an empty `resource` names none, and gives an opaque token."""
        target = _resource(algorithm, life_s) if resource is None else resource
        form = {"grant_type": "client_credentials", **({"resource": target} if target else {})}
        credentials = base64.b64encode(f"{_CLIENT_ID}:{self._client_secret}".encode()).decode()
        return TokenRequest(form, {"authorization": f"Basic {credentials}"})

    def publish(self, *pairs: KeyPair) -> None:
        """Put these keys in force, the first to sign; the others are only there to verify older tokens."""
        self._say({"jwks": self._jwks(*pairs)})
        self._await("keys")
        self.keys = pairs[0]

    def rotate(self) -> None:
        """Sign with a new key from now on, and publish that one alone."""
        self._rotations += 1
        self.publish(KeyPair(f"rotated-{self._rotations}"))

    def stop(self) -> None:
        """End the process: it leaves when its stdin ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The client's secret, as it is and as it travels, and the private members of every key there was."""
        basic = self.token_request().headers["authorization"].removeprefix("Basic ")
        return (self._client_secret, basic, *self._private)

    def _settings(self, authority: PrivateCa) -> Json:
        files = authority.issue(HOST_NAME)
        resources = {
            _resource(algorithm, life_s): {
                "audience": self.audience,
                "algorithm": algorithm,
                "lifeS": life_s,
            }
            for algorithm in ALGORITHMS
            for life_s in _LIVES_S
        }
        resources[OTHER_RESOURCE] = {"audience": "other", "algorithm": "RS256", "lifeS": 300}
        return {
            "issuer": self.issuer,
            "certificateFile": str(files.certificate),
            "keyFile": str(files.key),
            "clientId": _CLIENT_ID,
            "clientSecret": self._client_secret,
            "resources": resources,
            "jwks": self._jwks(self.keys),
        }

    def _jwks(self, *pairs: KeyPair) -> Json:
        keys = [key for pair in pairs for key in pair.private_jwks()]
        self._private += [key["d"] for key in keys]
        return {"keys": keys}

    def _say(self, message: Json) -> None:
        assert self._process.stdin is not None
        # If it has ended, the answer that does not come says so, with its log.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def _await(self, member: str) -> int:
        """The number that the process says next under this name."""
        try:
            line = self._lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            line = ""
        answer: dict[str, Any] = json.loads(line) if line else {}
        assert member in answer, f"no {member} from the provider: {line}\n{self._log.read_text()}"
        return int(answer[member])

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # The library's own notices go to stdout, too.
            if line.startswith("{"):
                self._lines.put(line)
        self._lines.put("")


def _resource(algorithm: str, life_s: int) -> str:
    return f"urn:test:api:{algorithm}:{life_s}"


def _private(kid: str, jwk: Json) -> Json:
    return {**{name: value for name, value in jwk.items() if name != "key_ops"}, "kid": kid, "use": "sig"}
