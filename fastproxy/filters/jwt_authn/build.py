"""Requirements from their settings; once, when the filter is built."""

from collections.abc import Callable
from dataclasses import replace

from fastproxy.filters.jwt_authn.observed import ObservedProvider, Observer
from fastproxy.filters.jwt_authn.provider import Provider
from fastproxy.filters.jwt_authn.requirement import (
    AllowMissing,
    AllowMissingOrFailed,
    RequireAll,
    RequireAny,
    RequireNothing,
)
from fastproxy.filters.jwt_authn.settings import (
    AllowsMissing,
    AllowsMissingOrFailed,
    JwtAuthnSettings,
    ProviderSettings,
    RequirementSettings,
    RequiresAll,
    RequiresAny,
    RequiresNothing,
    RequiresProvider,
)
from fastproxy.filters.jwt_authn.verdict import Requirement


class RequirementBuilder:
    """Builds the requirements of one filter, and the providers that they share."""

    def __init__(
        self, settings: JwtAuthnSettings, *, ask: Callable[[str], None], observer: Observer | None = None
    ) -> None:
        """Build the configured providers; `observer` is told what they do.

        Raises:
            fastproxy.jwt.JwksError: local keys are unusable (the configuration has checked this before).
            ValueError: a regular expression is invalid (the configuration has checked this before).
        """
        self._ask = ask
        self._observer = observer
        self._configured = {name: self._make_provider(one) for name, one in settings.providers.items()}
        self.providers: dict[str, Provider] = dict(self._configured)
        """The configured ones, and those with other audiences that requirements asked for."""

    def build(self, settings: RequirementSettings) -> Requirement:
        """Build one requirement.

        Raises:
            KeyError: it names a provider that does not exist (the configuration has checked this before).
        """
        if isinstance(settings, RequiresProvider):
            return self._provider(settings)
        if isinstance(settings, RequiresAny):
            return self._any(settings.requirements)
        if isinstance(settings, RequiresAll):
            return RequireAll(tuple(self.build(one) for one in settings.requirements))
        if isinstance(settings, AllowsMissing):
            return AllowMissing(tuple(self._configured.values()))
        if isinstance(settings, AllowsMissingOrFailed):
            return AllowMissingOrFailed(tuple(self._configured.values()))
        if isinstance(settings, RequiresNothing):
            return RequireNothing()
        # Fail closed: what is not understood must not become a rule that lets everything pass (S56).
        raise TypeError(f"unknown requirement {type(settings).__name__}")

    def _any(self, settings: tuple[RequirementSettings, ...]) -> Requirement:
        """Envoy: beside other children `allow_missing*` speaks of theirs; alone it speaks of all providers."""
        passes_always = any(isinstance(one, AllowsMissingOrFailed) for one in settings)
        children = [one for one in settings if not isinstance(one, AllowsMissing | AllowsMissingOrFailed)]
        if not children:
            return self.build(AllowsMissingOrFailed() if passes_always else AllowsMissing())
        return RequireAny(
            tuple(self.build(one) for one in children),
            missing_is_enough=any(isinstance(one, AllowsMissing) for one in settings),
            passes_always=passes_always,
        )

    def _provider(self, settings: RequiresProvider) -> Provider:
        """The provider, or a twin with other audiences: verdicts are kept under the policy they were made by (S29)."""
        provider = self._configured[settings.provider_name]
        audiences = settings.audiences
        if not audiences or set(audiences) == set(provider.settings.audiences):
            return provider
        name = f"{settings.provider_name} for {', '.join(sorted(set(audiences)))}"
        if name not in self.providers:
            self.providers[name] = self._make_provider(replace(provider.settings, audiences=audiences))
        return self.providers[name]

    def _make_provider(self, settings: ProviderSettings) -> Provider:
        if self._observer is None:
            return Provider(settings, ask=self._ask)
        return ObservedProvider(settings, ask=self._ask, observer=self._observer)
