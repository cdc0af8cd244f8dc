"""/certs: the certificates of every listener and cluster, in the spirit of Envoy's page of that name. Never a key."""

import datetime as dt
from typing import Any

from fastproxy import clock
from fastproxy.config.tls_update import CertificateFacts, read_certificates, read_upstream_certificates
from fastproxy.control.admin.view import AdminView
from fastproxy.listener.tls.settings import ClientCertificates, DownstreamTlsSettings
from fastproxy.tls.settings import OwnCertificate

_DAY_S = 86400.0
_SAN_FIELDS = {"DNS": "dns", "URI": "uri", "EMAIL": "email", "IP_ADDRESS": "ip_address"}


def certs_json(view: AdminView) -> dict[str, Any]:
    """Build /certs."""
    state = view.tls()
    listeners = view.settings.listeners
    entries: list[dict[str, Any]] = []
    for (position, index), tls in sorted(state.update.chains.items()):
        chain = listeners[position].chains()[index]
        entries.append(
            {"listener": listeners[position].name, "filter_chain": chain.name or index, **_chain(tls)}
        )
    for name, upstream in sorted(state.update.clusters.items()):
        facts = read_upstream_certificates(upstream)
        entries.append(
            {"cluster": name, **_own(facts), "ca_cert": [_certificate(one) for one in facts.authorities]}
        )
    return {"epoch": state.epoch, "last_error": state.last_error or None, "certificates": entries}


def _chain(tls: DownstreamTlsSettings) -> dict[str, Any]:
    facts = read_certificates(tls)
    shown = _own(facts)
    if tls.client_certificates is not ClientCertificates.IGNORED:
        shown["client_certificates"] = tls.client_certificates.value
        shown["ca_cert"] = [_certificate(one) for one in facts.authorities]
    return shown


def _own(facts: CertificateFacts) -> dict[str, Any]:
    return {"cert_chain": [{"path": origin, **_certificate(one)} for origin, one in facts.own]}


def _certificate(one: OwnCertificate) -> dict[str, Any]:
    days = int((one.not_after_unix - clock.unix_time()) // _DAY_S)
    return {
        "subject": one.subject,
        "serial_number": one.serial,
        "subject_alt_names": [{_SAN_FIELDS[kind]: name} for kind, name in one.sans],
        # As in Envoy: 0 when it is over.
        "days_until_expiration": str(max(days, 0)),
        "valid_from": _timestamp(one.not_before_unix),
        "expiration_time": _timestamp(one.not_after_unix),
    }


def _timestamp(unix_time: float) -> str:
    moment = dt.datetime.fromtimestamp(unix_time, tz=dt.UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
