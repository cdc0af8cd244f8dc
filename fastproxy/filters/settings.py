"""What the settings of an HTTP filter may be."""

from fastproxy.filters.buffer.settings import BufferSettings
from fastproxy.filters.compressor.settings import CompressorSettings
from fastproxy.filters.cors.settings import CorsSettings
from fastproxy.filters.header_mutation.settings import HeaderMutationSettings
from fastproxy.filters.jwt_authn.settings import JwtAuthnSettings

#: Settings of the filters that need nothing but their settings; `filters.build` makes them.
PlainFilterSettings = BufferSettings | CompressorSettings | CorsSettings | HeaderMutationSettings
#: The settings of any filter but the router.
FilterSettings = JwtAuthnSettings | PlainFilterSettings
