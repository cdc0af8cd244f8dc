"""What the settings of an HTTP filter may be."""

from fastproxy.filters.buffer.settings import BufferSettings
from fastproxy.filters.compressor.settings import CompressorSettings
from fastproxy.filters.cors.settings import CorsSettings
from fastproxy.filters.header_mutation.settings import HeaderMutationSettings
from fastproxy.filters.health_check.settings import HealthCheckSettings
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings

#: Settings of the filters that `filters.build` makes.
PlainFilterSettings = (
    BufferSettings | CompressorSettings | CorsSettings | HeaderMutationSettings | HealthCheckSettings
)
#: The settings of any filter but the router.
FilterSettings = JwtAuthnSettings | PlainFilterSettings
