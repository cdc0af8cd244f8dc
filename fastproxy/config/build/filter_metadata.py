"""`Metadata`: what the configuration says about a thing beyond what the proxy itself needs (core.v3)."""

import json

from fastproxy.config.view import View


def build_filter_metadata(owner: View) -> str:
    """`metadata.filter_metadata` as a JSON object, keys sorted; empty if there is none."""
    metadata = owner.child("metadata")
    if metadata is None:
        return ""
    metadata.without_effect("typed_filter_metadata", "nothing reads it")
    values = {name: struct.plain_struct() for name, struct in metadata.entries("filter_metadata").items()}
    return json.dumps(values, sort_keys=True) if values else ""
