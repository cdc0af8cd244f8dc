"""Listeners with TLS, filter chains and listener filters, for both proxies; and a client that shows what came of it."""

import socket
import ssl
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.support.proxies import Config, ConfigTemplate, Ports
from tests.e2e.support.templates import (
    address,
    bootstrap,
    cluster,
    direct,
    forward,
    listener,
    virtual_host,
)
from tests.e2e.support.upstream import ScriptedUpstream
from tests.tls.pki import Authority, Issued

_TYPES = "type.googleapis.com/envoy.extensions"
_TLS = f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"
INSPECTOR: Config = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": {"@type": f"{_TYPES}.filters.listener.tls_inspector.v3.TlsInspector"},
}
TLS_LISTENERS = (
    "chains", "certificates", "required", "optional", "pinned", "forward_only", "append", "set", "always", "sanitize",
    "proxy", "proxy_optional", "blind", "sources", "types", "limited",
)  # fmt: skip


def proxy_protocol(**options: Any) -> Config:
    """The listener filter."""
    kind = f"{_TYPES}.filters.listener.proxy_protocol.v3.ProxyProtocol"
    return {"name": "envoy.filters.listener.proxy_protocol", "typed_config": {"@type": kind, **options}}


class Pki:
    """The certificates of these tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca, self.other_ca = Authority("test-ca"), Authority("other-ca")
        self.first = self.ca.issue("first.test", "*.first.test", uri=("spiffe://test/first",))
        self.second = self.ca.issue("second.test", subject=(("CN", "second"),))
        self.second_rsa = self.ca.issue("second.test", subject=(("CN", "second-rsa"),), kind="rsa")
        self.named_by_cn = self.ca.issue(subject=(("CN", "cn.test"),))
        self.client = self.ca.issue(
            "client.test",
            "*.wild.test",
            subject=(("CN", "cli-cn"), ("O", 'Lab, "A"')),
            uri=("spiffe://test/cli", "https://x.test/a?b=c"),
            email=("a@client.test",),
        )
        self.plain_client = self.ca.issue(subject=(("CN", "plain"),))
        self.foreign_client = self.other_ca.issue("client.test")
        self.expired_client = self.ca.issue("client.test", days=-1)
        (directory / "ca.pem").write_bytes(self.ca.pem)
        for name in ("first", "second", "second_rsa", "named_by_cn"):
            getattr(self, name).write(directory, name)

    def certificate(self, name: str) -> Config:
        """A `tls_certificates` entry."""
        return {
            "certificate_chain": {"filename": str(self.directory / f"{name}.pem")},
            "private_key": {"filename": str(self.directory / f"{name}.key")},
        }

    def socket(self, *names: str, validation: Config | None = None, **options: Any) -> Config:
        """A transport socket with these certificates."""
        common: Config = {"tls_certificates": [self.certificate(name) for name in names]}
        if validation is not None:
            common["validation_context"] = {
                "trusted_ca": {"filename": str(self.directory / "ca.pem")},
                **validation,
            }
        return {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": _TLS, "common_tls_context": common, **options},
        }


def _chain(body: str, match: Config | None = None, socket: Config | None = None) -> Config:
    """A filter chain that answers with its own name."""
    whole = listener(body, 0, [virtual_host("all", ["*"], [direct({"prefix": "/"}, 200, body)])])
    chain: Config = {"name": body, **whole["filter_chains"][0]}
    if match is not None:
        chain["filter_chain_match"] = match
    if socket is not None:
        chain["transport_socket"] = socket
    return chain


def _to_echo(name: str, port: int, socket: Config | None, **options: Any) -> Config:
    """A listener with one chain that forwards; `options` are fields of the connection manager."""
    made = listener(
        name, port, [virtual_host("all", ["*"], [forward({"prefix": "/"})])], options=options or None
    )
    if socket is not None:
        made["filter_chains"][0]["transport_socket"] = socket
    return made


def tls_template(upstream_port: int, pki: Pki) -> ConfigTemplate:
    """Every listener of `TLS_LISTENERS`."""

    def template(ports: Ports) -> Config:
        mutual = pki.socket("first", validation={}, require_client_certificate=True)
        details = {"subject": True, "uri": True, "dns": True}
        listeners = [
            _with_chains("chains", ports, _matching_chains(pki), [INSPECTOR]),
            _with_chains(
                "certificates",
                ports,
                [_chain("any", socket=pki.socket("first", "second", "second_rsa", "named_by_cn"))],
            ),
            _to_echo("required", ports["required"], mutual),
            _to_echo("optional", ports["optional"], pki.socket("first", validation={})),
            _to_echo("pinned", ports["pinned"], _pinned(pki)),
            _with_xfcc("forward_only", ports, pki, "FORWARD_ONLY"),
            _with_xfcc("append", ports, pki, "APPEND_FORWARD", **details),
            _with_xfcc("set", ports, pki, "SANITIZE_SET", cert=True, chain=True, **details),
            _with_xfcc("always", ports, pki, "ALWAYS_FORWARD_ONLY"),
            _with_xfcc("sanitize", ports, pki, "SANITIZE", **details),
            {**_to_echo("proxy", ports["proxy"], None, use_remote_address=True),
             "listener_filters": [proxy_protocol()]},
            {**_to_echo("proxy_optional", ports["proxy_optional"], None, use_remote_address=True),
             "listener_filters": [proxy_protocol(allow_requests_without_proxy_protocol=True)]},
            _with_chains("blind", ports, [_chain("named", {"server_names": ["first.test"]}, pki.socket("first")),
                                          _chain("rest", socket=pki.socket("second"))]),
            _with_chains("sources", ports, _source_chains(), [proxy_protocol(), INSPECTOR]),
            _with_chains("types", ports, _type_chains(), [proxy_protocol(), INSPECTOR]),
            _with_chains("limited", ports, [_chain("plain", {"transport_protocol": "raw_buffer"})], [INSPECTOR]),
        ]  # fmt: skip
        return bootstrap(ports["admin"], listeners, [cluster("echo", upstream_port)])

    return template


def _with_chains(
    name: str, ports: Ports, chains: list[Config], filters: list[Config] | None = None
) -> Config:
    return {
        "name": name,
        "address": address(ports[name]),
        "filter_chains": chains,
        **({"listener_filters": filters} if filters else {}),
    }


def _matching_chains(pki: Pki) -> list[Config]:
    first, second = pki.socket("first"), pki.socket("second")
    return [
        _chain("exact", {"server_names": ["first.test", "second.test"]}, first),
        _chain("wild", {"server_names": ["*.first.test"]}, first),
        _chain("deep", {"server_names": ["*.deep.first.test"]}, first),
        _chain(
            "alpn", {"server_names": ["alpn.test"], "application_protocols": ["acme", "http/1.1"]}, second
        ),
        _chain("no-alpn", {"server_names": ["alpn.test"]}, second),
        _chain("other-tls", {"transport_protocol": "tls"}, second),
        _chain("plain", {"transport_protocol": "raw_buffer"}),
    ]


def _source_chains() -> list[Config]:
    def ranges(prefix: str, length: int) -> list[Config]:
        return [{"address_prefix": prefix, "prefix_len": length}]

    return [
        _chain("net-8", {"source_prefix_ranges": ranges("10.0.0.0", 8)}),
        _chain("net-16", {"source_prefix_ranges": ranges("10.1.0.0", 16)}),
        _chain("port", {"source_prefix_ranges": ranges("10.2.0.0", 16), "source_ports": [4242]}),
        _chain("to-443", {"destination_port": 443}),
        _chain("to-443-net", {"destination_port": 443, "source_prefix_ranges": ranges("10.1.0.0", 16)}),
        _chain("to-net", {"prefix_ranges": ranges("192.0.2.0", 24)}),
    ]


def _type_chains() -> list[Config]:
    net = [{"address_prefix": "10.0.0.0", "prefix_len": 8}]
    return [
        _chain("external", {"source_type": "EXTERNAL"}),
        _chain("local", {"source_type": "SAME_IP_OR_LOOPBACK"}),
        _chain("net", {"source_prefix_ranges": net}),
    ]


def _pinned(pki: Pki) -> Config:
    validation = {
        "verify_certificate_hash": [pki.client.sha256],
        "match_typed_subject_alt_names": [
            {"san_type": "DNS", "matcher": {"exact": "a.wild.test"}},
            {"san_type": "URI", "matcher": {"prefix": "spiffe://none/"}},
        ],
    }
    return pki.socket("first", validation=validation, require_client_certificate=True)


def _with_xfcc(name: str, ports: Ports, pki: Pki, mode: str, **details: bool) -> Config:
    options: Config = {"forward_client_cert_details": mode}
    if details:
        options["set_current_client_cert_details"] = details
    return _to_echo(name, ports[name], pki.socket("first", validation={}), **options)


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one connection."""

    outcome: str
    """`served`, or `cut`: no answer at all."""
    body: bytes = b""
    certificate: str = ""
    """Fingerprint of what the proxy showed."""
    alpn: str | None = None
    upstream_headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One connection with one request; without `tls` it is plain."""

    tls: bool = True
    name: str | None = None
    alpn: tuple[str, ...] = ()
    shown: Issued | None = None
    headers: bytes = b""
    before: bytes = b""
    """Sent on the bare connection, in front of everything."""
    ciphers: str = ""
    twelve: bool = False
    """TLS 1.2 only."""

    def run(self, pki: Pki, port: int, upstream: ScriptedUpstream) -> Seen:
        """Connect, send the request, read to the end."""
        upstream.take_requests()
        certificate, alpn = "", None
        sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        try:
            if self.before:
                sock.sendall(self.before)
            if self.tls:
                wrapped = self._context(pki).wrap_socket(sock, server_hostname=self.name)
                sock = wrapped
                certificate = _fingerprint(wrapped)
                alpn = wrapped.selected_alpn_protocol()
            sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + self.headers + b"\r\n")
            answer = _read_all(sock)
        except (OSError, ssl.SSLError):
            return Seen("cut")
        finally:
            sock.close()
        if not answer:
            return Seen("cut")
        requests = upstream.take_requests()
        headers = tuple(requests[0].headers) if requests else ()
        return Seen("served", answer.partition(b"\r\n\r\n")[2], certificate, alpn, headers)

    def _context(self, pki: Pki) -> ssl.SSLContext:
        context = pki.ca.client_context(self.shown)
        if self.alpn:
            context.set_alpn_protocols(list(self.alpn))
        if self.twelve:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if self.ciphers:
            context.set_ciphers(self.ciphers)
        return context


def _fingerprint(sock: ssl.SSLSocket) -> str:
    import hashlib

    return hashlib.sha256(sock.getpeercert(binary_form=True) or b"").hexdigest()


def _read_all(sock: socket.socket) -> bytes:
    found = b""
    while data := sock.recv(65536):
        found += data
    return found


def v2_header(
    source: str, destination: str, ports: tuple[int, int], *, command: int = 0x21, tlv: bytes = b""
) -> bytes:
    """A PROXY header of version 2."""
    body = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!HH", *ports) + tlv
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes((command, 0x11)) + struct.pack("!H", len(body)) + body
