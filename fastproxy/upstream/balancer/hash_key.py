"""What an endpoint's place on a ring or in a table depends on."""

from fastproxy.upstream.balancer.settings import ConsistentHashing
from fastproxy.upstream.endpoint import Endpoint


def hash_key(endpoint: Endpoint, settings: ConsistentHashing) -> bytes:
    """`hash_key` of its `envoy.lb` metadata, or else its host name or address, as the cluster says (Envoy)."""
    chosen = endpoint.metadata.get("hash_key")
    if isinstance(chosen, str) and chosen:
        return chosen.encode()
    return (endpoint.address.hostname if settings.use_hostname else endpoint.text).encode()
