"""Compression of responses (Envoy `envoy.filters.http.compressor`)."""
