"""What the tests need of an identity provider, whichever it is."""

import http.client
import json
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from jwt.utils import base64url_decode

from tests.e2e.support.wire import PATIENCE_S
from tests.providers.support.private_ca import PrivateCa

Json = dict[str, Any]

#: The name in the provider's certificate. No resolver knows it: who connects must say where, and must ask for it.
HOST_NAME = "issuer.test"
BASE_URL = f"https://{HOST_NAME}"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """How to ask the provider for a token: a POST of `form` to the path of its token endpoint."""

    form: Mapping[str, str]
    headers: Mapping[str, str]


def header_of(token: str) -> Json:
    """The JOSE header of a token, unverified."""
    return _json_object(token, 0)


def claims_of(token: str) -> Json:
    """The claims of a token, unverified."""
    return _json_object(token, 1)


def _json_object(token: str, segment: int) -> Json:
    parsed = json.loads(base64url_decode(token.split(".")[segment]))
    assert isinstance(parsed, dict)
    return parsed


class IdentityProvider(ABC):
    """An OpenID provider over TLS on loopback, under the name `HOST_NAME`, with a certificate of a private CA.

    issuer: what its tokens say in `iss`. audience: what they say in `aud`. port: where it listens.
    """

    issuer: str
    audience: str
    port: int

    def __init__(self, authority: PrivateCa) -> None:
        self._tls = authority.client_context()

    @abstractmethod
    def token_request(self, *, life_s: int = 300) -> TokenRequest:
        """The request for an access token that lives so many seconds."""

    @abstractmethod
    def rotate(self) -> None:
        """Sign with a new key from now on, and publish that one alone."""

    @abstractmethod
    def stop(self) -> None:
        """End it. A second time does nothing."""

    @property
    @abstractmethod
    def secrets(self) -> tuple[str, ...]:
        """What must never be found in anybody's log: the secrets of its clients and its private keys."""

    def token(self, *, life_s: int = 300) -> str:
        """A new access token."""
        return self.ask_for_token(self.token_request(life_s=life_s))

    def ask_for_token(self, request: TokenRequest) -> str:
        """The access token that the token endpoint gives for this request."""
        answer = self.exchange(
            "POST",
            self.token_path,
            body=urlencode(request.form),
            headers={"content-type": "application/x-www-form-urlencoded", **request.headers},
        )
        return str(answer["access_token"])

    def metadata(self) -> Json:
        """The document of OpenID Connect Discovery 1.0 section 4."""
        return self.exchange("GET", f"{urlsplit(self.issuer).path}/.well-known/openid-configuration")

    @property
    def token_path(self) -> str:
        """The path of the token endpoint, as its metadata has it."""
        return urlsplit(self.metadata()["token_endpoint"]).path

    def exchange(
        self, method: str, path: str, *, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Json:
        """The JSON of an answer with status 200; the provider's certificate is verified on the way."""
        connection = http.client.HTTPSConnection(HOST_NAME, context=self._tls)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        connection.sock = self._tls.wrap_socket(plain, server_hostname=HOST_NAME)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        assert response.status == 200, (method, path, response.status, content)
        answer = json.loads(content)
        assert isinstance(answer, dict)
        return answer
