"""What /jwks shows: the state of every provider's keys, local ones included."""

from collections.abc import Iterable, Mapping

from fastproxy.control.admin.view import JwksStatus
from fastproxy.control.jwks_document import describe_keys
from fastproxy.control.jwks_local import LocalSource
from fastproxy.control.jwks_source import JwksSource
from fastproxy.filters.jwt_authn.settings import LocalJwksSettings, ProviderSettings


def report_jwks(
    providers: Iterable[ProviderSettings], sources: Mapping[str, JwksSource | LocalSource], now: float
) -> tuple[JwksStatus, ...]:
    """Describe the keys of every provider.

    Args:
        providers: one for each `source_id`.
        sources: those whose keys can change, by `source_id`; the others have their keys in the configuration.
        now: monotonic seconds.
    """
    return tuple(_report(provider, sources.get(provider.source_id), now) for provider in providers)


def _report(provider: ProviderSettings, source: JwksSource | LocalSource | None, now: float) -> JwksStatus:
    if isinstance(source, JwksSource):
        return _fetched(provider, source, now)
    if isinstance(source, LocalSource):
        return _file(provider, source)
    assert isinstance(provider.jwks, LocalJwksSettings)
    return JwksStatus(
        provider=provider.name,
        issuer=provider.issuer,
        source=provider.jwks.origin,
        cluster="",
        epoch=1,
        keys=describe_keys(provider.jwks.jwks),
        fetched_at=None,
        expires_in_s=None,
        withdrawn_in_s=None,
        next_fetch_in_s=None,
        last_error="",
        failures=0,
        kind="configuration",
    )


def _file(provider: ProviderSettings, source: LocalSource) -> JwksStatus:
    return JwksStatus(
        provider=provider.name,
        issuer=provider.issuer,
        source=f"file {source.filename}",
        cluster="",
        epoch=source.epoch,
        keys=source.document.keys,
        fetched_at=source.loaded_at,
        expires_in_s=None,
        withdrawn_in_s=None,
        next_fetch_in_s=None,
        last_error=source.last_error,
        failures=int(bool(source.last_error)),
        kind="file",
        keys_since=source.history.since(source.document),
        removed=source.history.removed,
    )


def _fetched(provider: ProviderSettings, source: JwksSource, now: float) -> JwksStatus:
    schedule = source.schedule
    return JwksStatus(
        provider=provider.name,
        issuer=provider.issuer,
        source=source.shown_uri,
        cluster=source.retrieval.cluster,
        epoch=schedule.epoch,
        keys=() if source.document is None else source.document.keys,
        fetched_at=source.fetched_at,
        expires_in_s=None if schedule.expires_at is None else schedule.expires_at - now,
        withdrawn_in_s=None if schedule.stale_until is None else schedule.stale_until - now,
        next_fetch_in_s=max(schedule.next_fetch_at - now, 0.0),
        last_error=source.last_error,
        failures=schedule.failures,
        kind=source.kind,
        from_snapshot=source.from_snapshot,
        keys_since=() if source.document is None else source.history.since(source.document),
        removed=source.history.removed,
        public_keys="" if source.document is None else source.document.text,
    )
