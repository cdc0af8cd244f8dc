"""The `cors` filter as the configuration fixes it (envoy.extensions.filters.http.cors.v3)."""

from dataclasses import dataclass, field, replace

from fastproxy.match.settings import Fraction, StringMatch


@dataclass(frozen=True, slots=True)
class CorsSettings:
    """`Cors`, which says nothing by itself: what is allowed is said by routes and what is around them."""

    is_off_by_default: bool = False
    """`disabled: true` in `http_filters`: off but for routes that speak of the filter."""


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """`CorsPolicy` of one level. Empty text and None mean that the level does not say."""

    origins: tuple[StringMatch, ...] = ()
    """`allow_origin_string_match`: one of them must hold; `exact: "*"` holds for every origin."""
    allow_methods: str = ""
    allow_headers: str = ""
    expose_headers: str = ""
    max_age: str = ""
    allow_credentials: bool | None = None
    allow_private_network_access: bool | None = None
    forwards_not_matching_preflights: bool | None = None
    enabled: Fraction | None = None
    """`filter_enabled`: the share of requests that the policy is for; None is all of them."""
    shadow_enabled: Fraction | None = None
    """The share of the other requests whose origin is counted, and nothing more; None is none of them."""
    config_path: str = field(default="", compare=False, repr=False)
    """Where `allow_origin_string_match` stands in the configuration, for messages."""

    def within(self, outer: "CorsPolicy | None") -> "CorsPolicy":
        """Add what the level around this one says.

        Field by field, as in Envoy; but whether there is a policy at all, for which requests, is settled by the
        innermost level that has one.
        """
        if outer is None:
            return self
        return replace(
            self,
            origins=self.origins or outer.origins,
            config_path=self.config_path if self.origins else outer.config_path,
            allow_methods=self.allow_methods or outer.allow_methods,
            allow_headers=self.allow_headers or outer.allow_headers,
            expose_headers=self.expose_headers or outer.expose_headers,
            max_age=self.max_age or outer.max_age,
            allow_credentials=_inner(self.allow_credentials, outer.allow_credentials),
            allow_private_network_access=_inner(
                self.allow_private_network_access, outer.allow_private_network_access
            ),
            forwards_not_matching_preflights=_inner(
                self.forwards_not_matching_preflights, outer.forwards_not_matching_preflights
            ),
        )


@dataclass(frozen=True, slots=True)
class CorsRouteSettings:
    """What a route and everything around it says about the filter."""

    policy: CorsPolicy | None = None
    """From `typed_per_filter_config`."""
    old_policy: CorsPolicy | None = None
    """From the deprecated field `cors` of routes and virtual hosts; counts where there is no `policy` at any level."""
    is_off: bool | None = None
    """None: no level says whether the filter is on."""

    def within(self, outer: object) -> "CorsRouteSettings":
        """Add what the level around this one says."""
        if not isinstance(outer, CorsRouteSettings):
            return self
        return CorsRouteSettings(
            outer.policy if self.policy is None else self.policy.within(outer.policy),
            outer.old_policy if self.old_policy is None else self.old_policy.within(outer.old_policy),
            _inner(self.is_off, outer.is_off),
        )

    @property
    def effective(self) -> CorsPolicy | None:
        """The policy that applies; None if there is none."""
        return self.old_policy if self.policy is None else self.policy


def _inner(own: bool | None, outer: bool | None) -> bool | None:
    return outer if own is None else own
