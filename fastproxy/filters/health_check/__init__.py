"""The `health_check` filter: the proxy answers the health checks of others."""
