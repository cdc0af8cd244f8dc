"""What /jwks shows: the state of every provider's keys, local ones included."""

from collections.abc import Iterable

from fastproxy.control.admin.view import JwksStatus
from fastproxy.control.jwks_document import describe_keys
from fastproxy.control.jwks_fetcher import JwksSource, without_secrets
from fastproxy.filters.jwt_authn.settings import LocalJwksSettings, ProviderSettings


def report_jwks(
    providers: Iterable[ProviderSettings], sources: dict[str, JwksSource], now: float
) -> tuple[JwksStatus, ...]:
    """Describe the keys of every provider; `now` is monotonic seconds."""
    return tuple(
        _local(provider, provider.jwks)
        if isinstance(provider.jwks, LocalJwksSettings)
        else _remote(provider, sources[provider.source_id], now)
        for provider in providers
    )


def _local(provider: ProviderSettings, local: LocalJwksSettings) -> JwksStatus:
    return JwksStatus(
        provider=provider.name,
        issuer=provider.issuer,
        source=local.origin,
        cluster="",
        epoch=1,
        keys=describe_keys(local.jwks),
        fetched_at=None,
        expires_in_s=None,
        withdrawn_in_s=None,
        next_fetch_in_s=None,
        last_error="",
        failures=0,
    )


def _remote(provider: ProviderSettings, source: JwksSource, now: float) -> JwksStatus:
    schedule = source.schedule
    return JwksStatus(
        provider=provider.name,
        issuer=provider.issuer,
        source=without_secrets(source.remote.uri),
        cluster=source.remote.cluster,
        epoch=schedule.epoch,
        keys=() if source.document is None else source.document.keys,
        fetched_at=source.fetched_at,
        expires_in_s=None if schedule.expires_at is None else schedule.expires_at - now,
        withdrawn_in_s=None if schedule.stale_until is None else schedule.stale_until - now,
        next_fetch_in_s=max(schedule.next_fetch_at - now, 0.0),
        last_error=source.last_error,
        failures=schedule.failures,
    )
