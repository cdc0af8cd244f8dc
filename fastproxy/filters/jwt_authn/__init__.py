"""The `envoy.filters.http.jwt_authn` filter: which path needs which token, and what happens without it."""
